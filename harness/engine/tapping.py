"""The tap of one trial: opened beside its transport, closed with it.

Doors are closed from two sides: by the agent's context when its work is done, and all at once by an
interrupt. Whatever a door still held then stays with it, until that context is left and seals it.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from harness.transport.tap import Door, Tap, Tapped

__all__ = ["KeptDoor", "TrialTap", "together"]

_QUANTILES = ("_p50_ns", "_p99_ns", "_max_ns")


def together(name: str, one: int, other: int) -> int:
    """Of two transports, or taps: what they counted adds up, and of quantiles the worse is told."""
    return max(one, other) if name.endswith(_QUANTILES) else one + other


class KeptDoor:
    """A door that may be closed twice, and gives what came through it once."""

    def __init__(self, door: Door) -> None:
        self.url = door.url
        self._door = door
        self._left: list[Tapped] = []
        self._closing: asyncio.Future[None] | None = None

    def take(self) -> list[Tapped]:
        """Exchanges that are over and were not taken yet."""
        taken = self._left if self._closing is not None else [*self._left, *self._door.take()]
        self._left = []
        return taken

    async def close(self) -> None:
        """Nobody comes in any more; what is under way ends. `take` has the rest."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._left += await self._door.close()


class TrialTap:
    """What the trial has instead of a bare Tap."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._doors: list[KeptDoor] = []
        self._stats: dict[str, int] = {}
        self._ended = False
        self.passed_on = 0
        """Requests that were no model calls."""

    @property
    def name(self) -> Literal["native", "portable"] | str:
        return self._tap.name

    async def open(self) -> None:
        await self._tap.open()

    async def door(self, upstream: str, *, port: int = 0) -> KeptDoor:
        """CancelledError once the trial has ended."""
        if self._ended:
            raise asyncio.CancelledError
        door = KeptDoor(await self._tap.door(upstream, port=port))
        self._doors.append(door)
        return door

    def forget(self, door: KeptDoor) -> None:
        """It was closed, and what came through it is sealed."""
        if door in self._doors:
            self._doors.remove(door)

    async def end(self) -> None:
        """Close every door, so that all is there to be sealed, and then the tap."""
        self._ended = True
        try:
            await asyncio.gather(*(door.close() for door in self._doors))
        finally:
            self._stats = dict(self._tap.stats())
            await self._tap.close()

    def stats(self) -> dict[str, int]:
        """As they go into TrialRecord.transport_stats."""
        counted = self._stats if self._ended else self._tap.stats()
        found = {f"tap_{name}": count for name, count in counted.items()}
        return {**found, "tap_passed_on": self.passed_on}
