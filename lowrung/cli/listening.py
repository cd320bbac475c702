"""answer - with a model that hears: what is said in a stream, while it is being said."""

from __future__ import annotations

import json
import sys
from typing import Any

from lowrung.data.media import blocks
from lowrung.run.telling import words_json

SECONDS = 0.5  # between partial results


def listened(model: Any, *, as_json: bool) -> None:
    """Answer the sound on the standard input; with JSON each partial result is a line, the last one has `answer`."""
    from lowrung.models.listening import listen

    last, found = "", None
    for found in listen(model, blocks(sys.stdin.buffer, seconds=SECONDS)):
        if found.text == last:
            continue
        last = found.text
        if as_json:
            told = {"partial": found.text, "settled": found.settled, "seconds": round(found.seconds, 2)}
            print(json.dumps(told, ensure_ascii=False), flush=True)
        elif sys.stderr.isatty():
            print(f"\r\033[K{found.text[-100:]}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty() and not as_json:
        print("\r\033[K", end="", file=sys.stderr)
    if found is None:
        return
    if not as_json:
        print(found.text)
        return
    told = {"answer": found.text, "seconds": round(found.seconds, 2), "words": words_json(found.words)}
    print(json.dumps(told, ensure_ascii=False))
