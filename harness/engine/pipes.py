"""Messages through pipes: a length (uint32, little-endian), then so many bytes, and so on.

An empty message says that its writer is done, and leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["LENGTH", "Frames", "PipeWriter", "enlarge"]

LENGTH: Final = struct.Struct("<I")
PIPE_BYTES: Final = 1 << 20
"""What any user may ask for on Linux; the default is 64 KiB."""


class Frames:
    """Takes bytes as they come, and gives the messages that are whole."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        rest = self._rest
        rest += data
        at = 0
        try:
            while len(rest) - at >= LENGTH.size:
                (length,) = LENGTH.unpack_from(rest, at)
                start = at + LENGTH.size
                if len(rest) - start < length:
                    break
                at = start + length
                yield bytes(rest[start:at])
        finally:
            del rest[:at]


class PipeWriter:
    """Writes from the event loop and never waits for who reads: what the pipe does not take at once
    is kept until it does. `broken` is called, once, when nobody can read any more."""

    def __init__(self, descriptor: int, broken: Callable[[], object]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._broken: Callable[[], object] | None = broken
        self._loop = asyncio.get_running_loop()
        self._left = bytearray()
        self._empty = asyncio.Event()
        self._empty.set()

    def send(self, message: bytes) -> None:
        self.write(LENGTH.pack(len(message)) + message)

    def write(self, data: bytes) -> None:
        if self._left:
            self._left += data
            return
        done = self._write(data)
        if done < len(data):
            self._left += data[done:]
            self._empty.clear()
            self._loop.add_writer(self._descriptor, self._go_on)

    async def drain(self) -> None:
        """Until everything is in the pipe."""
        await self._empty.wait()

    def close(self) -> None:
        """What is left is dropped. May be called again."""
        if self._descriptor < 0:
            return
        self._loop.remove_writer(self._descriptor)
        os.close(self._descriptor)
        self._descriptor, self._broken = -1, None
        self._left.clear()
        self._empty.set()

    def _go_on(self) -> None:
        del self._left[: self._write(self._left)]
        if not self._left:
            self._loop.remove_writer(self._descriptor)
            self._empty.set()

    def _write(self, data: bytes | bytearray) -> int:
        """How much of it was taken; all, if nobody reads."""
        if self._broken is None:
            return len(data)
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:
            broken, self._broken = self._broken, None
            broken()
            return len(data)


def enlarge(descriptor: int) -> None:
    """Make room for what is written while nobody reads, where that can be had."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
