"""Which cores the server gets, and which are left to the client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["allowed_cores", "siblings", "split_cores"]


def split_cores(
    allowed: Iterable[int], siblings_of: Callable[[int], frozenset[int]]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(client's, server's), without one in common; both empty where there is one core alone.

    The server gets the last physical core, with both of its threads, as one of them would slow the
    other's down; the client the rest, as a run has them. On a machine with one physical core they
    share it, a thread each.
    """
    cores = sorted(set(allowed))
    if len(cores) < 2:
        return (), ()
    server = sorted(siblings_of(cores[-1]).intersection(cores)) or cores[-1:]
    if len(server) == len(cores):
        server = cores[-1:]
    return tuple(core for core in cores if core not in server), tuple(server)


def siblings(core: int) -> frozenset[int]:
    """The hardware threads of the physical core that this one is of, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        text = path.read_text().strip()
        found: set[int] = set()
        for part in text.split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except (OSError, ValueError):
        return frozenset({core})
    return frozenset(found | {core})


def allowed_cores() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0)))
