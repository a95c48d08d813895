"""`host`: what else this machine did, sampled while iterations run.

Every iteration's record holds such figures anyhow, of the instants right before and after it
(`IterationRecord.host`), and the rule host-noise goes by those. As an instrument they are figures
like any other, with an interval and in every report, and what has no counter (load, clocks, swap
in use) is a mean of samples taken while the work went on, not of two instants beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Final, Literal

from msgspec import Struct

from harness.hostload import Reading, host_load, read_clocks, read_host
from harness.protocols import Observation
from harness.sampling import Cost, Pace
from harness.schema import MetricValue
from harness_hardware.options import HostOptions

__all__ = ["Host", "Sample", "take"]

MIB: Final = 2**20
Better = Literal["lower", "higher", "neither"]

NO_COUNTER: Final = "this system does not tell"
STEAL_MIN_NS: Final = 1_000_000_000
"""The kernel counts steal in ticks of 10 ms: of shorter windows a share of them is unknown."""


class Sample(Struct, frozen=True):
    """Of one instant. None: the system does not tell."""

    load: float | None
    mhz: tuple[float, ...]
    swap_bytes: int | None


def take(meminfo: Path = Path("/proc/meminfo")) -> Sample:
    """Now. Raises nothing."""
    try:
        load: float | None = os.getloadavg()[0]
    except OSError:
        load = None
    return Sample(load, read_clocks(), _swap_bytes(meminfo))


class Host:
    """The instrument. `read` and `take` are there for tests."""

    perturbing = False

    def __init__(
        self,
        options: HostOptions,
        *,
        read: Callable[[], Reading] = read_host,
        take: Callable[[], Sample] = take,
    ) -> None:
        self._options, self._read, self._take = options, read, take
        self._samples: list[Sample] = []
        self._begun: Reading | None = None
        self._pace: Pace | None = None

    def open(self) -> None: ...

    def start(self) -> None:
        self._samples = []
        self._pace = Pace(self._sample, self._options.interval_ms / 1e3, "host")
        self._begun = self._read()
        self._pace.start()

    def stop(self) -> Observation:
        begun, pace = self._begun, self._pace
        self._begun = self._pace = None
        if begun is None or pace is None:
            return Observation(unknown={"host.samples": "stopped without having been started"})
        cost = pace.stop()
        ended = self._read()
        return self._observation(begun, ended, cost)

    def close(self) -> None:
        if self._pace is not None:
            self._pace.stop()
            self._pace = None

    # ------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        self._samples.append(self._take())

    def _observation(self, begun: Reading, ended: Reading, cost: Cost) -> Observation:
        load = host_load(begun, ended)
        metrics = [*cost.observation("host").metrics]
        unknown: dict[str, str] = {}

        def add(
            name: str,
            value: float | None,
            unit: str,
            better: Better = "lower",
            why: str = NO_COUNTER,
        ) -> None:
            if value is None:
                unknown[f"host.{name}"] = why
            else:
                metrics.append(
                    MetricValue(name=f"host.{name}", value=value, unit=unit, better=better)
                )

        long = load.wall_ns >= STEAL_MIN_NS
        ticks = "the kernel counts in ticks of 10 ms: of less than a second a share is unknown"
        why = NO_COUNTER if long else ticks
        add("steal_percent", _percent(load.steal_share if long else None), "%", why=why)
        add("busy_percent", _percent(load.busy_share if long else None), "%", "neither", why)
        add("run_wait_percent", _percent(load.run_wait_share), "%")
        add("pressure_percent", _percent(load.pressure_share), "%")
        loads = [one.load for one in self._samples if one.load is not None]
        add("load_average", fmean(loads) if loads else None, "tasks")
        clocks = [clock for one in self._samples for clock in one.mhz]
        no_clock = "there is no cpufreq here: most virtual machines are not told"
        for which, of in (("mean", fmean), ("min", min), ("max", max)):
            value = of(clocks) if clocks else None
            add(f"frequency_{which}_mhz", value, "MHz", "neither", no_clock)
        used = [one.swap_bytes for one in self._samples if one.swap_bytes is not None]
        add("swap_mib", fmean(used) / MIB if used else None, "MiB")
        swapped = _sum(load.swap_in_bytes, load.swap_out_bytes)
        add("swapped_mib", None if swapped is None else swapped / MIB, "MiB")
        held, no_group = load.cgroup_throttled_share, "no cgroup of ours counts it"
        held_ms = None if held is None else held * load.wall_ns / 1e6
        add("cgroup_throttled_ms", held_ms, "ms", why=no_group)
        hot, no_heat = load.throttled_share, "the processor does not tell (Intel alone does)"
        add(
            "cpu_throttled_ms", None if hot is None else hot * load.wall_ns / 1e6, "ms", why=no_heat
        )
        return Observation(metrics=tuple(metrics), unknown=unknown)


def _swap_bytes(meminfo: Path) -> int | None:
    """In use, by anybody."""
    try:
        lines = meminfo.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    kib = {
        name: fields[0]
        for line in lines
        if (name := line.partition(":")[0]).startswith("Swap")
        and (fields := line.partition(":")[2].split())
    }
    total, free = kib.get("SwapTotal", ""), kib.get("SwapFree", "")
    return (int(total) - int(free)) * 1024 if total.isdigit() and free.isdigit() else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def _sum(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
