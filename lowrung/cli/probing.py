"""`lowrung probe`: its options, and what a probe found as a table, as JSON and as files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lowrung.cli import values
from lowrung.cli.showing import LINES, aligned, printed, progress

VERB = (  # as in parser.VERBS
    "say what a body knows of letters, from spelling to edits of a word, with chance and 95 % intervals",
    """
  lowrung probe minilm
  lowrung probe runs/topic --rows 800 --json
  lowrung probe intfloat/e5-small-v2 --out runs/probe-e5""",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="an embedded body, a local transformers folder, a hub id, or a shipped folder"
    )
    parser.add_argument(
        "--rows",
        type=values.at_least_one,
        metavar="N",
        help="words that the read-out learns from; a quarter as many others test it (default 1600)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    parser.add_argument("--out", metavar="DIR", help="write probe.html, probe.png and probe.json there")
    parser.add_argument("--json", action="store_true", help="for programs")


def probe(asked: argparse.Namespace) -> None:
    from lowrung.data.letter_items import KINDS
    from lowrung.run.probing import ROWS
    from lowrung.run.probing import probe as run

    with progress(every=LINES) as watch:
        found = run(asked.model, rows=asked.rows or ROWS, seed=asked.seed, watch=watch).to_json()
    if asked.out:
        _write(found, Path(asked.out))
    if asked.json:
        printed(found)
        return
    about = {kind.name: kind.about for kind in KINDS}
    lines = [("kind", "right", "low", "high", "chance", "what is asked")]
    for name, each in found["metrics"].items():
        lines.append((name, *(f"{each[key]:.3f}" for key in ("value", "low", "high", "chance")), about[name]))
    tested = max(found["rows"].values())
    print(f"{asked.model}: a read-out of {found['learnt']:,} words, tested on {tested:,} others\n\n{aligned(lines)}\n")
    print(found["advice"])
    if asked.out:
        print(f"files: {', '.join(str(Path(asked.out) / f'probe.{each}') for each in ('html', 'png', 'json'))}")


def _write(found: dict[str, object], out: Path) -> None:
    from lowrung.data.files import atomic
    from lowrung.run.probing_page import html, png

    picture = png(found)
    told = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    files = {"png": picture, "html": html(found, picture).encode(), "json": told.encode()}
    for suffix, content in files.items():
        with atomic(out / f"probe.{suffix}") as path:
            path.write_bytes(content)
