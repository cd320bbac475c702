"""Words lie where a reader of any script would look for them, and nothing that can be seen falls between them."""

import time
from itertools import pairwise
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowrung.core.words import words


def cut(text):
    return [text[start:end] for start, end in words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't mail foo_bar, U.S. 3.14!", "Don ' t mail foo _ bar , U . S . 3 . 14 !"),
        ("Zoe\u0308 naïve straße x²", "Zoe\u0308 naïve straße x²"),
        ("東京タワーへ、iPhone15を", "東 京 タ ワ ー へ 、 iPhone15 を"),
        ("か\u3099ﾊﾟん", "か\u3099 ﾊﾟ ん"),
        ("สวัสดี", "ส วั ส ดี"),
        ("서울에서 हिन्दी में", "서울에서 हिन्दी में"),
        ("می\u200cخواهم so\u00adft", "می\u200cخواهم so\u00adft"),
        ("👩\u200d👩\u200d👧🏽ok👍🏽👍", "👩\u200d👩\u200d👧🏽 ok 👍🏽 👍"),
        ("🇩🇪🇫🇷1️⃣2️⃣❤️\u200d🔥", "🇩🇪 🇫🇷 1️⃣ 2️⃣ ❤️\u200d🔥"),
        ("a\u200bb\x00c\ufeff\u3000\t\n", "a b c"),
        ("", ""),
    ],
)
def test_a_text_is_cut_where_a_reader_would_cut_it(text, expected):
    assert cut(text) == expected.split()


@given(st.text())
def test_words_ascend_apart_and_leave_out_nothing_that_is_seen(text):
    found = words(text)
    assert all(0 <= start < end <= len(text) for start, end in found)
    assert all(left[1] <= right[0] for left, right in pairwise(found))
    covered = {at for start, end in found for at in range(start, end)}
    for at, letter in enumerate(text):
        if letter.isspace():
            assert at not in covered
        elif category(letter) not in ("Cc", "Cf"):
            assert at in covered


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_marks_written_apart_change_no_number_of_words(text):
    assert len(words(normalize("NFD", text))) == len(words(normalize("NFC", text)))


@pytest.mark.parametrize("piece", ["a\u0301", "\u200d", "👩\u200d", "\u0301", "_", "a\u200d", "東"])
def test_a_hostile_text_is_read_in_one_pass(piece):
    words(piece)
    begun = time.process_time()
    words(piece * 20_000)
    assert time.process_time() - begun < 1.0
