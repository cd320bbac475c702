"""From how many labels on another method is the best one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log2
from typing import Any, TypeAlias

from lowrung.core.answers import A
from lowrung.run.cells import Plan
from lowrung.run.compare import compare
from lowrung.run.evaluate import Report

Reports: TypeAlias = Mapping[tuple[str, int], list[Report[A]]]  # (method, labels) → one a seed

TELLS = 0.9  # the paired probability from which one curve counts as above another


def switch_points(plan: Plan[A], reports: Reports[A]) -> Iterator[dict[str, Any]]:
    """Which method is best from how many labels on.

    The lead changes hands where a method is better than the leader with probability `TELLS` in the paired
    comparison; between two measured numbers of labels, where their curves cross if drawn straight over log2(labels).
    Where the untouched model loses the lead at the first measured number, that number stands: nothing below is known.
    """
    metric = plan.task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0
    untouched = plan.untouched.name
    rivals = [method.name for method in plan.methods if method.candidate and method.learns]

    def of(name: str, number: int) -> list[Report[A]]:
        return reports[(name, number) if plan.method(name).learns else (name, 0)]

    def value(name: str, number: int) -> float:
        found = of(name, number)
        return sign * sum(each.value(metric) for each in found) / len(found)

    best, begins, before = untouched, 0, 0
    for method in plan.methods:  # nothing lies below 0 labels, so that the lead there is taken and not handed over
        if method.candidate and not method.learns and value(method.name, 0) > value(untouched, 0):
            found = compare(of(untouched, 0), of(method.name, 0), metric)
            best = method.name if found.probability_better >= TELLS else best
    for number in plan.labels[1:]:
        leader = max(rivals, key=lambda name: value(name, number), default=best)
        ahead = value(leader, number) - value(best, number)
        if ahead > 0 and compare(of(best, number), of(leader, number), metric).probability_better >= TELLS:
            crossing = number
            if before:
                behind = min(0.0, value(leader, before) - value(best, before))
                share = behind / (behind - ahead)
                crossing = max(begins + 1, round(2 ** (log2(before) + share * (log2(number) - log2(before)))))
            yield {"method": best, "from": begins, "to": crossing}
            best, begins = leader, crossing
        before = number
    yield {"method": best, "from": begins, "to": None}


def sentence(points: Sequence[Mapping[str, Any]]) -> str:
    """«zero-shot up to about 12 labels, probe to about 90, top from there»"""
    if len(points) == 1:
        return f"{points[0]['method']} throughout"
    told = [f"{points[0]['method']} up to about {points[0]['to']} labels"]
    told += [f"{each['method']} to about {each['to']}" for each in points[1:-1]]
    return ", ".join([*told, f"{points[-1]['method']} from there"])
