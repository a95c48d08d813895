"""`rapl`: joules of the CPU packages of this machine, by the counters that Linux shows (powercap).

What is counted is whole packages: every program on them, the harness and the desktop included, and
no server on another machine. No counter tells processes apart, and nothing is subtracted: it is
gross energy, and beside it stands the power that was drawn when the trial opened and nothing was
asked of the server yet.

`energy_j` is the sum of the packages. `dram` is apart, because a package does not contain it;
`core` and `uncore` are parts of a package, and `psys` contains them all: neither is added to
anything. A thread reads the counters often enough that none of them wraps unseen.

A window ends up to an update of the counter too early or too late at either side, so that its
energy is known to twice what an update may bring (`energy_bound_j`); a short one gives no joules
at all (harness.joules).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from harness.joules import why_too_short
from harness.processes import NOT_HERE, server_processes
from harness.protocols import Observation
from harness.sampling import Cost, Pace
from harness.schema import MetricValue
from harness_hardware.options import RaplOptions
from harness_hardware.powercap import (
    LOOK_NS,
    POWER_BOUND_W,
    Zone,
    find_zones,
    gone_uj,
    is_of_kernel,
    read_uj,
    update_period_s,
)

__all__ = ["Rapl"]

INTERVAL_MAX_S: Final = 1.0
WRAPS_PER_SAMPLE_MAX: Final = 0.25
"""Of a counter's range, at a power that no package reaches, between two samples."""

STILL: Final = f"the counter did not move within {LOOK_NS / 1e9:g} s: it counts nothing"


class _Last(Struct):
    """Of one counter."""

    began_ns: int
    at_ns: int
    count_uj: int
    total_uj: int = 0
    lost: str = ""
    """Why the total is none."""


