"""What a process leaves behind: what it printed, and how it ended."""

from __future__ import annotations

import contextlib
import logging
import signal
from pathlib import Path
from typing import Final

from harness.text import one_line

__all__ = ["Output", "ending", "oom_kills"]

log = logging.getLogger("harness.trial")

OUTPUT_BYTES: Final = 1 << 18
"""The last of what a trial prints."""
LINE_BYTES: Final = 1 << 16
TAIL_LINES: Final = 3
_CRASH: Final = "Fatal Python error"


class Output:
    """What a child prints: the last of it is kept, and all of it logged."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._line = b""
        self._taken = False

    def take(self, data: bytes) -> None:
        self._kept += data
        del self._kept[:-OUTPUT_BYTES]
        *lines, self._line = (self._line[-LINE_BYTES:] + data).split(b"\n")
        for line in lines:
            log.info("%s", _tidied(line))

    @property
    def last_lines(self) -> list[str]:
        """Where Python itself crashed: that, and the innermost frame of the thread that did."""
        lines = [line for line in map(_tidied, bytes(self._kept).split(b"\n")) if line]
        crash = [index for index, line in enumerate(lines) if line.startswith(_CRASH)]
        if not crash:
            return lines[-TAIL_LINES:]
        threads = iter(lines[crash[-1] :])
        said = [next(threads)]
        for line in threads:
            if line.startswith("Current thread"):
                said += [frame for frame in threads if frame.startswith("File ")][:1]
        return said

    def take_all(self) -> str:
        """And nothing the next time."""
        text = "" if self._taken else self._kept.decode("utf-8", "replace").strip()
        self._taken = True
        return f"{text}\n" if text else ""


def _tidied(line: bytes) -> str:
    return one_line(line.decode("utf-8", "replace"), 300).strip()


def ending(code: int, oom_kills: int) -> str:
    if code >= 0:
        return f"its process ended with status {code}"
    names = {number.value: number.name for number in signal.Signals}
    how = f"its process was killed by {names.get(-code, f'signal {-code}')}"
    if code == -signal.SIGKILL and oom_kills > 0:
        how += ", as it seems because memory ran out"
    return how


def oom_kills() -> int:
    """How often the kernel has killed a process for want of memory; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
