"""A thread that takes samples at a steady pace while an iteration runs, and what that cost.

Samples are due on a grid from the start, so that a slow one does not shift the others; those that
are overdue when their turn comes are left out and counted. The cost is the CPU time of the thread,
by its own clock: what it took from the measurement, and no more than that.

Public: for instruments.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from harness.protocols import Observation
from harness.schema import MetricValue

__all__ = ["Cost", "Pace"]


class Cost(Struct, frozen=True, kw_only=True):
    """What one iteration's samples took."""

    samples: int
    missed: int
    """Due, but not taken, because the one before took too long or the thread got no core."""
    cpu_s: float
    wall_s: float
    read_bytes: int
    """By the thread itself: whoever counts what the process reads takes this off."""

    def observation(self, name: str) -> Observation:
        """As figures of the instrument `name`."""
        share = self.cpu_s / self.wall_s if self.wall_s > 0 else 0.0
        return Observation(
            metrics=(
                MetricValue(name=f"{name}.samples", value=self.samples, unit="samples"),
                MetricValue(name=f"{name}.samples_missed", value=self.missed, unit="samples"),
                MetricValue(name=f"{name}.sampling_cpu_ms", value=self.cpu_s * 1e3, unit="ms"),
                MetricValue(name=f"{name}.sampling_cpu_share", value=share, unit="cores"),
            )
        )


class Pace:
    """Calls `take` at once, and then every `interval_s`, in a thread of its own."""

    def __init__(self, take: Callable[[], None], interval_s: float, name: str) -> None:
        self._take = take
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"harness-{name}", daemon=True)
        self._samples = self._missed = 0
        self._cpu_s = 0.0
        self._read_bytes = 0
        self._failure: Exception | None = None
        self._began_s = time.perf_counter()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Cost:
        """Raises what `take` raised."""
        self._ended.set()
        wall_s = time.perf_counter() - self._began_s
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return Cost(
            samples=self._samples,
            missed=self._missed,
            cpu_s=self._cpu_s,
            wall_s=wall_s,
            read_bytes=self._read_bytes,
        )

    def _run(self) -> None:
        began_cpu_s = time.thread_time()
        due_s = self._began_s
        try:
            while not self._ended.is_set():
                self._take()
                self._samples += 1
                late = int((time.perf_counter() - due_s) / self._interval_s)
                self._missed += late
                due_s += (late + 1) * self._interval_s
                self._ended.wait(max(0.0, due_s - time.perf_counter()))
        except Exception as error:  # raised again where somebody can say so
            self._failure = error
        self._cpu_s = time.thread_time() - began_cpu_s
        self._read_bytes = _read_bytes()


def _read_bytes() -> int:
    """By the calling thread since it began; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/thread-self/io").read_text("ascii").splitlines():
            if line.startswith("rchar:"):
                return int(line.partition(":")[2])
    return 0
