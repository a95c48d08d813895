"""A server that answers by path with literal bytes, and good answers to tell whose they are.

    async with Raw({"lie": [b"HTTP/1.1 200 OK…", CLOSE]}) as server:
        server.url("lie")          POST there plays that script
        server.url("good/17")      a whole stream whose text is `good/17`

Steps: bytes are sent; CLOSE, RESET and HOLD end the connection, HOLD when the client has gone;
Flood sends the same bytes until the client goes, or `most` of them are sent; Later sends something
when the client has read all that came before, and only then is `later` set.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import socket
from typing import NamedTuple

from tests.raw import Connections, end_by_reset, read_request


class End(enum.Enum):
    CLOSE = "close"
    RESET = "reset"
    HOLD = "hold"


CLOSE, RESET, HOLD = End.CLOSE, End.RESET, End.HOLD


class Flood(NamedTuple):
    data: bytes
    most: int


class Later(NamedTuple):
    """Sent after Raw.release(), behind a complete response."""

    data: bytes


def event(text: str | None, finish: str | None = None) -> bytes:
    delta = {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "choices": [choice]}).encode() + b"\n\n"


def stream(text: str) -> bytes:
    return event(text) + event(None, "stop") + b"data: [DONE]\n\n"


def chunked(body: bytes, extra: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + extra
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def sized(body: bytes, length: bytes | None = None, extra: bytes = b"") -> bytes:
    said = b"%d" % len(body) if length is None else length
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + extra
    return head + b"Content-Length: " + said + b"\r\n\r\n" + body


class Raw(Connections):
    def __init__(self, scripts=None):
        super().__init__()
        self.scripts = dict(scripts or {})
        self.flooded: dict[str, int] = {}
        """By script: bytes that the client let us send."""
        self._gates: dict[str, asyncio.Event] = {}
        self._said: dict[str, asyncio.Event] = {}

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        self.origin = f"http://127.0.0.1:{port}"
        return self

    def url(self, name):
        return f"{self.origin}/{name}"

    async def release(self, name):
        """Let the Later step of this script go; returns when its bytes are at the client's end."""
        self._gate(self._gates, name).set()
        await self._gate(self._said, name).wait()

    def _gate(self, gates, name):
        return gates.setdefault(name, asyncio.Event())

    async def _serve(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while name := await _asked(reader):
            if name.startswith("good/"):
                writer.write(chunked(stream(name)))
                await writer.drain()
            elif not await self._play(name, reader, writer):
                break

    async def _play(self, name, reader, writer):
        """Whether the connection goes on."""
        for step in self.scripts[name]:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, Flood):
                await self._flood(name, step, writer)
            elif isinstance(step, Later):
                await self._gate(self._gates, name).wait()
                # Past asyncio's buffer: when this returns, the kernel has it at the other end.
                writer.get_extra_info("socket")._sock.send(step.data)
                self._gate(self._said, name).set()
            else:
                if step is HOLD:
                    await reader.read()
                elif step is CLOSE:
                    writer.close()
                    await writer.wait_closed()
                else:
                    end_by_reset(writer)
                return False
        return True

    async def _flood(self, name, flood, writer):
        self.flooded[name] = 0
        piece = flood.data * max(1, 65_536 // len(flood.data))
        while self.flooded[name] < flood.most:
            writer.write(piece)
            await writer.drain()
            self.flooded[name] += len(piece)


async def _asked(reader):
    """The path of the next request, without its slash; None when the client has gone."""
    request = await read_request(reader)
    if request is None:
        return None
    with contextlib.suppress(IndexError):
        return request.split(b" ")[1].decode().lstrip("/")
    return None
