"""When a call may start: at its due instant, in the order of becoming due, as its lane has room.

A job waits in two places. One that is due later lies in a heap that a single timer of the event
loop watches; when it is due (at once, for most) it joins the end of its lane's queue, and it leaves
the front of that queue as soon as fewer than `limit` of the lane's jobs are running. The reactor
keeps the same two places in C; the rules for `due_ns` are those of Reactor.submit.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from harness._native.clock import monotonic_ns

__all__ = ["Job", "Lanes"]


class Job(Protocol):
    """What can be queued. The fields are the queue's own to change."""

    lane: int
    due_ns: int
    """0 when queued: not scheduled. Set by the time the job starts."""
    withdrawn: bool


J = TypeVar("J", bound=Job)


class _Lane(Generic[J]):
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.waiting: deque[J] = deque()

    @property
    def has_room(self) -> bool:
        return not self.limit or self.running < self.limit


class Lanes(Generic[J]):
    """Calls `start(job)` for each job, in the event loop that `submit` is called in."""

    def __init__(self, start: Callable[[J], None]) -> None:
        self._start = start
        self._lanes: list[_Lane[J]] = [_Lane(0)]
        self._later: list[tuple[int, int, J]] = []
        self._submitted = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, limit: int) -> int:
        """A new lane. ValueError if limit is negative."""
        if limit < 0:
            raise ValueError(f"a lane's limit is 0 (none) or more, not {limit}")
        self._lanes.append(_Lane(limit))
        return len(self._lanes) - 1

    def submit(self, job: J) -> None:
        """Queue one job. ValueError for a lane that does not exist."""
        if not 0 <= job.lane < len(self._lanes):
            raise ValueError(f"there is no lane {job.lane}")
        now = monotonic_ns()
        if job.due_ns > now:
            self._submitted += 1
            heapq.heappush(self._later, (job.due_ns, self._submitted, job))
            self._watch(now)
        else:
            self._ready(job, now)

    def release(self, lane: int, at_ns: int) -> None:
        """A job of this lane has ended: its slot became free at `at_ns`."""
        freed = self._lanes[lane]
        freed.running -= 1
        while freed.waiting and freed.has_room:
            job = freed.waiting.popleft()
            if not job.withdrawn:
                self._run(freed, job, at_ns)

    def waiting(self) -> list[J]:
        """Every job that has not started and was not withdrawn."""
        queued = [job for lane in self._lanes for job in lane.waiting]
        queued += [job for _, _, job in sorted(self._later, key=lambda entry: entry[:2])]
        return [job for job in queued if not job.withdrawn]

    def clear(self) -> list[J]:
        """Forget and return every waiting job."""
        left = self.waiting()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._later.clear()
        for lane in self._lanes:
            lane.waiting.clear()
        return left

    def _ready(self, job: J, now: int) -> None:
        lane = self._lanes[job.lane]
        if lane.has_room:
            self._run(lane, job, now)
        else:
            lane.waiting.append(job)

    def _run(self, lane: _Lane[J], job: J, free_ns: int) -> None:
        job.due_ns = job.due_ns or free_ns
        lane.running += 1
        self._start(job)

    def _watch(self, now: int) -> None:
        """Have the timer go off when the first of the later jobs is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._later:
            delay_s = max(0, self._later[0][0] - now) / 1e9
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        now = monotonic_ns()
        while self._later and self._later[0][0] <= now:
            job = heapq.heappop(self._later)[2]
            if not job.withdrawn:
                self._ready(job, now)
        self._watch(now)
