"""export: what plain transformers can load of a shipped model, with the lines that put it to work."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from lowrung.core.errors import ModelError
from lowrung.data.files import atomic_folder
from lowrung.run.ship import Shipped, versions

FACTS, HEAD = "lowrung_export.json", "lowrung_head.safetensors"
PLAIN = """import torch
from transformers import AutoModel, AutoTokenizer

tokenizer, body = AutoTokenizer.from_pretrained("."), AutoModel.from_pretrained(".").eval()
batch = tokenizer(["a text", "another"], truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    states = body(**batch).last_hidden_state  # (texts, pieces, width)
"""
CHOICE = """import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer, body = AutoTokenizer.from_pretrained("."), AutoModel.from_pretrained(".").eval()
head = load_file("lowrung_head.safetensors")
texts = ["a text", "another"]
batch = tokenizer(texts, truncation=True, max_length=LONGEST, padding=True, return_tensors="pt")
with torch.no_grad():
    states = body(**batch).last_hidden_state
POOL
logits = torch.nn.functional.normalize(pooled, dim=-1) @ head["weight"].T + head["bias"]
shares = (logits / head["temperature"]).softmax(-1)
answers = [body.config.id2label[at] for at in shares.argmax(-1).tolist()]
"""
POOLS = {
    "mean": """mask = batch["attention_mask"][..., None]
pooled = (states * mask).sum(1) / mask.sum(1)""",
    "first": "pooled = states[:, 0]",
}


def export(shipped: Shipped, folder: str | Path, *, body_only: bool = False) -> Path:
    """Write a folder that AutoModel and AutoTokenizer load: the body as it was tuned (LoRA merged), the tokenizer, and
    for a Choice the head as one linear map, with a README that computes the same logits.

    No stock sequence classifier divides by the length of the pooled states, so the head is a file of its own. A text
    longer than the body reads is cut there; lowrung reads it in windows.

    Args:
        body_only: leave the head behind.

    Raises:
        ModelError: the model has no transformers body, its head has no plain form, or `folder` holds something else.
    """
    import transformers
    from safetensors.torch import save_file

    from lowrung.models.cascade import Cascade
    from lowrung.models.heads import SCALE, Rank
    from lowrung.models.network import Adapted

    model, folder = shipped.model, Path(folder)
    if isinstance(model, Cascade) and not model.learnt:  # of texts it is the model inside
        model = model.inner
    if not isinstance(model, Adapted):
        raise ModelError(f"{model.name} is no transformers model; its folder is read by lowrung alone")
    head = model.head
    if type(head) is not Rank and not body_only:
        raise ModelError(
            f"the head of {shipped.task.name} has no plain form: only one label of a whole text is a linear map of its "
            "states. --body-only exports what is below it"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FACTS).is_file():
        raise ModelError(f"{folder}: holds something else than an export; name another folder")
    body = _merged(model.backbone.body)
    config: Any = body.config
    if not body_only:
        config.id2label = dict(enumerate(model.options))
        config.label2id = {label: at for at, label in enumerate(model.options)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as new:
            transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            body.save_pretrained(new)
            model.backbone.tokenizer.inner.save_pretrained(new)
            if isinstance(head, Rank) and not body_only:
                weight = SCALE * (head.trust * head.names + head.shift)  # (K, D)
                parts = {"weight": weight, "bias": head.bias, "temperature": head.temperature}
                save_file({name: each.detach().clone().contiguous() for name, each in parts.items()}, new / HEAD)
            facts: dict[str, Any] = {"task": shipped.task.name, "options": list(model.options), "versions": versions()}
            facts |= {"method": shipped.facts.get("method", model.name), "head": HEAD if not body_only else None}
            (new / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", "utf-8")
            (new / "README.md").write_text(_readme(shipped, body_only), "utf-8")
    except OSError as problem:
        raise ModelError(
            f"{folder}: could not be written ({problem.strerror or problem}); nothing was changed"
        ) from problem
    return folder


def _merged(body: Any) -> Any:
    """A copy of the body in which LoRA's updates are added to the weights they belong to."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    body = copy.deepcopy(body)
    for name, layer in [each for each in body.named_modules() if isinstance(each[1], BaseTunerLayer)]:
        layer.merge()
        holder, _, last = name.rpartition(".")
        setattr(body.get_submodule(holder), last, layer.get_base_layer())
    if hasattr(body, "peft_config"):
        del body.peft_config
    return body


def _readme(shipped: Shipped, body_only: bool) -> str:
    model: Any = shipped.model
    code = PLAIN if body_only else CHOICE.replace("POOL", POOLS[model.backbone.pooling])
    code = code.replace("LONGEST", str(model.backbone.tokenizer.longest))
    what = "the body without its head" if body_only else f"a classifier with the labels {', '.join(model.options)}"
    return f"""# {shipped.task.name}: {shipped.facts.get("method", model.name)}, for plain transformers

Exported by lowrung from a model on `{model.backbone.source.name}`: {what}.

```python
{code.strip()}
```
"""
