"""A server that says literal bytes, step by step, with nothing between it and the socket.

    async with RawServer([b"HTTP/1.1 200 OK\\r\\n…", gate, b"…", RESET]) as server:
        … server.url …

Each request takes the next script (the last one serves all that follow). A script is a list of
steps: bytes are sent, an asyncio.Event is waited for, a Ping goes on until the client hangs up, and
RESET, CLOSE and HALF_CLOSE do that to the connection. After a script the connection waits for the
next request, as with keep-alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from tests.raw import Connections, end_by_reset, read_request


class Do(enum.Enum):
    RESET = "reset"
    CLOSE = "close"
    HALF_CLOSE = "half-close"


RESET, CLOSE, HALF_CLOSE = Do.RESET, Do.CLOSE, Do.HALF_CLOSE


class Ping(NamedTuple):
    """Sent again and again until the client hangs up."""

    data: bytes
    every_s: float


Step: TypeAlias = bytes | asyncio.Event | Do | Ping
Script: TypeAlias = Sequence[Step]


class RawServer(Connections):
    def __init__(
        self, *scripts: Script, host: str = "127.0.0.1", unix: Path | None = None, tls=None
    ):
        super().__init__()
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.serving = 0
        self.serving_max = 0
        self._host = host
        self._unix = unix
        self._tls = tls
        self._arrived: list[tuple[int, asyncio.Event]] = []
        self._lost = asyncio.Event()

    async def __aenter__(self) -> RawServer:
        if self._unix is not None:
            self._server = await asyncio.start_unix_server(self._accept, str(self._unix))
            self.origin = f"http+unix://{quote(str(self._unix), safe='')}"
        else:
            self._server = await asyncio.start_server(
                self._accept, self._host, 0, ssl=self._tls, backlog=1024
            )
            shown = f"[{self._host}]" if ":" in self._host else self._host
            scheme = "https" if self._tls else "http"
            self.origin = f"{scheme}://{shown}:{self._server.sockets[0].getsockname()[1]}"
        self.url = self.origin + "/v1/stream"
        return self

    async def arrived(self, count: int) -> None:
        """Return once this many requests have been read whole."""
        event = asyncio.Event()
        self._arrived.append((count, event))
        self._tell()
        await event.wait()

    async def connection_lost(self) -> None:
        """Return once a client has closed a connection that we were not done with."""
        await self._lost.wait()

    def _tell(self) -> None:
        for count, event in self._arrived:
            if len(self.requests) >= count:
                event.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
            self.requests.append(request)
            self.serving += 1
            self.serving_max = max(self.serving_max, self.serving)
            self._tell()
            if not await self._play(script, reader, writer):
                break

    async def _play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection can serve another request."""
        over = False
        try:
            for index, step in enumerate(script, 1):
                if isinstance(step, bytes):
                    if index == len(script):
                        # Before the last bytes leave: the client may ask again on getting them.
                        self.serving -= 1
                        over = True
                    writer.write(step)
                    await writer.drain()
                elif isinstance(step, asyncio.Event):
                    await self._wait(step, reader)
                elif isinstance(step, Ping):
                    await self._ping(step, reader, writer)
                else:
                    await _end(step, reader, writer)
                    return False
            return True
        finally:
            if not over:
                self.serving -= 1

    async def _ping(
        self, ping: Ping, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            writer.write(ping.data)
            await writer.drain()
            gate = asyncio.Event()
            loop.call_later(ping.every_s, gate.set)
            await self._wait(gate, reader)

    async def _wait(self, gate: asyncio.Event, reader: asyncio.StreamReader) -> None:
        """For the gate, or for the client to hang up."""
        opened = asyncio.ensure_future(gate.wait())
        hung_up = asyncio.ensure_future(_until_eof(reader))
        try:
            await asyncio.wait({opened, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if hung_up.done() and not opened.done():
                self._lost.set()
                raise ConnectionResetError
        finally:
            opened.cancel()
            hung_up.cancel()
            await asyncio.gather(opened, hung_up, return_exceptions=True)


async def _until_eof(reader: asyncio.StreamReader) -> None:
    # Nobody pipelines here, so whatever comes during a response is the end.
    with contextlib.suppress(ConnectionError):
        await reader.read(1)


async def _end(step: Do, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if step is RESET:
        end_by_reset(writer)
        writer.transport.abort()
    elif step is CLOSE:
        writer.close()  # what was written goes out first
        await writer.wait_closed()
    else:
        writer.write_eof()
        await _until_eof(reader)


# ------------------------------------------------------------------------- literal responses


def response(
    body: bytes, content_type: str = "text/event-stream", *, status: str = "200 OK", extra: str = ""
) -> bytes:
    """With Content-Length."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked_head(content_type: str = "text/event-stream") -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
