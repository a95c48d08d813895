"""Several agents of one iteration: at once behind one start barrier, or one after another. Public,
for plugins: whoever works is a Program, or anything else with its four methods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

from harness_agents.program import Outcome, Program

__all__ = ["Worker", "all_over", "run_alone", "run_team"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LEAD_NS: Final = 20_000_000
"""How far ahead the start instant lies, so that every agent has read it before it comes …"""
_LEAD_PER_AGENT_NS: Final = 1_000_000
"""… however many there are."""


class Worker(Protocol[T_co]):
    async def prepare(self) -> bool:
        """All that comes before the work. False: it will never be ready, and `abandon` says why."""

    async def work(self, at_ns: int, done: Callable[[], None] | None = None) -> T_co:
        """Begin at that instant of CLOCK_MONOTONIC. `done` is called when the work is, before what
        comes after it: a program's exit. What goes wrong is in the result."""

    async def abandon(self) -> T_co:
        """End it without having it work."""

    async def discard(self) -> Any:
        """Leave nothing running, whatever state this is in. Does nothing twice."""


async def run_team(workers: Sequence[Worker[T]], *, at_once: int | None = None) -> list[T]:
    """All are ready before any is started, and all are given the same instant. `at_once`: no more
    than so many work at a time; whose turn comes begins at once, while the one before it may still
    be on its way out.

    One that does not become ready ends all: nobody is started. Cancelled: all are interrupted, and
    a Program's `outcome` holds what was said until then. Raises what `prepare` raises."""
    try:
        ready = await all_over(worker.prepare() for worker in workers)
    except BaseException:
        await all_over(worker.discard() for worker in workers)
        raise
    if not all(ready):
        return await all_over(worker.abandon() for worker in workers)
    start_ns = time.monotonic_ns() + LEAD_NS + _LEAD_PER_AGENT_NS * len(workers)
    width = at_once or len(workers) or 1
    turns = asyncio.Semaphore(width)  # first come, first served

    async def in_turn(number: int, worker: Worker[T]) -> T:
        try:
            await turns.acquire()
            over = _Once(turns.release)
            try:
                return await worker.work(start_ns if number < width else time.monotonic_ns(), over)
            finally:
                over()
        except asyncio.CancelledError:
            await worker.discard()
            raise

    return await all_over(in_turn(number, worker) for number, worker in enumerate(workers))


async def run_alone(programs: Sequence[Program]) -> list[Outcome]:
    """One after another: the next is started as a process when the one before it is gone. Behind
    one that failed there is nobody."""
    outcomes: list[Outcome] = []
    for program in programs:
        outcomes += await run_team([program])
        if outcomes[-1].failure is not None:
            break
    return outcomes


class _Once:
    """Calls `what` the first time it is called itself."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what: Callable[[], None] | None = what

    def __call__(self) -> None:
        what, self._what = self._what, None
        if what is not None:
            what()


async def all_over(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results in order. The first exception, but not before every one is over."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        results = await asyncio.gather(*tasks, return_exceptions=True)
    except asyncio.CancelledError:
        if tasks:
            await asyncio.wait(tasks)
        raise
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[T], results)
