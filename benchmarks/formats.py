"""How a task is worded without a label: every format, the one that is chosen, and plain label names, on test rows.

    OMP_NUM_THREADS=1 python -m benchmarks.formats
    python -m benchmarks.formats --table

A description in words and 300 train rows, whose labels are not looked at, are all there is; the embedded body answers
the test rows. `accuracy` has each format by itself, calibrated alike; `chosen` is what lowrung answers with, of all
together; `names` is the cosine with the label names (and what `datasets.MEANINGS` says of them) as lowrung has it
without a description; `bare` is that cosine where nothing says what the names mean. `never` counts labels that have
test rows and are never answered. banking77 is asked for ten of its intents at a time. Results go to
`results/formats.json`. Asked for: `chosen` within 3 points of the best format, 5 points over `names` in the mean over
the sets, `never` 0.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.task import Task

FILE = "formats.json"
UNLABELLED, TEST = 300, 500
INTENTS = 10
DESCRIPTIONS = {  # as somebody who has the rows would say it
    "trec": "what kind of answer a question asks for",
    "sst2": "the sentiment of a movie review",
    "sms_spam": "whether a text message is spam or ordinary",
    "banking77": "what a bank customer asks about",
}
SETS = ("trec", "sst2", "sms_spam", "banking77 a", "banking77 b")


def rows_of(name: str, most: int) -> tuple[Task[Any], datasets.Rows, datasets.Rows]:
    """The task with its labels and meanings, unlabelled train rows, test rows."""
    base, _, part = name.partition(" ")
    task, train, _, test = datasets.topic(base)
    if part:
        options = sorted(Random(part).sample(task.options, INTENTS))
        task = task.with_options(options)
        train = [row for row in train if row["label"] in options]
        test = [row for row in datasets._read("textcls", base, "test") if row["label"] in options]
    Random(datasets.SPLIT_SEED).shuffle(train)
    bare = [{key: value for key, value in row.items() if key != "label"} for row in train[: min(UNLABELLED, most)]]
    return task, bare, test[: min(TEST, most)]


def measured(name: str, most: int) -> dict[str, Any]:
    import torch

    from lowrung.data.describing import Description
    from lowrung.models.catalog import backbone
    from lowrung.models.zero_shot import clusters, vectors
    from lowrung.run.describing import wording_for

    task, unlabelled, test = rows_of(name, most)
    body = backbone()
    golds = torch.tensor([task.options.index(str(row["label"])) for row in test])
    features = vectors(body, [task.question(row) for row in test])
    learnt = vectors(body, [task.question(row) for row in unlabelled])
    description = Description(DESCRIPTIONS[name.partition(" ")[0]])
    made = wording_for(task, body, description, [task.question(row) for row in unlabelled])
    said, bare = (body.embed(words) for words in (task.question(test[0]).words_for_options, _names(task)))
    found: dict[str, Any] = {"accuracy": {}, "never": {}}
    answers = {"names": features @ said.T, "bare": features @ bare.T}
    with torch.no_grad():
        answers["chosen"] = made.head(body.pooling).logits(features)
    for each, names in zip(made.tried, made.each, strict=True):
        weight, bias = clusters(learnt, names)
        answers[each.option] = features @ weight.T + bias
        criteria = {"agreement": each.agreement, "information": each.information, "probability": each.probability}
        found.setdefault("criteria", {})[each.option] = criteria
    for which, logits in answers.items():
        places = logits.argmax(1)
        right = round(float((places == golds).float().mean()), 4)
        never = len(set(golds.tolist()) - set(places.tolist()))
        if which in ("names", "bare", "chosen"):
            found[which] = right
            found["never"][which] = never
        else:
            found["accuracy"][which] = right
    ids = {"test": datasets.fingerprint(test), "unlabelled": datasets.fingerprint(unlabelled)}
    return {"set": name, "test_rows": len(test), "unlabelled_rows": len(unlabelled), **ids, **found}


def _names(task: Task[Any]) -> Sequence[str]:
    from lowrung.core.parts import name_as_words

    return [name_as_words(option) for option in task.options]


def show(rows: list[dict[str, Any]]) -> None:
    titles = ("set", "bare", "names", "chosen", "best", "worst", "mean", "never: chosen", "names")
    lines = []
    for row in rows:
        scores = list(row["accuracy"].values())
        shown = (row["bare"], row["names"], row["chosen"], max(scores), min(scores), mean(scores))
        lines.append([row["set"], *shown, row["never"]["chosen"], row["never"]["names"]])
    if not lines:
        return
    means = [mean(line[at] for line in lines) for at in range(1, 9)]
    told = [[line[0], *(f"{100 * each:.1f}" for each in line[1:7]), *line[7:]] for line in lines]
    told.append(["mean", *(f"{100 * each:.1f}" for each in means[:6]), *(f"{each:.1f}" for each in means[6:])])
    print(kept.table(titles, told))
    print(f"\nchosen - best {100 * (means[2] - means[3]):+.1f} (asked for: -3 at most)")
    print(f"chosen - names {100 * (means[2] - means[1]):+.1f}, chosen - bare {100 * (means[2] - means[0]):+.1f} (+5)")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure formats without labels.")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path: Path = kept.place(FILE, quick=asked.quick)
    for name in () if asked.table else asked.sets[: 1 if asked.quick else None]:
        if name not in {row["set"] for row in kept.rows(path)}:
            kept.add(path, measured(name, 40 if asked.quick else 10**6))
    show(kept.rows(path))


if __name__ == "__main__":
    main()
