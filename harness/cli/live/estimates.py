"""Current figures by arm and cell: the mean over trials, and half the width of its interval.

A trial counts as one value, its own mean, as in the comparisons. What it costs is a pass over the
calls of the trial that has just ended, of at most CALLS_MAX of them, before the next one starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from harness.metrics import IterationView, call_metric, iteration_metric
from harness.schema import CallRecord, ChunkColumns, IterationRecord
from harness.statistics import GROUPS_MIN

__all__ = ["CLOSED", "OPEN", "Estimate", "Gathered", "half_width"]

CLOSED: Final = {"ttft_ms": "TTFT ms", "tpot_ms": "TPOT ms", "throughput_tok_s": "tok/s"}
OPEN: Final = {"ttft_from_due_ms": "TTFT ms", "tpot_ms": "TPOT ms", "throughput_tok_s": "tok/s"}
"""An open loop is read from the due instant."""

CALLS_MAX: Final = 4000
"""Of a trial. Beyond, every second call is let go, again and again: those that stay are spread
evenly over the trial. Its throughput is then not known here."""

_EMPTY: Final = ChunkColumns(count=0)


class Estimate(Struct, frozen=True):
    """Of one metric of one arm and cell."""

    mean: float
    half: float | None
    """None below GROUPS_MIN trials."""
    trials: int


class Gathered:
    """The measured calls and iterations of one trial under way."""

    def __init__(self) -> None:
        self.calls: list[CallRecord] = []
        self.iterations: list[IterationRecord] = []
        self._every = 1
        self._seen = 0

    def add(self, call: CallRecord) -> None:
        """All that is done while others are measured: to put it aside, without what is large."""
        self._seen += 1
        if self._seen % self._every:
            return
        self.calls.append(
            replace(call, chunks=_EMPTY, chunk_tokens=None, text=None, reasoning=None,
                    tool_calls=[], payloads=None)
        )  # fmt: skip
        if len(self.calls) >= CALLS_MAX:
            self.calls = self.calls[::2]
            self._every *= 2

    def figures(self, names: Sequence[str]) -> dict[str, float]:
        """The trial's own mean of each metric that it has, once it has ended."""
        ok = [call for call in self.calls if call.status == "ok"]
        found = {}
        for name in names:
            values = self._of_work() if name == "throughput_tok_s" else _of_calls(ok, name)
            if values:
                found[name] = sum(values) / len(values)
        return found or self._own()

    def _of_work(self) -> list[float]:
        if self._every > 1:
            return []
        formula = iteration_metric("throughput_tok_s").formula
        views = [
            IterationView(
                record=one,
                calls=tuple(call for call in self.calls if call.iteration == one.iteration),
            )
            for one in self.iterations
            if one.status == "ok"
        ]
        return [value for view in views if (value := formula(view)) is not None]

    def _own(self) -> dict[str, float]:
        """Of a scenario that makes no calls: what it measured itself."""
        values: dict[str, list[float]] = {}
        for one in self.iterations:
            for metric in one.metrics if one.status == "ok" else ():
                values.setdefault(metric.name, []).append(metric.value)
        return {name: sum(row) / len(row) for name, row in list(values.items())[:3]}


def _of_calls(calls: Sequence[CallRecord], name: str) -> list[float]:
    formula = call_metric(name).formula
    return [value for call in calls if (value := formula(call)) is not None]


def estimate(values: Sequence[float]) -> Estimate:
    """Of the means of one or more trials."""
    return Estimate(math.fsum(values) / len(values), half_width(values), len(values))


def half_width(values: Sequence[float]) -> float | None:
    """Half of Student's 95 % interval of the mean; None below GROUPS_MIN values."""
    n = len(values)
    if n < GROUPS_MIN:
        return None
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return _t(n - 1) * math.sqrt(variance / n)


def _t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, within 0.5 % from 4 degrees of freedom on (Abramowitz &
    Stegun 26.7.5). Not scipy's: that would be imported between two trials, into this process."""
    z = 1.959963984540054
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / float(freedom**power) for power, term in enumerate(terms))
