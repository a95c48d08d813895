"""What servers of literal bytes share: requests read whole, connections counted and ended."""

from __future__ import annotations

import asyncio
import socket
import struct


class Connections:
    """Mix in, start `self._server` with `_accept`, and write `_serve`."""

    def __init__(self) -> None:
        self.connections = 0
        self._tasks: set[asyncio.Task] = set()
        self._server: asyncio.Server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection, until nothing more comes of it."""
        raise NotImplementedError

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> bytes | None:
    """Head and body; None when the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":", 1)[1])
        return head + await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


def end_by_reset(writer: asyncio.StreamWriter) -> None:
    """Once it is closed, whoever closes it."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
