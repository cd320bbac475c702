"""report: a study as a table for the terminal, a page for people and a card for the model that ships.

All three read the JSON of a study (`Study.to_json`, study.json), not the study, so that an old one can be shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from lowrung.core.answers import NOTHING
from lowrung.core.errors import LowrungError
from lowrung.core.parts import Part
from lowrung.run.curves import curves, key
from lowrung.run.methods import METHODS, REMOTE, ZERO_SHOT, Method
from lowrung.run.pictures import shown

if TYPE_CHECKING:
    from rich.table import Table

StudyJson: TypeAlias = Mapping[str, Any]
Line: TypeAlias = Mapping[str, Any]  # one entry of `summary`: method, labels, metric, value, low, high

WORST = 20  # labels in the per-label table; the rest is told in a note
FIRST = 6  # mistakes shown at once; the rest folds away
LONGEST = 420  # characters of a text that are shown, around what went wrong


def table(study_json: StudyJson) -> Table:
    """Methods by numbers of labels: the first metric with its interval, the best of each column bold.

    Raises:
        LowrungError: an essential key is missing.
    """
    from rich.table import Table
    from rich.text import Text

    study = _checked(study_json)
    grid = _grid(study, study["metric"])
    title = f"{study['task']}: {study['metric']} by number of labels, with 95 % intervals"
    made = Table(title=Text(title), title_justify="left", header_style="bold")
    made.add_column("method", no_wrap=True)
    for number in grid["labels"]:
        made.add_column(f"{number:,}", justify="right", min_width=6)  # a narrow terminal puts the interval below
    made.add_column("fit", justify="right", no_wrap=True)
    if study["remote"]:
        made.add_column("1,000 answers", justify="right")
    times = {each["method"]: each for each in _times(study)}
    for row in grid["rows"]:
        cells = [
            Text(_short(each) if each else "", style="bold" if each and each["best"] else "") for each in row["cells"]
        ]
        fit = times.get(row["method"], {}).get("fit")
        thousand = [times.get(row["method"], {}).get("thousand", "")] if study["remote"] else []
        made.add_row(Text(row["method"]), *cells, "" if fit is None else _seconds(fit), *thousand)
    return made


def html(study_json: StudyJson, parts: Sequence[Part] = ()) -> str:
    """The page: one file that asks for nothing from outside.

    Args:
        parts: the sounds or pictures of the study's `samples`, to be drawn; without them their texts are shown.

    Raises:
        LowrungError: an essential key is missing, or matplotlib or jinja2 is not installed.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as problem:
        raise LowrungError(f"report.html needs {problem.name}: pip install 'lowrung[report]'") from problem
    study = _checked(study_json)
    made = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    made.filters |= {"seconds": _seconds, "size": _size, "probability": _probability}
    source = files("lowrung.run").joinpath("report.html.j2").read_text("utf-8")
    return made.from_string(source).render(_page(study, parts))


