"""probing_page: what a probe found, as bars and as a page that asks for nothing from outside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from io import BytesIO
from typing import Any

from lowrung.core.errors import LowrungError
from lowrung.data.text_items import about

_BAR, _CHANCE, _RULE = "#0072b2", "#d55e00", "#dde1e7"
_HOW = {
    True: "Read-outs learnt from the frozen states of {learnt:,} words. What they read out of others is told here.",
    False: "Asked in words, each question after answered ones of its kind; right is the exact answer.",
}
_STYLE = """body { margin: 2rem auto; padding: 0 1rem; max-width: 50rem; font: 16px/1.5 system-ui, sans-serif;
color: #1a1d23; background: #fff } img { max-width: 100% }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid #dde1e7 }"""


def png(found: Mapping[str, Any]) -> bytes:
    """Bars with 95 % intervals, and chance as a mark on each, of `Probing.to_json`.

    Raises:
        LowrungError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise LowrungError(f"probe.png needs {problem.name}: pip install 'lowrung[report]'") from problem
    names = list(found["metrics"])
    told = [found["metrics"][name] for name in names]
    places, values = list(range(len(names))), [each["value"] for each in told]
    reach = [[each["value"] - each["low"] for each in told], [each["high"] - each["value"] for each in told]]
    figure = Figure(figsize=(7.6, 0.36 * len(names) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(places, values, xerr=reach, color=_BAR, height=0.66, error_kw={"capsize": 2.5, "linewidth": 1.1})
    for at, each in zip(places, told, strict=True):
        label = "chance" if at == 0 else None
        axes.plot([each["chance"]] * 2, [at - 0.4, at + 0.4], color=_CHANCE, linewidth=2.4, label=label)
        axes.text(1.02, at, f"{each['value']:.0%}", va="center")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share that is right, with 95 % intervals")
    axes.set_title(f"What {found['model']} can do on the lowest rungs", loc="left", parse_math=False)
    axes.grid(axis="x", color=_RULE)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
    figure.legend(loc="outside lower right", frameon=False)
    made = BytesIO()
    figure.savefig(made, format="png", dpi=130, metadata={"Software": None})
    return made.getvalue()


def html(found: Mapping[str, Any], picture: bytes) -> str:
    """The page of `Probing.to_json`, with the picture that `png` drew of it."""
    kinds = about("en")
    lines = "".join(
        f"<tr><th>{escape(name)}</th><td>{each['value']:.3f}</td><td>{each['low']:.3f}–{each['high']:.3f}</td>"
        f"<td>{each['chance']:.3f}</td><td>{found['rows'][name]}</td><td>{escape(kinds.get(name, ''))}</td></tr>"
        for name, each in found["metrics"].items()
    )
    model, advice, drawn = escape(found["model"]), escape(found["advice"]), b64encode(picture).decode()
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>probe of {model} · lowrung</title><style>{_STYLE}</style></head><body>
<h1>What {model} can do on the lowest rungs</h1>
<p><strong>{advice[:1].upper()}{advice[1:]}</strong></p>
<p>{_HOW[bool(found["learnt"])].format(**found)} Chance is what the commonest answer would get.</p>
<img alt="Bars of the shares in the table below" src="data:image/png;base64,{drawn}">
<table><thead><tr><th>kind</th><th>right</th><th>95 % interval</th><th>chance</th><th>items</th><th>what is asked</th>
</tr></thead><tbody>{lines}</tbody></table>
</body></html>
"""
