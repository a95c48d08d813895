"""What the tests of the tap share: every kind that this machine has, an agent of bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

from harness._native.framing import ResponseParser
from harness.transport.tap import Door, Tap, Tapped, open_tap
from tests.transport.kit import Kind, until

TAPS: list[Kind] = ["native", "portable"] if sys.platform.startswith("linux") else ["portable"]


@contextlib.asynccontextmanager
async def tapped(kind: Kind, *upstreams: str) -> AsyncIterator[tuple[Tap, *tuple[Door, ...]]]:
    """A tap, and a door to each of these."""
    tap = open_tap(kind, upstreams)
    await tap.open()
    try:
        yield tap, *[await tap.door(upstream) for upstream in upstreams]
    finally:
        await tap.close()


async def at_a_standstill(tap: Tap) -> None:
    """Return once nothing more comes from the server: it is held up."""
    before, still = -1, 0
    while still < 50:
        now = tap.stats()["bytes"]
        still = still + 1 if now == before > 0 else 0
        before = now
        await asyncio.sleep(0.001)


async def ended(door: Door, count: int = 1) -> list[Tapped]:
    """Exactly `count` exchanges, once they are over."""
    found: list[Tapped] = []

    def enough() -> bool:
        found.extend(door.take())
        return len(found) >= count

    await until(enough)
    assert len(found) == count
    return found


class Response(NamedTuple):
    status: int
    head: bytes
    body: bytes
    whole: bool
    """False: the connection ended within it."""
    raw: bytes


class Agent:
    """One connection; says what it is told, and reads what comes."""

    def __init__(self, door: Door) -> None:
        self._port = int(door.url.rpartition(":")[2])
        self._left = b""

    async def __aenter__(self) -> Agent:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=2**26
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def response(self, method: str = "POST") -> Response:
        """The next one. ConnectionError if the connection is reset."""
        parser = ResponseParser(method)
        raw = b""
        parts: list[bytes] = []
        while not parser.complete:
            data = self._left or await self.reader.read(65536)
            self._left = b""
            if not data:
                whole = parser.finish()
                return Response(parser.status, parser.head, b"".join(parts), whole, raw)
            body, used = parser.feed(data)
            parts.append(body)
            raw += data[:used]
            self._left = data[used:]
        return Response(parser.status, parser.head, b"".join(parts), True, raw)

    async def ask(self, body: bytes = b"{}", path: str = "/v1/stream", extra: str = "") -> Response:
        await self.say(asking(body, path, extra))
        return await self.response()

    async def read_until(self, wanted: bytes) -> bytes:
        """Everything up to and with it."""
        while wanted not in self._left:
            more = await self.reader.read(65536)
            assert more, self._left
            self._left += more
        return self._left

    async def at_end(self) -> bool:
        """Whether the connection was closed properly; False if it was reset."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return False

    def vanish(self) -> None:
        """With RST, as a process that is killed with something unread."""
        linger = struct.pack("ii", 1, 0)
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


def asking(body: bytes = b"{}", path: str = "/v1/stream", extra: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: an.agent.said\r\nContent-Type: application/json\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
