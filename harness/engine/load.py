"""Drives a request scenario under a load shape.

The transport holds the queue, the concurrency limit and the due instants; this file only keeps it
fed. Requests are prepared ahead: in a closed loop so many that no slot ever waits for Python, in an
open loop those that fall due within the next moments.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator

from harness._native.clock import monotonic_ns
from harness.engine.calls import Caller
from harness.engine.sealing import CallPlace
from harness.errors import HarnessError
from harness.schema import ClosedLoad, Load, OpenLoad, Phase, Request

__all__ = ["arrival_gaps_s", "drive", "shape_for", "shortened"]

AHEAD_CALLS = 128
"""Closed loop: requests queued beyond the concurrency. At 10,000 short calls per second this is
13 ms of slack for the garbage collector and the decoder."""
AHEAD_UNDER_BUDGET = 0
"""What waits for its turn is held for already, and a budget must not end because of it. A slot then
waits for Python between two calls, which is no part of either."""
AHEAD_S = 1.0
"""Open loop: how long before its due instant a request is prepared."""
LEAD_S = 0.05
"""Open loop: from the start of the iteration to the first due instant."""


def shape_for(load: Load, phase: Phase) -> Load:
    """What of the load an iteration of this phase makes. A cold start is over with its first
    request."""
    import msgspec

    if phase == "cold":
        return msgspec.structs.replace(load, requests=1)
    return shortened(load) if phase == "warmup" else load


def shortened(load: Load) -> Load:
    """The load of a warm-up iteration: the same shape, just enough requests to touch every slot."""
    import msgspec

    slots = load.concurrency if isinstance(load, ClosedLoad) else 4
    return msgspec.structs.replace(load, requests=min(load.requests, max(2, slots)))


def arrival_gaps_s(load: OpenLoad, seed: int) -> Iterator[float]:
    """Endless gaps between due instants, mean 1 / rate. Repeatable from the seed."""
    rng = random.Random(f"arrivals/{seed}")
    mean_s = 1.0 / load.rate_per_s
    while True:
        if load.arrival == "constant":
            yield mean_s
        elif load.arrival == "poisson":
            yield rng.expovariate(load.rate_per_s)
        else:
            yield rng.gammavariate(load.shape, mean_s / load.shape)


async def drive(
    requests: Iterator[Request], load: Load, caller: Caller, place: CallPlace, seed: int
) -> int:
    """Send the load's requests and wait for all of them. Returns how many were planned: fewer than
    the load says only if the scenario ran out of requests."""
    wanted = itertools.islice(requests, load.requests)
    if isinstance(load, ClosedLoad):
        return await _closed(wanted, load, caller, place)
    return await _open(wanted, load, caller, place, seed)


async def _closed(
    requests: Iterator[Request], load: ClosedLoad, caller: Caller, place: CallPlace
) -> int:
    lane = caller.lane(load.concurrency)
    ahead = AHEAD_UNDER_BUDGET if caller.till.is_limited else AHEAD_CALLS
    room = asyncio.Semaphore(load.concurrency + ahead)
    flight = _Flight(caller, place, lane, room)
    async with flight:
        for request in requests:
            await room.acquire()
            if caller.ended:
                break
            flight.start(request, 0)
    return flight.planned


async def _open(
    requests: Iterator[Request], load: OpenLoad, caller: Caller, place: CallPlace, seed: int
) -> int:
    lane = caller.lane(load.concurrency_max or 0)
    flight = _Flight(caller, place, lane, None)
    due_ns = monotonic_ns() + int(LEAD_S * 1e9)
    async with flight:
        for request, gap_s in zip(requests, arrival_gaps_s(load, seed), strict=False):
            if caller.till.is_limited:
                await asyncio.sleep(0)  # whether the one before fits is known when it has begun
            early_s = (due_ns - monotonic_ns()) / 1e9 - AHEAD_S
            if caller.till.is_closed:
                early_s = 0.0  # it will not be sent
            # Let finished calls be decoded now and then even when the schedule is behind.
            await asyncio.sleep(max(0.0, early_s))
            if caller.ended:
                break
            flight.start(request, due_ns)
            due_ns += int(gap_s * 1e9)
    return flight.planned


class _Flight:
    """The calls under way. Leaving it waits for all; an error in one ends the others."""

    def __init__(
        self, caller: Caller, place: CallPlace, lane: int, room: asyncio.Semaphore | None
    ) -> None:
        self._caller = caller
        self._place = place
        self._lane = lane
        self._room = room
        self._group = asyncio.TaskGroup()
        self.planned = 0

    async def __aenter__(self) -> None:
        await self._group.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._group.__aexit__(*error)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            # Calls do not fail by raising; what is raised is a refused request, one for all.
            matched = group.subgroup(HarnessError)
            if matched is None:
                raise
            raise _first(matched) from None

    def start(self, request: Request, due_ns: int) -> None:
        self._group.create_task(self._one(request, self.planned, due_ns))
        self.planned += 1

    async def _one(self, request: Request, ordinal: int, due_ns: int) -> None:
        try:
            await self._caller.call(request, self._place, ordinal, lane=self._lane, due_ns=due_ns)
        finally:
            if self._room is not None:
                self._room.release()


def _first(group: BaseExceptionGroup[HarnessError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
