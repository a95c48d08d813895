"""The native tap: asyncio's side of the thread that passes bytes on (harness._native.tap).

A door is a listening socket, made here and handed to the thread with the server's addresses, which
are resolved once. What came of each exchange comes back through one eventfd.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from harness._native.tap import Tapper
from harness.errors import SpecError
from harness.transport.native import addresses_of
from harness.transport.tap import Tapped
from harness.transport.wire import parse_url

if TYPE_CHECKING:
    from harness._native.recorder import Record
    from harness.transport.wire import Target

__all__ = ["NativeTap"]

_BACKLOG: Final = 4096
_LABEL_MAX: Final = 300

_Told: TypeAlias = "tuple[bytes, bytes, int, bool, int | None, Record]"


class NativeTap:
    """See harness.transport.tap.Tap. Belongs to the event loop that opened it.

    Servers that speak plain HTTP/1.1 over TCP or a Unix socket.
    """

    name = "native"

    def __init__(
        self,
        upstreams: Sequence[str] = (),
        *,
        timestamps: bool = True,
        realtime: bool = True,
    ) -> None:
        """SpecError for an address that cannot be used. The options are those of Tapper; real-time
        priority is asked for, since what waits in the tap waits in the agent, and stats() says
        whether it was granted."""
        for upstream in upstreams:
            _target(upstream)
        self._timestamps = timestamps
        self._realtime = realtime
        self._doors: dict[int, NativeDoor] = {}
        self._stats: dict[str, int] = {}
        self._tapper: Tapper | None = None

    async def open(self) -> None:
        self._tapper = Tapper(self._timestamps, self._realtime)
        self._fd = self._tapper.fileno()
        asyncio.get_running_loop().add_reader(self._fd, self.drain)

    async def door(self, upstream: str, *, port: int = 0) -> NativeDoor:
        target = _target(upstream)
        addresses = await addresses_of(target)
        listener = _listening(port)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        number = self.tapper.add_door(
            listener.detach(),
            addresses,
            host=target.host_header.encode("ascii"),
            prefix=target.path.rstrip("/").encode("ascii"),
            label=json.dumps(target.label[:_LABEL_MAX])[1:-1].encode("ascii"),
        )
        made = self._doors[number] = NativeDoor(self, number, url)
        return made

    def stats(self) -> dict[str, int]:
        return self._tapper.stats() if self._tapper is not None else self._stats

    async def close(self) -> None:
        if self._tapper is None:
            return
        for door in list(self._doors.values()):
            await door.shut()
        asyncio.get_running_loop().remove_reader(self._fd)
        tapper, self._tapper = self._tapper, None
        tapper.close()
        self._stats = tapper.stats()

    @property
    def tapper(self) -> Tapper:
        if self._tapper is None:
            raise ValueError("the tap is not open")
        return self._tapper

    def drain(self) -> None:
        """To each door, what came through it."""
        if self._tapper is None:
            return
        for number, told in self._tapper.drain():
            if told is None:
                self._doors.pop(number).shut_by_now.set()
            else:
                self._doors[number].ended.append(told)


class NativeDoor:
    """See harness.transport.tap.Door."""

    def __init__(self, tap: NativeTap, number: int, url: str) -> None:
        self._tap = tap
        self._number = number
        self.url = url
        self.ended: list[_Told] = []
        self.shut_by_now = asyncio.Event()
        self._shutting = False

    def take(self) -> list[Tapped]:
        self._tap.drain()
        told, self.ended = self.ended, []
        return [_tapped(*each) for each in told]

    async def close(self) -> list[Tapped]:
        await self.shut()
        return self.take()

    async def shut(self) -> None:
        """As close, but what is left stays to be taken."""
        if not self._shutting:
            self._shutting = True
            self._tap.tapper.close_door(self._number)
        await self.shut_by_now.wait()


def _target(upstream: str) -> Target:
    """SpecError for what cannot stand behind a door of this tap."""
    target = parse_url(upstream)
    if target.scheme == "https":
        raise SpecError(
            f"the native tap cannot serve {target.label}: it needs TLS",
            where="$.transport",
            remedy="transport: portable",
        )
    if "?" in target.path:
        raise SpecError(
            f"the address of {target.label} has a query, and an agent's path cannot go behind it",
            remedy="leave out the question mark and what follows",
        )
    return target


def _listening(port: int) -> socket.socket:
    """On loopback, whatever anybody wishes."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        said = error.strerror if isinstance(error, OSError) else "there is no such port"
        raise SpecError(
            f"cannot listen on 127.0.0.1:{port}: {said}",
            where="tap",
            remedy="another port, or 0 for any that is free",
        ) from error
    return listener


def _tapped(
    head: bytes,
    body: bytes,
    request_ns: int,
    request_by_kernel: bool,
    end_sent_ns: int | None,
    record: Record,
) -> Tapped:
    first, *lines = _lines(head)
    method, named, _ = first.split(" ")
    fields = (line.partition(":") for line in lines)
    return Tapped(
        method=method,
        path=_path(named),
        headers=tuple((name.lower(), value.strip(" \t")) for name, _, value in fields),
        body=body,
        request_ns=request_ns,
        request_by_kernel=request_by_kernel,
        record=record,
        end_sent_ns=end_sent_ns,
    )


def _lines(head: bytes) -> list[str]:
    """Not splitlines, which also cuts at bytes that are text here."""
    lines = [line.removesuffix(b"\r").decode("latin-1") for line in head.split(b"\n")]
    return [line for line in lines if line]


def _path(named: str) -> str:
    """Of an absolute-form target, what the tap passes on."""
    if named.startswith("/") or "://" not in named:
        return named
    return "/" + named.partition("://")[2].partition("/")[2]
