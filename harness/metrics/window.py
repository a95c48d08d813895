"""Figures of many calls together: how much work a span of time held.

Two windows, because the start and the end of a load flatter or punish a server:

  whole span    first request sent → last call done. What a user waits for; falls with the tail,
                when the last calls run with idle slots beside them.
  held window   the part of it in which the offered load was held: the capacity of the server.
                Closed loop: from the first request sent until a slot first falls empty for lack of
                requests. Open loop: from the first due instant to the last.

Tokens are those of `ok` calls, as the server counts them; what a failed call had produced before it
failed is nobody's output. Rates of agents or calls are never added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from harness.metrics import server
from harness.metrics.chunks import Condensed, content_arrivals
from harness.schema import CallRecord, ClosedLoad, Load

__all__ = [
    "Window",
    "held_window_ns",
    "requests_per_s",
    "slot_free_ns",
    "span_ns",
    "throughput_tok_s",
]

Window: TypeAlias = tuple[int, int]
"""(start_ns, end_ns), end after start."""


def span_ns(calls: Sequence[CallRecord]) -> Window | None:
    """First request sent → last call done, failed ones included. None if nothing was sent."""
    sent = [call.instants.sent_ns for call in calls if call.instants.sent_ns is not None]
    done = [end_ns for call in calls if (end_ns := slot_free_ns(call)) is not None]
    return _window(min(sent), max(done)) if sent and done else None


def held_window_ns(calls: Sequence[CallRecord], load: Load) -> Window | None:
    """The window in which the load was held; None if it never was, or a stamp is missing.

    Closed loop with concurrency c and n calls: every call but the first c takes the slot of one
    that is done, so n − c slots are taken again, and the first to stay empty is that of the
    (n − c + 1)-th call to be done.
    """
    if not isinstance(load, ClosedLoad):
        due = [call.instants.due_ns for call in calls]
        return _window(min(due), max(due)) if due else None
    tried = [call for call in calls if call.status != "not_sent"]
    done = [end_ns for call in tried if (end_ns := slot_free_ns(call)) is not None]
    sent = [call.instants.sent_ns for call in tried if call.instants.sent_ns is not None]
    if len(done) != len(tried) or not sent or not 1 <= load.concurrency <= len(tried):
        return None
    return _window(min(sent), sorted(done)[len(tried) - load.concurrency])


def throughput_tok_s(calls: Sequence[CallRecord], window: Window | None = None) -> float | None:
    """Output tokens / wall time, over `window` or else the whole span.

    A call that lies partly in the window counts by the share of its content chunks that arrived in
    it (of its streaming time, where chunk stamps were not kept). None where the tokens of an `ok`
    call are unknown, or no call is `ok`.
    """
    ok = [call for call in calls if call.status == "ok"]
    window = window or span_ns(calls)
    tokens = [_tokens_in(call, window) for call in ok] if window else []
    known = [count for count in tokens if count is not None]
    if window is None or not known or len(known) != len(tokens):
        return None
    return sum(known) * 1e9 / (window[1] - window[0])


def requests_per_s(calls: Sequence[CallRecord], window: Window | None = None) -> float | None:
    """`ok` calls that ended within `window`, or else the whole span / its length."""
    window = window or span_ns(calls)
    if window is None:
        return None
    ended = [call.instants.end_ns for call in calls if call.status == "ok"]
    inside = sum(end_ns is not None and window[0] < end_ns <= window[1] for end_ns in ended)
    return inside * 1e9 / (window[1] - window[0])


def _window(start_ns: int, end_ns: int) -> Window | None:
    return (start_ns, end_ns) if end_ns > start_ns else None


def slot_free_ns(call: CallRecord) -> int | None:
    """When its slot became free."""
    instants = call.instants
    return instants.end_ns if instants.closed_ns is None else instants.closed_ns


def _tokens_in(call: CallRecord, window: Window) -> float | None:
    tokens, instants = server.output_tokens(call), call.instants
    if not tokens:
        return None if tokens is None else 0.0
    first_ns, last_ns = instants.first_token_ns, instants.last_token_ns
    if first_ns is None or last_ns is None:
        first_ns = last_ns = instants.end_ns  # tokens, but no content that we saw: all at its end
    if first_ns is None or last_ns is None or last_ns < first_ns:
        return None
    start_ns, end_ns = window
    if start_ns <= first_ns and last_ns <= end_ns:
        return float(tokens)
    if last_ns < start_ns or first_ns > end_ns:
        return 0.0
    arrivals = None if isinstance(call.chunks, Condensed) else content_arrivals(call)
    if arrivals is not None and len(arrivals):
        inside = float(((arrivals >= start_ns) & (arrivals <= end_ns)).mean())
    else:
        inside = (min(last_ns, end_ns) - max(first_ns, start_ns)) / (last_ns - first_ns)
    return tokens * inside
