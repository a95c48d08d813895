"""The tap: a proxy on loopback between an agent and its server, which stamps what passes.

It opens one door per agent: a port of its own, so that whoever comes through is known by the door.
Bytes go on as they come, both ways, unchanged but for what a proxy must change; what came of each
exchange is a sealed wire record, as of a call of our own. `open_tap` chooses: native on Linux where
the server speaks plain HTTP, portable (asyncio and httpx) for TLS and everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from harness.errors import SpecError
from harness.transport import native_obstacle, refuse_without_native
from harness.transport.wire import parse_url

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["Door", "Tap", "Tapped", "open_tap"]


class Tapped(Struct, frozen=True, kw_only=True):
    """One exchange that went through, whatever became of it."""

    method: str
    path: str
    """With its query."""
    headers: tuple[tuple[str, str], ...]
    """Of the request, as the agent sent them; names in lower case."""
    body: bytes
    """Of the request."""
    request_ns: int
    """Arrival of the request's last byte, CLOCK_MONOTONIC: the kernel's stamp …"""
    request_by_kernel: bool
    """… or ours, where it has none."""
    record: Record
    """Stamped at the upstream side. `due_ns` is request_ns, `sent_ns` right before its last byte
    was handed on; `lag_ns` of a chunk is how long it was with us: from its arrival until right
    before the send that took its last byte to the agent (2³²−1 ns where it never was sent). The
    outcome `cancelled` means that the agent went away first."""
    end_sent_ns: int | None
    """Right before the response's last byte was handed to the agent."""


class Door(Protocol):
    """Where one agent comes in."""

    url: str
    """http://127.0.0.1:PORT"""

    def take(self) -> list[Tapped]:
        """Exchanges that are over, in the order in which they ended; each is given once."""

    async def close(self) -> list[Tapped]:
        """Let nobody in any more, end what is under way (`cancelled`), and take the rest. A
        response that the server has sent whole is not ended, but passed on."""


class Tap(Protocol):
    """See open_tap."""

    name: str
    """`native` or `portable`."""

    async def open(self) -> None: ...

    async def door(self, upstream: str, *, port: int = 0) -> Door:
        """A new one, to the server at `upstream` (scheme, host, port; a path is put before the
        agent's). Raises SpecError for an address that cannot be used."""

    def stats(self) -> dict[str, int]: ...

    async def close(self) -> None:
        """Close every door. Twice is once."""


def open_tap(kind: Literal["auto", "native", "portable"], upstreams: Sequence[str]) -> Tap:
    """A tap for these servers; its `open` is still to be awaited. As for `open_transport`: `native`
    raises SpecError where it cannot serve, NativeMissing where its compiled module is missing."""
    import numpy  # noqa: F401  (every record gives arrays: not to be loaded while calls are timed)

    obstacle = native_obstacle([parse_url(url) for url in upstreams])
    if kind == "native" and obstacle:
        raise SpecError(
            f"the native tap cannot serve this: {obstacle}",
            where="$.transport",
            remedy="transport: portable",
        )
    try:
        if kind == "portable" or obstacle:
            from harness.transport.tap_portable import PortableTap

            return PortableTap(upstreams)
        from harness.transport.tap_native import NativeTap

        return NativeTap(upstreams)
    except ImportError as error:
        refuse_without_native(error)
