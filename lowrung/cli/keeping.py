"""`lowrung corrections`, `refit`, `promote` and `rollback`: what people said, and what is made of it."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lowrung.cli import values
from lowrung.cli.showing import aligned, printed, progress
from lowrung.core.errors import LowrungError
from lowrung.core.task import Row
from lowrung.data.files import read_rows

if TYPE_CHECKING:
    from lowrung.serving.store import Store

VERBS = {  # as in help.VERBS
    "corrections": (
        "the corrections of a store: show, export, import, erase",
        """
  lowrung corrections sqlite:///corrections.db
  lowrung corrections sqlite:///corrections.db --export corrected.jsonl
  lowrung corrections sqlite:///corrections.db --import project.json --format label-studio --model runs/topic
  lowrung corrections sqlite:///corrections.db --erase ada
  lowrung corrections sqlite:///corrections.db --older-than 365""",
    ),
    "refit": (
        "learn from old rows and corrections; the better model takes over, and every version is kept",
        """
  lowrung refit runs/topic --rows train.jsonl --store sqlite:///corrections.db
  lowrung refit runs/topic --rows train.jsonl --corrections corrected.jsonl --dry-run
  lowrung refit runs/topic --rows train.jsonl --store sqlite:///corrections.db --after 50

Whatever stops it, the model that answered goes on answering. A service that serves
the folder takes over the new one.""",
    ),
    "promote": (
        "put a version of a model into its place; without a version, show them all",
        """
  lowrung promote runs/topic
  lowrung promote runs/topic 3f2a90c1d4e5""",
    ),
    "rollback": ("put back the version that the current one took the place of", "\n  lowrung rollback runs/topic"),
}
LOOKS = 5.0  # seconds between two looks at a store


def add_options(verbs: dict[str, argparse.ArgumentParser]) -> None:
    one = verbs["corrections"]
    one.add_argument("store", metavar="URL", help="sqlite:///file.db or postgresql+psycopg://host/name")
    one.add_argument("--export", default="", metavar="FILE", help="write them as home rows")
    one.add_argument("--import", default="", metavar="FILE", dest="bring", help="add those of a file; needs --model")
    one.add_argument("--format", default="rows", metavar="NAME", help="of it: rows, label-studio or doccano")
    one.add_argument("--model", default="", metavar="MODEL", help="of one model alone; an import needs it")
    one.add_argument("--erase", default="", metavar="WHO", help="remove all corrections of a person")
    one.add_argument("--older-than", type=values.above_zero, metavar="DAYS", help="remove those that are older")
    one.add_argument(
        "--limit", type=values.at_least_one, default=20, metavar="N", help="how many are shown; default 20"
    )
    one.add_argument("--json", action="store_true", help="for programs")
    one = verbs["refit"]
    one.add_argument("model", metavar="MODEL", help="a shipped folder, or a study's")
    one.add_argument(
        "--rows", default="", metavar="ROWS", help="what it learnt from; without them it would forget them"
    )
    one.add_argument("--store", default="", metavar="URL", help="where corrections lie")
    one.add_argument(
        "--name", default="", metavar="NAME", help="under which it is served; its folder's name unless told"
    )
    one.add_argument("--corrections", default="", metavar="FILE", help="or a file of them")
    one.add_argument("--recent", type=values.at_least_one, default=1, metavar="N", help="how often a correction counts")
    one.add_argument(
        "--after", type=values.at_least_one, metavar="N", help="whenever so many new corrections are there"
    )
    one.add_argument("--every", type=span, metavar="TIME", help="again and again, like 12h or 1d, where there are any")
    one.add_argument("--confidence", type=values.share, default=0.95, metavar="P", help="default 0.95")
    one.add_argument("--seed", type=values.seed, default=0, metavar="N", help="default 0")
    one.add_argument("--dry-run", action="store_true", help="say what would happen, and promote nothing")
    one.add_argument("--json", action="store_true", help="for programs")
    one = verbs["promote"]
    one.add_argument("model", metavar="MODEL", help="a shipped folder, or a study's")
    one.add_argument("version", nargs="?", default="", metavar="VERSION")
    one.add_argument("--json", action="store_true", help="for programs")
    verbs["rollback"].add_argument("model", metavar="MODEL", help="a shipped folder, or a study's")


