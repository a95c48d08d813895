"""COLD_METRICS: what the first call of a cold iteration waited for. Never averaged with warm ones.

An iteration is cold only where that was confirmed: `ready_ns` of its record is the instant at which
the model was seen to be gone, or the restarted backend was open again. Without it, or where the
first call went out before it, nothing is known of a cold start.
"""

from __future__ import annotations

from typing import Final

from harness.metrics.call import server_load, ttft
from harness.metrics.iteration import IterationView
from harness.metrics.metric import Metric
from harness.schema import CallRecord

__all__ = ["COLD_METRICS", "first_cold_call"]


def first_cold_call(view: IterationView) -> CallRecord | None:
    """The first that was sent, if it is `ok`, was sent once, and after the model was gone."""
    sent = [call for call in view.calls if call.instants.sent_ns is not None]
    first = min(sent, key=lambda call: call.instants.sent_ns or 0, default=None)
    ready_ns = view.record.ready_ns
    if first is None or first.status != "ok" or first.attempts > 1 or ready_ns is None:
        return None
    return first if (first.instants.sent_ns or 0) >= ready_ns else None


def cold_ttft(view: IterationView) -> float | None:
    first = first_cold_call(view)
    return None if first is None else ttft(first)


def cold_load(view: IterationView) -> float | None:
    first = first_cold_call(view)
    return None if first is None else server_load(first)


def cold_start(view: IterationView) -> float | None:
    """Restarted: from when that began. Unloaded: from the request that makes the server load."""
    first = first_cold_call(view)
    if first is None or view.cold_by == "unload":
        return None if first is None else ttft(first)
    token_ns = first.instants.first_token_ns
    if token_ns is None or token_ns < view.record.start_ns:
        return None
    return (token_ns - view.record.start_ns) / 1e6


COLD_METRICS: Final[tuple[Metric[IterationView], ...]] = (
    Metric(
        name="cold_start_ms",
        unit="ms",
        better="lower",
        provenance="measured",
        level="iteration",
        definition="Cold start: from the restart of the backend (or, where the model was unloaded, "
        "from sending the first request) to the first token.",
        formula=cold_start,
    ),
    Metric(
        name="cold_ttft_ms",
        unit="ms",
        better="lower",
        provenance="measured",
        level="iteration",
        definition="Time to first token of the first request after a cold start.",
        formula=cold_ttft,
    ),
    Metric(
        name="cold_load_ms",
        unit="ms",
        better="lower",
        provenance="declared",
        level="iteration",
        definition="Time until the model was ready for the first request after a cold start, as "
        "the server reports it.",
        formula=cold_load,
    ),
)
