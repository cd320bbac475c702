"""Questions of many callers, answered together: in order, within bounds, and none of them lost."""

import asyncio
import threading
import time

import pytest

from lowrung.core.answers import Prediction, Text
from lowrung.core.parts import Question
from lowrung.serving.batching import Batcher, Busy, Closing, cost


class Slow:
    """Says the text again after some seconds a question; remembers its batches."""

    def __init__(self, seconds=0.0):
        self.seconds, self.batches, self.gate = seconds, [], threading.Event()
        self.gate.set()

    def __call__(self, questions):
        self.gate.wait()
        self.batches.append([each.text for each in questions])
        if any("broken" in each.text for each in questions):
            raise ValueError("broken")
        time.sleep(self.seconds * len(questions))
        return [Prediction(Text(each.text), 1.0) for each in questions]


def question(text):
    return Question((text,))


def test_what_comes_meanwhile_is_answered_together_and_to_whom_it_belongs():
    model = Slow()
    model.gate.clear()
    batcher = Batcher(model)
    futures = [batcher.put([question(f"text {number}"), question(f"more {number}")]) for number in range(20)]
    model.gate.set()
    for number, future in enumerate(futures):
        assert [each.answer.text for each in future.result(10)] == [f"text {number}", f"more {number}"]
    assert len(model.batches) < 20
    assert batcher.close(10)


def test_one_callers_broken_question_is_the_callers_alone():
    model = Slow()
    model.gate.clear()
    batcher = Batcher(model)
    batcher.put([question("first")])  # the worker holds this one while the others gather
    good, bad, other = (batcher.put([question(text)]) for text in ("good", "broken", "other"))
    model.gate.set()
    assert good.result(10)[0].answer.text == "good"
    assert other.result(10)[0].answer.text == "other"
    with pytest.raises(ValueError, match="broken"):
        bad.result(10)
    batcher.close()


def test_who_would_wait_too_long_is_told_when_to_come_back():
    model = Slow(0.05)
    batcher = Batcher(model, patience=0.2)
    batcher.put([question("the pace is measured")]).result(10)
    taken = []
    with pytest.raises(Busy) as told:
        taken.extend(batcher.put([question(f"text {number}")]) for number in range(100))
    assert batcher.busy() is not None
    assert 0.2 < told.value.seconds < 1.0
    assert 2 <= len(taken) < 20
    assert [each.result(10)[0].answer.text for each in taken] == [f"text {n}" for n in range(len(taken))]
    assert batcher.busy() is None
    batcher.close()


def test_a_batch_holds_what_is_answered_in_time():
    model = Slow(0.02)
    batcher = Batcher(model, patience=60)
    batcher.put([question("pace")]).result(10)
    model.gate.clear()
    futures = [batcher.put([question("some words " * 20)]) for _ in range(30)]
    model.gate.set()
    for each in futures:
        each.result(30)
    assert max(map(len, model.batches[2:])) < 10
    batcher.close()


def test_closing_answers_what_waits_and_takes_no_more():
    model = Slow(0.01)
    batcher = Batcher(model, patience=60)
    futures = [batcher.put([question(str(number))]) for number in range(10)]
    assert batcher.close(10)
    assert [each.result(0)[0].answer.text for each in futures] == [str(number) for number in range(10)]
    with pytest.raises(Closing):
        batcher.put([question("late")])


def test_what_nobody_waits_for_is_not_answered():
    model = Slow()
    model.gate.clear()
    batcher = Batcher(model)

    async def impatient():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await batcher.ask([question("held")])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await batcher.ask([question("given up")])

    asyncio.run(impatient())
    last = batcher.put([question("last")])
    model.gate.set()
    last.result(10)
    assert ["given up"] not in model.batches
    assert not any("given up" in batch for batch in model.batches)
    batcher.close()


def test_a_text_costs_more_the_longer_it_is():
    assert cost(question("short")) < cost(question("a much longer text than the other one"))
    assert cost(question("三个汉字")) > cost(question("abcd"))
