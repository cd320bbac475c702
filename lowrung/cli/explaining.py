"""`lowrung explain`: its options, and an explanation as coloured or plain text, as JSON and as a page."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrung.cli import values
from lowrung.cli.asking import add_body, add_terms, asking
from lowrung.cli.showing import aligned, printed
from lowrung.core.errors import DataError

VERB = (  # as in help.VERBS
    "say which words and letters moved an answer, what would have changed it, and which rows are like it",
    """
  lowrung explain runs/topic "I was charged twice." --rows train.jsonl
  lowrung explain runs/entities "Ada met Grace in Rome." --target PER --html why.html
  lowrung explain spelling "I recieve it." --counterfactuals 0
  lowrung explain pronoun '{"text": "Ada saw Eva. She left.", "pronoun": [13, 16], "candidates": [[0, 3], [8, 11]]}'

To look for changes of the answer, at most 600 more questions are asked, several together.""",
)
SHOWN = 8  # words with their numbers
LONG = 100  # letters of a text that are shown
_FOR, _AGAINST = (0, 114, 178), (213, 94, 0)  # told apart by the colour-blind, too


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a shipped folder, a study's folder, or a task's name")
    parser.add_argument("given", metavar="TEXT|ROW", help="a text, or a row of the task as a JSON object")
    parser.add_argument(
        "--by",
        default="",
        metavar="NAME",
        help="ig (integrated gradients; default for networks) or occlusion (words left out; default for all others and "
        "for pronoun)",
    )
    parser.add_argument(
        "--target", default="", metavar="OPTION", help="explain this option instead of the answer; of spans, this label"
    )
    parser.add_argument("--rows", metavar="FILE", help="the rows it learnt from: tell those most like the text")
    parser.add_argument("--nearest", type=values.at_least_one, default=5, metavar="N", help="so many (default 5)")
    parser.add_argument(
        "--counterfactuals",
        type=int,
        default=3,
        metavar="N",
        help="small changes that change the answer (default 3; 0 asks no further questions)",
    )
    parser.add_argument("--options", type=values.names, default=[], metavar="A,B", help="the labels to choose from")
    parser.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="of the names that are put in; default 0"
    )
    parser.add_argument("--html", metavar="FILE", help="write a page there")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_body(parser)
    add_terms(parser)


def explain(asked: argparse.Namespace) -> None:
    from lowrung.data.files import read_rows
    from lowrung.run.explaining import explain as run
    from lowrung.run.ship import load, with_labels

    given = _given(asked.given)
    shipped = load(asked.model, options=asked.options, meanings=dict(asked.meaning), model=asked.body)
    shipped = with_labels(shipped, asked.options, dict(asked.meaning))
    rows = read_rows(asked.rows, rename=dict(asked.rename), task=shipped.task, split="train") if asked.rows else ()
    with asking(shipped, asked, bar=not sys.stdout.isatty()) as shipped:
        explanation = run(
            shipped,
            given,
            by=asked.by,
            target=asked.target,
            rows=rows,
            nearest=asked.nearest,
            counterfactuals=max(0, asked.counterfactuals),
            seed=asked.seed,
        )
    found = explanation.to_json()
    if asked.html:
        _write(found, Path(asked.html))
    if asked.json:
        printed({**found, "model": asked.model})
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    _show(found, f"{asked.model} ({shipped.facts.get('method', shipped.model.name)})", asked.rows, coloured=coloured)
    if asked.html:
        print(f"file: {asked.html}")


def _given(given: str) -> Any:
    """A row where it is a JSON object, else the text."""
    if not given.lstrip().startswith("{"):
        return given
    try:
        row = json.loads(given)
    except ValueError as problem:
        raise DataError(
            f'the row is no JSON object ({problem}); a text that begins so is given as {{"text": …}}'
        ) from problem
    return row


def _write(found: Mapping[str, Any], file: Path) -> None:
    from lowrung.data.files import atomic
    from lowrung.run.explaining_page import html

    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file) as new:
        new.write_text(html(found), "utf-8", "backslashreplace")


def _show(found: Mapping[str, Any], model: str, rows: str | None, *, coloured: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from lowrung.run.explaining_page import changed, golds, said

    console = Console(highlight=False, soft_wrap=True, color_system="truecolor" if coloured else None)
    print(f"{said(found['answer'], found['text'])} {found['confidence']:.2f}, says {model}")
    for cause in found["causes"]:
        print(f"\n{_headline(cause, found, coloured)}")
        for name in ("words", "letters"):
            if cause[name]:
                console.print(
                    _tinted(found["text"], cause[name]) if coloured else Text(_plain(found["text"], cause[name]))
                )
        if coloured:
            console.print(_legend())
        print(_sums(cause))
    if found["counterfactuals"]:
        print(f"\nwhat would have changed it, {found['asked']:,} questions asked:")
        lines = [("edits", "change", "answer", "", "text")]
        for each in found["counterfactuals"]:
            new = said(each["answer"], each["text"])
            lines.append(
                (str(each["edits"]), changed(each), _cut(new), f"{each['confidence']:.2f}", _cut(each["text"]))
            )
        print(aligned(lines))
    if found["nearest"]:
        print(f"\nthe most similar of {rows}:")
        rows_told = [("cosine", "label", "text")]
        rows_told += [(f"{each['cosine']:.3f}", _cut(golds(each)), _cut(each["text"])) for each in found["nearest"]]
        print(aligned(rows_told))
    if found["notes"]:
        print("\n" + "\n".join(found["notes"]))


def _headline(cause: Mapping[str, Any], found: Mapping[str, Any], coloured: bool) -> str:
    how = "integrated gradients" if found["by"] == "ig" else "words left out in turn"
    return f"what speaks for {cause['what']}, by {how}" + ("" if coloured else ", in tenths of the strongest:")


def _sums(cause: Mapping[str, Any]) -> str:
    from lowrung.run.explaining_page import told

    ranked = sorted(cause["words"], key=lambda each: -abs(each["weight"]))[:SHOWN]
    numbers = "  ".join(f"{each['text']} {each['weight']:+.3f}" for each in ranked if each["weight"])
    return f"{numbers or 'no word moves it'}\n{told(cause)}"


def _marked(text: str, shares: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Pieces of the text with their weight, as a part of the strongest one; 0 between and of what is weak."""
    from lowrung.run.explaining_page import LEAST, strongest

    at, most = 0, strongest(shares)
    for each in shares:
        yield text[at : each["start"]], 0.0
        at = each["end"]
        part = each["weight"] / most if most else 0.0
        yield text[each["start"] : at], part if abs(part) >= LEAST else 0.0
    yield text[at:], 0.0


