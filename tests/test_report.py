"""The table, the page and the card of a study: what they promise whatever a study holds."""

import re
import sys
from copy import deepcopy
from html.parser import HTMLParser
from io import StringIO
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from lowrung.core.errors import LowrungError
from lowrung.run import report
from lowrung.run.report import card, html, table


def made(methods: tuple[str, ...] = ("zero-shot", "majority", "probe"), labels: tuple[int, ...] = (0, 8, 32)) -> Any:
    """A study's JSON in which each method is 0.1 better than the one before it."""
    summary, cells = [], []
    for at, method in enumerate(methods):
        for number in labels:
            if (number == 0) != (method == "zero-shot"):
                continue
            for metric in ("accuracy", "mcc"):
                value = 0.4 + 0.1 * at
                line = {"method": method, "labels": number, "metric": metric, "value": value}
                summary.append({**line, "low": value - 0.05, "high": value + 0.05})
            cells.append({"method": method, "labels": number, "seed": 0, "fit_seconds": 130.0, "answer_seconds": 0.5})
    shipped = methods[-1]
    return {
        "task": "topic",
        "cells": cells,
        "summary": summary,
        "gate": {
            "shipped": shipped,
            "original": "zero-shot",
            "winner": shipped,
            "labels": labels[-1],
            "probability_better": 0.991,
            "reason": f"{shipped} ships because of the reasons.",
        },
        "sentence": "zero-shot up to about 3 labels, probe from there",
        "metric": "accuracy",
        "model": "minilm",
        "checksum": "c0ffee",
        "options": ["refund", "delivery"],
        "rows": {"learn": 40, "test": 60, "folds": 0},
        "seeds": 2,
        "confidence": 0.95,
        "per_label": {
            name: {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 30} for name in ("refund", "delivery")
        },
        "mistakes": [{"id": "t1", "text": "Where is it?", "gold": "delivery", "answer": "refund", "confidence": 0.9}],
        "classes": {"refund": 20, "delivery": 20},
        "fingerprint": "fade",
        "versions": {"lowrung": "0.1.0"},
        "date": "2026-01-02T03:04:05+00:00",
        "sizes": {shipped: 2_000_000},
    }


def shown(study: Any) -> str:
    console = Console(file=StringIO(), width=120, force_terminal=True, color_system="standard")
    console.print(table(study))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


