"""Counts Chinese noise: writes lowrung/data/noise-zh.json and lowrung/models/lexicon-zh.tsv.xz.

    pip install pypinyin opencc-python-reimplemented pillow jieba
    .venv/bin/python -m recipes.noise_zh --font /usr/share/fonts/truetype/wqy/wqy-zenhei.ttc

Which characters are written for each other: those that sound the same (the tone aside) or nearly so, and those that
look alike in the font (Debian's fonts-wqy-zenhei), the commonest first. The words of the lexicon and their counts are
those of jieba's list (MIT). What is written holds characters, words and counts.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import product
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowrung.data.noise import HOME, Mixture, Noise, alone
from lowrung.models.evidence import LONGEST
from lowrung.models.lexicon import HOME as MODELS
from lowrung.models.lexicon import SUFFIX, Lexicon
from recipes import chinese

MOST = 5_600  # characters, the commonest
SPOKEN = 6  # times that a character of talk counts, which is what people write and there is little of
RARE = 5  # times that jieba's list has a word, to be kept
OTHERS = 64  # characters that one is mistaken for
LOOKS = 14  # of these at most, those that only look alike
ALIKE = 0.45  # the cosine from which two characters look alike
FREQUENCY = 0.6  # the power of how common a character is
STEEP = 9.0  # what the cosine adds
SIZE = 26  # pixels of a side
INITIALS = [
    ("zh", "z"),
    ("ch", "c"),
    ("sh", "s"),
    ("n", "l"),
    ("r", "l"),
    ("f", "h"),
    ("b", "p"),
    ("d", "t"),
    ("g", "k"),
]
INITIALS += [("j", "q"), ("q", "x"), ("j", "x"), ("zh", "j"), ("ch", "q"), ("sh", "x")]
FINALS = [("in", "ing"), ("en", "eng"), ("an", "ang"), ("uan", "uang"), ("ian", "iang"), ("ian", "an"), ("iang", "ang")]
FINALS += [
    ("uo", "o"),
    ("uo", "ou"),
    ("e", "o"),
    ("ie", "ve"),
    ("i", "v"),
    ("u", "v"),
    ("ian", "van"),
    ("in", "vn"),
    ("ei", "ui"),
]
# log of how much likelier a kind of slip is than none; the tone aside, near in sound, alike in shape
SAME_TONE, SAME, NEAR, LOOK = 2.2, 1.5, -0.6, -1.5


def readings(characters: Sequence[str]) -> dict[str, set[tuple[str, str, str]]]:
    """Character → (initial, final, tone) of each way to say it."""
    from pypinyin import Style, pinyin

    found: dict[str, set[tuple[str, str, str]]] = {}
    for each in characters:
        said = pinyin(each, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True, v_to_u=False)[0]
        found[each] = {_parted(one) for one in said if one[-1:].isdigit()}
    return found


def _parted(said: str) -> tuple[str, str, str]:
    syllable, tone = said[:-1], said[-1]
    initial = next((each for each in ("zh", "ch", "sh", *"bpmfdtnlgkhjqxrzcsyw") if syllable.startswith(each)), "")
    final = syllable[len(initial) :]
    if initial in ("j", "q", "x", "y") and final.startswith("u"):
        final = "v" + final[1:]
    return initial, final, tone


def near(one: tuple[str, str], two: tuple[str, str]) -> bool:
    """Whether two syllables differ in a sound that is taken for the other."""
    initials, finals = {one[0], two[0]}, {one[1], two[1]}
    close = len(initials) == 1 or any(initials == set(each) for each in INITIALS)
    also = len(finals) == 1 or any(finals == set(each) for each in FINALS)
    # both may be blurred at once only where an accent does so
    return (
        close
        and also
        and (len(initials) == 1 or len(finals) == 1 or initials in ({"z", "zh"}, {"c", "ch"}, {"s", "sh"}))
    )


def drawn(characters: Sequence[str], font: str) -> NDArray[np.float32]:
    """(N, N) how alike the characters look: the cosine of their blurred bitmaps, what all share taken away."""
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    letters = ImageFont.truetype(font, 2 * SIZE)
    rows = []
    for each in characters:
        image = Image.new("L", (2 * SIZE + 8, 2 * SIZE + 8))
        ImageDraw.Draw(image).text((SIZE + 4, SIZE + 4), each, 255, letters, anchor="mm")
        small = image.filter(ImageFilter.GaussianBlur(1.6)).resize((SIZE, SIZE))
        rows.append(np.asarray(small, dtype=np.float32).ravel())
    pixels = np.stack(rows)
    pixels -= pixels.mean(0)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True) + 1e-6
    return pixels @ pixels.T


def confusions(counts: Counter[str], font: str) -> dict[str, dict[str, tuple[float, str]]]:
    """Character → others → (how likely, the kind)."""
    characters = list(counts)
    said = readings(characters)
    by_sound: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for each, ways in said.items():
        for initial, final, tone in ways:
            by_sound[initial, final].append((each, tone))
    close = {one: [two for two in by_sound if two != one and near(one, two)] for one in by_sound}
    kinds: dict[str, dict[str, tuple[float, str]]] = {each: {} for each in characters}

    def note(one: str, two: str, worth: float, kind: str) -> None:
        if one != two and worth > kinds[one].get(two, (-1e9, ""))[0]:
            kinds[one][two] = worth, kind

    for sound, found in by_sound.items():
        for (one, tone), (two, other) in product(found, found):
            note(one, two, SAME_TONE if tone == other else SAME, "t" if tone == other else "s")
        for other_sound in close[sound]:
            for (one, _), (two, _) in product(found, by_sound[other_sound]):
                note(one, two, NEAR, "n")
    looks = drawn(characters, font)
    places = np.argsort(-looks, axis=1)[:, 1 : LOOKS + 1]
    for at, one in enumerate(characters):
        for other in places[at]:
            if looks[at, other] >= ALIKE:
                two, worth = characters[other], LOOK + STEEP * (float(looks[at, other]) - ALIKE)
                for a, b in ((one, two), (two, one)):
                    before = kinds[a].get(b, (-1e9, ""))
                    if before[1] in ("", "l"):
                        note(a, b, worth, "l")
                    else:
                        kinds[a][b] = before[0] + max(0.0, worth + 1.5), before[1].upper()
    return kinds


def words(letters: set[str]) -> dict[str, int]:
    """Words of two to four letters with the counts that jieba's list has."""
    import jieba

    found = {}
    for line in (Path(jieba.__file__).parent / "dict.txt").read_text("utf-8").splitlines():
        word, times, *_ = line.split(" ")
        if 2 <= len(word) <= LONGEST and int(times) >= RARE and letters.issuperset(word):
            found[word] = int(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Count Chinese noise.")
    parser.add_argument("--font", required=True)
    asked = parser.parse_args()
    counts = Counter[str]()
    for kind, times in ((chinese.SPOKEN, SPOKEN), (chinese.WRITTEN, 1)):
        found = Counter[str]()
        for line in chinese.lines(kind):
            if not chinese.held(line):
                found.update(line)
        counts.update({each: times * n for each, n in found.items()})
    kept = Counter({each: n for each, n in counts.most_common() if "\u4e00" <= each <= "\u9fff" and alone(each)})
    kept = Counter(dict(kept.most_common(MOST)))
    kinds = confusions(kept, asked.font)
    worth = {
        one: {two: worth + FREQUENCY * log(kept[two]) for two, (worth, _) in others.items()}
        for one, others in kinds.items()
    }
    order = {one: sorted(others, key=lambda two: -others[two])[:OTHERS] for one, others in worth.items()}
    stored: dict[str, Any] = Noise(
        keys=(), mixture=Mixture(letters=0.0, confusions=0.95, spaces=0.0, case=0.0)
    ).to_json()
    stored["confusions"] = {one: "".join(order[one]) for one in sorted(order) if order[one]}
    stored["kinds"] = {one: "".join(kinds[one][two][1] for two in order[one]) for one in sorted(order) if order[one]}
    path = HOME / "noise-zh.json"
    path.write_text(json.dumps(stored, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")
    Lexicon(kept | words(set(kept))).save(MODELS / f"lexicon-zh{SUFFIX}")
    pairs = sum(map(len, order.values()))
    print(f"{len(kept):,} characters, {pairs:,} confusions, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
