"""Where the words of a text lie, in any script and without a model: what spans are tagged by."""

import re
from collections.abc import Iterable
from functools import cache
from itertools import chain
from unicodedata import category

# Scripts written without blanks between words: each letter stands alone, so that a span may begin at any of them.
_ALONE = (
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46"  # Thai
    "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf"  # Lao
    "\u1000-\u102a\u103f\u1050-\u1055"  # Burmese
    "\u1780-\u17b3"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c"  # 々, 〇 and their like
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"  # Han, half-width kana
    "\U0001aff0-\U0001b16f\U00020000-\U0003fffd"  # kana and Han of the higher planes
)
_VOICING = "\uff9e\uff9f"  # the half-width forms of two combining marks; letters only by name
_JOINERS = "\u00ad\u200c\u200d"  # soft hyphen, and the two that shape Persian and Indic words: never a border
_TONES_AND_TAGS = "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"  # skin, and the letters inside a flag
_NATION = "[\U0001f1e6-\U0001f1ff]"  # two of these make a flag


def words(text: str) -> list[tuple[int, int]]:
    """(start, end) of each word, in code points, ascending and apart.

    A word is a run of letters and digits with their combining marks. A letter of a script written without blanks
    (Han, kana, Thai, Lao, Burmese, Khmer), a punctuation mark, a symbol and an underscore each stand alone, with the
    marks on them; an emoji sequence (flag, skin tone, zero-width joiners, keycap) is one word. Blanks, control
    characters and invisible format characters between words belong to none.
    """
    return [found.span() for found in _pattern().finditer(text)]


@cache
def _pattern() -> re.Pattern[str]:
    # No mark lies outside of these ranges, in any version of Unicode so far.
    marks = _class(("Mn", "Mc", "Me"), chain(range(0x300, 0x1F000), range(0xE0100, 0xE01F0)))
    unseen = _class(("Cc", "Cf"), chain(range(0x1F000), range(0xE0000, 0xE0080)))
    letters, alone = rf"[^\W_{_ALONE}]", rf"[{_ALONE}][{marks}{_VOICING}]*"
    symbol = rf"(?:[^\s\w{unseen}]|_)[{marks}{_TONES_AND_TAGS}]*"
    return re.compile(
        rf"[0-9#*]\ufe0f?\u20e3"
        rf"|{letters}+(?:[{marks}{_JOINERS}]+{letters}*)*"
        rf"|{alone}"
        rf"|{_NATION}{_NATION}"
        rf"|{symbol}(?:\u200d{symbol})*"
    )


def _class(kinds: tuple[str, ...], codes: Iterable[int]) -> str:
    """The characters of these Unicode categories among `codes`, as ranges for a regular expression's [ ]."""
    ranges: list[list[int]] = []
    for code in codes:
        if category(chr(code)) in kinds:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in ranges)