class Page(HTMLParser):
    """What is open and what was seen; an end without its beginning fails."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag]


def test_the_table_has_a_row_a_method_and_a_column_a_number_of_labels() -> None:
    found = table(made())
    assert [str(column.header) for column in found.columns] == ["method", "0", "8", "32", "fit"]
    assert found.row_count == 3
    lines = shown(made())
    assert "0.600 ±0.050" in lines
    assert "2.2 min" in lines


def test_the_best_of_a_column_is_bold_and_the_others_are_not() -> None:
    bold = re.findall(r"\x1b\[1m *(0\.\d+ ±0\.\d+)", shown(made()))
    assert bold == ["0.600 ±0.050", "0.600 ±0.050"]


def test_the_best_is_the_lowest_where_lower_is_better() -> None:
    bold = re.findall(r"\x1b\[1m *(0\.\d+ ±0\.\d+)", shown({**made(), "higher_is_better": False}))
    assert bold == ["0.500 ±0.050", "0.500 ±0.050"]


def test_the_best_of_another_metric_goes_by_its_own_direction() -> None:
    study = made(methods=("zero-shot", "majority", "probe"), labels=(0, 8))
    for line in study["summary"]:
        line["higher_is_better"] = line["metric"] != "mcc"
    grids = {metric: report._grid(report._checked(study), metric)["by"] for metric in ("accuracy", "mcc")}
    assert [grids["accuracy"][name, 8]["best"] for name in ("majority", "probe")] == [False, True]
    assert [grids["mcc"][name, 8]["best"] for name in ("majority", "probe")] == [True, False]


def test_a_lopsided_interval_is_told_by_its_ends() -> None:
    study = made()
    for line in study["summary"]:
        line |= {"value": 1.0, "low": 0.9, "high": 1.0}
    assert "1.000 [0.90–1.00]" in shown(study)


def test_the_page_is_well_formed_and_asks_for_nothing_from_outside() -> None:
    text = html(made())
    page = Page(text)
    assert page.open == []
    assert {"link", "script", "img", "iframe", "object"} & {tag for tag, _ in page.tags} == set()
    assert "http" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in text


def test_the_page_names_each_thing_once() -> None:
    ids = [found["id"] for _, found in Page(html(made())).tags if "id" in found]
    assert len(ids) == len(set(ids))
    text = html(made())
    assert (
        set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
        - {(one, "") for one in ids}
        - {("", one) for one in ids}
        == set()
    )


def test_every_picture_is_told_in_words_and_every_table_has_a_caption() -> None:
    text = html(made())
    page = Page(text)
    pictures = [found for found in page.all("svg") if found.get("role") == "img"]
    assert len(pictures) == 2
    assert text.count("<title id=") == 2
    assert "probe 0.600 at 32" in page.words
    assert len(page.all("caption")) == len(page.all("table")) >= 4


def test_the_pictures_are_sound_and_take_their_colours_from_the_page() -> None:
    for picture in re.findall(r'<svg class="(?:wide|narrow)".*?</svg>', html(made()), flags=re.S):
        ElementTree.fromstring(picture.replace("xlink:href", "href"))
        assert re.search(r"var\(--m\d\)", picture)
        assert "#0a0b" not in picture


def test_the_page_says_the_decision_the_numbers_and_where_they_come_from() -> None:
    words = " ".join(Page(html(made())).words.split())
    for said in (
        "probe ships because of the reasons.", "zero-shot up to about 3 labels, probe from there", "0.991",
        "60 test rows", "c0ffee", "fade", "lowrung 0.1.0", "2026-01-02", "Where is it?", "2.0 MB",
        "2.2 min", "Seeds 0 to 1",
    ):  # fmt: skip
        assert said in words


WILD = [
    '<script>alert(1)</script> & "it\'s"',
    "متى تصل طلبيتي؟",
    "我的订单什么时候到？",
    "so good 😍👩‍👩‍👧🇮🇸",
    "{{ 7*7 }}{% raw %}",
]


@pytest.mark.parametrize("text", WILD)
def test_any_text_and_label_arrive_as_they_are(text: str) -> None:
    study = made()
    study["mistakes"] = [{"id": text, "text": text, "gold": text, "answer": None, "confidence": 0.5}]
    study["options"], study["classes"] = [text, "other"], {text: 3, "": 2}
    study["per_label"] = {text: {"precision": 0.1, "recall": 0.1, "f1": 0.1, "support": 3}}
    page = Page(html(study))
    assert page.words.count(text) == 5  # id, text, gold, per label, class
    assert page.all("script") == []
    assert text in card(study)


def test_spans_are_marked_in_the_text_and_told_apart() -> None:
    study = {**made(), "task": "entities"}
    text = "Ana met Bo & Cy in Rome"
    gold = [{"start": 0, "end": 3, "label": "PER"}, {"start": 19, "end": 23, "label": "LOC"}]
    said = [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 10, "label": "PER"}]
    study["mistakes"] = [{"id": "e1", "text": text, "gold": gold, "answer": said, "confidence": 0.9}]
    marks = re.findall(r'<mark class="(\w+)">([^<]*)<small>(\w+)', html(study))
    assert marks == [("both", "Ana", "PER"), ("missed", "Rome", "LOC"), ("both", "Ana", "PER"), ("wrong", "Bo", "PER")]


def test_a_long_text_is_cut_around_what_went_wrong() -> None:
    study = {**made(), "task": "entities"}
    text = "a " * 3000 + "Rome" + " b" * 3000
    spans = [{"start": 6000, "end": 6004, "label": "LOC"}]
    study["mistakes"] = [{"id": "e1", "text": text, "gold": spans, "answer": [], "confidence": 0.9}]
    found = html(study)
    assert '<mark class="missed">Rome<small>LOC' in found
    assert len(found) < len(html(made())) + 2500


def test_many_labels_do_not_make_a_long_page() -> None:
    study, names = made(), [f"label_{at:02}" for at in range(77)]
    study["options"], study["classes"] = names, dict.fromkeys(names, 3)
    study["per_label"] = {
        name: {"precision": 0.5, "recall": 0.5, "f1": at / 100, "support": 1} for at, name in enumerate(names)
    }
    page = html(study)
    assert re.findall(r'class="label"><bdi>([^<]+)', page) == names[:20]  # the weakest
    assert "57 better ones are left out" in page
    assert "and 37 more" in card(study)


@pytest.mark.parametrize(
    "methods", [("zero-shot",), ("zero-shot", "probe"), ("zero-shot", "a", "b", "c", "d", "e", "f", "g", "$h^$")]
)
@pytest.mark.parametrize("labels", [(0, 1), (0, 5, 6, 7, 8, 9, 100, 100_000)])
def test_any_number_of_methods_and_labels_is_drawn(methods: tuple[str, ...], labels: tuple[int, ...]) -> None:
    study = made(methods, labels)
    assert Page(html(study)).open == []
    assert methods[-1] in shown(study)
    assert f"# topic, {methods[-1]}" in card(study)


def test_an_old_study_is_shown_as_far_as_it_goes() -> None:
    whole = made()
    old = {key: whole[key] for key in ("task", "summary")} | {"gate": {"shipped": "probe", "reason": "so."}}
    assert "so." in html(old)
    assert "0.600" in shown(old)
    assert "checksum" not in card(old)


@pytest.mark.parametrize("key", ["task", "summary", "gate"])
def test_a_study_without_what_matters_is_refused(key: str) -> None:
    study = made()
    del study[key]
    for show in (table, html, card):
        with pytest.raises(LowrungError, match=f"needs '{key}'"):
            show(study)


def test_a_damaged_study_is_refused() -> None:
    study = deepcopy(made())
    del study["summary"][0]["low"]
    with pytest.raises(LowrungError, match="damaged"):
        table(study)


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(LowrungError, match=re.escape("pip install 'lowrung[report]'")):
        html(made())


def test_the_card_has_what_a_hub_reads_and_how_to_use_it() -> None:
    text = card(made())
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert head.splitlines()[:2] == ["library_name: lowrung", "pipeline_tag: text-classification"]
    assert "license" not in head
    for said in (
        "| accuracy | 0.600 [0.550–0.650] | 0.400 [0.350–0.450] |",
        "60 test rows",
        "c0ffee",
        "`refund`",
        "lowrung answer DIR",
    ):
        assert said in body
    assert "None" not in text


def test_the_card_of_an_untouched_model_does_not_boast() -> None:
    study = made()
    study["gate"] |= {"shipped": "zero-shot", "reason": "the untouched model ships: not shown to be better."}
    text = card(study)
    assert "learnt from none of them" in text
    assert "| accuracy | 0.400 [0.350–0.450] |\n" in text


def test_cross_validation_is_told_as_such() -> None:
    study = {**made(), "rows": {"learn": 40, "test": 0, "folds": 5}}
    for text in (html(study), card(study)):
        assert "5-fold cross-validation" in text
        assert "test rows that" not in text
