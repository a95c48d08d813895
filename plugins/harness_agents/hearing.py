"""What a program says, split into lines and kept, as it comes.

While it works, only what must be known at once is looked at: nonsense, and the end. All of it is
read when it is over (transcript.py).
"""

from __future__ import annotations

import asyncio

from harness_agents.protocol import LINE_BYTES_MAX, OUTPUT_BYTES_MAX, Rule, Violation, type_of

__all__ = ["Hearing"]

_LOOKED_AT_BYTES = 64 * 1024


class Hearing:
    """One program's standard output. Belongs to the event loop in which it is made."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.lines: list[bytes] = []
        """Without LF."""
        self.opening: asyncio.Queue[tuple[bytes, int]] | None = asyncio.Queue()
        """(line, when it was heard), for as long as somebody answers them one by one."""
        self.broken: asyncio.Future[Violation] = loop.create_future()
        """It spoke nonsense: what follows is not kept."""
        self.final: asyncio.Future[None] = loop.create_future()
        """It said that it is over."""
        self._rest = bytearray()
        self._heard_bytes = 0

    def hear(self, data: bytes, heard_ns: int) -> None:
        if self.broken.done():
            return
        self._heard_bytes += len(data)
        self._rest += data
        if b"\n" in data:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._take(line, heard_ns)
        if len(self._rest) > LINE_BYTES_MAX:
            self._break("json", f"a line of more than {LINE_BYTES_MAX >> 20} MiB")
        if self._heard_bytes > OUTPUT_BYTES_MAX:
            self._break("json", f"more than {OUTPUT_BYTES_MAX >> 20} MiB of output")

    def _take(self, line: bytes, heard_ns: int) -> None:
        if len(line) > LINE_BYTES_MAX:
            self._break("json", f"a line of more than {LINE_BYTES_MAX >> 20} MiB")
            return
        self.lines.append(line)
        if self.opening is not None:
            self.opening.put_nowait((line, heard_ns))
        # Who speaks nonsense is ended at once; a long line can wait, unless it may be the last.
        if len(line) > _LOOKED_AT_BYTES and b'"result"' not in line:
            return
        kind = type_of(line)
        if isinstance(kind, Violation):
            self._break(kind.rule, kind.what)
        elif kind in ("result", "error") and not self.final.done():
            self.final.set_result(None)

    def _break(self, rule: Rule, what: str) -> None:
        if not self.broken.done():
            self.broken.set_result(Violation(rule, what))
