"""`sampler`: what our threads were doing, asked at a steady pace; a flame graph's input.

A thread of our own takes the stacks of the others (sys._current_frames), which costs nothing
between two samples: nothing is traced. Time in native code counts for the Python function that
called it; a thread that waits is seen where it waits. Stacks are written collapsed, a line each:
`thread;outer;inner count`, as flamegraph.pl, speedscope and inferno read them.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from types import FrameType
from typing import Final

from harness.protocols import Observation
from harness.sampling import Pace
from harness.schema import MetricValue
from harness_instruments.options import SamplerOptions

__all__ = ["Sampler"]

DEPTH_MAX: Final = 200
"""Frames of one stack; what is further out is left out."""


class Sampler:
    """The instrument `sampler`."""

    perturbing = False

    def __init__(self, options: SamplerOptions) -> None:
        self._options = options
        self._pace: Pace | None = None
        self._stacks: Counter[tuple[object, ...]] = Counter()
        self._main = 0

    def open(self) -> None:
        pass

    def start(self) -> None:
        self._stacks = Counter()
        self._main = threading.get_ident()
        self._pace = Pace(self._take, self._options.interval_ms / 1e3, "sampler")
        self._pace.start()

    def stop(self) -> Observation:
        pace, self._pace = self._pace, None
        if pace is None:
            return Observation(unknown={"sampler": "stopped without having been started"})
        cost = pace.stop().observation("sampler")
        distinct = MetricValue(name="sampler.stacks", value=len(self._stacks), unit="stacks")
        text = _collapsed(self._stacks, {one.ident: one.name for one in threading.enumerate()})
        return Observation(
            metrics=(*cost.metrics, distinct), artifacts=(("stacks.collapsed.txt", text),)
        )

    def close(self) -> None:
        if self._pace is not None:
            self._pace.stop()
            self._pace = None

    def _take(self) -> None:
        """Quick: code objects and a count. Names are made when all is over."""
        own = threading.get_ident()
        for thread, frame in sys._current_frames().items():
            wanted = thread != own and (thread == self._main or self._options.threads == "all")
            if wanted:
                self._stacks[(thread, *_codes(frame))] += 1


def _codes(frame: FrameType | None) -> list[object]:
    """Innermost first."""
    codes: list[object] = []
    while frame is not None and len(codes) < DEPTH_MAX:
        codes.append(frame.f_code)
        frame = frame.f_back
    return codes


def _collapsed(stacks: Counter[tuple[object, ...]], threads: dict[int | None, str]) -> str:
    named: Counter[str] = Counter()
    for (thread, *codes), count in stacks.items():
        who = threads.get(thread) if isinstance(thread, int) else None
        parts = [who or f"thread {thread}", *(_name(code) for code in reversed(codes))]
        named[";".join(part.replace(";", ":").replace("\n", " ") for part in parts)] += count
    return "".join(f"{stack} {count}\n" for stack, count in named.most_common())


def _name(code: object) -> str:
    """`function (package/file.py:line)`: the last two parts of the path, which tell no secrets."""
    path = str(getattr(code, "co_filename", "?")).replace("\\", "/")
    short = "/".join(path.split("/")[-2:])
    function = getattr(code, "co_qualname", None) or getattr(code, "co_name", "?")
    return f"{function} ({short}:{getattr(code, 'co_firstlineno', 0)})"
