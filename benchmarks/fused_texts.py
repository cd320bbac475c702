"""What a recording or a picture adds to somebody else's text of it, and that text to it: fused, and each part alone.

    OMP_NUM_THREADS=1 python -m benchmarks.fusion --jobs "mended speech" "mended reading" "mended text"

`mended speech`: clips of speechocean762 and what pocketsphinx heard in them. The embedded body has learnt from the
training speakers, so that fusion learns from 20 speakers of the dev split; 5 others of it are dev.
`mended reading`: lines of sroie_lines and what tesseract read in them.
`mended text`: bln600_postocr, text alone, by the corrector.
What the other tools said is kept beside lowrung's caches, since they are slow. The better single part is chosen on dev
rows; all that is fused is compared with it, and with the text as it was given (`first_pass`).
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import datasets, reading, speech
from lowrung.core.errors import LowrungError
from lowrung.core.task import Example, Metric, Row
from lowrung.data.cache import home
from lowrung.metrics.recognition import cer_folded, cer_written, wer
from lowrung.models.correcting import DoNothing, corrector, fit_corrector
from lowrung.models.fused_texts import fit_fused_text
from lowrung.models.hearing import recognizer
from lowrung.models.senses import sense_of
from lowrung.models.tuned_recognizer import fit_recognizer
from lowrung.run.compare import compare
from lowrung.run.evaluate import Report, evaluate
from lowrung.run.methods import recipe
from lowrung.tasks import task as named

WAYS = ("early", "cross", "late")
Splits = dict[str, list[Example[Any]]]
Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Rows with two parts.

    Args:
        column: of the text; tool: who made it. metric: what is told.
        taught: how the part that is heard or read learns from the same rows alone.
    """

    name: str
    task: Any
    column: str
    tool: str
    metric: Metric[Any]
    taught: str
    rows: Callable[[int | None], dict[str, list[Row]]]
    maker: Callable[[], Any]
    there: Callable[[], bool]


def of_speech(most: int | None) -> dict[str, list[Row]]:
    rows, test = datasets.speech("speechocean762", "dev"), datasets.speech("speechocean762", "test", most or 300)
    apart = set(sorted({row["speaker"] for row in rows})[::5])  # every fifth speaker is dev
    learn, dev = ([row for row in rows if (row["speaker"] in apart) == held] for held in (False, True))
    return {"train": learn[:most], "dev": dev[:most], "test": test}


def of_reading(most: int | None) -> dict[str, list[Row]]:
    found = {}
    for split, number in (("train", 800), ("dev", 200), ("test", 500)):
        written = [row for row in datasets.reading("sroie_lines", split) if row["text"].strip()]
        found[split] = written[: most or number]
    return found


SPEECH = Job(
    "mended speech", named("speech"), "heard", "pocketsphinx", wer, "top", of_speech, lambda: speech.Sphinx([]),
    lambda: find_spec("pocketsphinx") is not None,
)  # fmt: skip
READING = Job(
    "mended reading", named("reading"), "read", "tesseract", cer_folded, "full", of_reading, reading.Tesseract,
    lambda: shutil.which("tesseract") is not None,
)  # fmt: skip


def examples(job: Job, most: int | None) -> Splits:
    """With what the other tool said, which is asked once."""
    column, said = job.task.media, Kept(job)
    rows = job.rows(most)
    return {
        split: [job.task.example({**row, job.column: said.of(row[column])}) for row in rows[split]] for split in rows
    }


class Kept:
    """What a tool said of files, in a file of JSON lines that grows."""

    def __init__(self, job: Job) -> None:
        self.job, self.tool = job, None
        self.file = home() / "readings" / f"{job.tool} {'sroie_lines' if job is READING else 'speechocean762'}.jsonl"
        lines = self.file.read_text("utf-8").splitlines() if self.file.is_file() else []
        self.texts = {each["part"]: each["text"] for each in map(json.loads, lines)}

    def of(self, path: str) -> str:
        key = "/".join(Path(path).parts[-3:])
        if key not in self.texts:
            self.texts[key] = self._asked(path)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"part": key, "text": self.texts[key]}) + "\n")
        return self.texts[key]

    def _asked(self, path: str) -> str:
        if not self.job.there():
            raise LowrungError(f"{self.job.tool} is not installed, and has not said before what is in {path}")
        self.tool = self.tool or self.job.maker()
        said = self.tool.answer([self.job.task.question({self.job.task.media: path})])
        return str(said[0].answer.text)


