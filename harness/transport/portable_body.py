"""A response body that comes in spans from an HTTP library, made into stamped chunks.

The library hands out body spans, not reads, and one read may carry several. A span that comes
without the event loop having turned since the one before came of the same read (receiving is a
checkpoint in anyio), so it gets that read's stamp.

A chunk is marked as an upper bound when more than line ends followed it in its read, as the reactor
does. So the last chunk of a span is held back until it is known whether the read had another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from harness._native.clock import monotonic_ns
from harness._native.framing import FLAG_NAMED as FRAME_NAMED
from harness._native.framing import FLAG_UNTERMINATED, Splitter
from harness._native.recorder import FLAG_NAMED, FLAG_UPPER_BOUND, FLAG_USER_STAMP, Recorder

__all__ = ["Body", "Counters", "Reads", "RefusedError"]


class RefusedError(Exception):
    """Our own parser or splitter refused what came; `outcome` is how the call ends by that."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


class Counters:
    """Summed over the calls of one transport; the names are those of Reactor.stats."""

    def __init__(self) -> None:
        self.reads = 0
        self.chunks = 0
        self.merged_chunks = 0
        self.bytes = 0
        self.reconnects = 0
        self.clock_steps = 0
        self.user_stamps = 0


class Reads:
    """Tells one read from the next, and when each came."""

    def __init__(self, counters: Counters) -> None:
        self.stamp_ns = 0
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._same = False

    def note(self, now_ns: int) -> bool:
        """Something was received: whether by a new read. `stamp_ns` is then when that came."""
        if self._same:
            return False
        self.expect()
        self._counters.reads += 1
        self.stamp_ns = now_ns
        return True

    def expect(self) -> None:
        """What is received from here on without a turn of the loop was there before."""
        self._same = True
        self._loop.call_soon(self._turned)

    def _turned(self) -> None:
        self._same = False


class Body:
    """Feeds a Recorder."""

    def __init__(
        self, recorder: Recorder, splitter: Splitter, reads: Reads, counters: Counters
    ) -> None:
        self.unterminated = False
        self._recorder = recorder
        self._splitter = splitter
        self._reads = reads
        self._counters = counters
        self._held: tuple[int, int, bytes, int] | None = None
        self._user_ns = 0

    @property
    def comments(self) -> int:
        return self._splitter.comments

    def feed(self, span: bytes, onward: Callable[[bytes], int] | None = None) -> bool:
        """Whether the span completed a chunk. RefusedError for a frame over the limit.

        `onward` passes the span on to somebody else before we look into it, and says when; that is
        then the second stamp of its chunks."""
        fresh = self._reads.note(monotonic_ns())
        stamp_ns = self._reads.stamp_ns
        self._user_ns = user_ns = onward(span) if onward is not None else stamp_ns
        self._counters.bytes += len(span)
        # A chunk that is complete before the last byte that ends no line had more behind it.
        text = span.rstrip(b"\r\n")
        if fresh or text:
            self._release(0 if fresh else FLAG_UPPER_BOUND)
        early = self._split(text)
        for payload, flags in early:
            self._append(stamp_ns, user_ns, payload, flags, FLAG_UPPER_BOUND)
        last = self._split(span[len(text) :])
        for payload, flags in last:
            self._held = stamp_ns, user_ns, payload, flags
        self._count(len(early) + len(last))
        return bool(early or last)

    def end(self, *, more_in_read: bool) -> None:
        """The response is complete. `more_in_read`: its end came behind the body in one read."""
        self._release(FLAG_UPPER_BOUND if more_in_read else 0)
        left = self._splitter.finish()
        self._count(len(left))
        for payload, flags in left:
            self._append(self._reads.stamp_ns, self._user_ns, payload, flags, 0)
            self.unterminated = bool(flags & FLAG_UNTERMINATED)

    def abandon(self) -> None:
        """The response broke off. A frame that was left open is no chunk."""
        self._release(0)

    def _split(self, data: bytes) -> list[tuple[bytes, int]]:
        try:
            return self._splitter.feed(data)
        except ValueError as error:
            raise RefusedError("too_large", str(error)) from error

    def _count(self, chunks: int) -> None:
        self._counters.chunks += chunks
        self._counters.user_stamps += chunks

    def _release(self, bound: int) -> None:
        if self._held is not None:
            stamp_ns, user_ns, payload, flags = self._held
            self._held = None
            self._append(stamp_ns, user_ns, payload, flags, bound)

    def _append(
        self, stamp_ns: int, user_ns: int, payload: bytes, frame_flags: int, bound: int
    ) -> None:
        flags = FLAG_USER_STAMP | bound | (FLAG_NAMED if frame_flags & FRAME_NAMED else 0)
        self._recorder.append(stamp_ns, user_ns, payload, flags)
        self._counters.merged_chunks += bool(bound)
