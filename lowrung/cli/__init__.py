"""Floor 4: the command line. What the user can mend is one line on stderr and exit status 2; the status of a stop
by Ctrl-C is 130, of a reader that left 141, as a shell counts them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from lowrung.core.errors import LowrungError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv[1:]` when None); returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        _run(arguments)
        sys.stdout.flush()
    except SystemExit as ended:  # argparse has printed what there is to say
        return ended.code if isinstance(ended.code, int) else 0
    except BrokenPipeError:
        _abandon_stdout()
        return 141
    except KeyboardInterrupt:
        return _failed("stopped; run the same command again to go on" if _goes_on(arguments) else "stopped", 130)
    except (LowrungError, OSError) as problem:
        if "--debug" in arguments:
            raise
        try:
            sys.stdout.flush()
        except OSError:
            _abandon_stdout()
        return _failed(_told(problem), 2)
    return 0


def _run(arguments: list[str]) -> None:
    from lowrung.cli.parser import parsed

    asked = parsed(arguments)
    if asked is None:
        return
    from lowrung.cli.tracking import tracked
    from lowrung.cli.verbs import HANDLERS

    with tracked(asked):
        HANDLERS[asked.verb](asked)


def _goes_on(arguments: Sequence[str]) -> bool:
    """Whether the same command, once more, takes up what it had done."""
    verb = next((each for each in arguments if not each.startswith("-")), "")
    if verb in ("answer", "label"):  # from a file to a file
        return "-" not in arguments and any(each.partition("=")[0] == "--out" for each in arguments)
    return verb in ("study", "fit") or (verb == "practice" and "spelling" not in arguments)  # which counts anew


def _abandon_stdout() -> None:
    """Nobody takes what is left in the buffer; without this the interpreter complains of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(line: str, status: int) -> int:
    print(f"lowrung: {line}", file=sys.stderr)
    return status


def _told(problem: Exception) -> str:
    """One line for any error: an OSError names its file and what the system said."""
    if isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        return f"{where}{problem.strerror or problem or type(problem).__name__}"
    return " ".join(str(problem).split())
