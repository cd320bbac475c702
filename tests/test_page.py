"""The page of the service and what it asks for: over a real socket, and in a real Chromium where there is one."""

import base64
import json
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
import uvicorn
from loopback import answering

import lowrung
from lowrung.cli import main
from lowrung.core.answers import Choice, Prediction, Text
from lowrung.core.edits import Edit, Mend, apply
from lowrung.core.errors import LowrungError
from lowrung.core.parts import Question
from lowrung.run.ship import Shipped, load
from lowrung.serving import keys
from lowrung.serving.app import application
from lowrung.serving.batching import LEAST_COST, Batcher, cost
from lowrung.serving.desk import PAGE, Desk, Queued, digest, raw_of
from lowrung.serving.hosting import Host, Served
from lowrung.serving.meters import Meters
from lowrung.serving.store import Store

MAILS = {"invoice charged money": "billing", "parcel courier late": "delivery", "thank you great": "praise"}
PEOPLE = {"Ada": "PER", "Paris": "LOC"}
EVIL = "<img src=x onerror=\"document.title='hacked'\"> late"
CHROMIUM = shutil.which("chromium")


class Mender:
    """«teh» → «the»."""

    name = "mender"

    def answer(self, questions):
        return [self.one(question.text) for question in questions]

    def one(self, text):
        mends = tuple(Mend(found.start(), found.end(), "the", 0.9) for found in re.finditer("teh", text))
        said, _ = apply(text, [Edit(each.start, each.end, each.text) for each in mends])
        return Prediction(Text(said), 0.8, mends=mends)


class Hearer:
    """Says how long a sound is."""

    name = "hearer"

    def answer(self, questions):
        return [Prediction(Text("long"), 0.7, times=(("long", 0.0, part.seconds),)) for (part,) in
                (question.given for question in questions)]  # fmt: skip


class First:
    """The first candidate."""

    name = "first"

    def answer(self, questions):
        said = [[Choice(option) for option in question.options] for question in questions]
        return [Prediction(first, 0.6, tuple((each, 0.2) for each in rest)) for first, *rest in said]


MADE = {"mender": ("spelling", Mender), "hearer": ("speech", Hearer), "first": ("pronoun", First)}


def loaded(source):
    if source not in MADE:
        return load(source)
    task, model = MADE[source]
    return Shipped(lowrung.task(task), model(), {})


