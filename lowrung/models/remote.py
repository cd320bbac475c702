"""A model behind an OpenAI-compatible endpoint: a question in words, an answer read out of the words that come back."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lowrung.core.answers import Answer, Choice, Choices, Prediction, Spans, Text, parse
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Task
from lowrung.data.replies import Replies
from lowrung.models.endpoint import Bill, Endpoint, Reply, Spent, Terms
from lowrung.models.wording import WORDING, given, instructed, plain, room

SHAPES: Mapping[str, type[Any]] = {each.__name__: each for each in (Text, Choice, Choices, Spans)}
UNKNOWN = 0.5  # the confidence of an answer whose server tells no log-probabilities
ROOM = 64  # tokens that an answer may have beside its words


@dataclass(frozen=True, slots=True)
class Origin:
    """Where answers come from, as written into a shipped folder."""

    name: str
    checksum: str


def is_remote(name: str | Path) -> bool:
    """Whether a model's name is the address of an endpoint."""
    return str(name).lower().startswith(("http://", "https://"))


def address(name: str) -> tuple[str, str]:
    """(url, name of the model there) of `http://host:port/v1#name`.

    Raises:
        ModelError: it is no such address, or it holds a password or a query, which would be written into folders.
    """
    url, _, model = name.partition("#")
    shape = "an endpoint is http://host:port/v1#name, with the name of a model there"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as problem:
        raise ModelError(f"{shape}: {problem}") from None
    if parts.username or parts.password or parts.query:
        raise ModelError("an endpoint's address holds no password and no query; LOWRUNG_API_KEY holds the key")
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or not model.strip():
        raise ModelError(f"{shape}, not {name!r}")
    return url.rstrip("/"), model.strip()


