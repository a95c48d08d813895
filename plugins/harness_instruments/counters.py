"""Counters of a group of processes, and of the machine: now, and what happened in between.

A process's CPU time and I/O count together with those of its children that ended and were waited
for, which the kernel adds to it. The sum over the living members of a group therefore goes on
counting what a member has done after that member ended, and a difference of two sums is right
although the group has changed. What is lost: a child that nobody waited for.
"""

from __future__ import annotations

from typing import Final

import psutil
from msgspec import Struct

from harness.protocols import Observation
from harness.schema import MetricValue

__all__ = [
    "Machine",
    "Spent",
    "added",
    "machine_between",
    "read_machine",
    "read_spent",
    "spent_between",
]

TICKS_MIN: Final = 10
"""CPU time is counted in ticks of 10 ms: of less than ten of them no share is given."""
SHORT: Final = "the iteration was shorter than ten ticks of the CPU clock"


class Spent(Struct, frozen=True, kw_only=True):
    """What the members of a group have used up since they began; None: not told."""

    cpu_s: float
    read_bytes: int | None = None
    """By read calls, from whatever: files in memory, pipes, some sockets."""
    written_bytes: int | None = None
    disk_read_bytes: int | None = None
    """That really came from, or are due to, a disk."""
    disk_written_bytes: int | None = None


IO: Final = {
    "read_bytes": "read_chars",
    "written_bytes": "write_chars",
    "disk_read_bytes": "read_bytes",
    "disk_written_bytes": "write_bytes",
}
"""Ours → psutil's."""


def read_spent(members: list[psutil.Process]) -> Spent:
    """The sums now. A member that ends meanwhile is left out: its parent has counted it."""
    cpu_s = 0.0
    io: dict[str, int] | None = dict.fromkeys(IO, 0)
    for member in members:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        cpu_s += times.user + times.system + times.children_user + times.children_system
        try:
            counted = member.io_counters()
        except psutil.NoSuchProcess:
            continue
        except (psutil.AccessDenied, AttributeError, OSError):  # another user's; macOS; a zombie
            io = None
            continue
        if io is not None:
            io = {ours: io[ours] + getattr(counted, theirs) for ours, theirs in IO.items()}
    return Spent(cpu_s=cpu_s, **(io or {}))


def added(one: Spent, other: Spent) -> Spent:
    """Of two groups together; what one of them does not tell is unknown of both."""
    sums: dict[str, int] = {}
    for name in IO:
        first, second = getattr(one, name), getattr(other, name)
        if first is not None and second is not None:
            sums[name] = first + second
    return Spent(cpu_s=one.cpu_s + other.cpu_s, **sums)


def spent_between(prefix: str, before: Spent, after: Spent, wall_s: float) -> Observation:
    """`<prefix>cpu_percent` of one core, and the I/O. A sum that went back is unknown."""
    metrics, unknown = [], {}
    if after.cpu_s < before.cpu_s:
        unknown[f"{prefix}cpu_percent"] = "a process ended, and nobody waited for it"
    elif wall_s < TICKS_MIN * 0.01:
        unknown[f"{prefix}cpu_percent"] = SHORT
    else:
        percent = (after.cpu_s - before.cpu_s) / wall_s * 100
        metrics.append(MetricValue(name=f"{prefix}cpu_percent", value=percent, unit="%"))
    for name in IO:
        early, late = getattr(before, name), getattr(after, name)
        if early is None or late is None or late < early:
            unknown[f"{prefix}{name}"] = "the system does not tell of one of the processes"
        else:
            metrics.append(MetricValue(name=f"{prefix}{name}", value=late - early, unit="B"))
    return Observation(metrics=tuple(metrics), unknown=unknown)


class Machine(Struct, frozen=True, kw_only=True):
    """Counters of the whole machine, everybody's work included."""

    busy_s: float
    context_switches: int
    network: dict[str, tuple[int, int]]
    """Interface → bytes sent, bytes received."""


def read_machine() -> Machine:
    times = psutil.cpu_times()
    idle = {"idle", "iowait", "guest", "guest_nice"}  # guests are in user and nice already
    return Machine(
        busy_s=sum(v for k, v in times._asdict().items() if k not in idle),
        context_switches=psutil.cpu_stats().ctx_switches,
        network={
            name: (one.bytes_sent, one.bytes_recv)
            for name, one in psutil.net_io_counters(pernic=True).items()
            if one.bytes_sent or one.bytes_recv
        },
    )


def machine_between(prefix: str, before: Machine, after: Machine, wall_s: float) -> Observation:
    """`<prefix>cpu_percent` (100: one core) and so on, of everything that runs on the machine."""
    switches = after.context_switches - before.context_switches
    metrics = [MetricValue(name=f"{prefix}context_switches", value=switches, unit="switches")]
    unknown = {}
    if wall_s < TICKS_MIN * 0.01:
        unknown[f"{prefix}cpu_percent"] = SHORT
    else:
        percent = max(0.0, after.busy_s - before.busy_s) / wall_s * 100
        metrics.append(MetricValue(name=f"{prefix}cpu_percent", value=percent, unit="%"))
    for name, (sent, received) in after.network.items():
        before_sent, before_received = before.network.get(name, (0, 0))
        for what, count in (("sent", sent - before_sent), ("recv", received - before_received)):
            figure = f"{prefix}net_{name}_{what}_bytes"
            if count < 0:
                unknown[figure] = "the counter began anew"
            else:
                metrics.append(MetricValue(name=figure, value=count, unit="B"))
    return Observation(metrics=tuple(metrics), unknown=unknown)
