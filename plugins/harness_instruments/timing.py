"""`timing`: wall and CPU time of one iteration. Meant to be the innermost instrument.

    wall                time.perf_counter_ns
    CPU of the process  getrusage: all threads, ours and native ones; user and system apart
    CPU of the thread   the clock of the thread that runs the scenario
    context switches    getrusage: voluntary (it waited), involuntary (its time was up)

Its own cost is measured once a trial: an empty iteration, many times over, whose median is what
every figure contains at most.
"""

from __future__ import annotations

import threading
import time
from statistics import median
from typing import Any, Final

from msgspec import Struct

from harness.protocols import Observation
from harness.schema import MetricValue

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["Timing"]

EMPTY: Final = 101
"""Empty iterations that its own cost is the median of: together a millisecond."""
NO_RUSAGE: Final = "this system has no getrusage"


class _Now(Struct, frozen=True):
    """All clocks, read at one instant."""

    wall_ns: int
    user_s: float
    system_s: float
    thread_ns: int
    voluntary: int
    involuntary: int
    thread: int


def _usage() -> Any:
    return resource.getrusage(resource.RUSAGE_SELF) if resource is not None else None


class Timing:
    """The instrument `timing`."""

    perturbing = False

    def __init__(self) -> None:
        self._began: _Now | None = None
        self._overhead_us = 0.0

    def open(self) -> None:
        spans = [_span_us() for _ in range(EMPTY)]
        self._overhead_us = median(spans)

    def start(self) -> None:
        self._began = _first()

    def stop(self) -> Observation:
        ended = _last()
        began, self._began = self._began, None
        if began is None:
            return Observation(unknown={"timing": "stopped without having been started"})
        return _between(began, ended, self._overhead_us)

    def close(self) -> None:
        pass


def _first() -> _Now:
    """The wall clock last, so that it is the tightest."""
    thread, usage = threading.get_ident(), _usage()
    thread_ns, wall_ns = time.thread_time_ns(), time.perf_counter_ns()
    return _now(wall_ns, thread_ns, usage, thread)


def _last() -> _Now:
    """The wall clock first."""
    wall_ns, thread_ns = time.perf_counter_ns(), time.thread_time_ns()
    return _now(wall_ns, thread_ns, _usage(), threading.get_ident())


def _now(wall_ns: int, thread_ns: int, usage: Any, thread: int) -> _Now:
    if usage is None:
        return _Now(wall_ns, 0.0, 0.0, thread_ns, 0, 0, thread)
    return _Now(
        *(wall_ns, usage.ru_utime, usage.ru_stime, thread_ns),
        *(usage.ru_nvcsw, usage.ru_nivcsw, thread),
    )


def _span_us() -> float:
    """Wall time that an empty iteration is said to take, and what reading the clocks takes."""
    before_ns = time.perf_counter_ns()
    _first()
    _last()
    return (time.perf_counter_ns() - before_ns) / 1e3


def _between(began: _Now, ended: _Now, overhead_us: float) -> Observation:
    wall_ns = ended.wall_ns - began.wall_ns
    metrics = [_figure("wall_ms", wall_ns / 1e6, "ms", "lower")]
    overhead = _figure("overhead_us", overhead_us, "us", "neither")
    unknown: dict[str, str] = {}
    if ended.thread == began.thread:
        thread_ms = (ended.thread_ns - began.thread_ns) / 1e6
        metrics.append(_figure("thread_cpu_ms", thread_ms, "ms", "lower"))
    else:
        unknown["timing.thread_cpu_ms"] = "it began and ended in different threads"
    if resource is None:
        names = ("cpu_user_ms", "cpu_system_ms", "cpu_share", "switches_waiting", "switches_forced")
        unknown |= {f"timing.{name}": NO_RUSAGE for name in names}
        return Observation(metrics=(*metrics, overhead), unknown=unknown)
    user_s, system_s = ended.user_s - began.user_s, ended.system_s - began.system_s
    metrics += [
        _figure("cpu_user_ms", user_s * 1e3, "ms", "lower"),
        _figure("cpu_system_ms", system_s * 1e3, "ms", "lower"),
        _figure("switches_waiting", ended.voluntary - began.voluntary, "switches", "neither"),
        _figure("switches_forced", ended.involuntary - began.involuntary, "switches", "lower"),
    ]
    if wall_ns > 0:
        share = (user_s + system_s) * 1e9 / wall_ns
        metrics.append(_figure("cpu_share", share, "cores", "neither"))
    return Observation(metrics=(*metrics, overhead), unknown=unknown)


def _figure(name: str, value: float, unit: str, better: Any) -> MetricValue:
    return MetricValue(name=f"timing.{name}", value=float(value), unit=unit, better=better)
