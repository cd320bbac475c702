"""The errors a user can meet.

LowrungError          one line: what, where, what was allowed, what to do
├── DataError         the rows or the file are at fault
└── ModelError        the model, the folder or the request for one is at fault
"""

from collections.abc import Iterable
from difflib import get_close_matches


class LowrungError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with 2."""


class DataError(LowrungError):
    """The rows are at fault; the message starts with file:line where there is one."""


class ModelError(LowrungError):
    """The model, its folder or the request for one is at fault."""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> str:
    """«<kind> <name> is not one of <allowed>», with the closest allowed name where one is close."""
    names = list(dict.fromkeys(allowed))
    shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    text = f"{kind} {name!r} is not one of {shown}." if names else f"{kind} {name!r} is not known."
    folded = {each.casefold(): each for each in names}
    close = get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.6)
    return f"{text} Did you mean {folded[close[0]]!r}?" if close else text
