"""Agents that worked at once, beside the same agents working one after another.

A *pair* is a measured iteration and the solo iteration of the same number in the same trial. What
an agent did, in either, is its span named `agent`; there is exactly one, or nothing is known. A
pair is *whole* where both iterations are `ok`, the same agents worked in both, and every call is
`ok`: half of a piece of work has no time that could be set beside that of all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from harness.metrics import server
from harness.metrics.call import queue_residual, ttft
from harness.metrics.slo import NOT_NEEDED
from harness.metrics.window import Window
from harness.schema import CallRecord, IterationRecord, ValiditySpec

__all__ = [
    "AGENT",
    "Contention",
    "Pair",
    "agent_spans",
    "agents_of",
    "contention_of",
    "median",
    "residual_ms",
    "slowdowns",
    "tokens_of",
    "ttft_median",
]

AGENT: Final = "agent"
"""The span in which an agent did all of its work."""


class Pair(Struct, frozen=True, kw_only=True):
    """A measured iteration with its calls, and the solo one that belongs to it, if there is."""

    record: IterationRecord
    calls: tuple[CallRecord, ...]
    solo: IterationRecord | None = None
    solo_calls: tuple[CallRecord, ...] = ()
    bounds: ValiditySpec = ValiditySpec()
    """What contention and anomalies are held against."""
    ttft_median_ms: float | None = None
    """Of the arm and cell: of all measured `ok` calls."""

    def together(self) -> dict[str, Window] | None:
        """Agent → its work, while all worked at once; None unless the iteration is whole."""
        return _whole(self.record, self.calls)

    def alone(self) -> dict[str, Window] | None:
        """The same of the solo iteration; None unless the pair is whole."""
        beside = self.together()
        if self.solo is None or beside is None:
            return None
        found = _whole(self.solo, self.solo_calls)
        return {name: found[name] for name in beside} if found and {*found} == {*beside} else None


class Contention(Struct, frozen=True, kw_only=True):
    """Whether agents of one pair held each other up, and what says so. None: unknown."""

    slowdown: bool | None
    """Some agent took longer than the bound allows, compared with its time alone …"""
    queue: bool | None
    """… the median queue residual exceeds that of calls alone by more than its bound. None where
    the server does not tell what it did before the first token."""
    slowdowns: Mapping[str, float]
    """Agent → concurrent / solo time."""
    queue_together_ms: float | None
    queue_alone_ms: float | None

    @property
    def found(self) -> bool | None:
        """By either. The slowdown is known wherever times are; a server that does not tell of its
        queue leaves it to decide alone, or else only contended iterations would count."""
        return None if self.slowdown is None else self.slowdown or bool(self.queue)

    @property
    def queue_excess_ms(self) -> float | None:
        if self.queue_together_ms is None or self.queue_alone_ms is None:
            return None
        return self.queue_together_ms - self.queue_alone_ms


def agents_of(record: IterationRecord) -> list[str]:
    """In the order in which their work was recorded."""
    return [*dict.fromkeys(span.agent for span in record.spans if _is_work(span.name, span.agent))]


def agent_spans(record: IterationRecord) -> dict[str, Window] | None:
    """Agent → (start_ns, end_ns) of its work. None: no agents, one that worked twice, or a clock
    that stood still or ran backwards."""
    found: dict[str, Window] = {}
    for span in record.spans:
        if not _is_work(span.name, span.agent):
            continue
        if span.agent in found or span.end_ns <= span.start_ns:
            return None
        found[span.agent] = (span.start_ns, span.end_ns)
    return found or None


def slowdowns(pair: Pair) -> dict[str, float] | None:
    """Agent → its time beside the others / its time alone."""
    together, alone = pair.together(), pair.alone()
    if together is None or alone is None:
        return None
    return {name: _length(together[name]) / _length(alone[name]) for name in together}


def contention_of(pair: Pair) -> Contention:
    """With its evidence."""
    slower = slowdowns(pair)
    whole = slower is not None
    excess = [residual_ms(of) if whole else None for of in (pair.calls, pair.solo_calls)]
    found = Contention(
        slowdown=max(slower.values()) > pair.bounds.contention_slowdown_max if slower else None,
        queue=None,
        slowdowns=slower or {},
        queue_together_ms=excess[0],
        queue_alone_ms=excess[1],
    )
    more = found.queue_excess_ms
    if more is None:
        return found
    return replace(found, queue=more > pair.bounds.contention_queue_max_ms)


def residual_ms(calls: Sequence[CallRecord]) -> float | None:
    """Median queue residual of the `ok` calls of which it is known."""
    return median(value for call in calls if (value := queue_residual(call)) is not None)


def tokens_of(calls: Iterable[CallRecord]) -> int | None:
    """Output tokens; None where the server did not count those of one of them, or there are no
    calls."""
    counts = [server.output_tokens(call) for call in calls if _was_needed(call)]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def median(values: Iterable[float]) -> float | None:
    found = sorted(value for value in values if math.isfinite(value))
    if not found:
        return None
    middle = len(found) // 2
    return found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2


def ttft_median(calls: Iterable[CallRecord]) -> float | None:
    """Of the `ok` ones, in ms."""
    return median(v for call in calls if call.status == "ok" and (v := ttft(call)) is not None)


def _whole(record: IterationRecord, calls: Sequence[CallRecord]) -> dict[str, Window] | None:
    good = record.status == "ok" and all(c.status == "ok" for c in calls if _was_needed(c))
    return agent_spans(record) if good else None


def _is_work(name: str, agent: str) -> bool:
    return name == AGENT and agent != ""


def _was_needed(call: CallRecord) -> bool:
    return call.error is None or call.error.code != NOT_NEEDED


def _length(window: Window) -> int:
    return window[1] - window[0]
