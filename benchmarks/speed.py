"""How long lowrung and today's tools take for the same, one thread, both sides of a ratio in one process.

    OMP_NUM_THREADS=1 python -m benchmarks.speed --parts topic fit answer study memory

topic    a contrastive fit beside SetFit's, on the same rows
fit      what the cache of frozen states saves, that it changes nothing, and Trainer's full fine-tuning beside it
answer   a fine-tuned token classifier asked by transformers' pipeline and by lowrung, and a shipped probe
study    a whole study against the sum of the same fits and answers by today's tools
memory   peak memory of a fit, each in a process of its own

Results go to `results/speed.json`, part by part. CPU seconds are `time.process_time`, wall seconds
`time.perf_counter`; of several rounds the shortest counts, and the tools take turns within a round.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from benchmarks import datasets, kept, others, tuned
from lowrung.core.answers import Prediction, Span, Spans
from lowrung.core.task import Example, Row, Task
from lowrung.run.methods import METHODS, ZERO_SHOT, fit_method

FILE = "speed.json"
PARTS = ("topic", "fit", "answer", "study", "memory")
STUDY = ("majority", "ngrams", "probe", "top", "lora", "full")
PART_OF = {
    "ngrams": "crf",
    "probe": "features and regression",
    "top": "trainer top",
    "lora": "trainer lora",
    "full": "trainer",
}
ALONE = ("nothing", "lowrung top", "trainer")
Facts = dict[str, Any]


# --- topic -----------------------------------------------------------------------------------------------------------


def topic_part(asked: argparse.Namespace) -> Facts:
    """CPU seconds of one fit each on the same draw, and the accuracy on the test rows."""
    from lowrung.models.catalog import backbone
    from lowrung.models.tuning import Prefixes
    from lowrung.run.evaluate import evaluate

    runs = []
    for name in asked.topic_sets:
        task, pool, _, test = datasets.load(name)
        rows = datasets.draw(pool, task, asked.topic_rows, seed=0)
        begun = time.process_time()
        examples = [task.example(row) for row in rows]
        model = fit_method(METHODS["contrastive"], task, examples, backbone=backbone(), prefixes=Prefixes(backbone()))
        ours = time.process_time() - begun
        score = evaluate(task, model, [task.example(row) for row in test]).value(task.metrics[0])
        said, theirs, _ = others.setfit(task, rows, test, 0)
        seconds, scores = [ours, theirs], [score, others.score("topic", test, said)]
        runs.append({"set": name, "rows": len(rows), "cpu seconds of lowrung contrastive, setfit": seconds})
        runs[-1] |= {"accuracy": scores, "share": round(ours / theirs, 3)}
        _tell(f"{name}: {runs[-1]}", len(runs), len(asked.topic_sets))
    sums = [sum(run["cpu seconds of lowrung contrastive, setfit"][at] for run in runs) for at in (0, 1)]
    return {
        "rows a class": asked.topic_rows,
        "runs": runs,
        "lowrung takes this share of setfit's seconds": sums[0] / sums[1],
    }


# --- fit -------------------------------------------------------------------------------------------------------------


def fit_part(asked: argparse.Namespace) -> Facts:
    from lowrung.models.tuning import Frozen, Top

    task, pool, dev, _ = datasets.load(asked.fit_set)
    rows, dev = datasets.draw(pool, task, asked.fit_rows, seed=0), dev[: asked.dev_rows]
    facts: Facts = {"set": asked.fit_set, "rows": len(rows), "how": "Top(2), with the probe before it"}
    for precision in ("auto", "float32"):
        facts[f"cache, {precision}"] = _cache(task, rows, Top(2), precision)
    facts["cache, a probe"] = _cache(task, rows, Frozen(), "auto")
    topic, more, _, _ = datasets.load("trec")
    facts["cache, Top(2) of six layers, trec"] = _cache(topic, datasets.draw(more, topic, 8, seed=0), Top(2), "auto")
    ours, theirs = _our_curve(task, rows, dev), _their_curve(task, rows, dev, asked.epochs)
    facts["dev rows"], facts["trainer epochs"] = len(dev), asked.epochs
    facts["lowrung top"], facts["trainer"] = _curve_facts(ours), _curve_facts(theirs)
    target = min(facts["lowrung top"]["best"], facts["trainer"]["best"])
    reached = [next(seconds for seconds, score in curve if round(score, 4) >= target) for curve in (ours, theirs)]
    facts["both reach"] = round(target, 4)
    facts["cpu seconds until then, evaluations apart"] = [round(each, 2) for each in reached]
    facts["trainer takes times"] = round(reached[1] / reached[0], 2) if target else None  # a score of 0 says nothing
    return facts


def _cache(task: Task[Any], rows: Sequence[Row], how: Any, precision: str) -> Facts:
    from lowrung.models.catalog import backbone
    from lowrung.models.training import Settings
    from lowrung.models.tuning import Prefixes
    from lowrung.run.adapt import adapt

    examples = [task.example(row) for row in rows]
    losses: dict[bool, list[float]] = {}
    whole, tuning = {}, {}
    for cached in (True, False):
        prefixes = Prefixes(backbone()) if cached else Prefixes(backbone(), limit=0)
        found: list[tuple[float, float]] = []

        def watch(_: int, __: int, loss: float, found: list[tuple[float, float]] = found) -> None:
            found.append((time.process_time(), loss))

        # without a place to keep states, filling it ahead would only cost
        with mock.patch.object(prefixes, "fill", prefixes.fill if cached else lambda *_: None):
            begun = time.process_time()
            adapt(
                backbone(),
                task,
                examples,
                how=how,
                settings=Settings(precision=precision),
                prefixes=prefixes,
                watch=watch,
            )
            whole[cached] = time.process_time() - begun
        tuning[cached] = found[-1][0] - found[0][0] if found else 0.0  # a probe has no steps of tuning
        losses[cached] = [loss for _, loss in found]
    pairs = zip(losses[True], losses[False], strict=False)
    return {
        "cpu seconds with, without": [round(whole[True], 2), round(whole[False], 2)],
        "times": round(whole[False] / whole[True], 2),
        "of these, in the steps of the tuning": [round(tuning[True], 2), round(tuning[False], 2)],
        "steps": [len(losses[True]), len(losses[False])],
        "largest difference of a loss": max((abs(one - two) for one, two in pairs), default=None),
        "losses, first and last": [losses[True][0], losses[True][-1]] if losses[True] else None,
    }


def _our_curve(task: Task[Any], rows: Sequence[Row], dev: Sequence[Row]) -> list[tuple[float, float]]:
    """(CPU seconds without the evaluations, micro-F1 on dev) at each validation."""
    from lowrung.models.catalog import backbone
    from lowrung.models.tuning import Prefixes
    from lowrung.run.evaluate import evaluate

    curve: list[tuple[float, float]] = []
    apart = 0.0

    def timed(task: Task[Any], model: Any, examples: Sequence[Example[Any]]) -> Any:
        nonlocal apart
        now = time.process_time()
        kept_states, model.prefixes = model.prefixes, None  # dev rows would fill the cache outside the measured time
        report = evaluate(task, model, examples)
        model.prefixes = kept_states
        curve.append((now - begun - apart, report.value(task.metrics[0])))
        apart += time.process_time() - now
        return report

    examples, held = ([task.example(row) for row in each] for each in (rows, dev))
    with mock.patch("lowrung.run.adapt.evaluate", timed):
        begun = time.process_time()
        fit_method(METHODS["top"], task, examples, backbone=backbone(), prefixes=Prefixes(backbone()), dev=held)
    return curve


def _their_curve(task: Task[Any], rows: Sequence[Row], dev: Sequence[Row], epochs: int) -> list[tuple[float, float]]:
    """The same after each epoch of Trainer's full fine-tuning."""
    coder, tags, curve = tuned.tokenizer(), tuned.tags_of(task), list[tuple[float, float]]()

    def watch(network: Any, seconds: float) -> None:
        curve.append((seconds, others.score("entities", dev, tuned.word_tags(network, coder, tags, dev))))

    with tempfile.TemporaryDirectory() as folder:
        tuned.tune(task, rows, folder, how="full", epochs=epochs, seed=0, watch=watch)
    return curve


