"""`lowrung probe`: its options, and what a probe found as a table, as JSON and as files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lowrung.cli import values
from lowrung.cli.asking import add_terms, bill_told, terms_of
from lowrung.cli.showing import LINES, aligned, printed, progress
from lowrung.core.errors import LowrungError

VERB = (  # as in help.VERBS
    "say what a model can do on the lowest rungs: letters, edits of words, numbers, agreement, with 95 % intervals",
    """
  lowrung probe minilm
  lowrung probe runs/topic --rows 800 --json
  lowrung probe intfloat/e5-small-v2 --out runs/probe-e5
  lowrung probe http://localhost:8000/v1#llama --rows 50
  lowrung probe letters-en-places --set cute --data data/cute""",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="an embedded body or writer, a transformers folder, a hub id, a shipped folder, or http://host:port/v1#name",
    )
    parser.add_argument(
        "--rows",
        type=values.at_least_one,
        metavar="N",
        help="of a body, words that its read-out learns from, a quarter as many others test it (default 1600); of a "
        "model that is asked in words, and of --set, questions a kind (default 100)",
    )
    parser.add_argument("--set", choices=("cute", "blimp"), help="ask a published set instead; needs --data")
    parser.add_argument("--data", metavar="FOLDER", help="where the test.jsonl or test.jsonl.gz of --set lies")
    parser.add_argument("--seed", type=values.seed, default=0, metavar="N", help="default 0")
    parser.add_argument("--out", metavar="DIR", help="write probe.html, probe.png and probe.json there")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_terms(parser)


def probe(asked: argparse.Namespace) -> None:
    from lowrung.data.text_items import about
    from lowrung.models.remote import is_remote
    from lowrung.run.probing import LANGUAGE
    from lowrung.run.probing import probe as run
    from lowrung.run.probing_sets import probe_set

    if (asked.set is None) != (asked.data is None):
        raise LowrungError("--set cute|blimp and --data FOLDER belong together")
    terms = terms_of(asked, remote=is_remote(asked.model))
    told: dict[str, Any] = {"rows": asked.rows, "seed": asked.seed, "terms": terms}
    with progress(every=LINES) as watch:
        if asked.set:
            probing = probe_set(asked.model, asked.set, asked.data, watch=watch, **told)
        else:
            probing = run(asked.model, watch=watch, **told)
    found = probing.to_json()
    if probing.bill:
        print(f"lowrung: {bill_told(probing.bill, priced=terms.price is not None)}", file=sys.stderr)
    if asked.out:
        _write(found, Path(asked.out))
    if asked.json:
        printed(found)
        return
    kinds = about(LANGUAGE)
    lines = [("kind", "right", "low", "high", "chance", "by", "what is asked")]
    for name, each in found["metrics"].items():
        numbers = (f"{each[key]:.3f}" for key in ("value", "low", "high", "chance"))
        lines.append((name, *numbers, found["ways"][name], kinds.get(name, "")))
    print(f"{asked.model}: {_how(found)}\n\n{aligned(lines)}\n")
    if found["advice"]:
        print(found["advice"])
    if asked.out:
        print(f"files: {', '.join(str(Path(asked.out) / f'probe.{each}') for each in ('html', 'png', 'json'))}")


def _how(found: dict[str, Any]) -> str:
    tested = max(found["rows"].values())
    if found["learnt"]:
        return f"a read-out of {found['learnt']:,} words, tested on {tested:,} others"
    return f"asked in words, up to {tested:,} questions a kind, each after answered ones"


def _write(found: dict[str, Any], out: Path) -> None:
    from lowrung.data.files import atomic
    from lowrung.run.probing_page import html, png

    picture = png(found)
    told = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    files = {"png": picture, "html": html(found, picture).encode(), "json": told.encode()}
    for suffix, content in files.items():
        with atomic(out / f"probe.{suffix}") as path:
            path.write_bytes(content)
