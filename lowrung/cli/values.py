"""What the values of options are: names, pairs, numbers."""

from __future__ import annotations

import argparse


def names(text: str) -> list[str]:
    names = [each.strip() for each in text.split(",") if each.strip()]
    if not names:
        raise argparse.ArgumentTypeError("names one thing or several, separated by commas")
    return names


def pair(text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not (left.strip() and equals and right.strip()):
        raise argparse.ArgumentTypeError(f"two names with = between them, not {text!r}")
    return left.strip(), right.strip()


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, not {text!r}")
    return int(text)


def seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 10 or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to {(1 << 32) - 1}, not {text!r}")
    return int(text)


def port(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port from 1 to 65535, not {text!r}")
    return int(text)


def above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0, not {text!r}")
    return value


def budget(text: str) -> float:
    number, percent, rest = text.partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if rest.strip() or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a share from 0 to 1, or 0% to 100%, not {text!r}")
    return value


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError(f"a number from 0.5 to below 1, not {text!r}")
    return value


def prices(text: str) -> tuple[float, float]:
    try:
        read, written = (float(each) for each in text.split(","))
    except ValueError:
        read = written = -1.0
    if not (0 <= read < float("inf") and 0 <= written < float("inf")):
        raise argparse.ArgumentTypeError(
            f"two prices, of a million tokens read and written, as 0.15,0.60; not {text!r}"
        )
    return read, written
