"""The option --track of the verbs that train: who is told of their trainings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--track",
        default="",
        metavar="WHERE",
        help="tell every training as it runs to tensorboard[:FOLDER] (default folder runs/track) or mlflow[:URI]; "
        "each is an extra",
    )


@contextmanager
def tracked(asked: argparse.Namespace) -> Iterator[None]:
    """Trainings within are told to what --track names, which is said first; to nobody without it.

    Raises:
        LowrungError: no such tracker, or one that is not installed.
    """
    told = getattr(asked, "track", "")
    if not told:
        yield
        return
    from lowrung.run.tracking import shown, tracking

    tracker, _, place = told.partition(":")
    with tracking(tracker, place) as where:
        print(f"lowrung: training is told to {where}: {shown(tracker, where)}", file=sys.stderr, flush=True)
        yield
