"""What the files tell of one agent, of whatever form; and sums and means of which one unknown part
makes the whole unknown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import Final

from harness_agents.legacy.records import LegacyAgent, LegacyCall, Told

__all__ = [
    "CONTENTION_BELOW",
    "RATE",
    "TOKENS",
    "TTFT",
    "load_ms_of",
    "mean",
    "minus",
    "over",
    "rate_of",
    "ratio",
    "sd",
    "sequential_s_of",
    "server_ms_of",
    "times",
    "tokens_of",
    "total",
    "ttft_of",
]

RATE: Final = "average_tokens_per_second"
TTFT: Final = "average_ttft_ms"
TOKENS: Final = "total_tokens_generated"
CONTENTION_BELOW: Final = 1.5
"""Their rule: contention is a `speedup` below this."""


def rate_of(agent: LegacyAgent) -> float | None:
    """What its form calls throughput: the mean over its calls."""
    told = agent.told.figures.get(RATE)
    return told if told is not None else mean([c.throughput_tok_s for c in _went(agent)])


def ttft_of(agent: LegacyAgent) -> float | None:
    told = agent.told.figures.get(TTFT)
    return told if told is not None else mean([call.ttft_ms for call in _went(agent)])


def tokens_of(agent: LegacyAgent) -> float | None:
    told = agent.told.figures.get(TOKENS)
    return told if told is not None else total(*(call.tokens for call in _went(agent)))


def load_ms_of(agent: LegacyAgent) -> float | None:
    told = agent.told.figures.get("load_duration_ms")
    return told if told is not None else total(*(call.load_ms for call in _went(agent)))


def server_ms_of(agent: LegacyAgent) -> float | None:
    return total(*(call.total_ms for call in agent.calls))


def sequential_s_of(told: Told) -> float | None:
    """In seconds, whichever form."""
    for name in ("sequential_estimated_s", "sequential_estimated_time"):
        if name in told.figures:
            return told.figures[name]
    return over(told.figures.get("sequential_estimate_ms"), 1e3)


def _went(agent: LegacyAgent) -> Iterator[LegacyCall]:
    return (call for call in agent.calls if not call.failed)


# ---- arithmetic with the unknown


def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def sd(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) > 1 and len(known) == len(values) else None


def total(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known and len(known) == len(values) else None


def minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def times(one: float | None, factor: float) -> float | None:
    return None if one is None else one * factor


def over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def ratio(one: float | None, other: float | None) -> float | None:
    """Of the larger to the smaller."""
    return over(max(one, other), min(one, other)) if one and other else None