def _tinted(text: str, shares: Sequence[Mapping[str, Any]]) -> Any:
    from rich.text import Text

    made = Text()
    for piece, part in _marked(text, shares):
        made.append(piece, _style(part) if part else None)
    return made


def _style(part: float) -> Any:
    """Ink on paper that is tinted the more, the stronger a weight is; also on a dark terminal."""
    from rich.color import Color
    from rich.style import Style

    hue, much = _FOR if part > 0 else _AGAINST, abs(part)
    tint = Color.from_rgb(*(255 - much * (255 - each) for each in hue))
    return Style(color="white" if much > 0.7 else "black", bgcolor=tint, underline=part < 0)


def _legend() -> Any:
    from rich.text import Text

    made = Text("")
    for words, part in ((" speaks for it ", 0.6), (" speaks against it ", -0.6)):
        made.append(words, _style(part)).append(" ")
    return made.append("the stronger the colour, the more", "dim")


def _plain(text: str, shares: Sequence[Mapping[str, Any]]) -> str:
    """The text with the tenths of the strongest weight behind each word or letter: «charged{+10} twice{+4}»."""
    return "".join(piece + (f"{{{10 * part:+.0f}}}" if part else "") for piece, part in _marked(text, shares))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONG else f"{text[:LONG]}…"