class Rapl:
    """The instrument. `clock` and `wait` are for tests, whose counters move with the clock."""

    perturbing = False

    def __init__(
        self,
        options: RaplOptions,
        urls: tuple[str, ...] = (),
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._options, self._urls = options, urls
        self._clock, self._wait = clock, wait
        self._zones: list[Zone] = []
        self._none = "it was not opened"
        self._simulated = False
        self._period_s: float | None = None
        self._idle_w: float | None = None
        self._last: dict[Path, _Last] = {}
        self._peak_w: float | None = None
        self._pace: Pace | None = None

    def open(self) -> None:
        _, no_server = server_processes(self._urls)
        if no_server == NOT_HERE and not self._options.elsewhere:
            self._none = (
                f"{no_server}, and these packages run the client alone (option elsewhere: true, if "
                "its joules are meant)"
            )
            return
        root = Path(self._options.root)
        self._zones, self._none = find_zones(root)
        self._simulated = bool(self._zones) and not is_of_kernel(root)
        if self._packages and not self._refused:
            self._period_s = update_period_s(self._packages[0], self._clock)
            self._idle_w = self._baseline_w(self._options.idle_s)

    def start(self) -> None:
        self._begin()
        self._pace = Pace(self._sample, self._interval_s(), "rapl")
        self._pace.start()

    def stop(self) -> Observation:
        pace, self._pace = self._pace, None
        if pace is None:
            return Observation(unknown={"rapl.energy_j": "stopped without having been started"})
        cost = pace.stop()
        self._sample()
        return self._observation(cost)

    def close(self) -> None:
        if self._pace is not None:
            self._pace.stop()
            self._pace = None

    # ---- counters

    @property
    def _packages(self) -> list[Zone]:
        return [zone for zone in self._zones if zone.kind == "package"]

    @property
    def _refused(self) -> str:
        """Why the packages' energy cannot be had; empty where it can."""
        if not self._zones:
            return self._none
        if not self._packages:
            names = ", ".join(zone.name for zone in self._zones)
            return f"no counter is of a whole package (there are: {names})"
        return next((zone.refused for zone in self._packages if zone.refused), "")

    def _begin(self) -> None:
        self._peak_w = None
        self._last = {}
        for zone in self._zones:
            if zone.refused:
                continue
            at_ns = self._clock()
            try:
                self._last[zone.path] = _Last(at_ns, at_ns, read_uj(zone.path))
            except (OSError, ValueError) as error:
                self._last[zone.path] = _Last(at_ns, at_ns, 0, lost=f"{zone.name}: {error}")

    def _sample(self) -> None:
        watts: list[float] = []
        for zone in self._zones:
            last = self._last.get(zone.path)
            if last is None or last.lost:
                continue
            try:
                at_ns, count_uj = self._clock(), read_uj(zone.path)
            except (OSError, ValueError) as error:
                last.lost = f"{zone.name}: {error}"
                continue
            took_ns = at_ns - last.at_ns
            went_uj = gone_uj(zone, last.count_uj, count_uj, took_ns)
            if went_uj is None:
                last.lost = (
                    f"{zone.name}: the counter was reset, or wrapped unseen, within the "
                    f"{took_ns / 1e9:.3g} s between two looks at it"
                )
                continue
            last.at_ns, last.count_uj = at_ns, count_uj
            last.total_uj += went_uj
            # The last one may come right behind another, and see a whole step of the counter.
            if zone.kind == "package" and took_ns >= self._interval_s() * 5e8:
                watts.append(went_uj * 1e3 / took_ns)
        if watts and len(watts) == len(self._packages):
            self._peak_w = max(self._peak_w or 0.0, sum(watts))

    def _window_s(self) -> float:
        """Between the first and the last look at a package: each is looked at in turn, so that all
        have the same."""
        seen = (self._last.get(zone.path) for zone in self._packages)
        return max(((one.at_ns - one.began_ns) / 1e9 for one in seen if one), default=0.0)

    def _interval_s(self) -> float:
        """As asked for, or as often as it takes to see every wrap."""
        ranges = [zone.range_uj for zone in self._zones if zone.range_uj]
        safe_s = min(ranges, default=10**12) * WRAPS_PER_SAMPLE_MAX / (POWER_BOUND_W * 1e6)
        return min(self._options.interval_ms / 1e3, safe_s, INTERVAL_MAX_S)

    def _baseline_w(self, seconds: float) -> float | None:
        if not seconds:
            return None
        self._begin()
        looks = max(1, round(seconds / self._interval_s()))
        for _ in range(looks):
            self._wait(seconds / looks)
            self._sample()
        packages = [self._last[zone.path] for zone in self._packages]
        if any(one.lost for one in packages):
            return None
        took_s = self._window_s()
        return sum(one.total_uj for one in packages) / 1e6 / took_s if took_s > 0 else None

    # ---- figures

    def _observation(self, cost: Cost) -> Observation:
        window_s = self._window_s()
        metrics: list[MetricValue] = list(cost.observation("rapl").metrics)
        unknown: dict[str, str] = {}
        provenance: Any = "simulated" if self._simulated else "measured"

        def add(
            name: str, value: float | None, unit: str, why: str, better: Any = "neither"
        ) -> None:
            if value is None:
                unknown[f"rapl.{name}"] = why
            else:
                metrics.append(
                    MetricValue(
                        name=f"rapl.{name}",
                        value=value,
                        unit=unit,
                        provenance=provenance,
                        better=better,
                    )
                )

        if self._refused:
            add("energy_j", None, "J", self._refused)
            return Observation(metrics=tuple(metrics), unknown=unknown)
        add("window_s", window_s, "s", "")
        period_ms = None if self._period_s is None else self._period_s * 1e3
        add("update_period_ms", period_ms, "ms", STILL)
        lost = "a counter was lost, or reset, meanwhile"
        add("idle_power_w", self._idle_w, "W", lost if self._options.idle_s else "idle_s is 0")
        short = STILL if self._period_s is None else why_too_short(window_s, self._period_s)
        for name, zones in self._sums():
            joules, why = self._joules(zones)
            add(f"{name}energy_j", None if short else joules, "J", why or short, "lower")
            if name == "":
                self._of_packages(add, None if short else joules, why or short, window_s)
        return Observation(metrics=tuple(metrics), unknown=unknown)

    def _of_packages(
        self, add: Callable[..., None], joules: float | None, why: str, window_s: float
    ) -> None:
        mean_w = None if joules is None else joules / window_s
        peak_w = None if joules is None else max(self._peak_w or 0.0, mean_w or 0.0)
        bound_j = None if peak_w is None or self._period_s is None else 2 * self._period_s * peak_w
        add("energy_bound_j", bound_j, "J", why)
        add("power_mean_w", mean_w, "W", why)
        add("power_peak_w", peak_w, "W", why)

    def _sums(self) -> Iterator[tuple[str, list[Zone]]]:
        """(what stands before `energy_j`, the counters that are added up)."""
        yield "", self._packages
        if dram := [zone for zone in self._zones if zone.kind == "dram"]:
            yield "dram_", dram
        for name in dict.fromkeys(zone.name for zone in self._zones):
            plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
            yield f"{plain}_", [zone for zone in self._zones if zone.name == name]

    def _joules(self, zones: list[Zone]) -> tuple[float | None, str]:
        for zone in zones:
            last = self._last.get(zone.path)
            if zone.refused or last is None or last.lost:
                return None, zone.refused or (last.lost if last else f"{zone.name} was not read")
        return sum(self._last[zone.path].total_uj for zone in zones) / 1e6, ""
