"""masked: raw text → a body that knows such text better, by guessing hidden pieces; for every task, and without any."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung.core.errors import DataError, ModelError
from lowrung.data.files import atomic_folder
from lowrung.data.raw import documents
from lowrung.models.batch import bfloat16_pays
from lowrung.models.masking import Masking, windows
from lowrung.models.tracked import run_of
from lowrung.models.training import Settings, descend
from lowrung.run.adapt import Watch
from lowrung.run.practice import Feed, curve_of, job_of, pace_of, steps_of
from lowrung.run.ship import now, training_of, versions

if TYPE_CHECKING:
    from torch import Tensor

FACTS, CARD = "practice.json", "README.md"
SETTINGS = Settings(lr=1e-4, head_lr=1e-3, decay=0.01, patience=10**6)
TOGETHER = 16  # windows that are measured at once


@dataclass(frozen=True)
class Body:
    """A body that has practised.

    Args:
        held: windows that it was measured on. loss, accuracy: of the pieces hidden in them, at the end.
        curve: of each validation `step`, `minutes`, `score` (the loss on held-out windows), and the mean `loss` since.
        pace: windows and pieces a second.
        folder: where it lies, for --model.
    """

    steps: int
    rows: int
    held: int
    loss: float
    accuracy: float
    seconds: float
    curve: tuple[Mapping[str, float | None], ...]
    pace: Mapping[str, float]
    folder: Path | None

    def to_json(self) -> dict[str, Any]:
        pace = {f"{name}_per_second": each for name, each in self.pace.items()}
        told = {"steps": self.steps, "rows": self.rows, "held_out_rows": self.held, "seconds": round(self.seconds, 1)}
        return {**told, "held_out_loss": self.loss, "held_out_accuracy": self.accuracy, **pace, "curve": self.curve}


def practise_masked(
    text: Sequence[str | Path],
    *,
    model: str = "",
    steps: int | None = None,
    minutes: float = 0.0,
    held: int = 64,
    settings: Settings = SETTINGS,
    column: str = "text",
    seed: int = 0,
    out: str | Path | None = None,
    watch: Watch | None = None,
) -> Body:
    """Teach a body to guess 15 % of the pieces of raw text, in windows of up to 128 pieces, and keep it as a folder.

    All of the body moves. The scores of pieces are held against the body's own embeddings, so that any encoder will do.

    Args:
        text, column, steps, minutes: as `practise` takes them.
        model: a backbone's name, "" for the embedded one.
        held: at most so many windows of held-out documents to measure on.
        out: a folder that `--model` takes. An interrupted practice goes on from `<out>.training`.

    Raises:
        LowrungError: no step is asked for.
        DataError: a file cannot be read, or there is too little text.
        ModelError: no such backbone, one that cannot guess, or `out` holds something else than such a body.
    """
    import torch

    from lowrung.models.catalog import DEFAULT, backbone

    begun, chosen = time.monotonic(), replace(settings, most=steps_of(steps, minutes))
    folder, training = (Path(out), training_of(out)) if out else (None, None)
    if folder is not None and folder.exists() and any(folder.iterdir()) and not (folder / FACTS).is_file():
        raise ModelError(f"{folder}: holds something else than a body that has practised; name another folder")
    found = backbone(model or DEFAULT)
    torch.manual_seed(seed)
    masking = Masking(found.upto(found.depth))
    kept = list(islice(windows(found.tokenizer, documents(text, column, held_out=True)), held))
    feed = Feed(
        lambda: _endless(lambda: windows(found.tokenizer, documents(text, column, held_out=False))), chosen.batch
    )
    if not kept or not next(feed.stream, None):
        told = ", ".join(str(each) for each in text)
        raise DataError(f"{told}: too little text: two documents of 50 lines are needed, one of them to measure on")
    cast = chosen.precision == "auto" and bfloat16_pays()

    def loss_of(step: int) -> tuple[Tensor, int]:
        masking.backbone.body.train()
        guess = masking.hide(feed(step), seed * 1_000_003 + step)
        with torch.autocast("cpu", dtype=torch.bfloat16) if cast else nullcontext():
            scores = masking.scores(guess)
        return torch.nn.functional.cross_entropy(scores.float(), guess.meant), int(guess.attended.sum())

    job = job_of("masked", text, found.source, chosen, minutes, column, seed, held)
    ready = time.monotonic()
    with run_of("masked", "practice", 0, seed):
        progress = descend(
            masking.moving(),
            loss_of,
            steps=chosen.most,
            settings=chosen,
            seed=seed,
            minutes=minutes,
            score=lambda: -_measured(masking, kept)[0],
            checkpoint=training / job if training else None,
            watch=watch,
        )
    trained = time.monotonic()
    loss, accuracy = _measured(masking, kept)
    rows = progress.step * chosen.batch
    made = Body(
        progress.step,
        rows,
        len(kept),
        round(loss, 5),
        round(accuracy, 5),
        ready - begun + progress.seconds + time.monotonic() - trained,
        tuple({**each, "score": -(each["score"] or 0.0)} for each in curve_of(progress)),
        pace_of(progress, windows=rows, pieces=progress.pieces),
        folder,
    )
    if folder is not None:
        _save(masking, made, folder, {"seed": seed, "text": [str(each) for each in text], "job": job})
    if training is not None and training.is_dir():
        shutil.rmtree(training)
    return made


def _measured(masking: Masking, kept: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Mean loss and accuracy of the pieces hidden in `kept`, the same ones each time."""
    import torch

    masking.backbone.body.eval()
    lost = hit = number = 0.0
    with torch.inference_mode():
        for at in range(0, len(kept), TOGETHER):
            guess = masking.hide(kept[at : at + TOGETHER], at)
            scores = masking.scores(guess)
            lost += float(torch.nn.functional.cross_entropy(scores, guess.meant, reduction="sum"))
            hit += float((scores.argmax(1) == guess.meant).sum())
            number += len(guess.meant)
    return lost / number, hit / number


