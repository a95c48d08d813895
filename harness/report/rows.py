"""One call as named values: the columns that `jsonl` and `csv` share.

The names are a contract (docs/cli.md). Instants are CLOCK_MONOTONIC ns of the machine that
measured; metrics come from harness.metrics, which defines each once. Unknown is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from harness.protocols import RunData
from harness.schema import CallRecord, Effective, TrialRecord

__all__ = [
    "COST",
    "INSTANTS",
    "METRICS",
    "PLACE",
    "calls_with_effective",
    "costs",
    "effective_by_trial",
    "values",
]

PLACE: Final = (
    "call_id",
    "arm",
    "cell",
    "trial",
    "iteration",
    "agent",
    "stage",
    "phase",
    "status",
)
INSTANTS: Final = (
    "due_ns",
    "sent_ns",
    "headers_ns",
    "first_byte_ns",
    "first_chunk_ns",
    "first_token_ns",
    "first_answer_ns",
    "last_token_ns",
    "end_ns",
    "closed_ns",
)
METRICS: Final = (
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "ttft_from_due_ms",
    "e2e_from_due_ms",
    "queue_residual_ms",
    "client_lag_p50_us",
    "client_lag_p99_us",
)

COST: Final = ("cost_usd", "cost_source", "price_date")
"""What the call cost: a decimal, as text, so that it is exact; and by whose account."""

TrialKey = tuple[str, str, int]


def effective_by_trial(run: RunData) -> dict[TrialKey, Effective]:
    """What the backend said of itself, by (arm, cell, trial).

    A trial's record is written when it ends, behind its calls; hence a pass of its own.
    """
    return {
        (record.arm, record.cell, record.trial): record.effective
        for record in run.records()
        if isinstance(record, TrialRecord)
    }


def calls_with_effective(run: RunData) -> Iterator[tuple[CallRecord, Effective | None]]:
    """Every call in the order of the log, one at a time. None: its trial left no record."""
    effective = effective_by_trial(run)
    for record in run.records():
        if isinstance(record, CallRecord):
            yield record, effective.get((record.arm, record.cell, record.trial))


def values(record: CallRecord) -> dict[str, Any]:
    """The scalar columns of one call, `error` and the objects excepted, in their order."""
    instants = record.instants
    return {
        **{name: getattr(record, name) for name in PLACE},
        **{name: getattr(instants, name) for name in INSTANTS},
        "stamp_source": record.stamp_source,
        "realtime_offset_ns": record.realtime_offset_ns,
        "chunks": record.chunks.count,
        "content_chunks": record.content_chunks,
        "prompt_tokens": record.usage.prompt_tokens,
        "cached_tokens": record.usage.cached_tokens,
        "output_tokens": record.usage.output_tokens,
        "max_tokens": record.max_tokens,
        **{name: formula(record) for name, formula in _formulas().items()},
    }


def costs(record: CallRecord) -> dict[str, str | None]:
    """By column; None where nobody knows."""
    cost = record.cost
    if cost is None:
        return dict.fromkeys(COST)
    return dict(zip(COST, (cost.usd, cost.source, cost.price_date or None), strict=True))


_FORMULAS: dict[str, Callable[[CallRecord], float | None]] = {}


def _formulas() -> dict[str, Callable[[CallRecord], float | None]]:
    if not _FORMULAS:
        from harness.metrics import call_metric

        _FORMULAS.update({name: call_metric(name).formula for name in METRICS})
    return _FORMULAS
