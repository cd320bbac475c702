"""The one place that loads the benchmark sets, so that every tool is trained and asked on the same rows.

The sets stand in the folder `LOWRUNG_DATA` (default: `../shared/data` beside the repository); none is part of it.
Every shuffle below uses `SPLIT_SEED`: the rows that are asked are the same in every run, for every tool and seed.
A train or dev row whose text (case and blanks aside) stands in the full test set is dropped, in every set.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from lowrung.core.answers import Choice
from lowrung.core.errors import DataError, unknown
from lowrung.core.task import Example, Row, Task
from lowrung.data import splits
from lowrung.data.winobias import row_of as winobias_row
from lowrung.tasks import task as task_named

Rows: TypeAlias = list[Row]
Loaded: TypeAlias = tuple[Task[Any], Rows, Rows, Rows]  # the task with its labels; train, dev, test

SPLIT_SEED = 20
TOPIC_TEST = 500  # accuracy is then good to about ±4 points a run, and a slow tool still answers within a minute
ENTITIES_TEST = 1000
SQUAD_DEV = 12  # articles, some 1,800 questions
PAIRS = 1000
ACCEPTABLE = "Which of the two sentences is good English?"
RELATION_DEV = 800  # it has no dev rows of its own
SMS_TEST = 1000  # of the distinct texts; the set comes without a split

GENDERS = {"F": "feminine", "M": "masculine"}

TOPICS = ("banking77", "trec", "sst2", "sms_spam")
ENTITIES = ("wnut17", "uner_ewt", "btc")
TRANSLATIONS = ("multi30k_en_de", "tatoeba_en_zh")
SPELLING_ZH = ("sighan14", "sighan15", "sighan15_full")

# Labels that are codes, in words, as somebody who knows the set would write them; never tuned on a score.
MEANINGS = {
    "trec": {
        "DESC": "description or definition",
        "ENTY": "thing, animal or object (entity)",
        "ABBR": "abbreviation",
        "HUM": "person or group of people",
        "LOC": "place or location",
        "NUM": "number, date or quantity",
    },
    "sst2": {"positive": "positive movie review", "negative": "negative movie review"},
    "sms_spam": {"ham": "ordinary personal message", "spam": "spam advertisement"},
}


def topic(name: str) -> Loaded:
    """Task, train, dev ([] where the set has none) and the first `TOPIC_TEST` rows of the shuffled test set.

    Raises:
        DataError: no such set, or its folder is not there.
    """
    if name not in TOPICS:
        raise DataError(unknown("set", name, TOPICS))
    if name == "sms_spam":
        rows = _shuffled(_distinct(_read("textcls", name, "test")))
        train, dev, test = rows[SMS_TEST:], [], rows[:SMS_TEST]
    else:
        train, dev, test = (_read("textcls", name, split) for split in ("train", "dev", "test"))
    train, dev = _without(train, test), _without(dev, test)
    fitted = task_named("topic").with_options((), MEANINGS.get(name)).fitted_to(train)
    return fitted, train, dev, _shuffled(test)[:TOPIC_TEST]


def entities(name: str) -> Loaded:
    """Task, train, dev and the first `ENTITIES_TEST` rows of the shuffled test set; rows carry `tokens` and `tags`.

    Raises:
        DataError: no such set, or its folder is not there.
    """
    if name not in ENTITIES:
        raise DataError(unknown("set", name, ENTITIES))
    train, dev, test = (_read("ner", name, split) for split in ("train", "dev", "test"))
    train, dev = _without(train, test), _without(dev, test)
    return task_named("entities").fitted_to(train), train, dev, _shuffled(test)[:ENTITIES_TEST]


def gap() -> Loaded:
    """Task, train, dev and the whole test set of GAP, as rows of the task `pronoun` with their gender.

    GAP's own names for these are development, validation and test.

    Raises:
        DataError: its folder is not there.
    """
    train, dev, test = ([_of_gap(row) for row in _read("pronoun", "gap", split)] for split in ("train", "dev", "test"))
    return task_named("pronoun"), _without(train, test), _without(dev, test), test


def winobias(split: str = "test") -> Rows:
    """Sentences with two occupations and one pronoun, as the product reads them; `stereotype` is "pro" or "anti".

    A row that does not mark one pronoun and one antecedent among its two occupations is left out.
    """
    return [row for each in _read("pronoun", "winobias", split) if (row := winobias_row(each))]


def spelling(name: str, split: str, most: int | None = None) -> tuple[Task[Any], list[Example[Any]]]:
    """Task, and the first `most` rows of a set of sentences with misspellings; `source` and `target` are its names.

    Raises:
        DataError: its folder is not there.
    """
    task = task_named("spelling")
    read = _read("spelling_zh" if name in SPELLING_ZH else "spelling", name, split)[:most]
    # a row without a target has a slip whose place is not known
    rows = (row for row in read if row["source"].strip() and (row["target"] or "").strip())
    return task, [task.example({"id": row["id"], "text": row["source"], "correct": row["target"]}) for row in rows]


def speech(name: str, split: str, most: int | None = None) -> list[Row]:
    """The recordings of a set: `audio` (a path), `text`, `speaker`; the first `most` of them, shuffled.

    Raises:
        DataError: its folder is not there.
    """
    return _media("speech", name, split, "audio")[:most]


def reading(name: str, split: str, most: int | None = None) -> list[Row]:
    """The lines of a set: `image` (a path), `text`, and the receipt or `document` it is of; the first `most`, shuffled.

    Raises:
        DataError: its folder is not there.
    """
    return _media("vision", name, split, "image")[:most]


def post_ocr(split: str, most: int | None = None) -> list[Row]:
    """Sentences of old newspapers as an OCR read them, rows of the task `spelling`; the first `most`, shuffled.

    Raises:
        DataError: the folder is not there.
    """
    found = [row for row in _read("vision", "bln600_postocr", "pairs") if row["split"] == split]
    rows = [row for row in found if row["ocr"].strip() and row["text"].strip()]
    named = [{"text": row["ocr"], "correct": row["text"], "document": row["sample"]} for row in rows]
    return _shuffled(named)[:most]


def _media(kind: str, name: str, split: str, column: str) -> list[Row]:
    folder = _folder() / kind / name
    if not (folder / "manifest.jsonl.gz").is_file():
        raise DataError(f"{folder}: no such set; LOWRUNG_DATA names the folder that the sets stand in")
    with gzip.open(folder / "manifest.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == split]
    Random(SPLIT_SEED).shuffle(rows)
    return [row | {column: str(folder / row[column])} for row in rows]


def translation(name: str) -> Loaded:
    """Task, train, dev and test rows, one right translation each; all of them.

    Raises:
        DataError: no such set, or its folder is not there.
    """
    if name not in TRANSLATIONS:
        raise DataError(unknown("set", name, TRANSLATIONS))
    sides = [
        [{"id": row["id"], "text": row["source"], "translation": row["target"]} for row in rows]
        for rows in (_read("translation", name, split) for split in ("train", "dev", "test"))
    ]
    train, dev, test = sides
    return task_named("translation"), _without(train, test), _without(dev, test), test


def relation() -> Loaded:
    """SemEval-2010 task 8: task, train, dev (`RELATION_DEV` rows of the shuffled training set) and all test rows.

    Raises:
        DataError: the folder is not there.
    """
    sides = [
        [{"id": row["id"], "text": row["text"], "first": row["e1"][:2], "second": row["e2"][:2], "label": row["label"]}
         for row in _read("relation", "semeval2010_task8", split)]
        for split in ("train", "test")
    ]  # fmt: skip
    train = _shuffled(_without(sides[0], sides[1]))
    return task_named("relation").fitted_to(train), train[RELATION_DEV:], train[:RELATION_DEV], sides[1]


def squad() -> Loaded:
    """SQuAD 1.1, a row a question: task, train, dev (`SQUAD_DEV` articles of the training set) and SQuAD's dev as test.

    Answers that the copy of the text does not hold are left out, and questions that have no other.

    Raises:
        DataError: the folder is not there.
    """
    sides = [
        [{"id": each["id"], "group": row["title"], "text": row["context"], "question": each["question"],
          "answers": known}
         for row in _read("qa", "squad_v1.1", split) for each in row["qas"]
         if (known := [answer for answer in dict.fromkeys(each["answers"]) if answer in row["context"]])]
        for split in ("train", "dev")
    ]  # fmt: skip
    titles = _shuffled([{"group": title} for title in sorted({row["group"] for row in sides[0]})])
    held = {row["group"] for row in titles[:SQUAD_DEV]}
    mixed = _shuffled(sides[0])
    train, dev = ([row for row in mixed if (row["group"] in held) == side] for side in (False, True))
    return task_named("answers_in_text"), train, dev, sides[1]


def minimal_pairs() -> Rows:
    """`PAIRS` pairs of sentences of BLiMP, of all its paradigms, as rows of the task choice; for evaluation only.

    Raises:
        DataError: the folder is not there.
    """
    made = []
    for at, row in enumerate(_shuffled(_read("elementary", "blimp", "test"))[:PAIRS]):
        options = [row["good"], row["bad"]] if at % 2 else [row["bad"], row["good"]]
        made.append({"id": row["id"], "question": ACCEPTABLE, "options": options, "answer": row["good"]})
    return made


def dialogues(split: str) -> list[Row]:
    """SGD's dialogues of a split: `id`, and `turns` with `speaker`, `utterance` and `frames`, each with its `service`.

    Turns that say nothing are left out.

    Raises:
        DataError: the folder is not there.
    """
    found = _read("dialogue", "sgd", split)
    return [each | {"turns": [turn for turn in each["turns"] if turn["utterance"].strip()]} for each in found]


def slots(name: str) -> tuple[Rows, Rows]:
    """Train, shuffled, and test rows of a set of turns: `text`, `requested` slots, and `slots` with their places.

    Raises:
        DataError: its folder is not there.
    """
    train, test = (_read("dialogue", name, split) for split in ("train", "test"))
    return _shuffled(_without(train, test)), test


def corpus(name: str) -> Path:
    """The file of a raw text."""
    return _folder() / "corpus" / f"{name}.txt.xz"


def _of_gap(row: Row) -> Row:
    pairs = zip(row["candidates"], row["candidate_offsets"], strict=True)
    places = [[start, start + len(name)] for name, start in pairs]
    right = [at for at, same in enumerate(row["coref"]) if same]
    return {
        "id": row["id"],
        "text": row["text"],
        "pronoun": [row["offset"], row["offset"] + len(row["pronoun"])],
        "candidates": places,
        "referent": right[0] if right else None,
        "gender": GENDERS[row["gender"]],
    }


def load(name: str) -> Loaded:
    """`topic(name)` or `entities(name)`, whichever knows the set."""
    if name not in TOPICS + ENTITIES:
        raise DataError(unknown("set", name, TOPICS + ENTITIES))
    return topic(name) if name in TOPICS else entities(name)


def draw(rows: Sequence[Row], task: Task[Any], size: int, *, seed: int) -> Rows:
    """`size` rows of each label (Choice) or `size` rows in all (Spans), as lowrung's own k-shot draw takes them."""
    balanced = task.answer is Choice
    wanted = size * len(task.options) if balanced else size
    return [rows[i] for i in splits.draw([task.example(row) for row in rows], wanted, seed=seed, balanced=balanced)]


def fingerprint(rows: Sequence[Row]) -> str:
    """8 hex digits that stand for these rows in any order, so that results show which of them shared a draw."""
    ids = "\n".join(sorted(str(row["id"]) for row in rows))
    return hashlib.sha256(ids.encode()).hexdigest()[:8]


def _home(kind: str, name: str) -> Path:
    folder = _folder() / kind / name
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Set LOWRUNG_DATA to the folder that holds {kind}/{name}.")
    return folder


def _read(kind: str, name: str, split: str) -> Rows:
    path = _home(kind, name) / f"{split}.jsonl.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _folder() -> Path:
    return Path(os.environ.get("LOWRUNG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def _text(row: Row) -> str:
    return " ".join(str(row.get("text") or " ".join(row.get("tokens", ()))).casefold().split())


def _distinct(rows: Rows) -> Rows:
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(_text(row), row)
    return list(first.values())


def _without(rows: Rows, test: Rows) -> Rows:
    known = {_text(row) for row in test}
    return [row for row in rows if _text(row) not in known]


def _shuffled(rows: Rows) -> Rows:
    mixed = list(rows)
    Random(SPLIT_SEED).shuffle(mixed)
    return mixed