def card(study_json: StudyJson) -> str:
    """The model card, in Markdown with a YAML header; what is not known is left out.

    Raises:
        LowrungError: an essential key is missing.
    """
    study = _checked(study_json)
    gate, labels = study["gate"], study["options"]
    untouched = gate["shipped"] == gate["original"]
    shape = {"topic": "text-classification", "entities": "token-classification"}.get(study["task"])
    method = _method(gate["shipped"])
    about = method.about if method else gate["shipped"]
    out = ["---", "library_name: lowrung"]
    out += [f"pipeline_tag: {shape}"] if shape else []
    out += ["tags:", *(f"- {tag}" for tag in ("lowrung", "few-shot", study["task"])), "---", ""]
    out += [f"# {study['task']}, {gate['shipped']}", ""]
    out += [f"A model for the task *{study['task']}*, chosen and measured by lowrung among {_methods_told(study)}.", ""]
    out += [f"- **Method**: {gate['shipped']} ({about})"]
    if gate["shipped"] == REMOTE and study["remote"]:
        out += [f"- **Endpoint**: {_code(study['remote']['source'])}, asked again at each answer"]
    elif method and method.writer and study["writer"]:
        out += [f"- **Language model**: {_code(study['writer'])}"]
    elif study["model"]:
        sum_ = f", checksum `{study['checksum']}`" if study["checksum"] else ""
        what = "Backbone" if gate["original"] == ZERO_SHOT else "Language"
        out += [f"- **{what}**: {_code(study['model'])}{sum_}"]
    if labels:
        more = f" and {len(labels) - 40} more (all are in lowrung.json)" if len(labels) > 40 else ""
        out += [f"- **Labels** ({len(labels)}): {', '.join(map(_code, labels[:40]))}{more}"]
    if study["rows"].get("learn"):
        learnt = method is None or method.learns
        seen = "It learnt from all of them." if learnt else "It has learnt from none of them."
        out += [f"- **Rows with labels in the study**: {study['rows']['learn']:,}. {seen}"]
    if method and method.practised and study.get("practice"):
        out += [f"- **Practised on**: {', '.join(map(_code, study['practice']['text']))}"]
    out += ["", "## How good it is", "", _measured(study), ""]
    out += ["| metric | this model | the untouched model |" if not untouched else "| metric | this model |"]
    out += ["|---|---|---|" if not untouched else "|---|---|"]
    for metric in _metrics(study):
        found = _grid(study, metric)["by"]
        ours, theirs = found.get(_shipped_at(study)), found.get((gate["original"], 0))
        cells = [metric, _long(ours), *([] if untouched else [_long(theirs)])]
        out += [f"| {' | '.join(_cell(each) for each in cells)} |"]
    out += ["", f"Intervals are 95 %. The decision: {gate['reason']}", ""]
    if study["sentence"]:
        out += [f"Which way is best for how many labels: {study['sentence']}.", ""]
    out += ["## Limits", "", *(f"- {each}" for each in _limits(study)), "", "## How to use it", ""]
    takes_text = labels or gate["original"] != ZERO_SHOT
    given = ('"text"', '"text"') if takes_text else ("rows.jsonl", "rows")  # a row that points is more than a text
    out += ["```sh", f"lowrung answer DIR {given[0]}", "```", "", "```python", "from lowrung import load", ""]
    out += [f'print(load("DIR").answer({given[1]}))', "```", "", "`DIR` is the folder that this card lies in.", ""]
    made = [f"{name} {number}" for name, number in study["versions"].items()]
    told = [("Made", study["date"]), ("with", ", ".join(made)), ("rows' fingerprint", _code(study["fingerprint"]))]
    out += ["; ".join(f"{what} {value}" for what, value in told if value and value != "``") + ".", ""]
    return "\n".join(out)


def _method(name: str) -> Method | None:
    """The method of that name; what it learns from besides stands after «~»."""
    return METHODS.get(name.partition("~")[0])


def _checked(study_json: StudyJson) -> dict[str, Any]:
    """The study with everything optional filled in; raises LowrungError where something essential is missing."""
    study = dict(study_json)
    for needed in ("task", "summary", "gate"):
        if not study.get(needed):
            raise LowrungError(f"a study's JSON needs {needed!r} and has none; run the study again")
    try:
        metrics = [str(each["metric"]) for each in study["summary"]]
        for each in study["summary"]:
            _ = each["method"], int(each["labels"]), float(each["value"]), float(each["low"]), float(each["high"])
        _ = study["gate"]["shipped"], study["gate"]["reason"]
    except (KeyError, TypeError, ValueError) as problem:
        raise LowrungError(
            f"a study's JSON is damaged in 'summary' or 'gate' ({problem}); run the study again"
        ) from problem
    gate = {"original": ZERO_SHOT, "winner": study["gate"]["shipped"], "labels": 0, "probability_better": None}
    words = dict.fromkeys(("sentence", "model", "writer", "checksum", "fingerprint", "date"), "")
    tables: dict[str, Any] = {
        name: {} for name in ("rows", "comparison", "per_label", "classes", "versions", "sizes", "remote")
    }
    lists: dict[str, Any] = {name: [] for name in ("cells", "switch_points", "options", "mistakes", "samples")}
    rest = {"metric": metrics[0], "seeds": None, "confidence": 0.95, "higher_is_better": True}
    empty: dict[str, Any] = {**words, **tables, **lists, **rest}
    return {**empty, **study, "gate": {**gate, **study["gate"]}}


def _metrics(study: StudyJson) -> list[str]:
    """The names of the metrics, the deciding one first."""
    return list(dict.fromkeys([study["metric"], *(each["metric"] for each in study["summary"])]))