def span(text: str) -> float:
    """Seconds of «90s», «30m», «12h» or «1d»."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"a number with s, m, h or d, as in 1d, not {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def corrections(asked: argparse.Namespace) -> None:
    store = opened(asked.store)
    name = name_of(asked.model) if asked.model else ""
    if asked.bring:
        from lowrung.run.ship import load
        from lowrung.serving.exchange import bring

        if not asked.model:
            raise LowrungError("--import needs --model: which model's task says how its rows are read")
        new, number = bring(store, load(asked.model).task, name, asked.bring, asked.format)
        print(f"{asked.bring}: {number:,} corrections, {new:,} of them new")
    elif asked.export:
        from lowrung.serving.exchange import export

        print(f"{asked.export}: {export(store.all(model=name), asked.export, _passed_over):,} rows")
    elif asked.erase:
        print(f"{store.erase(asked.erase, model=name):,} corrections of {asked.erase} erased")
    elif asked.older_than:
        removed = store.keep(asked.older_than, model=name)
        print(f"{removed:,} corrections older than {asked.older_than:g} days erased")
    else:
        found = store.page(limit=asked.limit, model=name, newest=True)
        if asked.json:
            printed([{name: getattr(each, name) for name in type(each).__slots__} for each in found])
            return
        lines = [("number", "at", "model", "who", "row", "right answer")]
        for each in found:
            told = str(next(iter(each.row.values()), ""))
            right = " ".join(str(value) for value in each.correction.values())
            lines.append((str(each.number), each.at[:19], each.model, each.who, told[:50], right[:40]))
        print(f"{store.count(model=name):,} corrections\n{aligned(lines) if found else ''}")


def refit(asked: argparse.Namespace) -> None:
    from lowrung.run.ship import load
    from lowrung.serving import versions

    if bool(asked.store) == bool(asked.corrections):
        raise LowrungError("a refit needs corrections: --store URL, or --corrections FILE")
    if (asked.after or asked.every) and not asked.store:
        raise LowrungError("--after and --every watch a store: --store URL")
    task = load(versions.place(asked.model)).task
    if not asked.after and not asked.every:
        _once(asked, task)
        return
    store, name = opened(asked.store), asked.name or name_of(asked.model)
    from sqlalchemy.exc import SQLAlchemyError  # which a store has found to be there

    seen, last = 0, time.monotonic()  # what came before it was started counts as new
    print(f"lowrung: {asked.model} is refitted {_when(asked)}; Ctrl-C ends it", file=sys.stderr)
    while True:
        try:
            there = store.count(model=name, after=seen)
            late = asked.every and time.monotonic() - last >= asked.every
            if there and (late or (asked.after and there >= asked.after)):
                newest = store.page(limit=1, model=name, newest=True)[0].number
                try:
                    _once(asked, task)
                except LowrungError as problem:  # of too few corrections
                    print(f"lowrung: {problem}", file=sys.stderr)
                seen, last = newest, time.monotonic()
        except SQLAlchemyError as problem:  # of a store that is away for a while
            print(f"lowrung: {str(problem).splitlines()[0]}", file=sys.stderr)
        time.sleep(LOOKS)


def _once(asked: argparse.Namespace, task: Any) -> None:
    from lowrung.serving.exchange import home_rows
    from lowrung.serving.refit import refit as run

    rows: Sequence[Row] = read_rows(asked.rows, task=task) if asked.rows else []
    if asked.corrections:
        new: Sequence[Row] = read_rows(asked.corrections, task=task)
    else:
        store = opened(asked.store)
        new = list(home_rows(store.all(model=asked.name or name_of(asked.model)), _passed_over))
    if not rows:
        print("lowrung: without --rows it learns from the corrections alone, and forgets the rest", file=sys.stderr)
    with progress() as watch:
        found = run(
            asked.model, new, rows=rows, recent=asked.recent, confidence=asked.confidence, seed=asked.seed,
            dry=asked.dry_run, watch=watch,
        )  # fmt: skip
    if asked.json:
        printed(found.to_json())
        return
    verdict = f"{found.candidate} takes over from {found.incumbent}" if found.promoted else f"{found.incumbent} stays"
    print(f"{asked.model}: {verdict}: {found.reason}")


def _passed_over(told: str) -> None:
    print(f"lowrung: passed over: {told}", file=sys.stderr)


def promote(asked: argparse.Namespace) -> None:
    from lowrung.serving import versions

    if asked.version:
        before = versions.promote(asked.model, asked.version)
        print(f"{asked.model}: {asked.version} took the place of {before}")
        return
    found = versions.listed(asked.model)
    if asked.json:
        printed([{name: getattr(each, name) for name in type(each).__slots__} for each in found])
        return
    lines = [("version", "method", "rows", "made", "")]
    for each in found:
        rows = "" if each.rows is None else f"{each.rows:,}"
        lines.append((each.version, each.method, rows, each.date[:19], "answers" if each.current else ""))
    print(aligned(lines))


def rollback(asked: argparse.Namespace) -> None:
    from lowrung.serving import versions

    before, back = versions.rollback(asked.model)
    print(f"{asked.model}: {back} is back in the place of {before}")


def opened(url: str) -> Store:
    from lowrung.serving.store import Store

    return Store(url)


def name_of(model: str) -> str:
    """The name under which `serve` serves a model that is given without one."""
    from lowrung.serving.hosting import names_of

    return next(iter(names_of([model])))


def _when(asked: argparse.Namespace) -> str:
    told = [f"after {asked.after} new corrections"] if asked.after else []
    return " or ".join([*told, *([f"every {asked.every:g} s"] if asked.every else [])])


HANDLERS = {"corrections": corrections, "refit": refit, "promote": promote, "rollback": rollback}
