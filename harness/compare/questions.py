"""Right or wrong, question by question: a figure of iterations that is 0 or 1, where both sides
answered the same questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from harness.compare.measured import Measured, Unit
from harness.compare.spread import is_answer
from harness.metrics import Series
from harness.metrics.concurrency import SIGNALS
from harness.statistics import mcnemar

__all__ = ["p_mcnemar"]

QUESTIONS_MIN: Final = 6
"""Of fewer, McNemar's p is above 0.05 even if the two disagree on every one: 2 · 0.5⁵."""


def p_mcnemar(a: Measured, b: Measured, name: str) -> float | None:
    """Of a figure of iterations that is 0 or 1, where both sides answered the same questions: the
    same first prompt. Several answers to one become one by majority; a tie is left out. None, and
    trials decide, where the questions are too few to show anything."""
    if name in SIGNALS:  # nobody was asked
        return None
    sides = [_answers(one, name) for one in (a, b)]
    if sides[0] is None or sides[1] is None:
        return None
    both = sorted(question for question in sides[0] if question in sides[1])
    if len(both) < QUESTIONS_MIN:
        return None
    return mcnemar([sides[0][q] for q in both], [sides[1][q] for q in both]).p_value


def _answers(of: Measured, name: str) -> dict[str, bool] | None:
    """Question → right; None where this is no such figure."""
    if not is_answer(of, name):
        return None
    series = of.series[name]
    given: dict[str, list[float]] = defaultdict(list)
    for unit, value in zip(_units(of, series), series.values, strict=True):
        question = of.prompts.first.get(unit)
        if question is not None:
            given[question].append(value)
    return _majority(given)


def _units(of: Measured, series: Series) -> list[Unit]:
    return [(of.blocks[trial], iteration) for trial, iteration in series.places]


def _majority(given: Mapping[str, Sequence[float]]) -> dict[str, bool]:
    shares = {question: sum(answers) / len(answers) for question, answers in given.items()}
    return {question: share > 0.5 for question, share in shares.items() if share != 0.5}
