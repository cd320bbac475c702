"""entities: the names in a text, as labelled spans."""

from collections.abc import Sequence

from lowrung.core.answers import Span, Spans
from lowrung.core.errors import DataError, unknown
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, text_given
from lowrung.metrics.spans import SPANS


def ask(row: Row) -> Question:
    """`before` is what was said or asked before the text, for models to read with it; spans lie in the text alone."""
    if isinstance(row.get("text"), str):
        text: str = row["text"]
    elif row.get("text") is not None:
        raise DataError(f"'text' holds text, not {row['text']!r}")
    else:
        text, _ = joined(row.get("tokens"))
    if not text.strip():
        raise DataError("column 'text' is empty")
    return Question((text, *text_given(row, "before")))


def golds(row: Row) -> tuple[Spans, ...]:
    if row.get("spans") is not None:
        return (_from_spans(row),)
    if row.get("tags") is not None:
        return (_from_tags(row),)
    return ()


def joined(tokens: object, text: str | None = None) -> tuple[str, list[tuple[int, int]]]:
    """The text of `tokens` (joined by blanks, or found in order in `text`) and where each token lies."""
    if isinstance(tokens, str):
        raise DataError(f"'tokens' holds a list of tokens, not {tokens!r:.60}")
    if not isinstance(tokens, Sequence) or not tokens:
        raise DataError("a row needs 'text', or 'tokens' with at least one token")
    if not all(isinstance(token, str) and token for token in tokens):
        raise DataError(f"'tokens' holds non-empty texts, not {list(tokens)[:4]!r}")
    if text is None:
        text = " ".join(tokens)
    places, at = [], 0
    for token in tokens:
        at = text.find(token, at)
        if at < 0:
            raise DataError(f"token {token!r} does not follow in 'text'")
        places.append((at, at + len(token)))
        at += len(token)
    return text, places


def _from_spans(row: Row) -> Spans:
    text, found = ask(row).text, []
    if not isinstance(row["spans"], Sequence) or isinstance(row["spans"], str):
        raise DataError(f"'spans' holds a list of spans, not {row['spans']!r}")
    for each in row["spans"]:
        try:
            span = Span(int(each["start"]), int(each["end"]), str(each["label"]))
        except (KeyError, TypeError, ValueError) as problem:
            shape = '{"start": 0, "end": 4, "label": "PER"} with start < end'
            raise DataError(f"a span looks like {shape}, not {each!r}") from problem
        if span.end > len(text):
            raise DataError(f"span {span.start}-{span.end} ends after the text does ({len(text)} characters)")
        found.append(span)
    try:
        return Spans(tuple(found))
    except ValueError as problem:
        raise DataError(str(problem)) from problem


def _from_tags(row: Row) -> Spans:
    _, places = joined(row.get("tokens"), row.get("text"))
    tags = row["tags"]
    if isinstance(tags, str):
        raise DataError(f"'tags' holds a list of tags, not {tags!r:.60}")
    if not isinstance(tags, Sequence) or len(tags) != len(places):
        number = len(tags) if isinstance(tags, Sequence) else "no"
        raise DataError(f"{len(places)} tokens but {number} tags")
    return Spans(tuple(spans_of_tags(tags, places)))


def spans_of_tags(tags: Sequence[str], places: Sequence[tuple[int, int]]) -> list[Span]:
    """IOB2 tags → spans. An I- that continues nothing starts a span, as conlleval reads it."""
    found: list[Span] = []
    before = "O"
    for tag, (start, end) in zip(tags, places, strict=True):
        kind, _, label = tag.partition("-") if isinstance(tag, str) else ("", "", "")
        if kind not in ("B", "I", "O") or (kind == "O") != (label == ""):
            raise DataError(unknown("tag", tag, ("O", "B-<label>", "I-<label>")))
        if kind == "I" and before in (f"B-{label}", f"I-{label}"):
            found[-1] = Span(found[-1].start, end, label)
        elif kind != "O":
            found.append(Span(start, end, label))
        before = tag
    return found


TASK = Task(
    name="entities",
    about="the names in a text (people, places, organisations or labels of your own) as spans",
    answer=Spans,
    columns=("text", "tokens", "before"),
    ask=ask,
    golds=golds,
    metrics=SPANS,
    sample={
        "text": "Ada Lovelace lived in London.",
        "spans": [{"start": 0, "end": 12, "label": "PER"}, {"start": 22, "end": 28, "label": "LOC"}],
    },
    # codes that stand in most public data sets for these words
    meanings={
        "PER": "person",
        "ORG": "organization",
        "LOC": "location",
        "GPE": "country or city",
        "MISC": "miscellaneous name",
        "FAC": "building",
        "NORP": "nationality or group",
    },
)
