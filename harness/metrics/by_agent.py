"""What each agent saw, beside the others and alone: its time, its calls' latencies and rates.

The figures of an arm are those of the concurrent iterations alone. These stand beside them, so that
a reader sees which agent waited, and for what: the first token, or every token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from harness.metrics.agents import agent_spans, agents_of
from harness.metrics.call import call_metric
from harness.metrics.metric import Provenance
from harness.metrics.series import Series, pairs_of, series_of
from harness.schema import CallRecord, IterationRecord

__all__ = ["OF_AGENT", "AgentSeries", "by_agent"]

OF_AGENT: Final = ("ttft_ms", "e2e_ms", "decode_rate_client_tok_s", "queue_residual_ms")
"""Of its calls. Before them stands `agent_ms`, the time of all its work."""


class AgentSeries(Struct, frozen=True, kw_only=True):
    """One agent of one arm and cell."""

    agent: str
    together: tuple[Series, ...]
    alone: tuple[Series, ...]
    """The same figures in the same order; without values where there is no solo iteration."""


def by_agent(
    calls: Iterable[CallRecord],
    iterations: Iterable[IterationRecord],
    *,
    simulated: bool = False,
) -> Iterator[AgentSeries]:
    """Of one arm and cell, in the order in which agents are recorded; nothing where no two worked
    at once and none worked alone."""
    calls, iterations = [*calls], sorted(iterations, key=lambda one: (one.trial, one.iteration))
    if not pairs_of(calls, iterations):
        return
    mark: Provenance | None = "simulated" if simulated else None
    phases = [[one for one in iterations if one.phase == phase] for phase in ("measured", "solo")]
    agents = dict.fromkeys(name for of in phases for one in of for name in agents_of(one))
    for agent in agents:
        mine = [call for call in calls if call.agent == agent and call.status == "ok"]
        together, alone = (
            (
                _times(agent, of, mark),
                *_of_calls([call for call in mine if call.phase == phase], mark),
            )
            for phase, of in zip(("measured", "solo"), phases, strict=True)
        )
        yield AgentSeries(agent=agent, together=together, alone=alone)


def _times(agent: str, records: Sequence[IterationRecord], mark: Provenance | None) -> Series:
    ok = [one for one in records if one.status == "ok" and agent in agents_of(one)]
    units = [(one.trial, one.iteration) for one in ok]
    lengths = (_length_ms(agent, one) for one in ok)
    return series_of("agent_ms", "ms", "lower", mark or "measured", "iteration", units, lengths)


def _length_ms(agent: str, record: IterationRecord) -> float | None:
    window = (agent_spans(record) or {}).get(agent)
    return None if window is None else (window[1] - window[0]) / 1e6


def _of_calls(calls: Sequence[CallRecord], mark: Provenance | None) -> Iterator[Series]:
    ordered = sorted(calls, key=lambda call: (call.trial, call.iteration, call.call_id))
    units = [(call.trial, call.iteration) for call in ordered]
    for one in map(call_metric, OF_AGENT):
        found = mark or one.provenance
        figures = map(one.formula, ordered)
        yield series_of(one.name, one.unit, one.better, found, "call", units, figures)
