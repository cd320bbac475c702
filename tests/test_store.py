"""What people say of answers: kept, once, and gone when it is to be gone."""

import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import pytest

pytest.importorskip("sqlalchemy")
from lowrung.core.errors import DataError, LowrungError
from lowrung.serving.store import Conflict, Correction, Lingering, Store, rows_of

ONE = Correction(
    "k1", "mail", "topic", {"text": "Where is my order?"}, {"label": "delivery"}, who="ada", answer="other"
)


POSTGRES = os.environ.get("LOWRUNG_POSTGRES", "")  # the address of a database that tests may empty


def cleared(url):
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS lowrung_corrections, lowrung_store"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'corrections.db'}"
        return
    if not POSTGRES:
        pytest.skip("LOWRUNG_POSTGRES names no database")
    cleared(POSTGRES)
    yield POSTGRES
    cleared(POSTGRES)


@pytest.fixture
def store(url):
    made = Store(url)
    yield made
    made.close()


def test_a_correction_is_kept_once(store):
    first, new = store.add(ONE)
    again, newer = store.add(ONE)
    assert (new, newer) == (True, False)
    assert first == again
    assert (first.number, first.answer, first.row) == (1, "other", ONE.row)
    assert first.at.endswith("+00:00")
    assert store.page() == [first]


def test_a_key_stands_for_one_correction(store):
    store.add(ONE)
    with pytest.raises(Conflict, match="k1"):
        store.add(replace(ONE, correction={"label": "refund"}))
    assert [each.correction for each in store.page()] == [{"label": "delivery"}]


@pytest.mark.parametrize("wrong", [{"key": ""}, {"key": "k" * 201}, {"correction": {}}])
def test_what_is_none_is_refused(store, wrong):
    with pytest.raises(DataError):
        store.add(replace(ONE, **wrong))
    assert store.count() == 0


def test_pages_and_filters(store):
    for number in range(7):
        store.add(replace(ONE, key=f"k{number}", model="ab"[number % 2], row={"text": f"row {number}"}))
    first = store.page(limit=3)
    assert [each.key for each in first] == ["k0", "k1", "k2"]
    assert [each.key for each in store.page(after=first[-1].number)] == ["k3", "k4", "k5", "k6"]
    assert [each.key for each in store.page(limit=2, newest=True)] == ["k6", "k5"]
    assert store.count(model="a") == 4
    assert [each.key for each in store.all(model="b")] == ["k1", "k3", "k5"]


def test_the_newest_of_a_row_is_learnt_from(store):
    store.add(ONE)
    store.add(replace(ONE, key="k2", correction={"label": "refund"}))
    store.add(replace(ONE, key="k3", row={"text": "Thanks"}, correction={"label": "praise"}))
    assert [(each["text"], each["label"]) for each in rows_of(store.all())] == [
        ("Where is my order?", "refund"),
        ("Thanks", "praise"),
    ]


def test_a_person_is_forgotten_to_the_last_byte(store, tmp_path):
    store.add(replace(ONE, row={"text": "a secret of Ada's"}))
    store.add(replace(ONE, key="k2", who="grace", row={"text": "nothing secret"}))
    assert store.erase("ada") == 1
    assert [each.who for each in store.page()] == ["grace"]
    with pytest.raises(DataError):
        store.erase("")
    if store.engine.dialect.name != "sqlite":
        return
    held = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"a secret of" not in held
    assert b"nothing secret" in held


def test_old_ones_go(store):
    store.add(replace(ONE, at="2020-01-01T00:00:00.000+00:00"))
    store.add(replace(ONE, key="k2"))
    assert store.keep(30) == 1
    assert [each.key for each in store.page()] == ["k2"]
    with pytest.raises(DataError):
        store.keep(0)


def test_numbers_of_what_was_erased_are_not_given_again(store):
    store.add(ONE)
    store.erase("ada")
    assert store.add(replace(ONE, key="k2"))[0].number == 2


def together(number, work):
    """What `work(0)` … `work(number - 1)` give, each on a thread of its own, begun at the same moment."""
    barrier = threading.Barrier(number)

    def begun(at):
        barrier.wait(30)
        return work(at)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begun, range(number)))


def test_of_many_at_once_one_is_kept(store):
    for key in ("k1", "k2", "k3"):
        found = together(8, lambda _, key=key: store.add(replace(ONE, key=key)))
        assert sorted(new for _, new in found) == [False] * 7 + [True]
        assert len({each.number for each, _ in found}) == 1
    assert store.count() == 3


def test_of_two_meanings_at_once_one_is_kept(store):
    def adds(at):
        try:
            return store.add(replace(ONE, correction={"label": f"label {at}"}))
        except Conflict:
            return None

    kept = [each for each in together(6, adds) if each]
    assert [new for _, new in kept] == [True]
    assert [each.correction for each in store.page()] == [kept[0][0].correction]