def _curve_facts(curve: Sequence[tuple[float, float]]) -> Facts:
    points = [[round(seconds, 2), round(score, 4)] for seconds, score in curve]
    return {"best": max(score for _, score in points), "cpu seconds in all": points[-1][0], "curve": points}


# --- answer ----------------------------------------------------------------------------------------------------------


def answer_part(asked: argparse.Namespace) -> Facts:
    from lowrung.models import fast

    task, pool, _, test = datasets.load("uner_ewt")
    examples = [task.example(row) for row in test[: asked.texts]]
    with tempfile.TemporaryDirectory() as made:
        folder = asked.classifier or Path(made) / "classifier"
        if not folder.is_dir():
            train = datasets.draw(pool, task, asked.classifier_rows, seed=0)
            tuned.save(tuned.tune(task, train, made, how="full", epochs=asked.classifier_epochs, seed=0), folder)
        facts: Facts = {"set": "uner_ewt", "texts": len(examples)}
        for name, chosen in (
            ("classifier", examples),
            ("classifier, mixed lengths", _mixed(task, test, len(examples))),
        ):
            facts[name] = _classifier(folder, chosen, asked.rounds)
        facts["probe"] = _probe(
            task, datasets.draw(pool, task, asked.fit_rows, seed=0), examples, Path(made), asked.rounds
        )
    return facts | {"pieces a batch": fast.BUDGET}


