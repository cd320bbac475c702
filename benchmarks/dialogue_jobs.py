"""Dialogue: the next turn of SGD among ten candidates, and the slots of restaurant8k.

    OMP_NUM_THREADS=1 python -m benchmarks.applications --jobs "next turn" "restaurant8k slots"

`next turn`: of each dev and test dialogue one turn, drawn by a fixed seed, and of each train dialogue every turn from
the second one. The nine wrong candidates are turns of other dialogues of the same split, of the same service as far as
there are such (`same_service` says which share was), drawn by the same seed, whoever says them. In `next turn, same
speaker` they are said by whom the right one is said by, which is harder.
A frozen body reads texts once for all ways; the first one pays for it in `cpu_hours`. What is practised on is the raw
text of SGD's dialogues, without those of the dev and test rows.
`restaurant8k slots`: labels are slots; `before` holds the slots that the system has just asked for, in words.
18 of the 3,477 test slots lie in another one, where spans cannot; `f1_all_slots` counts them as missed.
Every row whose text stands in the test set is dropped from the others. What is chosen is chosen on dev rows.
"""

import lzma
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.task import Row
from lowrung.data.cache import home
from lowrung.data.splits import draw
from lowrung.metrics.counting import f1, summed, total
from lowrung.models.catalog import backbone
from lowrung.models.tuning import Prefixes
from lowrung.run.evaluate import evaluate
from lowrung.run.methods import METHODS, fit_method
from lowrung.run.start import Rehearsal, started
from lowrung.tasks import task as named

CANDIDATES = 10
DEV = 1000  # rows of restaurant8k's train set that are dev
LEARNT = 200
INSIDE = 18  # test slots of restaurant8k that overlap another one
Result = dict[str, Any]
Said = dict[tuple[str, str], list[tuple[int, str]]]  # (speaker, service) → (dialogue, turn)
SLOTS = {
    "people": "number of people",
    "date": "date or day",
    "time": "time of day",
    "first_name": "first name",
    "last_name": "last name",
}


def next_turns(split: str, *, speaker: bool = False) -> list[Row]:
    """Rows of the task `dialogue`; with `speaker`, all candidates are of one speaker."""
    dialogues, random = datasets.dialogues(split), Random(datasets.SPLIT_SEED)
    said: Said = defaultdict(list)
    for number, each in enumerate(dialogues):
        for turn in each["turns"]:
            for service in ("", *_services(turn)):
                said[turn["speaker"] if speaker else "", service].append((number, turn["utterance"]))
    rows = []
    for number, each in enumerate(dialogues):
        turns = each["turns"]
        asked = range(1, len(turns)) if split == "train" else [random.randrange(1, len(turns))]
        for at in asked:
            who = turns[at]["speaker"] if speaker else ""
            pools = [[pair for service in _services(turns[at]) for pair in said[who, service]], said[who, ""]]
            rows.append(_row(each, number, at, pools, random))
    return rows


def _services(turn: Row) -> list[str]:
    return sorted({frame["service"] for frame in turn["frames"]})


def _row(dialogue: Row, number: int, at: int, pools: Sequence[list[tuple[int, str]]], random: Random) -> Row:
    """Wrong candidates from the first pool, and from the second where that is used up."""
    turn = dialogue["turns"][at]
    wrong: dict[str, bool] = {}  # text → whether it is of the same service
    for same, pool in zip((True, False), pools, strict=True):
        for other, text in random.sample(pool, min(len(pool), 8 * CANDIDATES)):
            if other != number and text != turn["utterance"] and len(wrong) < CANDIDATES - 1:
                wrong.setdefault(text, same)
    candidates = random.sample([turn["utterance"], *wrong], CANDIDATES)
    return {
        "id": f"{dialogue['id']}-{at}",
        "document": dialogue["id"],
        "turns": [each["utterance"] for each in dialogue["turns"][:at]],
        "candidates": candidates,
        "next": candidates.index(turn["utterance"]),
        "same_service": sum(wrong.values()) / len(wrong),
    }


def raw_dialogues() -> Path:
    """A file of SGD's dialogues, a turn a line, without those that dev and test rows are made of."""
    held = {
        " ".join(turn["utterance"] for turn in each["turns"])
        for part in ("dev", "test")
        for each in datasets.dialogues(part)
    }
    held = {"".join(filter(str.isalnum, each)) for each in held}
    out = home() / "dialogues" / "sgd.txt"
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    with lzma.open(datasets.corpus("sgd_dialogues"), "rt", encoding="utf-8") as file:
        for line in file:
            turns = [each for each in re.split(r"\s*\b(?:User|System): ", line.strip()) if each]
            if "".join(filter(str.isalnum, "".join(turns))) not in held:
                lines += [*turns, ""]
    if not out.is_file() or out.read_text("utf-8") != "\n".join(lines):
        out.write_text("\n".join(lines), "utf-8")
    return out


STEPS = 2000  # of practice
WAYS = (
    ("zero-shot", 0),
    ("probe", LEARNT),
    ("probe", -1),
    ("top", -1),
    ("practice", 0),
    ("practice+probe", LEARNT),
    ("practice+probe", -1),
    ("practice+top", -1),
)