@contextmanager
def serving(models, tmp_path, *, known=None, raw=None, remember=0):
    host, store = Host(models, loaded, Meters()), Store(f"sqlite:///{tmp_path / 'store.db'}")
    desk = Desk(host, store, raw=raw, remember=remember)
    server = uvicorn.Server(
        uvicorn.Config(application(host, store=store, keys=known, desk=desk), port=0, log_level="error")
    )
    with answering(server) as made:
        yield made


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Models that are there in a second: mails in two versions, the second one in its place, and names."""
    path = tmp_path_factory.mktemp("models")
    rows = [{"text": f"{words} {number}", "label": label} for number in range(4) for words, label in MAILS.items()]
    named = [
        {"text": f"{name} came {number}", "spans": [{"start": 0, "end": len(name), "label": label}]}
        for number in range(3)
        for name, label in PEOPLE.items()
    ]
    for name, held in (("mails", rows), ("names", named)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held), "utf-8")
    for task, name, method in (
        ("topic", "mails", "majority"),
        ("topic", "two", "ngrams"),
        ("entities", "names", "ngrams"),
    ):
        rows_of = path / f"{'names' if name == 'names' else 'mails'}.jsonl"
        assert main(["fit", task, str(rows_of), "--method", method, "--out", str(path / name)]) == 0
    from lowrung.serving import versions

    versions.keep(path / "mails")
    second = versions.current(path / "two")
    shutil.move(path / "two", versions.beside(path / "mails") / second)
    versions.promote(path / "mails", second)
    summary = [
        {
            "method": method,
            "labels": labels,
            "metric": "accuracy",
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
        }
        for method, values in (("majority", (0.3, 0.3)), ("ngrams", (0.4, 0.8)))
        for labels, value in zip((3, 12), values, strict=True)
    ]
    report = {"task": "topic", "summary": summary, "gate": {"shipped": "ngrams", "reason": "it is better"}}
    (path / "mails" / "report.json").write_text(json.dumps(report), "utf-8")
    return path


RAW = [
    {"text": "my parcel is late", "weight": 1.0},
    {"text": EVIL},
    {"text": "送货太晚了😀"},
    {"text": "x", "label": "praise"},
]


@contextmanager
def all_served(folders, path):
    shutil.copytree(folders, path / "models")
    own = {name: str(path / "models" / name) for name in ("mails", "names")}
    with serving({**own, **{name: name for name in MADE}}, path, raw={"mails": RAW}, remember=3) as made:
        yield made


@pytest.fixture
def client(folders, tmp_path):
    with all_served(folders, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def still(folders, tmp_path_factory):
    """A service that tests may add corrections to, and change in nothing else."""
    with all_served(folders, tmp_path_factory.mktemp("still")) as made:
        yield made


def posted(client, path, **body):
    return client.post(path, json=body)


# --- over a socket


def test_the_page_is_open_and_nothing_else_is(folders, tmp_path):
    known = keys.read(file) if keys.made(file := tmp_path / "keys.txt", "ada") else {}
    with serving({"mails": str(folders / "mails")}, tmp_path, known=known) as client:
        found = client.get("/")
        assert found.status_code == 200
        assert found.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in found.headers["content-security-policy"]
        for name in PAGE:
            assert client.get(f"/page/{name}").content == PAGE[name]
        for path in ("next", "versions", "curve"):
            assert client.get(f"/v1/{path}").status_code == 401
        for path in ("explain", "promote", "rollback"):
            assert posted(client, f"/v1/{path}").status_code == 401


def test_the_page_asks_for_nothing_from_elsewhere_and_runs_nothing_inline():
    html = PAGE["index.html"].decode()
    assert re.findall(r"<script(?![^>]*src=)", html) == []
    assert re.findall(r"\s(?:on\w+|style)=", html) == []
    for name, content in PAGE.items():
        there = set(re.findall(r"https?://[^\"'\s)]+", content.decode()))
        assert there <= {"http://www.w3.org/2000/svg"}, name
        assert b"innerHTML" not in content, name


@pytest.mark.parametrize("name", ["desk.py", "..%2fdesk.py", "%2e%2e/desk.py", "../desk.py", "%2fetc%2fpasswd", ""])
def test_no_name_reaches_another_file(still, name):
    assert still.get(f"/page/{name}").status_code == 404


def test_every_word_that_the_page_says_is_there():
    told = {name: content.decode() for name, content in PAGE.items()}
    known = set(re.findall(r"^    (\w+): ", told["words.js"], re.M))
    said = {each for content in told.values() for each in re.findall(r"\bsay\(\"(\w+)\"", content)}
    said |= set(re.findall(r'data-said="(\w+)"', told["index.html"]))
    assert said
    assert said - known == set()
    everything = "\n".join(content for name, content in told.items() if name != "words.js")
    columns = {column for task in lowrung.tasks.names() for column in lowrung.task(task).columns}
    assert {each for each in known if f'"{each}"' not in everything} - columns == set()


def test_an_answer_is_explained(still):
    found = posted(still, "/v1/explain", model="mails", row={"text": "the invoice 😀"}).json()
    assert found["answer"] == "billing"
    (cause,) = found["causes"]
    best = max(cause["words"], key=lambda each: each["weight"])
    assert (best["text"], best["start"], best["end"]) == ("invoice", 4, 11)
    assert found["unit"] == "confidence"


@pytest.mark.parametrize(
    ("row", "status"),
    [({"text": ""}, 422), ({"audio": "/etc/passwd"}, 422), ({"text": "word " * 2000}, 413), ({"text": [[[]]]}, 422)],
)
def test_what_cannot_be_explained_is_told(still, row, status):
    assert posted(still, "/v1/explain", model="mails", row=row).status_code == status


def test_what_is_explained_leaves_room_for_what_is_asked_meanwhile():
    sizes = []

    def answer(questions):
        sizes.append(sum(map(cost, questions)))
        return [Prediction(Text(question.text), 0.5) for question in questions]

    batcher = Batcher(answer)
    served = Served("it", "", Shipped(lowrung.task("spelling"), Mender(), {}), batcher, "1", None)
    questions = [Question((f"{number} word " * 5,)) for number in range(60)]
    found = Queued(served, time.monotonic() + 20).answer(questions)
    assert [each.answer.text for each in found] == [question.text for question in questions]
    batcher.pace = 0.1  # seconds a token: as little at once as there may be
    sizes.clear()
    Queued(served, time.monotonic() + 20).answer(questions[:6])
    assert len(sizes) >= 2
    assert max(sizes) <= LEAST_COST
    batcher.close()
    with pytest.raises(LowrungError, match="shutting down"):
        Queued(served, time.monotonic()).answer(questions)


def test_the_queue_holds_raw_rows_until_they_are_corrected(client):
    found = client.get("/v1/next", params={"model": "mails"}).json()
    assert found["left"] == 3
    assert {each["row"]["text"] for each in found["rows"]} == {row["text"] for row in RAW if "label" not in row}
    assert all(0 < each["unsure"] <= 1 and each["answer"] for each in found["rows"])
    row = json.loads(json.dumps(RAW[0]).replace("1.0", "1"))  # as a browser writes it
    assert posted(client, "/v1/corrections", key="k", model="mails", row=row, correction="delivery").status_code == 201
    found = client.get("/v1/next", params={"model": "mails", "n": 1}).json()
    assert found["left"] == 2
    assert len(found["rows"]) == 1
    assert found["rows"][0]["row"]["text"] != RAW[0]["text"]
    assert client.get("/v1/next", params={"model": "odd"}).status_code == 404


def test_rows_are_remembered_where_that_is_asked_for(client, folders, tmp_path):
    for number in range(5):
        posted(client, "/v1/answer", model="names", row={"text": f"Ada {number}"})
    found = client.get("/v1/next", params={"model": "names"}).json()
    assert sorted(each["row"]["text"] for each in found["rows"]) == ["Ada 2", "Ada 3", "Ada 4"]
    (tmp_path / "other").mkdir()
    with serving({"names": str(folders / "names")}, tmp_path / "other") as other:
        posted(other, "/v1/answer", row={"text": "Ada"})
        assert other.get("/v1/next").json()["left"] == 0


def test_a_remembered_row_is_never_taken_for_a_file(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound = Path(lowrung.__file__).parent / "tasks" / "speech-sample.wav"
    shutil.copy(sound, "abcd")  # a name that is base64, too
    assert posted(client, "/v1/answer", model="hearer", row={"audio": "abcd"}).status_code == 422
    told = base64.b64encode(sound.read_bytes()).decode()
    assert posted(client, "/v1/answer", model="hearer", row={"audio": told}).status_code == 200
    (row,) = client.get("/v1/next", params={"model": "hearer"}).json()["rows"]
    assert row["row"] == {"audio": told}


def test_raw_sounds_go_over_the_wire(tmp_path):
    sound = Path(lowrung.__file__).parent / "tasks" / "speech-sample.wav"
    with serving({"hearer": "hearer"}, tmp_path, raw={"hearer": [{"audio": str(sound), "end": 0.5}]}) as client:
        (found,) = client.get("/v1/next").json()["rows"]
        assert base64.b64decode(found["row"]["audio"]) == sound.read_bytes()
        assert posted(client, "/v1/corrections", key="k", row=found["row"], correction="ding").status_code == 201
        assert client.get("/v1/next").json() == {"model": "hearer", "version": "hearer", "left": 0, "rows": []}


def test_versions_are_told_promoted_and_rolled_back(client):
    found = client.get("/v1/versions", params={"model": "mails"}).json()
    told = sorted(found["versions"], key=lambda each: each["current"])
    assert [(each["method"], each["rows"]) for each in told] == [("majority", 12), ("ngrams", 12)]
    first, second = (each["version"] for each in told)
    assert [(each["from"], each["to"]) for each in found["history"]] == [(first, second)]
    for wrong in ("odd", "../mails", "/etc", f"{first}/../{first}", ""):
        assert posted(client, "/v1/promote", model="mails", version=wrong).status_code == 422
    told = json.dumps({"model": "mails", "version": first}).encode()
    for kind in ({"Content-Type": "text/plain"}, {}):  # as another page may send it without being asked
        assert client.post("/v1/promote", content=told, headers=kind).status_code == 415
    assert posted(client, "/v1/rollback", model="mails").json() == {"model": "mails", "from": second, "to": first}
    assert posted(client, "/v1/promote", model="mails", version=second).json()["to"] == second
    assert posted(client, "/v1/rollback", model="names").status_code == 422
    assert client.get("/v1/versions", params={"model": "mender"}).status_code == 404


def test_the_curve_is_told_where_there_is_one(still):
    for name, left_out in (("mails", 0), ("names", 1)):
        found = still.get("/v1/curve", params={"model": name})
        assert found.status_code == (404 if left_out else 200)
    assert len(still.get("/v1/curve", params={"model": "mails"}).json()["summary"]) == 4


def test_a_candidate_may_be_named_in_a_correction():
    from lowrung.serving.store import gold_columns

    task = lowrung.task("pronoun")
    row = {name: task.sample[name] for name in task.columns}
    assert gold_columns(task, row, "Grace") == {"referent": 1}
    assert gold_columns(task, row, task.question(row).options[-1]) == {"referent": None}


def test_raw_files_belong_to_models():
    assert raw_of(["mails=a=b.jsonl"], ["mails", "names"]) == {"mails": "a=b.jsonl"}
    assert raw_of(["a=b.jsonl"], ["mails"]) == {"mails": "a=b.jsonl"}
    with pytest.raises(LowrungError, match="NAME=FILE"):
        raw_of(["b.jsonl"], ["mails", "names"])
    assert digest({"a": [1.0, {"b": "😀"}]}) == digest({"a": [1, {"b": "😀"}]}) != digest({"a": [1.5, {"b": "😀"}]})


# --- in Chromium


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt install chromium)")
    given = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with api.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=given)
        yield made
        made.close()


@pytest.fixture
def page(browser, still):
    with opened(browser, still) as made:
        yield made


@contextmanager
def opened(browser, client, **given):
    """The page, which may ask for nothing from elsewhere and may not fail by itself."""
    context = browser.new_context(permissions=["microphone"], **given)
    context.set_default_timeout(20_000)
    made, failed = context.new_page(), []
    made.on("pageerror", lambda problem: failed.append(str(problem)))
    made.on("console", lambda told: failed.append(told.text) if "Content Security" in told.text else None)
    home = str(client.base_url).rstrip("/")
    made.on(
        "request", lambda asked: None if asked.url.startswith((home, "data:", "blob:")) else failed.append(asked.url)
    )
    made.goto(home)
    yield made
    assert failed == []
    assert made.title() == "lowrung"
    context.close()


def turn(page, name):
    page.select_option("#model", name)
    page.wait_for_function("name => document.querySelector('#about').textContent.startsWith(name)", arg=TASKS[name])
    page.wait_for_selector("#fields textarea, #fields input")


TASKS = {"mails": "topic ·", "names": "entities ·", "mender": "spelling ·", "hearer": "speech ·", "first": "pronoun ·"}


def ask(page, text):
    page.fill("#field-text", text)
    page.press("#field-text", "Control+Enter")
    page.wait_for_selector("#answer:not([hidden]) #said > *")


def corrections(client):
    """The newest one first."""
    return client.get("/v1/corrections", params={"newest": True}).json()["corrections"]


def kept(page):
    page.wait_for_function("() => document.querySelector('#kept').textContent.startsWith('Kept')")


def test_all_of_it_works_by_the_keyboard(page, still):
    def tab_to(selector):
        for _ in range(40):
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(selector)

    page.wait_for_selector("#queue button")
    tab_to("#field-text")
    page.keyboard.type("the invoice")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".bars .chosen")
    assert page.inner_text(".bars .chosen .name") == "✓ billing"
    assert re.fullmatch(r"\d+\.\d%", page.inner_text(".bars .chosen .share"))
    assert "billing" in page.inner_text("#told")
    tab_to("#why")
    page.keyboard.press("Enter")
    page.wait_for_selector("#because .for")
    assert page.inner_text("#because .for >> nth=0") == "invoice"
    tab_to("#choices input")
    page.keyboard.press("2")
    chosen = page.input_value("#choices input:checked")
    page.keyboard.press("Control+Enter")
    kept(page)
    found = corrections(still)[0]
    assert (found["row"], found["correction"]) == ({"text": "the invoice"}, {"label": chosen})
    assert (found["answer"], found["source"]) == ("billing", "page")
    assert chosen != "billing"
    tab_to("#queue button")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_queue_is_walked_with_one_key_a_row(browser, client):
    with opened(browser, client) as page:
        page.focus("#queue button >> nth=0")
        page.keyboard.press("j")
        page.wait_for_selector("#queue [aria-current]")
        texts = page.locator("#queue .row-text").all_inner_texts()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("k")
        assert page.inner_text("#queue [aria-current] .row-text") == texts[0]
        for done in range(1, 4):
            page.keyboard.press("1")
            page.wait_for_function("left => document.querySelectorAll('#queue button').length === left", arg=3 - done)
        page.wait_for_function("() => document.querySelector('#next-hint').textContent.startsWith('No row')")
        assert [each["row"]["text"] for each in corrections(client)] == texts[::-1]
        assert client.get("/v1/next", params={"model": "mails"}).json()["left"] == 0


TEXT = "😀 Ada 👩‍👩‍👧 住在北京, Paris."


def test_spans_are_drawn_by_the_keyboard(page, still):
    turn(page, "names")
    ask(page, TEXT)
    page.wait_for_selector("#marking")
    for _ in range(page.locator("#choices .spans button").count()):
        page.click("#choices .spans button >> nth=0")
    page.focus("#marking")
    page.keyboard.press("Control+Home")
    for _ in range(len("😀 Ada x 住在")):  # a family is one step
        page.keyboard.press("ArrowRight")
    for _ in "北京":
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("1")
    page.keyboard.press("x")  # no letter gets in
    assert page.inner_text("#marking mark") == "北京"
    page.keyboard.press("Control+Enter")
    kept(page)
    at = TEXT.index("北京")
    assert corrections(still)[0]["correction"] == {"spans": [{"start": at, "end": at + 2, "label": "LOC"}]}
    assert corrections(still)[0]["row"] == {"text": TEXT}
    page.keyboard.press("Delete")  # the cursor stands behind the piece
    assert page.locator("#marking mark").count() == 0
    assert page.text_content("#marking") == TEXT


def test_spans_are_drawn_by_the_mouse(page, still):
    turn(page, "names")
    ask(page, TEXT)
    for _ in range(page.locator("#choices .spans button").count()):
        page.click("#choices .spans button >> nth=0")
    box = page.evaluate(
        """() => { const node = document.querySelector('#marking').firstChild, range = document.createRange();
        range.setStart(node, 3); range.setEnd(node, 6); const box = range.getBoundingClientRect();
        return [box.left, box.right, (box.top + box.bottom) / 2]; }"""
    )
    page.mouse.move(box[0] + 1, box[2])
    page.mouse.down()
    page.mouse.move(box[1] - 1, box[2], steps=4)
    page.mouse.up()
    page.click("#choices button:has-text('PER')")
    assert page.inner_text("#marking mark") == "Ada"
    page.click("#correction .first")
    kept(page)
    assert corrections(still)[0]["correction"] == {"spans": [{"start": 2, "end": 5, "label": "PER"}]}


def test_a_text_is_corrected_and_its_mends_say_what_they_were(page, still):
    turn(page, "mender")
    ask(page, "😀 teh end")
    assert page.inner_text("#said del") == "teh"
    assert page.inner_text("#said ins") == "the"
    page.fill("#right-text", "😀 The end")
    page.press("#right-text", "Control+Enter")
    kept(page)
    assert corrections(still)[0]["correction"] == {"correct": "😀 The end"}


def test_places_are_taken_from_the_selected_text(page, still):
    turn(page, "first")
    text = "😀 Ada met Grace, and she left."
    for column, words in (("pronoun", ["she"]), ("candidates", ["Ada", "Grace"])):
        page.fill("#field-text", text)
        page.fill(f"#field-{column}", "")
        for word in words:
            units = len(text[: text.index(word)].encode("utf-16-le")) // 2
            page.evaluate(
                "([start, end]) => document.querySelector('#field-text').setSelectionRange(start, end)",
                [units, units + len(word)],
            )
            page.click(f"#field-{column} + button")
    page.click("#ask .first")
    page.wait_for_selector(".bars .chosen")
    page.focus("#choices input:checked")
    page.keyboard.press("2")
    page.keyboard.press("Control+Enter")
    kept(page)
    found = corrections(still)[0]
    assert found["row"] == {"text": text, "pronoun": [21, 24], "candidates": [[2, 5], [10, 15]]}
    assert found["correction"] == {"referent": 1}


def test_a_recording_is_made_and_heard(page, still):
    turn(page, "hearer")
    page.click("button:text-is('Record')")
    page.wait_for_selector("button:text-is('Stop recording')")
    page.wait_for_timeout(600)
    page.click("button:text-is('Stop recording')")
    page.wait_for_selector("#fields audio")
    page.click("#ask .first")
    page.wait_for_selector("#said .timed")
    assert float(page.inner_text("#said .timed small").split("–")[1].removesuffix(" s")) > 0.3
    page.click("#correction .first")
    kept(page)
    held = corrections(still)[0]["row"]["audio"].partition(",")[2]
    assert base64.b64decode(held)[:4] == b"RIFF"


def test_words_are_shown_while_they_are_said(browser, tmp_path):
    sound = Path(lowrung.__file__).parent / "tasks" / "speech-sample.wav"
    given = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    said = [*given, f"--use-file-for-fake-audio-capture={sound}"]
    hearing = browser.browser_type.launch(executable_path=CHROMIUM, args=said)
    key = keys.made(tmp_path / "keys.txt", "ada")
    known = keys.read(tmp_path / "keys.txt")
    with serving({"speech": "speech"}, tmp_path, known=known) as client, opened(hearing, client) as page:
        page.fill("#key-value", key)
        page.keyboard.press("Enter")
        page.click("button:text-is('Record')")
        page.wait_for_function("() => document.querySelector('#fields .heard')?.textContent.length > 8")
        page.click("button:text-is('Stop recording')")
        page.wait_for_selector("#fields audio")
        page.click("#ask .first")
        page.wait_for_selector("#said .timed")
    hearing.close()


def test_no_text_becomes_markup(page):
    page.wait_for_selector("#queue button")
    ask(page, EVIL)
    page.click("#why")
    page.wait_for_selector("#because .text")
    assert page.inner_text("#because .text >> nth=0") == EVIL
    turn(page, "names")
    ask(page, EVIL)
    assert page.text_content("#marking") == EVIL
    assert page.locator("img").count() == 0


def test_a_correction_that_was_answered_by_nobody_is_sent_again_and_kept_once(page, still):
    sent = []

    def lost(route):
        sent.append(json.loads(route.request.post_data)["key"])
        if len(sent) == 1:
            route.fetch()  # it arrives, and its answer does not
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/corrections", lost)
    ask(page, "the parcel")
    page.click("#correction .first")
    kept(page)
    assert sent[0] == sent[1]
    assert [each["key"] for each in corrections(still)].count(sent[0]) == 1
    assert corrections(still)[0]["row"] == {"text": "the parcel"}


def test_a_late_acknowledgement_is_of_its_own_row(browser, client):
    """Another row is opened before the first answer of the service arrives; nothing is mixed up or lost."""
    with opened(browser, client) as page:
        sent = []

        def later(route):
            sent.append(json.loads(route.request.post_data))
            if len(sent) == 1:
                page.locator("#queue button").nth(1).click()
                route.abort()
            else:
                route.continue_()

        page.route("**/v1/corrections", later)
        page.locator("#queue button").nth(0).click()
        page.wait_for_selector("#queue [aria-current]")
        texts = page.locator("#queue .row-text").all_inner_texts()
        page.click("#correction .first")
        page.wait_for_function("() => document.querySelectorAll('#queue button').length === 2")
        assert sent[0]["key"] == sent[1]["key"]
        assert [each["row"]["text"] for each in corrections(client)] == [texts[0]]
        assert page.inner_text("#queue [aria-current] .row-text") == texts[1]


def test_what_is_typed_is_not_the_row_of_the_queue(browser, client):
    with opened(browser, client) as page:
        page.locator("#queue button").nth(0).click()
        page.wait_for_selector("#queue [aria-current]")
        ask(page, "the courier came late")
        page.wait_for_function("() => !document.querySelector('#queue [aria-current]')")
        page.focus("#queue button >> nth=0")
        page.keyboard.press("1")
        assert corrections(client) == []


def test_a_version_is_rolled_back_after_a_yes(browser, client):
    with opened(browser, client) as page:
        page.wait_for_selector("#versions table")
        before = client.get("/v1/models").json()["models"][0]
        page.click("text=Roll back")
        page.keyboard.press("Escape")
        assert not page.is_visible("#sure")
        page.click("#versions button:has-text('Promote')")
        page.click("#sure button[value=yes]")
        page.wait_for_function("() => document.querySelector('#placed').textContent.endsWith('answers now.')")
        after = client.get("/v1/models").json()["models"][0]
        assert (before["method"], after["method"]) == ("ngrams", "majority")
        assert "majority" in page.inner_text("#about")


CONTRAST = """() => {
  const parsed = (colour) => { const found = colour.match(/[\\d.]+/g).map(Number); return [...found.slice(0, 3), found[3] ?? 1]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((each, at) => each * a + under[at] * (1 - a));
  const light = (rgb) => { const [r, g, b] = rgb.map((each) => { const share = each / 255; return share <= .04045 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const holder = node.parentElement;
    if (!node.data.trim() || !holder.checkVisibility() || holder.closest('.visually-hidden, option')) continue;
    const chain = [];
    for (let each = holder; each; each = each.parentElement) chain.unshift(parsed(getComputedStyle(each).backgroundColor));
    const paper = chain.reduce((under, each) => over(each, under), [255, 255, 255]);
    const style = getComputedStyle(holder);
    for (const colour of [holder instanceof SVGElement ? style.fill : style.color, ...(holder.matches('mark') ? [getComputedStyle(holder, '::after').color] : [])]) {
      const [one, two] = [light(over(parsed(colour), paper)), light(paper)].sort((a, b) => b - a);
      found.push([(one + .05) / (two + .05), node.data]);
    }
  }
  return found;
}"""  # noqa: E501


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(browser, still, scheme):
    points = [
        {"at": f"2026-01-0{at}", "kind": "answers", "value": at / 9, "p": 0.5, "alarm": at == 3} for at in range(1, 5)
    ]
    with opened(browser, still, viewport={"width": 360, "height": 700}, color_scheme=scheme) as page:
        page.route("**/v1/drift", lambda route: route.fulfill(json={"drift": {"mails": points}}))
        page.reload()
        page.wait_for_selector("#curve svg")
        page.wait_for_selector("#drift .alarm")
        page.wait_for_selector("#versions table")
        ask(page, "the invoice " + "w" * 80)
        page.click("#why")
        page.wait_for_selector("#because .for")
        for name in TASKS:
            turn(page, name)
            if name != "hearer":
                ask(page, "Ada " + "teh " * 30)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            found = page.evaluate(CONTRAST)
            assert len(found) > 5
            assert min(found)[0] >= 4.5, min(found)


def test_a_key_is_asked_for_and_forgotten_with_the_tab(browser, folders, tmp_path):
    key = keys.made(tmp_path / "keys.txt", "ada")
    known = keys.read(tmp_path / "keys.txt")
    models = {"mails": str(folders / "mails")}
    with serving(models, tmp_path, known=known) as client, opened(browser, client) as page:
        page.fill("#key-value", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#key-value').value === ''")
        page.fill("#key-value", key)
        page.keyboard.press("Enter")
        page.wait_for_selector("#fields textarea")
        ask(page, "the invoice")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert page.evaluate("sessionStorage.getItem('lowrung-key')") == key


def test_places_are_counted_as_the_service_counts_them(page):
    for text in (TEXT, "", "abc", "👩‍👩‍👧👩‍👩‍👧", "e\u0301x", "𠮷野家", "مرحبا 😀 بك", "\r\n😀\t"):
        units = [len(text[:at].encode("utf-16-le")) // 2 for at in range(len(text) + 1)]
        script = """async ([text, points, units]) => {
        const { unitsOf, pointsOf, piece } = await import("/page/offsets.js");
        return [points.map((at) => unitsOf(text, at)), units.map((at) => pointsOf(text, at)),
          points.map((at) => piece(text, at, at + 1))]; }"""
        points = list(range(len(text) + 1))
        assert page.evaluate(script, [text, points, units]) == [units, points, [text[at : at + 1] for at in points]]
    halves = page.evaluate("async () => (await import('/page/offsets.js')).trimmed('a 😀 b', 3, 5)")
    assert halves == [2, 3]  # half a letter is taken for the whole