def _mixed(task: Task[Any], rows: Sequence[Row], number: int) -> list[Example[Any]]:
    """Texts of 5 to 60 words in random order: sentences of `rows` laid end to end, each until its length is reached."""
    random, made, source = Random(0), list[Example[Any]](), cycle(rows)
    while len(made) < number:
        text, spans, wanted = "", list[Span](), random.randint(5, 60)
        while len(text.split()) < wanted:
            each = task.example(next(source))
            text += " " if text else ""
            spans += [Span(span.start + len(text), span.end + len(text), span.label) for span in each.golds[0].spans]
            text += each.question.text
        made.append(Example(replace(each.question, given=(text,)), (Spans(tuple(spans)),)))
    return made


Way = Callable[[], Sequence[Any]]


def _classifier(folder: Path, examples: Sequence[Example[Any]], rounds: int) -> Facts:
    from transformers import pipeline

    from lowrung.models.plain import load

    texts = [each.question.text for each in examples]
    theirs = pipeline("token-classification", str(folder), aggregation_strategy="simple", device="cpu")
    ways: dict[str, Way] = {
        "pipeline, one by one": lambda: [_spans(theirs(text)) for text in texts],
        "pipeline, batch_size=32": lambda: [_spans(each) for each in theirs(texts, batch_size=32)],
    }
    models = {"exact": load(folder, Spans), "fast": load(folder, Spans), "torch": load(folder, Spans)}
    facts = _ours(models, ways, examples, rounds)
    raw = pipeline("token-classification", str(folder), aggregation_strategy="none", ignore_labels=[], device="cpu")
    for name, model in models.items():
        facts[f"pieces with the pipeline's label, {name}"] = _same_pieces(raw, model, examples)
    return facts


def _spans(groups: Sequence[Any]) -> Prediction[Spans]:
    return Prediction(Spans(tuple(Span(each["start"], each["end"], each["entity_group"]) for each in groups)), 1.0)