def fused(job: Job, quick: bool, seeds: int) -> Iterator[Result]:
    """Results of single parts and of fused ones, each as soon as it is there."""
    splits = examples(job, 16 if quick else None)
    base: Any = recognizer("", sense_of(job.task.media))
    single: dict[str, dict[str, Report[Any]]] = {}
    for seed in range(seeds):
        for name in ("given text", "given text, mended", "untouched", job.taught):
            if seed == 0 or name == job.taught:
                model = _single(name, job, base, splits, seed)
                single[name] = {split: evaluate(job.task, model, splits[split]) for split in ("dev", "test")}
                yield from _results(job, name, seed, len(splits["train"]), single[name], single)
        for way in WAYS:
            made = fit_fused_text(way, splits["train"], base=base, dev=splits["dev"], seed=seed)
            reports = {split: evaluate(job.task, made, splits[split]) for split in ("dev", "test")}
            for result in _results(job, way, seed, len(splits["train"]), reports, single):
                yield result | ({"weights": dict(made.weights)} if way == "late" else {})


def _single(name: str, job: Job, base: Any, splits: Splits, seed: int) -> Any:
    if name == "given text":
        return DoNothing()
    if name == "given text, mended":
        return corrector()
    if name == "untouched":
        return base
    made = fit_recognizer(base, splits["train"], how=recipe(name)[0], dev=splits["dev"], seed=seed)
    return replace(made, name=name)


def _results(
    job: Job,
    way: str,
    seed: int,
    labels: int,
    reports: dict[str, Report[Any]],
    single: dict[str, dict[str, Report[Any]]],
) -> Iterator[Result]:
    best = min(
        (each for each in single if each != way), key=lambda name: single[name]["dev"].value(job.metric), default=""
    )
    for split, report in reports.items():
        result = {
            "job": job.name,
            "way": way,
            "labels": labels,
            "seed": seed,
            "split": split,
            "rows": len(report.examples),
        }
        result |= {each.name: round(report.value(each), 4) for each in job.task.metrics}
        if way in WAYS:
            result |= {"first_pass": _against(single["given text"][split], report, job.metric)}
            result |= {"against": best, **_against(single[best][split], report, job.metric)}
        yield result


def _against(one: Report[Any], two: Report[Any], metric: Metric[Any]) -> Result:
    found = compare(one, two, metric)
    gap = {name: round(getattr(found.difference, name), 4) for name in ("low", "high")}
    return {
        "difference": round(found.difference.value, 4),
        **gap,
        "probability_better": round(found.probability_better, 4),
    }


def of_text(quick: bool, seeds: int) -> Iterator[Result]:
    """Text alone: what an OCR made of newspapers, as it stands and by the corrector, untouched and tuned."""
    task = named("spelling")
    train, test = (
        list(map(task.example, datasets.post_ocr(split, 20 if quick else 300))) for split in ("train", "test")
    )
    first = evaluate(task, DoNothing(), test)
    for way in ("do-nothing", "channel", "channel-tuned"):
        for seed in range(seeds if way == "channel-tuned" else 1):
            model = DoNothing() if way == "do-nothing" else corrector()
            if way == "channel-tuned":
                model = fit_corrector(corrector(), train, seed=seed)
            report = first if way == "do-nothing" else evaluate(task, model, test)
            labels = len(train) if way == "channel-tuned" else 0
            result = {
                "job": "mended text",
                "way": way,
                "labels": labels,
                "seed": seed,
                "split": "test",
                "rows": len(test),
            }
            result |= {each.name: round(report.value(each), 4) for each in (cer_written, cer_folded, *task.metrics[:3])}
            yield result | {"against": "do-nothing", **_against(first, report, cer_written)}


JOBS: dict[str, Callable[[bool, int], Iterator[Result]]] = {
    SPEECH.name: lambda quick, seeds: fused(SPEECH, quick, seeds),
    READING.name: lambda quick, seeds: fused(READING, quick, seeds),
    "mended text": of_text,
}