def _grid(study: StudyJson, metric: str) -> dict[str, Any]:
    """One metric: `labels` as columns, `rows` a method with its cells (None where not measured), and `by` its place."""
    by = {(each["method"], int(each["labels"])): dict(each) for each in study["summary"] if each["metric"] == metric}
    labels = sorted({number for _, number in by})
    up = study["higher_is_better"] or metric != study["metric"]  # all that an old study says of it
    sign = 1 if next((each["higher_is_better"] for each in by.values() if "higher_is_better" in each), up) else -1
    for number in labels:
        column = [each for (_, at), each in by.items() if at == number]
        top = max(sign * each["value"] for each in column)
        for each in column:
            each["best"] = len(column) > 1 and sign * each["value"] == top
    methods = list(dict.fromkeys(each["method"] for each in study["summary"]))
    rows = [{"method": method, "cells": [by.get((method, number)) for number in labels]} for method in methods]
    return {"metric": metric, "labels": labels, "rows": rows, "by": by}


def _times(study: StudyJson) -> Iterator[dict[str, Any]]:
    """For each method its mean seconds a cell at its largest number of labels, and its size where it is known; what
    1,000 answers take, and of an endpoint what they cost."""
    rows = study["rows"].get("test") or study["rows"].get("learn")
    for method in dict.fromkeys(each["method"] for each in study["cells"]):
        cells = [each for each in study["cells"] if each["method"] == method]
        most = max(each["labels"] for each in cells)
        last = [each for each in cells if each["labels"] == most]
        fit, answer = (sum(each.get(f"{what}_seconds", 0.0) for each in last) / len(last) for what in ("fit", "answer"))
        thousand = _seconds(1000 * answer / rows) if rows else ""
        if method == REMOTE and rows:
            thousand += f", {_price(study['remote'])}"
        yield {
            "method": method,
            "labels": most,
            "fit": fit,
            "answer": answer,
            "size": study["sizes"].get(method),
            "thousand": thousand,
        }


def _price(bill: Mapping[str, Any]) -> str:
    """What 1,000 answers of an endpoint cost, in tokens where no price was told."""
    rows = max(1, bill.get("rows", 0))
    if bill.get("priced"):
        return f"cost {1000 * bill['cost'] / rows:.3g}"
    return f"{1000 * (bill.get('read', 0) + bill.get('written', 0)) / rows:,.0f} tokens"


def _shipped_at(study: StudyJson) -> tuple[str, int]:
    """Where the numbers of what ships stand in the summary."""
    gate = study["gate"]
    return gate["shipped"], 0 if gate["shipped"] == gate["original"] else int(gate["labels"])


