"""A small server for `harness agent check` and for tests: it answers with given bodies, cut into
pieces as asked, and keeps what it was sent, header by header."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import h11
from msgspec import Struct, field

__all__ = ["Given", "RecordingServer", "Seen", "pieces", "serving"]

CONTENT_TYPES: Final = {"ollama": b"application/x-ndjson", "openai": b"text/event-stream"}
_READ_BYTES: Final = 65536


class Given(Struct, frozen=True, kw_only=True):
    """An answer."""

    dialect: str
    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    """Between two pieces."""
    hold: bool = False
    """After the last piece nothing more comes, and no end either."""


class Seen(Struct, frozen=True, kw_only=True):
    """A request as it came."""

    name: str
    """Its X-Request-ID; empty where there is none."""
    path: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    arrived_ns: int
    sent_ns: list[int] = field(default_factory=list)
    """Right before each piece of the answer."""


class RecordingServer:
    """Made by `serving`."""

    def __init__(self, answer: Callable[[Seen], Given]) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.first = asyncio.Event()
        """A request has come."""
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        with contextlib.suppress(h11.ProtocolError, OSError):
            while (seen := await _request(connection, reader)) is not None:
                self.seen.append(seen)
                self.first.set()
                await _respond(connection, writer, self._answer(seen), seen.sent_ns)
                connection.start_next_cycle()
        writer.close()


@asynccontextmanager
async def serving(answer: Callable[[Seen], Given]) -> AsyncIterator[RecordingServer]:
    """On loopback, on a free port."""
    recorder = RecordingServer(answer)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await recorder.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    recorder.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield recorder
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(set(tasks))
        await server.wait_closed()


def pieces(body: bytes, size: int) -> tuple[bytes, ...]:
    """`body` cut into parts of `size` bytes."""
    return tuple(body[at : at + size] for at in range(0, len(body), size))


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> Seen | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            break
        else:
            return None
    headers = tuple((name.decode(), value.decode("latin-1")) for name, value in head.headers)
    return Seen(
        name=dict(headers).get("x-request-id", ""),
        path=head.target.decode(),
        headers=headers,
        body=body,
        arrived_ns=time.monotonic_ns(),
    )


async def _respond(
    connection: h11.Connection, writer: asyncio.StreamWriter, given: Given, sent_ns: list[int]
) -> None:
    fields = [(b"Content-Type", CONTENT_TYPES[given.dialect]), (b"Transfer-Encoding", b"chunked")]
    await _send(connection, writer, h11.Response(status_code=200, headers=fields))
    for piece in given.pieces:
        sent_ns.append(time.monotonic_ns())
        await _send(connection, writer, h11.Data(data=piece))
        await asyncio.sleep(given.pause_s)
    if given.hold:
        await asyncio.Event().wait()
    await _send(connection, writer, h11.EndOfMessage())


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, event: h11.Event) -> None:
    data = connection.send(event)
    if data:
        writer.write(data)
        await writer.drain()