def next_turn(quick: bool, seeds: int, *, speaker: bool = False) -> Iterator[Result]:
    """Untouched, practised, and taught by 200 and by all rows."""
    job = "next turn, same speaker" if speaker else "next turn"
    task, body = named("dialogue"), backbone()
    splits = {split: [task.example(row) for row in next_turns(split, speaker=speaker)] for split in ("dev", "test")}
    train = [task.example(row) for row in next_turns("train", speaker=speaker)]
    share = sum(row["same_service"] for row in next_turns("test", speaker=speaker)) / len(splits["test"])
    if quick:
        splits, train = {split: each[:20] for split, each in splits.items()}, train[:60]
    start, spent, done, read = None, 0.0, finished(quick), dict[bool, Prefixes]()
    for way, labels in WAYS[: 4 if speaker else None]:
        method = METHODS[way]
        if method.practised and start is None:
            begun = time.process_time()
            asked = Rehearsal((raw_dialogues(),), steps=20 if quick else STEPS)
            start = started(task, asked, base=body, out=home() / "dialogues")
            spent = time.process_time() - begun
        for seed in range(1 if labels == 0 or way.endswith("top") else seeds):  # an hour a seed
            if (job, way, labels, seed) in done:
                continue
            begun = time.process_time()
            chosen = train if labels < 0 else [train[at] for at in draw(train, labels, seed=seed)]
            ground: Any = start.model if method.practised and start else None
            states = read.setdefault(method.practised, Prefixes(ground.backbone if ground else body))
            kept_at = home() / "dialogues" / f"{job}, {way}, {labels}, {seed}"  # a cut run goes on from there
            given: dict[str, Any] = {"backbone": body, "prefixes": states, "start": ground, "checkpoint": kept_at}
            model = fit_method(method, task, chosen, seed=seed, **given)
            for split, examples in splits.items():
                report = evaluate(task, model, examples)
                hours = (time.process_time() - begun + (spent if method.practised else 0.0)) / 3600
                result = {"job": job, "method": way, "labels": labels, "seed": seed, "split": split}
                result |= {"rows": len(examples), "same_service": round(share, 3)}
                result |= {each.name: round(report.value(each), 4) for each in task.metrics}
                yield result | {"cpu_hours": round(hours, 4)}
            shutil.rmtree(kept_at, ignore_errors=True)


def finished(quick: bool) -> set[tuple[Any, ...]]:
    """Job, way, labels and seed of what has been measured on all splits."""
    rows = [] if quick else kept.rows(kept.place("applications.json", quick=False))
    return {
        tuple(row[each] for each in ("job", "method", "labels", "seed")) for row in rows if row.get("split") == "test"
    }


def slots(quick: bool, seeds: int) -> Iterator[Result]:
    """The body that reads letters; a 32nd of the rows, and all of them."""
    train, dev, test = restaurant8k()
    task = named("entities").with_options(SLOTS, SLOTS)
    body, done = backbone("letters-en"), finished(quick)
    learn, *splits = ([task.example(row) for row in rows[: 40 if quick else None]] for rows in (train, dev, test))
    for way, labels in (("probe", 256), ("top", 256), ("full", 256), ("probe", -1), ("full", -1)):
        for seed in range(seeds):
            if ("restaurant8k slots", way, labels, seed) in done:
                continue
            begun = time.process_time()
            chosen = learn if labels < 0 else [learn[at] for at in draw(learn, labels, seed=seed)]
            model = fit_method(METHODS[way], task, chosen, backbone=body, seed=seed)
            for split, examples in zip(("dev", "test"), splits, strict=True):
                report = evaluate(task, model, examples)
                found = total(report.counts(task.metrics[0]))
                told = [summed(found, event) for event in ("tp", "fp", "fn")]
                result = {"job": "restaurant8k slots", "method": way, "labels": labels, "seed": seed, "split": split}
                result |= {"rows": len(examples), **{each.name: round(report.value(each), 4) for each in task.metrics}}
                result |= {"f1_all_slots": round(f1(*told[:2], told[2] + (INSIDE if split == "test" else 0)), 4)}
                yield result | {"cpu_hours": round((time.process_time() - begun) / 3600, 4)}


def restaurant8k() -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
    """Train, dev and test rows of the task `entities`."""
    train, test = datasets.slots("restaurant8k")
    rows = [[_asked(row) for row in each] for each in (train, test)]
    return rows[0][DEV:], rows[0][:DEV], rows[1]


def _asked(row: Row) -> Row:
    before = ", ".join(each.replace("_", " ") for each in row["requested"])
    spans: list[dict[str, Any]] = []
    for each in sorted(row["slots"], key=lambda slot: (slot["start"], -slot["end"])):
        if not spans or each["start"] >= spans[-1]["end"]:  # else the row has two slots in one place
            spans.append({"start": each["start"], "end": each["end"], "label": each["slot"]})
    return {"id": row["id"], "text": row["text"], "spans": spans, **({"before": before} if before else {})}


JOBS: dict[str, Callable[[bool, int], Iterator[Result]]] = {
    "next turn": next_turn,
    "next turn, same speaker": lambda quick, seeds: next_turn(quick, seeds, speaker=True),
    "restaurant8k slots": slots,
}
