"""The calls of one arm and cell, held for as long as its summary is being made.

A run of ten million chunks has 170 MB of stamps. All but a few of them are let go as the calls come
by, with what they amount to kept in their place (harness.metrics.condense). The few: a call in the
midst of which the held window of its iteration may end. Which share of its chunks lies within that
window only their stamps tell, and where the window ends is known with the last call.

But it never ends earlier than the calls seen so far say. Closed loop: at the c-th last end of a
call, and further calls can only move it on. Open loop: at the last due instant, likewise. So the
stamps of a call are let go once its last chunk lies before that; those of about c calls stay.
"""

from __future__ import annotations

import heapq

from msgspec.structs import replace

from harness.metrics import condense
from harness.metrics.window import slot_free_ns
from harness.schema import CallRecord, ClosedLoad, Load

__all__ = ["Holding"]


class Holding:
    """Add calls in any order; `calls` has them in that order."""

    def __init__(self, load: Load | None) -> None:
        self.calls: list[CallRecord] = []
        self._load = load
        self._windows: dict[tuple[int, int], _Window] = {}
        self._texts: dict[str | None, str | None] = {}

    def add(self, call: CallRecord) -> None:
        call = self._slim(call)
        place = len(self.calls)
        self.calls.append(call)
        if _is_odd(call):
            return
        if self._load is None:
            self.calls[place] = condense(call)
            return
        key = call.trial, call.iteration
        if key not in self._windows:
            self._windows[key] = _Window(self._load)
        for settled in self._windows[key].add(call, place):
            self.calls[settled] = condense(self.calls[settled])

    def _slim(self, call: CallRecord) -> CallRecord:
        """Without what no metric and no rule reads, and with equal texts held once."""
        return replace(
            call,
            text=None,
            reasoning=None,
            tool_calls=[],
            payloads=None,
            arm=self._once(call.arm),
            cell=self._once(call.cell),
            endpoint=self._once(call.endpoint),
            finish_reason=self._once(call.finish_reason),
        )

    def _once(self, text: str | None) -> str | None:
        return self._texts.setdefault(text, text)


class _Window:
    """How far the held window of one iteration reaches at least, and which calls lie beyond."""

    def __init__(self, load: Load) -> None:
        self._slots = load.concurrency if isinstance(load, ClosedLoad) else None
        self._ends_ns: list[int] = []
        """A heap: the ends of the calls that were done last, one per slot."""
        self._reach_ns: int | None = None
        self._waiting: list[tuple[int, int]] = []
        """A heap of (last chunk, place)."""

    def add(self, call: CallRecord, place: int) -> list[int]:
        """The places of calls that lie within the window now, whatever is still to come."""
        self._extend(call)
        heapq.heappush(self._waiting, (_last_ns(call), place))
        settled = []
        while self._waiting and self._reach_ns is not None:
            if self._waiting[0][0] > self._reach_ns:
                break
            settled.append(heapq.heappop(self._waiting)[1])
        return settled

    def _extend(self, call: CallRecord) -> None:
        if self._slots is None:
            self._reach_ns = max(call.instants.due_ns, self._reach_ns or call.instants.due_ns)
            return
        done_ns = slot_free_ns(call)
        if call.status == "not_sent" or done_ns is None:
            return
        if len(self._ends_ns) < self._slots:
            heapq.heappush(self._ends_ns, done_ns)
        else:
            heapq.heappushpop(self._ends_ns, done_ns)
        if len(self._ends_ns) == self._slots:
            self._reach_ns = self._ends_ns[0]


def _is_odd(call: CallRecord) -> bool:
    """Whether its stamps contradict one another, so that nothing of the above need hold: content
    before it was sent or due, or after it was done."""
    instants = call.instants
    first_ns, last_ns, done_ns = instants.first_token_ns, instants.last_token_ns, slot_free_ns(call)
    if call.status != "ok" or first_ns is None or last_ns is None:
        return False
    if instants.sent_ns is None or done_ns is None:
        return True
    return not (max(instants.sent_ns, instants.due_ns) <= first_ns <= last_ns <= done_ns)


def _last_ns(call: CallRecord) -> int:
    """Its last chunk, where that matters: of an `ok` call that has one. Others wait for nothing."""
    last_ns = call.instants.last_token_ns
    return last_ns if call.status == "ok" and last_ns is not None else 0