def _page(study: dict[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    gate, grids = study["gate"], [_grid(study, metric) for metric in _metrics(study)]
    by, methods = grids[0]["by"], [row["method"] for row in grids[0]["rows"]]
    told = sorted(study["per_label"].items(), key=lambda item: (item[1].get("f1", 0.0), item[0]))
    return {
        "study": study,
        "gate": gate,
        "ships": gate["shipped"] != gate["original"],
        "ours": by.get(_shipped_at(study)),
        "theirs": by.get((gate["original"], 0)),
        "grids": grids,
        "charts": [curves(study, grids[0], name, width) for name, width in (("wide", 7.6), ("narrow", 3.6))],
        "legend": [
            {
                "method": each,
                "about": known.about if (known := _method(each)) else "",
                "key": key(methods, each),
            }
            for each in methods
        ],
        "per_label": told[:WORST],
        "labels_left_out": max(0, len(told) - WORST),
        "mistakes": [_mistake(each) for each in study["mistakes"]],
        "first": FIRST,
        "samples": [shown(row, part) for row, part in zip_longest(study["samples"], parts)],
        "times": list(_times(study)),
        "classes": sorted(study["classes"].items(), key=lambda item: (-item[1], item[0])),
        "measured": _measured(study),
        "limits": _limits(study),
    }


def _measured(study: StudyJson) -> str:
    rows, seeds = study["rows"], study["seeds"]
    draws = f", over {seeds} draw{'s' if seeds != 1 else ''} of the labelled rows" if seeds else ""
    if rows.get("test"):
        return f"Measured on {rows['test']:,} test rows that no method learnt from{draws}."
    if rows.get("folds"):
        often = f", repeated {seeds} times with new folds" if seeds and seeds > 1 else ""
        return (
            f"Measured by {rows['folds']}-fold cross-validation over {rows.get('learn', 0):,} rows{often}: "
            "every row is answered by a model that did not learn from it."
        )
    return "How it was measured is not in the study."


def _limits(study: StudyJson) -> list[str]:
    """What the numbers do not say."""
    found = [
        "The numbers hold for texts like the rows they were measured on; other sources, styles and languages may not."
    ]
    if study["options"]:
        found.append("It gives the labels above and no others.")
    method, at = _shipped_at(study)
    learn = study["rows"].get("learn")
    if learn and at and at < learn:
        found.append(
            f"The numbers are of {method} with {at:,} labelled rows; the model that ships learnt from all {learn:,}."
        )
    if method == REMOTE:
        found.append("It is an endpoint: whoever runs it may change what stands behind the name, and reads the texts.")
    weak = sorted(study["per_label"].items(), key=lambda item: (item[1].get("f1", 0.0), item[0]))[:3]
    weak = [(name, each) for name, each in weak if each.get("f1", 1.0) < 0.8]
    if weak:
        found.append(
            "Weakest labels: " + ", ".join(f"{_code(name)} (F1 {each['f1']:.2f})" for name, each in weak) + "."
        )
    if study["gate"]["shipped"] == study["gate"]["original"]:
        known = "the label names are all" if study["options"] else "where the candidates stand is all"
        known = known if study["gate"]["original"] == ZERO_SHOT else "a language's words and slips are all"
        found.append(f"It has learnt from no labelled row; {known} that it knows of the task.")
    return found


def _methods_told(study: StudyJson) -> str:
    names = list(dict.fromkeys(each["method"] for each in study["summary"]))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _mistake(each: Mapping[str, Any]) -> dict[str, Any]:
    """One mistake for the page: texts as pieces (text, label, whether the other side has it too)."""
    text, gold, answer = str(each.get("text", "")), each.get("gold"), each.get("answer")
    made = {"id": each.get("id") or "", "confidence": each.get("confidence")}
    if any(isinstance(one, str) for side in (gold, answer) if isinstance(side, list) for one in side):  # Choices
        gold, answer = ("; ".join(side) or NOTHING if isinstance(side, list) else side for side in (gold, answer))
    if not isinstance(gold, list) and not isinstance(answer, list):
        return {**made, "spans": False, "text": _clipped(text, 0), "gold": gold, "answer": answer}
    sides = [[(one["start"], one["end"], str(one["label"])) for one in side or []] for side in (gold, answer)]
    apart = sorted(set(sides[0]) ^ set(sides[1]))
    begin = max(0, apart[0][0] - LONGEST // 3) if apart and len(text) > LONGEST else 0
    gold_side, answer_side = (list(_pieces(text, side, set(other), begin)) for side, other in (sides, sides[::-1]))
    return {**made, "spans": True, "gold": gold_side, "answer": answer_side}


def _clipped(text: str, begin: int) -> str:
    return "… " * (begin > 0) + text[begin : begin + LONGEST] + " …" * (len(text) > begin + LONGEST)


def _pieces(
    text: str, spans: Iterable[tuple[int, int, str]], others: set[tuple[int, int, str]], begin: int
) -> Iterator[tuple[str, str | None, bool]]:
    """(text, label or None, in both) in reading order, from `begin` and at most LONGEST characters."""
    end = min(len(text), begin + LONGEST)
    if begin:
        yield "… ", None, True
    at = begin
    for span in sorted(spans):
        left, right = max(span[0], at), min(span[1], end)
        if left >= right:
            continue
        yield text[at:left], None, True
        yield text[left:right], span[2], span in others
        at = right
    yield text[at:end] + " …" * (end < len(text)), None, True


def _short(line: Line) -> str:
    """«0.812 ±0.034», or «0.99 [0.93–1.00]» where the interval is lopsided."""
    value, low, high = line["value"], line["low"], line["high"]
    half = (high - low) / 2
    if abs((high - value) - half) <= 0.25 * half + 0.002:
        return f"{value:.3f} ±{half:.3f}"
    return f"{value:.3f} [{low:.2f}–{high:.2f}]"


def _long(line: Line | None) -> str:
    return f"{line['value']:.3f} [{line['low']:.3f}–{line['high']:.3f}]" if line else "not measured"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    """As code in Markdown, whatever it holds."""
    text = " ".join(str(text).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _seconds(value: float) -> str:
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _size(value: float) -> str:
    return f"{value / 1e3:,.0f} kB" if value < 1e6 else f"{value / 1e6:,.1f} MB"


def _probability(value: float) -> str:
    return "> 0.999" if value > 0.999 else "< 0.001" if value < 0.001 else f"{value:.3f}"