def test_who_follows_misses_none(store):
    """Numbers are given in the order in which corrections can be read, however long a commit takes."""
    import sqlalchemy

    chance = Random(0)
    sqlalchemy.event.listen(store.engine, "commit", lambda _: time.sleep(chance.random() / 50))
    followed, ended = list[Correction](), threading.Event()

    def follows():
        while True:
            last = ended.is_set()
            followed.extend(store.page(after=followed[-1].number if followed else 0))
            if last:
                return

    follower = threading.Thread(target=follows)
    follower.start()
    together(6, lambda at: [store.add(replace(ONE, key=f"{at}-{number}")) for number in range(5)])
    ended.set()
    follower.join(30)
    assert len(followed) == store.count() == 30


def test_a_store_is_made_once(url):
    stores = together(4, lambda _: Store(url)) if url == POSTGRES else [Store(url)]
    assert stores[0].add(ONE)[1]
    assert all(each.count() == 1 for each in stores)
    for each in stores:
        each.close()


def test_rows_come_and_go(store, tmp_path):
    from lowrung import read_rows, task
    from lowrung.serving.exchange import bring, export

    topic = task("topic").with_options(["billing", "praise"])
    rows = [{"text": "Charged twice \x00 😀 “ö”", "label": "billing"}, {"text": "谢谢", "label": "praise"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
    assert bring(store, topic, "mails", tmp_path / "rows.jsonl", "rows", who="ada") == (2, 2)
    assert bring(store, topic, "mails", tmp_path / "rows.jsonl", "rows", who="ada") == (0, 2)
    assert export(store.all(), tmp_path / "out.jsonl") == 2
    found = read_rows(tmp_path / "out.jsonl", task=topic)
    assert [(each["text"], each["label"]) for each in found] == [(each["text"], each["label"]) for each in rows]
    assert store.erase("ada") == 2
    assert list(store.all()) == []


def _writes(url, pipe):
    store, number = Store(url), 0
    while True:
        number += 1
        store.add(replace(ONE, key=f"k{number}", row={"text": f"row {number}"}))
        pipe.send(number)


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    url, acknowledged = f"sqlite:///{tmp_path / 'killed.db'}", 0
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_writes, args=(url, theirs))
    process.start()
    while acknowledged < 20:
        acknowledged = ours.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while ours.poll():
        acknowledged = ours.recv()
    assert Store(url).count() >= acknowledged
    assert sqlite3.connect(tmp_path / "killed.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "a store is sqlite:///file.db"),
        ("odd://x", "a store is"),
        ("sqlite:////no/such/folder/x.db", "cannot be opened as a store"),
        ("oracle+missing_driver://u:secret@h/x", "a store is"),
    ],
)
def test_a_bad_address_is_told_in_one_line(url, said):
    with pytest.raises(LowrungError, match=said) as told:
        Store(url)
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)


def test_another_programs_database_is_left_alone(tmp_path):
    (tmp_path / "text.db").write_text("this is no database " * 100)
    with pytest.raises(LowrungError, match="cannot be opened as a store"):
        Store(f"sqlite:///{tmp_path / 'text.db'}")


@pytest.mark.parametrize("other", [{"model": "letters"}, {"task": "topics"}])
def test_a_key_stands_for_one_model(store, other):
    store.add(ONE)
    with pytest.raises(Conflict, match="k1"):
        store.add(replace(ONE, **other))


def test_what_is_removed_may_be_of_one_model(store):
    for number, model in enumerate(("mail", "letters")):
        store.add(replace(ONE, key=f"k{number}", model=model, at="2001-01-01T00:00:00.000+00:00"))
    assert store.erase("ada", model="mail") == 1
    assert store.keep(30, model="mail") == 0
    assert [each.model for each in store.page()] == ["letters"]
    assert store.keep(30, model="letters") == 1
    with pytest.raises(DataError, match="number of days"):
        store.keep(99_999_999)


def test_what_is_erased_while_somebody_reads_is_told_to_linger(tmp_path, monkeypatch):
    monkeypatch.setattr("lowrung.serving.store.PATIENCE", 0.1)
    path = tmp_path / "store.db"
    store = Store(f"sqlite:///{path}")
    store.add(replace(ONE, row={"text": "a secret of Adas"}))
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM lowrung_corrections").fetchone() == (1,)
    with pytest.raises(Lingering, match="1 corrections erased, but"):
        store.erase("ada")
    assert store.page() == []
    reader.close()
    assert store.erase("ada") == 0
    store.close()
    assert not any(b"a secret of Adas" in each.read_bytes() for each in tmp_path.iterdir())


def test_rows_to_learn_from_are_of_one_model_and_no_longer_labelled_by_one(store):
    silver = {**ONE.row, "silver": True, "confidence": 0.4, "model": "big"}
    store.add(replace(ONE, row=silver))
    store.add(replace(ONE, key="k2", model="other", task="entities", row=silver, correction={"spans": []}))
    found = list(rows_of(store.all()))
    assert [sorted(each) for each in found] == [["at", "id", "label", "text"], ["at", "id", "spans", "text"]]