def _endless(stream: Callable[[], Iterator[list[int]]]) -> Iterator[list[int]]:
    while True:
        window = None
        for window in stream():
            yield window
        if window is None:
            return


def _save(masking: Masking, made: Body, folder: Path, more: Mapping[str, Any]) -> None:
    """A folder as save_pretrained leaves it, with what was practised beside it."""
    backbone = masking.backbone
    facts = {"base": backbone.source.name, "base_checksum": backbone.source.checksum, **more, **made.to_json()}
    facts |= {"versions": versions(), "date": now()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_folder(folder) as new:
            _saved(backbone.body, new)
            backbone.tokenizer.inner.save_pretrained(new)
            if backbone.pooling == "first":
                (new / "1_Pooling").mkdir()
                (new / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}\n', "utf-8")
            (new / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", "utf-8")
            (new / CARD).write_text(_card(facts, folder), "utf-8")
    except OSError as problem:
        raise ModelError(f"{folder}: could not be written ({problem.strerror or problem})") from problem


def _saved(body: Any, folder: Path) -> None:
    import transformers

    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        body.save_pretrained(folder)
    finally:
        transformers.logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _card(facts: Mapping[str, Any], folder: Path) -> str:
    return f"""# A body that has practised on raw text

- from `{facts["base"]}`, on {facts["rows"]} windows of text, {facts["steps"]} steps, seed {facts["seed"]}
- of hidden pieces in {facts["held_out_rows"]} windows of documents that it did not learn from it guesses
  {facts["held_out_accuracy"]:.1%}; loss {facts["held_out_loss"]:.3f}

What it is worth for a task, only rows of that task can tell: set `--model {folder.name}` beside what it came from.

    lowrung study TASK rows.jsonl --model {folder.name}
"""
