"""Several programs of one iteration: at once behind one start barrier, or one after another.
Public, for plugins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar, cast

from harness_agents.program import Outcome, Program

__all__ = ["LEAD_NS", "run_alone", "run_team"]

T = TypeVar("T")

LEAD_NS: Final = 20_000_000
"""How far ahead the start instant lies, so that every agent has read it before it comes …"""
_LEAD_PER_AGENT_NS: Final = 1_000_000
"""… however many there are."""


async def run_team(programs: Sequence[Program], *, at_once: int | None = None) -> list[Outcome]:
    """All are ready before any is started, and all are given the same instant. `at_once`: no more
    than so many work at a time; the others are given theirs when one before them has ended.

    One that does not become ready ends all: nobody is started. Cancelled: all are interrupted, and
    each `outcome` holds what was said until then. Raises what `Program.prepare` raises."""
    try:
        ready = await _all(program.prepare() for program in programs)
    except BaseException:
        await _all(program.discard() for program in programs)
        raise
    if not all(ready):
        return await _all(program.abandon() for program in programs)
    start_ns = time.monotonic_ns() + LEAD_NS + _LEAD_PER_AGENT_NS * len(programs)
    width = at_once or len(programs) or 1
    turns = asyncio.Semaphore(width)

    async def in_turn(number: int, program: Program) -> Outcome:
        try:
            async with turns:
                first = number < width
                return await program.work(start_ns if first else time.monotonic_ns() + LEAD_NS)
        except asyncio.CancelledError:
            await program.discard()
            raise

    return await _all(in_turn(number, program) for number, program in enumerate(programs))


async def run_alone(programs: Sequence[Program]) -> list[Outcome]:
    """One after another: the next is started as a process when the one before it is gone. Behind
    one that failed there is nobody."""
    outcomes: list[Outcome] = []
    for program in programs:
        outcomes += await run_team([program])
        if outcomes[-1].failure is not None:
            break
    return outcomes


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
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
