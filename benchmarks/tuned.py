"""Token classifiers by today's tools, in pieces that `benchmarks.speed` can time: Trainer (full, upper layers, LoRA)
and logistic regression on frozen features. The recipe is that of `benchmarks.others`, which names its sources."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks import others
from lowrung.core.task import Row, Task

Rows = Sequence[Row]
How = Literal["full", "top", "lora"]
Watch = Callable[[Any, float], None]  # the network after an epoch, and the CPU seconds that training took until then
TOP = 2  # layers that move under "top", as with lowrung


def tags_of(task: Task[Any]) -> list[str]:
    return ["O", *(f"{kind}-{option}" for option in task.options for kind in "BI")]


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(others._weights())


def encoded(coder: Any, rows: Rows, tags: Sequence[str]) -> Any:
    """The tutorial's data set: the first piece of a word carries its tag, the others are not looked at."""
    from datasets import Dataset

    columns = coder([row["tokens"] for row in rows], is_split_into_words=True, truncation=True)
    targets = []
    for number, row in enumerate(rows):
        words = columns.word_ids(number)
        firsts = [word is not None and word not in words[:at] for at, word in enumerate(words)]
        pairs = zip(words, firsts, strict=True)
        targets.append([tags.index(row["tags"][word]) if first else others.IGNORE for word, first in pairs])
    return Dataset.from_dict(dict(columns) | {"labels": targets})


def tune(
    task: Task[Any], train: Rows, folder: str, *, how: How, epochs: int, seed: int, watch: Watch | None = None
) -> Any:
    """A network fine-tuned by transformers' Trainer; `watch` is called after each epoch, outside the measured time."""
    from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification, set_seed

    begun = time.process_time()
    set_seed(seed)
    tags, coder = tags_of(task), tokenizer()
    names = dict(enumerate(tags))
    codes = {tag: at for at, tag in names.items()}
    network = AutoModelForTokenClassification.from_pretrained(
        others._weights(), num_labels=len(tags), id2label=names, label2id=codes
    )
    network = _moving(network, how)
    collator = DataCollatorForTokenClassification(coder)
    tuner = others._trainer(network, folder, encoded(coder, train, tags), collator, seed)
    tuner.args.num_train_epochs = epochs
    if watch is not None:
        tuner.add_callback(_watching(watch, begun))
    tuner.train()
    return network


def _moving(network: Any, how: How) -> Any:
    if how == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            task_type="TOKEN_CLS", r=8, lora_alpha=16, lora_dropout=0.05, target_modules=["query", "value"]
        )
        return get_peft_model(network, config)
    if how == "top":
        network.bert.embeddings.requires_grad_(False)
        for layer in network.bert.encoder.layer[:-TOP]:
            layer.requires_grad_(False)
    return network


def _watching(watch: Watch, begun: float) -> Any:
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        apart = 0.0

        def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            now = time.process_time()
            watch(given["model"], now - begun - self.apart)
            given["model"].train()
            self.apart += time.process_time() - now

    return Watching()


def word_tags(network: Any, coder: Any, tags: Sequence[str], rows: Rows) -> list[list[str]]:
    """The tag of each word's first piece; O for a word that was cut off or has none."""
    found: list[list[str]] = []
    network.eval()
    for columns, part in _batches(coder, rows):
        best = _forward(network, columns).logits.argmax(-1)  # (B, T, tags) -> (B, T)
        for number, row in enumerate(part):
            words = columns.word_ids(number)
            places = [words.index(word) if word in words else -1 for word in range(len(row["tokens"]))]
            found.append([tags[int(best[number, at])] if at >= 0 else "O" for at in places])
    return found


def features_and_regression(task: Task[Any], train: Rows, test: Rows) -> tuple[list[list[str]], float, float]:
    """The last layer's state of each word's first piece and scikit-learn's logistic regression: tags, CPU seconds."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel

    begun = time.process_time()
    coder, body = tokenizer(), AutoModel.from_pretrained(others._weights()).eval()

    def states(rows: Rows) -> Any:
        kept = []
        for columns, part in _batches(coder, rows):
            hidden = _forward(body, columns).last_hidden_state  # (B, T, D)
            for number, row in enumerate(part):
                words = columns.word_ids(number)
                kept += [hidden[number, words.index(at) if at in words else 0] for at in range(len(row["tokens"]))]
        return torch.stack(kept).numpy()  # (words, D)

    wanted = [tag for row in train for tag in row["tags"]]
    model = LogisticRegression(max_iter=1000).fit(states(train), wanted)
    fitted = time.process_time()
    said = iter(model.predict(states(test)).tolist())
    answers = [[next(said) for _ in row["tokens"]] for row in test]
    return answers, fitted - begun, time.process_time() - fitted


def _batches(coder: Any, rows: Rows, size: int = 16) -> Any:
    for at in range(0, len(rows), size):
        part = rows[at : at + size]
        given = [row["tokens"] for row in part]
        yield coder(given, is_split_into_words=True, truncation=True, padding=True, return_tensors="pt"), part


def _forward(network: Any, columns: Any) -> Any:
    import torch

    with torch.inference_mode():
        return network(**columns)


def save(network: Any, folder: Path) -> None:
    """As a folder that pipelines and lowrung load."""
    network.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