def _same_pieces(raw: Any, model: Any, examples: Sequence[Example[Any]]) -> str:
    """«n of m»: how many pieces carry the label that the pipeline gives them."""
    import torch

    same, every = 0, 0
    for each in examples:
        batch = model.tokenizer.batch([each.question])
        with torch.inference_mode():
            best = model._run(batch).argmax(-1)[0].tolist()  # (1, T', K) -> (T')
        real = zip(best, batch.offsets[0].tolist(), strict=True)
        ours = {tuple(offset): model.labels[tag] for tag, offset in real if offset[1] > offset[0]}
        said = {(piece["start"], piece["end"]): piece["entity"] for piece in raw(each.question.text)}
        every += len(ours | said)
        same += sum(ours.get(offset) == label for offset, label in said.items())
    return f"{same} of {every}"


def _probe(task: Task[Any], rows: Sequence[Row], examples: Sequence[Example[Any]], place: Path, rounds: int) -> Facts:
    from lowrung.run.fit import fit
    from lowrung.run.ship import load

    fit(task, rows, method="probe", out=place / "probe")
    return _ours({name: load(place / "probe").model for name in ("exact", "fast", "torch")}, {}, examples, rounds)


def _ours(models: dict[str, Any], ways: dict[str, Way], examples: Sequence[Example[Any]], rounds: int) -> Facts:
    """Seconds and micro-F1 of `ways` and of lowrung's models, together and one by one; how alike those answer."""
    questions = [each.question for each in examples]
    compiled = {}
    for name, model in models.items():
        if name != "torch":
            begun = time.process_time()
            model.quicken(name)
            compiled[name] = round(time.process_time() - begun, 2)
    every = dict(ways)
    for name, model in models.items():
        every[f"lowrung {name}, together"] = partial(model.answer, questions)
        every[f"lowrung {name}, one by one"] = partial(_one_by_one, model, questions)
    seconds, said = _timed(every, rounds)
    against = list(ways) or ["lowrung torch, together"]
    table = {}
    for name, (cpu, wall) in seconds.items():
        table[name] = {
            "cpu seconds": round(cpu, 3),
            "wall seconds": round(wall, 3),
            "f1": round(_f1(examples, said[name]), 4),
        }
    facts: Facts = {"seconds to compile the graph, once": compiled, "ways": table}
    for other in against:
        facts[f"times as fast as «{other}», CPU seconds"] = {
            name: round(seconds[other][0] / own[0], 2) for name, own in seconds.items()
        }
    for name in ("exact", "fast"):
        pairs = zip(said[f"lowrung {name}, together"], said["lowrung torch, together"], strict=True)
        facts[f"texts answered as without a graph, {name}"] = sum(one.answer == two.answer for one, two in pairs)
    return facts


def _one_by_one(model: Any, questions: Sequence[Any]) -> list[Any]:
    return [model.answer([each])[0] for each in questions]


