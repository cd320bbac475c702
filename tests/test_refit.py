"""A refit takes over where it is shown to be better, keeps what was, and can be undone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from random import Random

import pytest

from lowrung.cli import main
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.data.files import atomic_folder
from lowrung.run.ship import load
from lowrung.serving import versions
from lowrung.serving.refit import refit

WORDS = {"billing": "invoice charged money card", "delivery": "parcel courier late door", "praise": "thank great love"}
NEW = {"billing": "wallet crypto", "delivery": "drone locker", "praise": "awesome rad"}


def rows(words, number, seed):
    random = Random(seed)
    made = []
    for at in range(number):
        label = sorted(words)[at % len(words)]
        text = " ".join(random.choice(words[label].split()) for _ in range(3))
        made.append({"text": f"{text} {random.choice(['today', 'again', 'please', 'now'])} {at}", "label": label})
    return made


OLD = rows(WORDS, 45, 1)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in OLD), "utf-8")
    assert main(["fit", "topic", str(path), "--method", "ngrams", "--out", str(tmp_path / "mails")]) == 0
    return tmp_path / "mails"


def test_what_is_better_on_new_words_takes_over_and_can_be_undone(model):
    before = versions.current(model)
    found = refit(model, rows(NEW, 40, 2), rows=OLD)
    assert found.promoted, found.reason
    assert found.incumbent == before
    assert versions.current(model) == found.candidate != before
    assert found.new.value_two > found.new.value_one + 0.2
    assert found.old.rows == 45
    assert load(model).answer("a drone at my locker").answer.option == "delivery"
    assert [each.current for each in versions.listed(model)] == [False, True]
    assert versions.rollback(model) == (found.candidate, before)
    assert versions.current(model) == before
    assert versions.promote(model, found.candidate) == before
    assert versions.current(model) == found.candidate


def test_what_is_not_better_is_kept_aside_and_the_reason_told(model):
    before = versions.current(model)
    random = Random(5)
    noise = [{**row, "label": random.choice(sorted(WORDS))} for row in rows(WORDS, 30, 3)]
    found = refit(model, noise, rows=OLD)
    assert not found.promoted
    assert "not shown to be better" in found.reason
    assert versions.current(model) == before
    assert {each.version for each in versions.listed(model)} == {before, found.candidate}
    assert next(reversed(list(versions.history(model))))["why"] == found.reason


def test_corrections_that_ruin_what_was_known_do_not_take_over(model):
    """All new rows say that old words mean something else; the old rows hold the candidate back."""
    turned = {"billing": WORDS["delivery"], "delivery": WORDS["praise"], "praise": WORDS["billing"]}
    found = refit(model, rows(turned, 90, 4), rows=OLD, recent=3)
    assert found.new.better
    assert found.old.value_two < found.old.value_one
    assert not found.promoted
    assert "worse" in found.reason


def test_a_new_label_can_be_taught(model):
    new = [{"text": f"cancel quit leave {at}", "label": "cancelling"} for at in range(12)]
    assert refit(model, new, rows=OLD).promoted
    assert "cancelling" in load(model).task.options


def test_a_dry_run_changes_nothing(model):
    before = versions.current(model)
    assert not refit(model, rows(NEW, 40, 2), rows=OLD, dry=True).promoted
    assert versions.current(model) == before


def test_what_cannot_be_refitted_is_told(model, tmp_path):
    with pytest.raises(DataError, match="too few"):
        refit(model, rows(NEW, 3, 2), rows=OLD)
    with pytest.raises(DataError, match="no right answer"):
        refit(model, [*rows(NEW, 8, 2), {"text": "x"}], rows=OLD)
    with pytest.raises(ModelError, match="not a shipped model"):
        refit(tmp_path / "nothing", rows(NEW, 8, 2))
    with pytest.raises(LowrungError, match="no other version"):
        versions.rollback(model)
    with pytest.raises(LowrungError, match="version 'x'"):
        versions.promote(model, "x")


def test_a_folder_is_there_at_every_moment_of_its_replacement(tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    (place / "file").write_text("0")
    script = f"""
from pathlib import Path
from lowrung.data.files import atomic_folder
for number in range(10**6):
    with atomic_folder({str(place)!r}) as new:
        (new / "file").write_text(str(number))
"""
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script])
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert (place / "file").read_text().isdigit()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (place / "file").read_text().isdigit()
    with atomic_folder(place) as new:
        (new / "file").write_text("last")
    assert (place / "file").read_text() == "last"


def test_it_can_be_undone_after_a_candidate_did_not_take_over(model):
    before = versions.current(model)
    after = refit(model, rows(NEW, 40, 2), rows=OLD).candidate
    versions.tell(model, kept=after, candidate="x", why="no better")
    assert versions.rollback(model) == (after, before)


def test_what_is_asked_alike_is_not_learnt_from_where_it_is_held_out(model):
    """The labels of nonsense can be known only by having seen them."""
    random = Random(7)
    texts = ["".join(random.choice("bcdfg") for _ in range(9)) for _ in range(12)]
    new = [{"id": f"{at} {again}", "text": text, "label": sorted(WORDS)[at % 3]} for at, text in enumerate(texts)
           for again in range(4)]  # fmt: skip
    found = refit(model, new, rows=OLD)
    assert found.new.value_two < 0.7


def test_what_was_promoted_meanwhile_stays(model, monkeypatch):
    other = refit(model, rows(NEW, 40, 3), rows=OLD).candidate
    first = versions.rollback(model)[1]
    took = versions.keep

    def keep(asked):
        found = took(asked)
        monkeypatch.setattr(versions, "keep", took)
        versions.promote(model, other, "by somebody else")
        return found

    monkeypatch.setattr(versions, "keep", keep)
    found = refit(model, rows(NEW, 40, 2), rows=OLD)
    assert (found.incumbent, found.promoted) == (first, False)
    assert f"{other} has taken the place" in found.reason
    assert versions.current(model) == other


def test_a_torn_line_takes_no_other_with_it_and_half_a_copy_is_no_version(model):
    after = refit(model, rows(NEW, 40, 2), rows=OLD)
    history = versions.beside(model) / versions.HISTORY
    history.write_text(history.read_text("utf-8") + '{"at": "2026', "utf-8")
    versions.tell(model, why="later")
    assert [each["why"] for each in versions.history(model)] == [after.reason, "later"]
    kept = versions.listed(model)
    shutil.copytree(versions.beside(model) / kept[0].version, versions.beside(model) / f".1a2b.{kept[0].version}")
    assert versions.listed(model) == kept
