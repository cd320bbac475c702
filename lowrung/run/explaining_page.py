"""explaining_page: an explanation as a page that asks for nothing from outside; words are tinted by what they add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

LEAST = 0.05  # of the strongest weight, what is marked of others
STRONGEST = 0.6  # how much of a tint covers the paper, so that ink stays readable on it
_STYLE = """:root { --paper: #fff; --ink: #1a1d23; --muted: #59616d; --rule: #dde1e7;
--for: 0 114 178; --against: 213 94 0 }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --ink: #f1f3f5; --muted: #a3abb6; --rule: #323943;
--for: 60 140 220; --against: 225 100 20 } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 54rem; font: 16px/1.55 system-ui, sans-serif;
color: var(--ink); background: var(--paper) }
.text { font-size: 1.15rem; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere }
.letters { font-family: ui-monospace, monospace }
.text span, .legend span { border-radius: 3px; padding: .12em 0; background: rgb(var(--tint) / var(--much)) }
.for { --tint: var(--for) }
.against { --tint: var(--against); text-decoration: underline dotted; text-underline-offset: 4px }
.legend span { padding: .12em .5em } .muted { color: var(--muted) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule) }
td.number { text-align: right; white-space: nowrap }"""


def html(found: Mapping[str, Any]) -> str:
    """The page of `Explanation.to_json`."""
    answer = said(found["answer"], found["text"])
    parts = [_cause(found, each) for each in found["causes"]]
    if found["counterfactuals"]:
        parts.append(_counterfactuals(found["counterfactuals"]))
    if found["nearest"]:
        parts.append(_nearest(found["nearest"]))
    parts += [f'<p class="muted">{escape(each)}</p>' for each in found["notes"]]
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(answer)} · lowrung explain</title><style>{_STYLE}</style></head><body>
<h1>{escape(answer)}</h1>
<p>The answer of {escape(found["model"])} ({escape(found["task"])}), with confidence {found["confidence"]:.2f}, to:</p>
<p class="text">{escape(found["text"])}</p>
{body}
</body></html>
"""


def said(answer: Any, text: str) -> str:
    """An answer as JSON in one line: the option or options, the spans as they stand in `text`, the text."""
    if answer is None:
        return "no answer"
    if isinstance(answer, str):
        return answer
    if any(isinstance(each, str) for each in answer):  # Choices
        return "; ".join(answer)
    marked = [(text[each["start"] : each["end"]], each.get("label", "")) for each in answer]
    return " ".join(f"[{inner}]" + (f"({label})" if label else "") for inner, label in marked) or "no span"


def strongest(shares: Sequence[Mapping[str, Any]]) -> float:
    """The largest weight, whichever its sign."""
    return max((abs(each["weight"]) for each in shares), default=0.0)


def told(cause: Mapping[str, Any]) -> str:
    """What the numbers of a cause add up to, a sentence."""
    if cause["baseline"] is None:
        return f"The confidence in it is {cause['value']:.3f}; a word's weight is what is lost where it is left out."
    words = sum(each["weight"] for each in cause["words"])
    return (
        f"The log-odds are {cause['value']:.3f}: {cause['baseline']:.3f} of a text that says nothing, {words:+.3f} of "
        f"the words, {cause['gap']:+.3f} not accounted for."
    )


def _cause(found: Mapping[str, Any], cause: Mapping[str, Any]) -> str:
    text, most = found["text"], strongest(cause["words"])
    much = f'style="--much: {STRONGEST}"'
    lines = [
        f"<h2>What speaks for {escape(cause['what'])}</h2>",
        f'<p class="text">{_tinted(text, cause["words"], most)}</p>',
        f'<p class="legend"><span class="for" {much}>speaks for it</span> <span class="against" {much}>speaks against '
        f'it</span> <span class="muted">full colour: {most:.3f} {found["unit"]}; hold the pointer on a word for its '
        "number</span></p>",
        f"<p>{escape(told(cause))}</p>",
    ]
    if cause["letters"]:
        lines += [
            "<h3>By letters</h3>",
            f'<p class="text letters">{_tinted(text, cause["letters"], strongest(cause["letters"]))}</p>',
        ]
    ranked = sorted(cause["words"], key=lambda each: -abs(each["weight"]))
    rows = "".join(
        f'<tr><th>{escape(each["text"])}</th><td class="number">{each["weight"]:+.4f}</td></tr>' for each in ranked
    )
    lines.append(f"<details><summary>All numbers</summary><table>{rows}</table></details>")
    return "\n".join(lines)


def _tinted(text: str, shares: Sequence[Mapping[str, Any]], most: float) -> str:
    made, at = [], 0
    for each in shares:
        made.append(escape(text[at : each["start"]]))
        at = each["end"]
        way = "for" if each["weight"] >= 0 else "against"
        part = abs(each["weight"]) / most if most else 0.0
        marked = f' class="{way}" style="--much: {STRONGEST * part:.3f}"' if part >= LEAST else ""
        made.append(f'<span title="{each["weight"]:+.4f}"{marked}>{escape(text[each["start"] : at])}</span>')
    return "".join(made) + escape(text[at:])


def _counterfactuals(found: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td class="number">{each["edits"]}</td><td>{escape(changed(each))}</td><td>{escape(each["text"])}</td>'
        f'<td>{escape(said(each["answer"], each["text"]))}</td><td class="number">{each["confidence"]:.2f}</td></tr>'
        for each in found
    )
    head = "<tr><th>edits</th><th>change</th><th>text</th><th>answer</th><th>confidence</th></tr>"
    return f"<h2>What would have changed it</h2><table>{head}{rows}</table>"


def changed(found: Mapping[str, Any]) -> str:
    """The changes of a counterfactual, in a line."""
    pairs = [(each["from"], each["to"]) for each in found["changes"]]
    return ", ".join(f"{old} → {new}" if new else f"without {old}" for old, new in pairs)


def _nearest(found: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td class="number">{each["cosine"]:.3f}</td><td>{escape(golds(each))}</td><td>{escape(each["text"])}'
        f'</td><td class="muted">{escape(each["id"] or "row " + str(each["row"]))}</td></tr>'
        for each in found
    )
    head = "<tr><th>cosine</th><th>label</th><th>text</th><th>row</th></tr>"
    return f"<h2>The most similar rows</h2><table>{head}{rows}</table>"


def golds(row: Mapping[str, Any]) -> str:
    """The right answers of a similar row, in a line."""
    return " | ".join(said(each, row["text"]) for each in row["golds"])
