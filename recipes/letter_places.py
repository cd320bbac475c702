"""Give a letters backbone a code of which letter stands at which place of a word, where its states have room for one.

    python -m recipes.letter_places letters-en --out runs/letters-en-places

What recipes.letters made tells letters where they matter for the meaning: of a common word hardly any of them are left.
Here nothing is trained. Each of the first `PLACES` letters of a word gets `SIZE` of the directions in which the states
that enter the body differ least from word to word, and in them a code for each letter, the codes as far from each other
as can be. So a linear layer can say the letters, and what the body makes of the word hardly moves: layers, reader and
heads go on as they are. It is --strength that is traded, and what it costs is printed: how far states move (1 - cosine)
on held-out lines, entering, where words are tagged, at the top, and as a whole.

What is written holds the codes alone and stands on the body that it was made of: it is made anew when that one's
weights change, its reader's among them.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.models import catalog
from lowrung.models.characters import Letters, LettersBody, spelling
from lowrung.models.lexicon import lexicon
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import TextBackbone
from recipes.letters import lines
from recipes.lexicon_en import DATA

PLACES, SIZE = 12, 10  # letters of a word that have a code, and its numbers
STRENGTH = 0.165  # of a code; the embedding of a piece is about 1 long
SHARE = 1e-4  # of all letters, for one to have a code
WORDS, DEEP = 3000, 48  # to see where there is room; positions that they are seen at


def spread(number: int, size: int) -> Tensor:
    """Points on a sphere that push each other away.  -> (number, size)"""
    points = torch.randn(number, size).requires_grad_(True)
    optimizer = torch.optim.Adam([points], lr=0.02)
    for _ in range(400):
        apart = torch.cdist(F.normalize(points), F.normalize(points)) + 10 * torch.eye(number)
        optimizer.zero_grad()
        torch.autograd.backward((apart**-6).sum())
        optimizer.step()
    return F.normalize(points.detach())


def alphabet(counts: dict[str, int]) -> list[str]:
    met = Counter[str]()
    for word, count in counts.items():
        for letter in filter(str.isalpha, word.lower()):
            met[letter] += count
    total = met.total()
    return sorted(letter for letter, count in met.items() if count >= SHARE * total)


@torch.no_grad()
def room(backbone: TextBackbone, forms: Sequence[str], number: int, random: Random) -> Tensor:
    """The directions in which what enters the body differs least, of words as they are and misspelt.  -> (D, number)"""
    texts = [form if random.random() < 0.5 else misspelt(form, random) for form in forms]
    batch = unmended(backbone).encode([Question((text,)) for text in texts])
    body = backbone.body
    assert isinstance(body, LettersBody)
    assert batch.letters is not None
    seen, gate = batch.letters[..., :-1], batch.letters[..., -1:].sigmoid()
    entering = (body.table(batch.ids) * (1 - gate) + seen)[batch.offsets[..., 1] > batch.offsets[..., 0]]
    places = body.bert.get_submodule("embeddings.position_embeddings").weight
    entering = entering + places[torch.randint(1, DEEP, (len(entering),))]
    return torch.linalg.eigh(entering.T.cov())[1][:, :number]


def misspelt(form: str, random: Random) -> str:
    at, letter = random.randrange(len(form)), random.choice(form)
    return form[:at] + letter + form[at + random.randrange(2) :]


def unmended(backbone: TextBackbone) -> TextBackbone:
    made, pieces = copy.copy(backbone), backbone.tokenizer
    made.tokenizer = Tokenizer(pieces.inner, longest=pieces.longest, spell=True)
    return made


@torch.no_grad()
def coded(was: Letters, room: Tensor, letters: Sequence[str], codes: Tensor) -> Letters:
    """The same with a code of each letter by its place added. codes: (L, SIZE) · room: (D, PLACES * SIZE)"""
    made = Letters(was.out.out_features - 1, **was.settings() | {"places": True})
    made.load_state_dict(was.state_dict(), strict=False)
    assert made.places
    rows = torch.tensor([spelling(letter)[1][0] for letter in letters])
    ends = torch.tensor([spelling("")[at][0] for at in (0, 1)])
    small, large = was.capital.weight
    told = torch.cat([was.letter.weight[torch.cat([rows, ends])] + small, (large - small)[None]])
    wanted = F.pad(codes, (0, 0, 0, len(told) - len(codes)))  # neither ends nor capitals say anything
    by_letter = torch.linalg.pinv(told) @ wanted  # (S, SIZE)
    weight = torch.zeros_like(made.places.weight).view(room.shape[0], -1, len(by_letter))
    for place in range(PLACES):  # each has directions from all over the room
        weight[:, place + 1] = room[:, place::PLACES] @ by_letter.T
    made.places.weight.copy_(weight.flatten(1))
    return made.eval().requires_grad_(False)


@torch.no_grad()
def moved(one: TextBackbone, two: TextBackbone, texts: Sequence[str]) -> dict[str, float]:
    """How far the states of words, and of whole texts, lie apart."""
    depths, found = (0, one.tagging_layer, one.depth), []
    for backbone in (one, two):
        batch = backbone.encode([Question((text,)) for text in texts])
        states = batch.stitched(backbone.taps(batch, depths))
        pooled = backbone.pool(batch, states[..., -one.width :])
        found.append([*states[batch.offsets[..., 1] > batch.offsets[..., 0]].split(one.width, -1), pooled])
    names = ("entering", "midway", "top", "whole")
    pairs = zip(names, *found, strict=True)
    return {name: round(float(1 - F.cosine_similarity(a, b).mean()), 4) for name, a, b in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of an embedded letters backbone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strength", type=float, default=STRENGTH)
    asked = parser.parse_args()
    torch.manual_seed(0)
    random, before = Random(0), catalog.backbone(asked.name)
    facts = json.loads((catalog.OWN / asked.name / catalog.LETTERS).read_text("utf-8"))
    counts, body = lexicon(facts["language"]).counts, before.body
    assert isinstance(body, LettersBody)
    common = [form for form in sorted(counts, key=lambda form: -counts[form])[:20_000] if len(form) > 2]
    letters = alphabet(counts)
    space = room(before, random.sample(common, WORDS), PLACES * SIZE, random)
    own = coded(body.letters, space, letters, asked.strength * spread(len(letters), SIZE))
    after = copy.copy(before)
    after.body = LettersBody(body.bert, own).eval()
    files = [DATA / name for name in facts["recipe"]["text"]]
    texts = list(islice(lines(files, Random(1), longest=facts["recipe"]["words"]), 100))
    costs = moved(before, after, [text for text in texts if words(text)])
    told = {"letters": "".join(letters), "strength": asked.strength, "places": PLACES, "size": SIZE, "moved": costs}
    print(json.dumps(told, ensure_ascii=False))
    recipe = {"name": "letter_places", "base": asked.name, "seed": 0, "words": WORDS, "text": facts["recipe"]["text"]}
    about = f"{asked.name} with a code of which letter stands at which place of a word (Apache-2.0)"
    catalog.save_letters(
        after,
        asked.out,
        base=asked.name,
        language=facts["language"],
        facts={"about": about, "recipe": recipe, "codes": told},
    )


if __name__ == "__main__":
    main()
