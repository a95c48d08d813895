"""Time that passes when a test says so."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """A monotonic clock in ns that starts at one second, so that no instant is mistaken for 0."""

    def __init__(self, now_ns: int = 1_000_000_000) -> None:
        self._now_ns = now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def advance(self, ns: int) -> int:
        """Let `ns` pass; returns the new now. ValueError for a clock that would run backwards."""
        if ns < 0:
            raise ValueError(f"a monotonic clock does not go back by {-ns} ns")
        self._now_ns += ns
        return self._now_ns

    def wait(self, seconds: float) -> None:
        """The same for who does not await: takes no time at all, and all of it."""
        self.advance(round(seconds * 1e9))

    async def sleep(self, seconds: float) -> None:
        """Takes no time at all, and all of it."""
        self.advance(round(seconds * 1e9))
