"""What correctors of spelling mend and break, and how fast they are, word by word on the same sentences.

    OMP_NUM_THREADS=1 python -m benchmarks.spelling
    python -m benchmarks.spelling --tools "lowrung channel" symspellpy --sets jfleg_spelling
    python -m benchmarks.spelling --table

Results go to `results/spelling.json`, each as soon as it is there, and what is there is not run again.

The tools that take single words are handed every word of letters, in lower case, and their answer is given the capitals
of what was written; those that take sentences are handed sentences. aspell and hunspell answer through a pipe and are
left out where they are not installed. Words a CPU second are those of the first 7,000 words of jfleg_spelling, with
nothing remembered from before.
"""

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.answers import Prediction, Text
from lowrung.core.parts import Question
from lowrung.data.noise import like
from lowrung.run.evaluate import evaluate

FILE = "spelling.json"
SETS = {"jfleg_spelling": ("test", None), "wikidump_realistic": ("dev", 3000)}  # what is asked of each; both are dev
CLOCKED = 7000  # words
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

Row = dict[str, Any]
Mend = Callable[[str], str]  # a text or word → the same, mended
load = lru_cache(maxsize=4)(datasets.spelling)


class ByTool:
    """A tool as a Model[Text]."""

    def __init__(self, name: str, mend: Mend) -> None:
        self.name, self.mend = name, mend

    def answer(self, questions: Any) -> list[Prediction[Text]]:
        return [Prediction(Text(self.mend(question.text)), 0.5) for question in questions]


def by_words(mend: Mend) -> Mend:
    """A tool for single words, in lower case, as one for texts."""

    def one(found: re.Match[str]) -> str:
        word = found.group()
        made = mend(word.lower())
        return word if made == word.lower() else like(word, made)

    return lambda text: WORD.sub(one, text)


@contextmanager
def made(tool: str) -> Iterator[Any]:
    """The model of that name, fresh."""
    if tool.startswith("lowrung "):
        from lowrung.models import correcting

        correcting.corrector.cache_clear()
        base = correcting.corrector(context=tool == "lowrung channel")
        if tool == "lowrung dictionary":
            yield correcting.Dictionary(base.lexicon)
        else:
            yield replace(base, beside=None, reach=0.0) if tool == "lowrung words alone" else base
    elif tool == "symspellpy":
        from importlib.resources import files

        from symspellpy import SymSpell, Verbosity

        speller = SymSpell(max_dictionary_edit_distance=2, prefix_length=7)
        speller.load_dictionary(str(files("symspellpy") / "frequency_dictionary_en_82_765.txt"), 0, 1)

        def closest(word: str) -> str:
            found = speller.lookup(word, Verbosity.TOP, max_edit_distance=2)
            return found[0].term if found else word

        yield ByTool(tool, by_words(closest))
    elif tool == "pyspellchecker":
        from spellchecker import SpellChecker

        checker = SpellChecker()
        yield ByTool(tool, by_words(lambda word: checker.correction(word) or word))
    elif tool == "autocorrect":
        from autocorrect import Speller

        yield ByTool(tool, Speller("en"))
    else:
        with pipe(tool) as mend:
            yield ByTool(tool, by_words(mend))


@contextmanager
def pipe(tool: str) -> Iterator[Mend]:
    """aspell or hunspell, asked for one word a line as ispell is."""
    command = [tool, "-a", "-d", "en_US"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as asked:
        assert asked.stdin is not None
        assert asked.stdout is not None
        asked.stdout.readline()

        def mend(word: str) -> str:
            asked.stdin.write(f"^{word}\n")
            asked.stdin.flush()
            said = []
            while line := asked.stdout.readline().strip():
                said.append(line)
            first = next((line for line in said if line.startswith("&")), "")
            whole = first.split()[1:2] == [word]  # not a part of it only
            return first.partition(": ")[2].split(", ")[0] if whole else word

        yield mend
        asked.stdin.close()


def installed(tool: str) -> bool:
    return tool not in ("aspell", "hunspell") or shutil.which(tool) is not None


def measure(tool: str, name: str, most: int | None) -> Row:
    task, examples = load(name, *SETS[name])
    with made(tool) as model:
        report = evaluate(task, model, examples[:most])
    metrics = [metric for metric in task.metrics if metric.tells(report.examples)]
    scores = {metric.name: round(report.value(metric), 4 if metric.name != "broken" else 5) for metric in metrics}
    return {"tool": tool, "set": name, "rows": len(report.examples), **scores}


def clocked(tool: str, most: int) -> Row:
    """Words a CPU second."""
    _, examples = load("jfleg_spelling", *SETS["jfleg_spelling"])
    texts, words = [], 0
    for each in examples:
        texts.append(each.question.text)
        words += len(WORD.findall(texts[-1]))
        if words >= most:
            break
    with made(tool) as model:
        model.answer([Question(("The first words load what is loaded late.",))])
        begun = processor()
        model.answer([Question((text,)) for text in texts])
    seconds = processor() - begun  # a pipe's program counts when it has ended
    return {"tool": tool, "set": "speed", "words": words, "words_per_cpu_second": round(words / seconds)}


def processor() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def show(rows: list[Row]) -> None:
    speed = {row["tool"]: row["words_per_cpu_second"] for row in rows if row["set"] == "speed"}
    columns = ("mended", "broken", "precision", "recall", "f0.5", "exact")
    for name in SETS:
        lines = []
        for row in sorted((row for row in rows if row["set"] == name), key=lambda row: -row["f0.5"]):
            cells = [f"{100 * row[each]:.{2 if each == 'broken' else 1}f}" for each in columns]
            lines.append([row["tool"], *cells, f"{speed[row['tool']]:,}" if row["tool"] in speed else "-"])
        print(f"\n{name}, in %\n\n{kept.table(('tool', *columns, 'words/s'), lines)}")


TOOLS = (
    "lowrung channel",
    "lowrung neighbours",
    "lowrung words alone",
    "lowrung dictionary",
    "symspellpy",
    "pyspellchecker",
    "autocorrect",
    "aspell",
    "hunspell",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure correctors of spelling.")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    if not asked.table:
        for tool in filter(installed, asked.tools):
            for name in (*asked.sets, "speed"):
                if (tool, name) in {(row["tool"], row["set"]) for row in kept.rows(path)}:
                    continue
                small = 40 if asked.quick else None
                found = (
                    clocked(tool, 200 if asked.quick else CLOCKED) if name == "speed" else measure(tool, name, small)
                )
                kept.add(path, found)
    show(kept.rows(path))


if __name__ == "__main__":
    main()