def _timed(ways: dict[str, Way], rounds: int) -> tuple[dict[str, tuple[float, float]], dict[str, Sequence[Any]]]:
    """Way → its shortest (CPU, wall) seconds, and what it said."""
    seconds: dict[str, tuple[float, float]] = {}
    said: dict[str, Sequence[Any]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            said[name] = way()
            own = (time.process_time() - cpu, time.perf_counter() - wall)
            before = seconds.get(name, own)
            seconds[name] = (min(own[0], before[0]), min(own[1], before[1]))
    return seconds, said


def _f1(examples: Sequence[Example[Any]], said: Sequence[Any]) -> float:
    from lowrung.metrics.spans import SPANS
    from lowrung.run.evaluate import report_of
    from lowrung.tasks.entities import TASK

    return report_of(TASK, "", examples, said).value(SPANS[0])


# --- study -----------------------------------------------------------------------------------------------------------


def study_part(asked: argparse.Namespace) -> Facts:
    from lowrung.run.study import study

    task, pool, _, test = datasets.load("wnut17")
    sizes, test = sorted(set(asked.study_labels) - {0}), test[: asked.study_test]
    rows = datasets.draw(pool, task, sizes[-1], seed=0)
    marks: list[float] = []  # CPU seconds at the start of each cell, of each cross-validation and of the final fit

    def watch(what: str, done: int, total: int) -> None:
        marks.append(time.process_time())
        _tell(what, done, total)

    wall = time.perf_counter()
    made = study(
        task, rows, test=test, methods=asked.study_methods, labels=asked.study_labels, seeds=asked.seeds, watch=watch
    )
    end, wall = time.process_time(), time.perf_counter() - wall
    begun, cells, final = marks[0], marks[len(made.cells)], marks[-1]
    parts = [_part(tool, task, pool, test, size, asked.seeds) for tool in _parts(asked.study_methods) for size in sizes]
    total = sum(part["cpu seconds of all seeds"] for part in parts)
    return {
        "set": "wnut17",
        "test rows": len(test),
        "labels": asked.study_labels,
        "seeds": asked.seeds,
        "methods": list(dict.fromkeys((ZERO_SHOT, *asked.study_methods))),
        "study": {
            "cells": len(made.cells),
            "cpu seconds": round(end - begun, 1),
            "of these in the cells, with the states they share": round(cells - begun, 1),
            "in picking the winner by 3-fold cross-validation": round(final - cells, 1),
            "in the final fit": round(end - final, 1),
            "wall seconds": round(wall, 1),
            "gate": made.gate.reason,
        },
        "today's tools, fits and answers alone": {"cpu seconds": round(total, 1), "parts": parts},
        "study takes this share of them": round((end - begun) / total, 3),
        "its cells alone": round((cells - begun) / total, 3),
    }


def _tell(what: str, done: int, total: int) -> None:
    print(f"{done}/{total} {what}", file=sys.stderr, flush=True)


def _parts(methods: Sequence[str]) -> Iterator[str]:
    """The tool that stands beside each method; zero-shot and the majority cost today's user nothing either."""
    yield from (PART_OF[method] for method in methods if method in PART_OF)


def _part(tool: str, task: Task[Any], pool: Sequence[Row], test: Sequence[Row], size: int, seeds: int) -> Facts:
    """Fit and answer of one tool at one size, for as many seeds as the study has."""
    known = [
        row for row in kept.rows(others.RESULTS) if (row["tool"], row["set"], row["size"]) == (tool, "wnut17", size)
    ]
    known = [row for row in known if "score" in row][:seeds]
    facts: Facts = {"tool": tool, "labels": size}
    if known:
        scaled = [row["fit_cpu_seconds"] + row["answer_cpu_seconds"] * len(test) / row["test_rows"] for row in known]
        how = f"others.json: {len(known)} seeds, answers to {known[0]['test_rows']} rows scaled to {len(test)}"
        one = sum(scaled) / len(scaled)
    else:
        _tell(f"{tool}, {size} labels", 0, 1)
        one, how = _measured(tool, task, datasets.draw(pool, task, size, seed=0), test), "measured here with one seed"
    how += f", times {seeds} seeds" if seeds > 1 else ""
    return facts | {"cpu seconds of one": round(one, 2), "cpu seconds of all seeds": round(one * seeds, 2), "how": how}


def _measured(tool: str, task: Task[Any], rows: Sequence[Row], test: Sequence[Row]) -> float:
    if tool == "crf":
        return sum(others.crf(task, rows, test, 0)[1:])
    if tool == "features and regression":
        return sum(tuned.features_and_regression(task, rows, test)[1:])
    begun = time.process_time()
    how: tuned.How = "full" if tool == "trainer" else "lora" if tool.endswith("lora") else "top"
    with tempfile.TemporaryDirectory() as folder:
        network = tuned.tune(task, rows, folder, how=how, epochs=10, seed=0)
    tuned.word_tags(network, tuned.tokenizer(), tuned.tags_of(task), test)
    return time.process_time() - begun


# --- memory ----------------------------------------------------------------------------------------------------------


def memory_part(asked: argparse.Namespace) -> Facts:
    """MiB at the peak of processes that load rows and the body, and then do nothing more or fit."""
    own = [
        sys.executable,
        "-m",
        "benchmarks.speed",
        "--fit-rows",
        str(asked.fit_rows),
        "--epochs",
        str(asked.memory_epochs),
    ]
    peaks = {}
    for what in ALONE:
        done = subprocess.run([*own, "--alone", what], capture_output=True, text=True, check=True)
        peaks[what] = round(int(done.stdout.split()[-1]) / 1024)
    above = {name: peak - peaks["nothing"] for name, peak in peaks.items() if name != "nothing"}
    facts = {"set": "wnut17", "rows": asked.fit_rows, "trainer epochs": asked.memory_epochs, "peak MiB": peaks}
    return facts | {"of which above the imports, rows and body": above}


def alone(what: str, size: int, epochs: int) -> None:
    """Do one thing and print this process's peak of resident memory in KiB."""
    task, pool, _, _ = datasets.load("wnut17")
    rows = datasets.draw(pool, task, size, seed=0)
    if what == "lowrung top":
        from lowrung.run.fit import fit

        fit(task, rows, method="top")
    elif what == "trainer":
        with tempfile.TemporaryDirectory() as folder:
            tuned.tune(task, rows, folder, how="full", epochs=epochs, seed=0)
    # not getrusage: its peak is inherited from the process that started this one
    status = Path("/proc/self/status").read_text("utf-8")
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


# ---------------------------------------------------------------------------------------------------------------------

QUICK: Facts = {
    "topic_sets": ["sst2"],
    "topic_rows": 2,
    "fit_rows": 12,
    "dev_rows": 20,
    "epochs": 2,
    "texts": 12,
    "classifier_rows": 24,
    "classifier_epochs": 2,
    "rounds": 1,
    "study_labels": [0, 8],
    "study_methods": ["majority", "ngrams", "probe", "top"],
    "study_test": 20,
    "memory_epochs": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how long and how much memory lowrung and today's tools take.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--topic-sets", nargs="+", choices=datasets.TOPICS, default=["trec", "sst2", "sms_spam"])
    parser.add_argument("--topic-rows", type=int, default=8, help="rows a class")
    parser.add_argument("--fit-set", choices=datasets.ENTITIES, default="wnut17")
    parser.add_argument(
        "--fit-rows", type=int, default=200, help="sentences to fit to (fit, memory, the shipped probe)"
    )
    parser.add_argument("--dev-rows", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=20, help="of Trainer, in the part fit")
    parser.add_argument("--texts", type=int, default=500, help="to answer")
    parser.add_argument("--classifier", type=Path, help="a fine-tuned token classifier to ask, instead of making one")
    parser.add_argument("--classifier-rows", type=int, default=300)
    parser.add_argument("--classifier-epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study-labels", nargs="+", type=int, default=[0, 50, 200])
    parser.add_argument("--study-methods", nargs="+", choices=tuple(METHODS), default=list(STUDY))
    parser.add_argument("--study-test", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1, help="of the study")
    parser.add_argument("--memory-epochs", type=int, default=2, help="of Trainer; its peak is there after one")
    parser.add_argument("--alone", choices=ALONE, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="see that it works: tiny sizes, nothing is kept")
    asked = parser.parse_args()
    kept.one_thread()
    if asked.alone:
        alone(asked.alone, asked.fit_rows, asked.epochs)
        return
    if asked.quick:
        vars(asked).update(QUICK)
    path = kept.place(FILE, quick=asked.quick)
    measure = {"topic": topic_part, "fit": fit_part, "answer": answer_part, "study": study_part, "memory": memory_part}
    for part in asked.parts:
        kept.put(path, part, measure[part](asked))


if __name__ == "__main__":
    main()
