"""What else the machine did while an iteration ran: counters of the kernel, read before and after.
Public: for instruments.

Nothing is read while calls are under way. One reading takes a fraction of a millisecond (a dozen
small files of /proc and /sys). Where there is no such file, as on other systems, the figures that
need it are None; so is a share whose counter went back, as idle time does on some kernels.

    steal, busy    /proc/stat, in ticks of 10 ms over all CPUs: coarse for a short iteration
    run_wait       /proc/self/task/*/schedstat: ns that our threads were ready and had no core. Of a
                   thread that ended in between nothing is known
    pressure       /proc/pressure/cpu: time in which any task of the machine waited for a core
    swap           /proc/vmstat, of the whole machine
    major faults   /proc/self/stat: pages of ours that had to come from a disk
    throttled      thermal_throttle: ms in which heat slowed a core or its package down, counted as
                   each time ends. Intel's alone, Linux 5.6 and later, no virtual machines
    frequency      cpufreq, now: a core that idles is slow, so it is no more than a hint
                   Both of the CPUs that we may use
    cgroup         cpu.stat of our cgroup and those above: time in which a quota held it back, over
                   all CPUs together
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from msgspec import Struct

from harness import cgroups
from harness._native.clock import monotonic_ns
from harness.schema import HostLoad

__all__ = ["Reading", "host_load", "read_clocks", "read_host"]

PROC: Final = Path("/proc")
CPU: Final = Path("/sys/devices/system/cpu")

CPUS_READ_MAX: Final = 64
"""CPUs whose frequency and heat are read: some drivers ask each core in turn."""

_IDLE: Final = (3, 4)
_STEAL: Final = 7
_OF_ALL: Final = 8
"""Columns of /proc/stat: user nice system idle iowait irq softirq steal (guest is in user)."""


class Reading(Struct, frozen=True, kw_only=True):
    """The counters at one instant, as the kernel has them."""

    at_ns: int
    ticks: tuple[int, ...] | None = None
    run_wait_ns: dict[int, int] | None = None
    """Thread → time it has waited for a core since it began."""
    pressure_us: int | None = None
    swapped: tuple[int, int] | None = None
    """Pages in, pages out."""
    major_faults: int | None = None
    load_average: float | None = None
    cpus: int | None = None
    cpus_online: int | None = None
    throttled_ms: dict[str, int] | None = None
    """File → time that it tells of."""
    mhz: tuple[float, ...] = ()
    cgroup_us: int | None = None
    """Time that a quota has held us back."""


def read_host(proc: Path = PROC, cpu: Path = CPU, groups: Path = cgroups.ROOT) -> Reading:
    """The counters now. Raises nothing: what cannot be read, or makes no sense, is None."""
    allowed, stat = _allowed(), _read(proc / "stat")
    chosen = [cpu / f"cpu{number}" for number in allowed[:CPUS_READ_MAX]]
    return Reading(
        at_ns=monotonic_ns(),
        ticks=_ticks(stat),
        run_wait_ns=_run_wait_ns(proc / "self" / "task"),
        pressure_us=_pressure_us(_read(proc / "pressure" / "cpu")),
        swapped=_swapped(_read(proc / "vmstat")),
        major_faults=_major_faults(_read(proc / "self" / "stat")),
        load_average=_number(_read(proc / "loadavg").partition(" ")[0]),
        cpus=len(allowed) or os.cpu_count(),
        cpus_online=_online(stat),
        throttled_ms=_throttled_ms(chosen),
        mhz=_mhz(chosen),
        cgroup_us=cgroups.throttled_us(proc, groups),
    )


def read_clocks(cpu: Path = CPU) -> tuple[float, ...]:
    """MHz of each CPU that we may use, now; none where the system does not tell."""
    return _mhz([cpu / f"cpu{number}" for number in _allowed()[:CPUS_READ_MAX]])


def host_load(before: Reading, after: Reading) -> HostLoad:
    """What happened between two readings."""
    wall_ns = max(1, after.at_ns - before.at_ns)
    stolen, busy = _shares(before.ticks, after.ticks)
    waited_ns = _waited_ns(before.run_wait_ns, after.run_wait_ns)
    pressed_us = _gone(before.pressure_us, after.pressure_us)
    into, out = (before.swapped, after.swapped) if before.swapped else (None, None)
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
    throttled_ms = _throttled(before.throttled_ms, after.throttled_ms)
    held_us = _gone(before.cgroup_us, after.cgroup_us)
    mhz = before.mhz + after.mhz
    return HostLoad(
        wall_ns=wall_ns,
        steal_share=stolen,
        busy_share=busy,
        run_wait_share=None if waited_ns is None else waited_ns / wall_ns,
        load_average=after.load_average,
        cpus=after.cpus,
        cpus_online=after.cpus_online,
        swap_in_bytes=(out[0] - into[0]) * page if into and out else None,
        swap_out_bytes=(out[1] - into[1]) * page if into and out else None,
        major_faults=_gone(before.major_faults, after.major_faults),
        frequency_min_mhz=min(mhz, default=None),
        frequency_max_mhz=max(mhz, default=None),
        throttled_share=None if throttled_ms is None else min(1.0, throttled_ms * 1e6 / wall_ns),
        pressure_share=None if pressed_us is None else min(1.0, pressed_us * 1e3 / wall_ns),
        cgroup_throttled_share=None if held_us is None else held_us * 1e3 / wall_ns,
    )


# ---- differences


def _gone(before: int | None, after: int | None) -> int | None:
    if before is None or after is None or after < before:
        return None
    return after - before


def _shares(
    before: tuple[int, ...] | None, after: tuple[int, ...] | None
) -> tuple[float | None, float | None]:
    """(steal, busy) of all ticks between. Idle time may go back by a tick: that counts as none."""
    if before is None or after is None:
        return None, None
    spent = [max(0, late - early) for early, late in zip(before, after, strict=True)]
    total = sum(spent)
    if not total:
        return None, None
    idle = sum(spent[column] for column in _IDLE)
    return spent[_STEAL] / total, (total - idle - spent[_STEAL]) / total


def _waited_ns(before: dict[int, int] | None, after: dict[int, int] | None) -> int | None:
    """A thread that was not there before counts whole."""
    if before is None or after is None:
        return None
    return sum(max(0, waited - before.get(thread, 0)) for thread, waited in after.items())


def _throttled(before: dict[str, int] | None, after: dict[str, int] | None) -> int | None:
    """Of the core that it hit hardest. What its package met, each core of it has met."""
    if before is None or after is None:
        return None
    return max((max(0, ms - before.get(name, ms)) for name, ms in after.items()), default=None)


# ---- files


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _ticks(text: str) -> tuple[int, ...] | None:
    fields = text.partition("\n")[0].split()
    numbers = fields[1 : 1 + _OF_ALL]
    if fields[:1] != ["cpu"] or len(numbers) < _OF_ALL or not all(n.isdigit() for n in numbers):
        return None
    return tuple(map(int, numbers))


def _run_wait_ns(tasks: Path) -> dict[int, int] | None:
    try:
        threads = [name for name in os.listdir(tasks) if name.isdigit()]  # noqa: PTH208 - cheaper
    except OSError:
        return None
    found = {}
    for thread in threads:
        fields = _read(tasks / thread / "schedstat").split()
        if len(fields) == 3 and fields[1].isdigit():
            found[int(thread)] = int(fields[1])
    return found or None


def _pressure_us(text: str) -> int | None:
    for line in text.splitlines():
        total = line.rpartition("total=")[2]
        if line.startswith("some ") and total.isdigit():
            return int(total)
    return None


def _swapped(text: str) -> tuple[int, int] | None:
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in ("pswpin", "pswpout") and value.isdigit():
            found[name] = int(value)
    return (found["pswpin"], found["pswpout"]) if len(found) == 2 else None


def _major_faults(text: str) -> int | None:
    """Field 12; the name in field 2 may hold spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    return int(fields[9]) if len(fields) > 9 and fields[9].isdigit() else None


def _allowed() -> list[int]:
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return []


def _online(text: str) -> int | None:
    """A line of /proc/stat for each CPU, after that of all."""
    return sum(line[:3] == "cpu" and line[3:4].isdigit() for line in text.splitlines()) or None


def _throttled_ms(cpus: list[Path]) -> dict[str, int] | None:
    if not cpus or not (cpus[0] / "thermal_throttle").is_dir():
        return None
    found = {}
    for cpu in cpus:
        for part in ("core", "package"):
            path = cpu / "thermal_throttle" / f"{part}_throttle_total_time_ms"
            text = _read(path).strip()
            if text.isdigit():
                found[str(path)] = int(text)
    return found or None


def _mhz(cpus: list[Path]) -> tuple[float, ...]:
    if not cpus or not (cpus[0] / "cpufreq").is_dir():
        return ()
    read = [_number(_read(cpu / "cpufreq" / "scaling_cur_freq")) for cpu in cpus]
    return tuple(khz / 1e3 for khz in read if khz)
