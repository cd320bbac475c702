"""curves: learning curves as SVG inside a page, which lends them its colours and its font."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

from lowrung.run.methods import METHODS

MARKERS = "oXsDP^vp"
_SHAPES = (  # the same for the legend, around (0, 0)
    "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0",
    "M-3.6-1.8-1.8-3.6 0-1.8 1.8-3.6 3.6-1.8 1.8 0 3.6 1.8 1.8 3.6 0 1.8-1.8 3.6-3.6 1.8-1.8 0Z",
    "M-3-3H3V3H-3Z",
    "M0-4.2 4.2 0 0 4.2-4.2 0Z",
    "M-1.3-3.8H1.3V-1.3H3.8V1.3H1.3V3.8H-1.3V1.3H-3.8V-1.3H-1.3Z",
    "M0-3.8 3.8 3.2H-3.8Z",
    "M0 3.8 3.8-3.2H-3.8Z",
    "M0-3.9 3.7-1.2 2.3 3.2H-2.3L-3.7-1.2Z",
)
DASHED = ("majority", "ngrams")  # the curves that need no pretrained model
# drawn with colours that nothing else has, which then become variables of the page: --m0 … --m7, one a method
_COLOURS = [f"#0a0b1{at}" for at in range(8)]
_VARIABLES = {"#0a0b20": "var(--ink)", "#0a0b21": "var(--muted)", "#0a0b22": "var(--rule)"}
_INK, _MUTED, _RULE = _VARIABLES
_VARIABLES |= {colour: f"var(--m{at})" for at, colour in enumerate(_COLOURS)}


def _colour(methods: Sequence[str], method: str) -> int:
    """The number of a method's colour and marker: a known one has its own, others take what is left."""
    known, taken = list(METHODS), dict[str, int]()
    for each in sorted(methods, key=lambda name: known.index(name) if name in known else len(known)):
        at = known.index(each) if each in known else len(known)
        free = [(at + more) % len(_COLOURS) for more in range(len(_COLOURS))]
        taken[each] = next((place for place in free if place not in taken.values()), free[0])
    return taken[method]


def _untouched(method: str) -> bool:
    return method in METHODS and METHODS[method].untouched


def key(methods: Sequence[str], method: str) -> str:
    """A method's line and marker, for the legend."""
    at = _colour(methods, method)
    style = "1 3" if _untouched(method) else "5 3" if method in DASHED else "none"
    return (
        '<svg class="key" viewBox="0 0 34 12" aria-hidden="true">'
        f'<path d="M1 6H33" stroke="var(--m{at})" stroke-width="2" stroke-dasharray="{style}"/>'
        f'<path d="{_SHAPES[at]}" transform="translate(17 6)" fill="var(--m{at})"/></svg>'
    )


def curves(study: Mapping[str, Any], grid: Mapping[str, Any], name: str, width: float) -> str:
    """The learning curves as SVG that takes its colours and its font from the page; `width` in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    methods, by = [row["method"] for row in grid["rows"]], grid["by"]
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10}):
        figure = Figure(figsize=(width, 3.9 if width > 5 else 3.3), layout="constrained")
        axes = figure.add_subplot()
        positive = [number for number in grid["labels"] if number] or [1]
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.6)
        ends = []
        for method in methods:
            points = [(number, by[method, number]) for number in grid["labels"] if (method, number) in by]
            x, value, low, high = (
                [*each] for each in zip(*((n, p["value"], p["low"], p["high"]) for n, p in points), strict=True)
            )
            at = _colour(methods, method)
            colour, line = _COLOURS[at], "--" if method in DASHED else "-"
            if len(points) == 1:
                axes.plot(x * 2, [low[0], high[0]], color=colour, linewidth=1.4, alpha=0.8)
            else:
                axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
            if _untouched(method):
                axes.axhline(value[0], color=colour, linewidth=1.2, linestyle=":")
            axes.plot(
                x, value, color=colour, linewidth=2, linestyle=line, marker=MARKERS[at], markersize=5.5, clip_on=False
            )
            ends.append((value[-1], method, colour))
        _dress(axes, study["metric"], grid["labels"])
        if width > 5:
            _name_ends(axes, ends)
        drawn = StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(drawn.getvalue(), name, _told(study, grid))


def _dress(axes: Any, metric: str, labels: Sequence[int]) -> None:
    """Ticks at the measured numbers of labels (as many as fit), axis labels, quiet lines."""
    axes.set_xlabel("labelled rows", color=_MUTED, labelpad=6)
    axes.set_ylabel(metric, color=_MUTED, labelpad=8, parse_math=False)
    last = labels[-1] or 1
    axes.set_xlim(*((-last, 2 * last) if len(labels) == 1 else (-0.3 * labels[labels[0] == 0], last * 1.15)))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.01) if low > -0.2 else low, min(high, 1.01) if high < 1.2 else high)  # scores in [0, 1]
    shown: list[int] = []
    place = {number: axes.transAxes.inverted().transform(axes.transData.transform((number, 0)))[0] for number in labels}
    for number in reversed(labels):  # the largest always has its tick
        if not shown or place[shown[-1]] - place[number] > 0.05 + 0.012 * len(f"{number:,}"):
            shown.append(number)
    axes.set_xticks(shown, [f"{number:,}" for number in shown])
    axes.set_xticks([], minor=True)
    axes.tick_params(colors=_MUTED, labelcolor=_INK, length=3)
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_MUTED)


def _name_ends(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Each curve's name to the right of the axes, as near to its end as its neighbours allow."""
    import numpy as np
    from scipy.optimize import isotonic_regression

    ends = sorted(ends)
    low, high = axes.get_ylim()
    steps = 0.066 * (high - low) * np.arange(len(ends))  # one line of text apart
    places = isotonic_regression(np.array([value for value, _, _ in ends]) - steps).x + steps
    for place, (_, method, colour) in zip(places, ends, strict=True):
        where = (1.0, float(place))
        axes.annotate(
            method,
            where,
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
            parse_math=False,
        )


def _told(study: Mapping[str, Any], grid: Mapping[str, Any]) -> str:
    """The picture in words."""
    ends = []
    for row in grid["rows"]:
        number, cell = [(n, c) for n, c in zip(grid["labels"], row["cells"], strict=True) if c][-1]
        ends.append(f"{row['method']} {cell['value']:.3f} at {number:,}")
    return f"Learning curves of {study['task']}: {study['metric']} by number of labelled rows. {', '.join(ends)}."


def _inlined(svg: str, name: str, told: str) -> str:
    """matplotlib's file as an element of the page: its own ids, no addresses, colours as variables, a title."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"#0a0b[12][0-9]", lambda found: _VARIABLES[found[0]], svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    box = re.search(r'viewBox="[^"]+"', svg)
    head = f'<svg class="{name}" {box[0] if box else ""} role="img" aria-labelledby="{name}-title">'
    return f'{head}<title id="{name}-title">{escape(told)}</title>{svg[svg.index(">") + 1 :]}'
