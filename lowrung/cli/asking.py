"""Models behind an endpoint: the options that say how it is asked, how far it is, and what it took."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from lowrung.cli import values
from lowrung.cli.showing import LINES, progress
from lowrung.core.errors import LowrungError

if TYPE_CHECKING:
    from lowrung.models.endpoint import Terms
    from lowrung.run.ship import Shipped

TERMS = ("concurrency", "timeout", "per_minute", "price", "max_cost", "max_tokens")


def add_body(parser: argparse.ArgumentParser) -> None:
    """--model for verbs whose MODEL may be a task's name."""
    parser.add_argument(
        "--model",
        dest="body",
        default="",
        metavar="NAME",
        help="where MODEL is a task's name: a body, or an endpoint as http://host:port/v1#name",
    )


def add_terms(parser: argparse.ArgumentParser) -> None:
    of = parser.add_argument_group("where the model is an endpoint (the key is LOWRUNG_API_KEY or OPENAI_API_KEY)")
    of.add_argument("--concurrency", type=values.at_least_one, metavar="N", help="requests at once (default 16)")
    of.add_argument("--timeout", type=values.above_zero, metavar="SECONDS", help="for one request (default 60)")
    of.add_argument("--per-minute", type=values.above_zero, metavar="N", help="requests a minute (default: no limit)")
    of.add_argument("--price", type=values.prices, metavar="IN,OUT", help="of a million tokens read and written")
    of.add_argument(
        "--max-cost", type=values.above_zero, metavar="COST", help="stop before this is passed; needs --price"
    )
    of.add_argument("--max-tokens", type=values.at_least_one, metavar="N", help="of an answer (default: what it needs)")


def terms_of(asked: argparse.Namespace, *, remote: bool) -> Terms:
    """What the options say.

    Raises:
        LowrungError: there are terms and no endpoint, or they contradict each other.
    """
    from lowrung.models.endpoint import Terms

    names = {"max_cost": "most_cost", "max_tokens": "most_tokens"}
    given = {name: getattr(asked, name) for name in TERMS if getattr(asked, name) is not None}
    if given and not remote:
        option = f"--{next(iter(given)).replace('_', '-')}"
        raise LowrungError(f"{option} is for an endpoint: --model http://host:port/v1#name, or a model shipped as one")
    return Terms(**{names.get(name, name): each for name, each in given.items()})


@contextmanager
def asking(shipped: Shipped, asked: argparse.Namespace, *, bar: bool = True) -> Iterator[Shipped]:
    """The model on the terms of the options, with a bar while its endpoint answers; at the end, a line that says what
    it took.

    Raises:
        LowrungError: as `terms_of` does.
    """
    from lowrung.run.ship import endpoint_of, on_terms

    terms = terms_of(asked, remote=endpoint_of(shipped.model) is not None)
    if endpoint_of(shipped.model) is None:
        yield shipped
        return
    with progress(every=LINES) if bar else nullcontext() as watch:

        def told(done: int, rows: int) -> None:
            if watch:
                watch("rows answered", remote.bill.rows + done - 1, remote.bill.rows + rows)

        made = on_terms(shipped, terms, told)
        remote: Any = endpoint_of(made.model)
        yield made
    if remote.bill.rows:
        print(f"lowrung: {bill_told(remote.bill, priced=terms.price is not None)}", file=sys.stderr)


def bill_told(bill: Any, *, priced: bool) -> str:
    """«1,000 rows in 12.6 s, 990 of them asked now: 45,120 tokens read and 1,890 written, cost 0.0131»"""
    cost = f", cost {bill.paid:.4g}" if priced else ""
    lines = [
        f"{bill.rows:,} rows in {bill.seconds:.1f} s, {bill.asked:,} asked now: {bill.read:,} tokens read and "
        f"{bill.written:,} written{cost}"
    ]
    if bill.unanswered:
        lines.append(f"{bill.unanswered:,} without an answer")
    if bill.refused:
        lines.append(f"{bill.refused:,} refused ({bill.said})")
    return "; ".join(lines)
