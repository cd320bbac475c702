"""Lines as pictures: the same seed, the same picture; letters where they are said to be; fonts that lack some."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest

from lowrung.core.errors import LowrungError
from lowrung.data import receipts, rendering
from lowrung.data.rendering import drawn, families, font_for, has, render
from lowrung.tasks import task


def found():
    try:
        return families()
    except LowrungError:
        return ()


fonts = pytest.mark.skipif(not found(), reason="no fonts are installed")
RAW = "Ada Lovelace wrote to Charles Babbage because she admired the engine."


@fonts
def test_a_seed_gives_one_picture_and_another_another():
    for seed in range(20):
        one, two = (render("RM 12.50 received", Random(seed)).pixels for _ in range(2))
        assert one.dtype == np.uint8
        assert one.shape[0] >= 8
        assert one.shape[2] == 3
        assert np.array_equal(one, two)
    shapes = {render("RM 12.50 received", Random(seed)).pixels.shape for seed in range(20)}
    assert len(shapes) > 15


@fonts
def test_pictures_differ_in_how_dark_and_large_they_are():
    made = [render("Low rung", Random(seed)).pixels for seed in range(150)]
    light = [float(np.median(each)) for each in made]
    assert min(light) < 80, "some are light on dark"
    assert max(light) > 240
    assert max(len(each) for each in made) > 2.5 * min(len(each) for each in made)
    assert all(each.max() - each.min() > 20 for each in map(np.int16, made))


@fonts
def test_it_is_told_where_each_letter_stands():
    for seed in range(40):
        made = drawn("ill will, WAIT", Random(seed))
        assert len(made.middles) == len("ill will, WAIT")
        assert all(one < two for one, two in pairwise(made.middles))
        assert made.middles[0] > -0.05
        assert made.middles[-1] < 1.05
        width = made.image.pixels.shape[1]
        assert made.middles[-1] - made.middles[0] > 0.5, width


@fonts
def test_fonts_that_lack_a_letter_are_passed_over():
    assert render("", Random(0)) is None
    assert render(" ", Random(0)) is None
    assert render("\U0010fffd", Random(0)) is None
    path = font_for("RM 4.00", Random(0))
    assert path is not None
    assert all(has(path, letter) for letter in "RM 4.0")
    assert not has(path, "\U0010fffd")
    assert font_for("plain \U0010fffd", Random(0)) is None


def test_without_fonts_one_line_says_what_to_install(monkeypatch):
    families.cache_clear()
    monkeypatch.setattr(rendering, "_files", lambda: iter(["/nowhere/none.ttf"]))
    try:
        with pytest.raises(LowrungError, match="apt install fonts-dejavu fonts-liberation"):
            render("low rung", Random(0))
        with pytest.raises(LowrungError, match="apt install fonts-dejavu fonts-liberation"):
            list(task("reading").practice([RAW], Random(0)))
    finally:
        families.cache_clear()


def test_fonts_are_found_without_fontconfig(monkeypatch, tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("deep/One.ttf", "Two.OTF", "three.txt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(rendering.shutil, "which", lambda _: None)
    monkeypatch.setattr(rendering, "FOLDERS", (str(tmp_path), str(tmp_path / "none")))
    assert sorted(each.rpartition("/")[2] for each in rendering._files()) == ["One.ttf", "Two.OTF"]


def test_lines_are_words_of_the_text_or_stand_on_receipts():
    made = [receipts.line(RAW, random, receipts=0.0) for random in map(Random, range(200))]
    assert all(0 < len(each) <= receipts.LONGEST for each in made)
    assert all(each.lower() in RAW.lower() for each in made)
    assert any(each.isupper() for each in made)
    printed = [receipts.line(RAW, random, receipts=1.0) for random in map(Random, range(400))]
    assert all(0 < len(each) <= receipts.LONGEST for each in printed)
    assert sum(any(map(str.isdigit, each)) for each in printed) > 200
    assert any(each.startswith("RM") and each.endswith("0") for each in printed)
    assert printed == [receipts.line(RAW, random, receipts=1.0) for random in map(Random, range(400))]
    assert receipts.line("   ", Random(3), receipts=0.0) == ""
    assert len(receipts.line("x" * 500, Random(0), receipts=0.0)) == receipts.LONGEST


@fonts
def test_practice_rows_are_written_of_text():
    rows = list(task("reading").practice([RAW] * 40, Random(0)))
    assert len(rows) == 40
    assert len({row["text"] for row in rows}) > 30
    examples = [task("reading").example(row) for row in rows]
    assert all(each.golds[0].text for each in examples)
    with pytest.raises(LowrungError, match="no font of this machine has all letters"):
        list(task("reading").practice(["\U0010fffd\U0010fffd"] * 3000, Random(0)))
