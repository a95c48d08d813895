"""What carries bytes to a server and back."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from harness.schema import Exchange, TimeoutsSpec

if TYPE_CHECKING:
    from harness._native.recorder import Record as WireRecord

__all__ = ["Transport"]


class Transport(Protocol):
    """Carries exchanges. `harness.transport.open_transport` makes one; backends never see it."""

    name: str
    """`native` or `portable`."""

    async def open(self) -> None: ...

    def lane(self, limit: int) -> int:
        """A queue with at most `limit` exchanges in flight; 0: no limit. Lane 0 always exists."""

    def send(
        self, exchange: Exchange, timeouts: TimeoutsSpec, *, lane: int = 0, due_ns: int = 0
    ) -> Awaitable[WireRecord]:
        """Queue one exchange now; the result is its sealed record, never an exception but
        CancelledError. Cancelling the awaitable ends the call as `cancelled`."""

    def stats(self) -> dict[str, int]: ...

    async def close(self) -> None: ...