@dataclass
class Remote:
    """A Model: texts and options go out in words, and what comes back is read by `core.answers.parse`.

    What cannot be read, was cut short or was refused is no answer. The confidence is the probability that the server
    gives to the words of its answer, `UNKNOWN` where it tells none. Each answer is stored on disk as it comes, by
    address, name, settings and prompt, and is not asked for again.

    Args:
        url: up to and with /v1. name: of the model there.
        answer_shape: Text, Choice, Choices or Spans.
        about: what is to be done, for questions without an instruction.
        terms: how the endpoint is asked. store: where answers are kept, None for lowrung's caches.
        watch: called with (rows answered, of how many) as answers come.

    Raises:
        ModelError: the address is none.
    """

    url: str
    name: str
    answer_shape: type[Any] = Choice
    about: str = ""
    terms: Terms = field(default_factory=Terms)
    store: str | Path | None = None
    watch: Callable[[int, int], None] | None = None
    bill: Bill = field(default_factory=Bill, init=False)

    def __post_init__(self) -> None:
        self.url, self.name = address(f"{self.url}#{self.name}")
        self._endpoint = Endpoint(self.url, self.terms)

    @property
    def source(self) -> Origin:
        settings = {**self.facts(), "wording": WORDING}
        told = json.dumps(settings, sort_keys=True, ensure_ascii=False)
        return Origin(f"{self.url}#{self.name}", hashlib.sha256(told.encode("utf-8", "replace")).hexdigest())

    def facts(self) -> dict[str, Any]:
        """What a shipped folder says of it; `of_facts` reads it back."""
        return {
            "kind": "remote",
            "url": self.url,
            "name": self.name,
            "answer": self.answer_shape.__name__,
            "about": self.about,
            "most_tokens": self.terms.most_tokens,
        }

    def on(self, terms: Terms, watch: Callable[[int, int], None] | None = None) -> Remote:
        """The same model, asked on these terms."""
        most_tokens = terms.most_tokens or self.terms.most_tokens
        return replace(self, terms=replace(terms, most_tokens=most_tokens), watch=watch)

    def asked_for(self, answer_shape: type[Any], about: str = "") -> Remote:
        """The same endpoint within the same limit and on the same bill, for answers of another shape."""
        made = replace(self, answer_shape=answer_shape, about=about)
        made.bill, made._endpoint = self.bill, self._endpoint
        return made

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """One prediction a question, in order.

        Raises:
            ModelError: a question gives no text, the endpoint cannot be asked (see models.endpoint), or refuses all.
            Spent: the limit of cost is reached; what was answered is stored, and lies in its `predictions`.
            LowrungError: answers cannot be stored.
        """
        requests = [self.request(each) for each in questions]
        keys = [self._key(each) for each in requests]
        often, kept = Counter(keys), Replies(self.store)
        try:
            replies = {key: reply for key in often if (reply := _stored(kept.get(key)))}
            asked = {key: each for key, each in zip(keys, requests, strict=True) if key not in replies}
            names, done = list(asked), sum(often[key] for key in replies)
            self.bill.seconds += sum(each.seconds for each in replies.values()) / self.terms.concurrency

            def put(at: int, reply: Reply) -> None:
                nonlocal done
                kept.put(names[at], asdict(reply))
                replies[names[at]] = reply
                done += often[names[at]]
                self.bill.asked += 1
                self.bill.paid += self.terms.cost(reply.read, reply.written)
                if self.watch:
                    self.watch(done, len(keys))

            begun = time.perf_counter()
            refused, over = self._endpoint.ask(list(asked.values()), put) if asked else ({}, False)
            self.bill.seconds += time.perf_counter() - begun if asked else 0.0
        finally:
            kept.close()
        found = [
            self._prediction(replies[key], question) if key in replies else None
            for key, question in zip(keys, questions, strict=True)
        ]
        self._count([replies[key] for key in keys if key in replies], found, list(refused.values()))
        if over:
            raise Spent(self._ended(len(found) - found.count(None), len(found)), found)
        return [each or Prediction(None, 0.0) for each in found]

    def request(self, question: Question) -> dict[str, Any]:
        """The body of the chat completion that asks `question`.

        Raises:
            ModelError: it gives no text.
        """
        if not question.texts:
            raise ModelError(f"{self.url}#{self.name} is asked about texts, and a question gives none")
        longest = max(map(_size, question.options), default=0)
        words = room(question, _size)
        if self.answer_shape in (Choice, Choices):
            words = longest if self.answer_shape is Choice else sum(_size(option) + 1 for option in question.options)
        return {
            "model": self.name,
            "messages": [
                {"role": "system", "content": plain(instructed(question, self.answer_shape, self.about))},
                {"role": "user", "content": plain(given(question))},
            ],
            "temperature": 0,
            "max_tokens": self.terms.most_tokens or words + ROOM,
            "logprobs": True,
        }

    def _key(self, request: Mapping[str, Any]) -> str:
        told = json.dumps({**request, "url": self.url, "wording": WORDING}, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def _prediction(self, reply: Reply, question: Question) -> Prediction[Any]:
        said, whole = reply.said, question.text == question.text.strip()
        said = said.strip() if said is not None and whole else said
        answer: Answer | None = parse(self.answer_shape, said, question) if said else None
        if answer is None:
            return Prediction(None, 0.0)
        return Prediction(answer, UNKNOWN if reply.log is None else math.exp(reply.log))

    def _count(self, replies: Sequence[Reply], found: Sequence[Prediction[Any] | None], refused: Sequence[str]) -> None:
        bill = self.bill
        bill.rows += len(found)
        bill.unanswered += sum(each is None or each.answer is None for each in found)
        bill.read += sum(each.read for each in replies)
        bill.written += sum(each.written for each in replies)
        bill.cost = self.terms.cost(bill.read, bill.written)
        bill.refused += len(refused)
        bill.said = bill.said or next(iter(refused), "")

    def _ended(self, answered: int, rows: int) -> str:
        return (
            f"--max-cost {self.terms.most_cost:g}: the next request might pass it; {answered:,} of {rows:,} rows are "
            f"answered (at most {self._endpoint.spent:.4g} spent) and these answers are kept: with a higher limit the "
            "same command goes on from there"
        )


def of_facts(facts: Mapping[str, Any]) -> Remote:
    """What `Remote.facts` wrote; nothing is asked yet.

    Raises:
        ModelError: something is missing or odd.
    """
    try:
        shape = SHAPES[facts["answer"]]
        terms = Terms(most_tokens=int(facts["most_tokens"]))
        return Remote(facts["url"], facts["name"], shape, facts["about"], terms=terms)
    except (KeyError, TypeError, ValueError) as problem:
        raise ModelError(f"what is said of an endpoint is damaged: {problem!r}") from problem


def remote_for(task: Task[Any], model: str, terms: Terms | None = None) -> Remote:
    """The endpoint of a name such as http://host:port/v1#name, asked in the words of `task`.

    Raises:
        ModelError: the name is no address, or the task's questions are sounds or pictures.
    """
    if task.media:
        raise ModelError(f"{task.name}: an endpoint is asked about texts, and this task's rows are {task.media}")
    url, name = address(model)
    return Remote(url, name, task.answer, task.about, terms=terms or Terms())


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _stored(kept: Mapping[str, Any] | None) -> Reply | None:
    try:
        return Reply(**kept) if kept else None
    except TypeError:
        return None
