"""What the samples of one window say: power, memory, clocks, heat, throttling; and as a table.

Figures are of all used devices: powers and memory are sums, clocks and utilisation means, heat and
throttling that of the worst. A figure that some device does not tell, or did not tell in more than
a tenth of the samples, is unknown.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, Final

from msgspec import Struct

from harness.devices import Reading
from harness.devices.provider import THROTTLES

__all__ = ["Found", "Sample", "Unknown", "power_mw", "series_figures", "table"]

MISSING_MAX: Final = 0.1
"""Share of a device's samples that may lack a figure."""


class Sample(Struct, frozen=True):
    """All used devices, one after the other."""

    at_ns: int
    readings: tuple[Reading, ...]
    """In the order of the devices."""


class Unknown(Exception):  # noqa: N818 - an answer, and no fault
    """`str()` is why a figure is not known."""


class Found(Struct, frozen=True):
    """One figure."""

    value: float
    unit: str
    better: Any = "neither"


def series_figures(samples: Sequence[Sample]) -> dict[str, Found | str]:
    """Name → figure, or why it is unknown. The same names whatever the samples hold."""
    made: dict[str, Callable[[], Found]] = {
        "power_mean_w": lambda: Found(_mean_power_mw(samples) / 1e3, "W"),
        "power_peak_w": lambda: Found(max(mw for _, mw in power_mw(samples)) / 1e3, "W"),
        "memory_used_max_bytes": lambda: Found(_most_memory(samples), "B", "lower"),
        "utilisation_mean_percent": lambda: Found(_mean(samples, "utilisation_percent"), "%"),
        "sm_clock_mean_mhz": lambda: Found(_mean(samples, "sm_clock_mhz"), "MHz"),
        "memory_clock_mean_mhz": lambda: Found(_mean(samples, "memory_clock_mhz"), "MHz"),
        "temperature_max_c": lambda: Found(
            max(max(of) for of in _columns(samples, "temperature_c")), "°C"
        ),
        "throttled_thermal_ms": lambda: Found(_throttled_ms(samples, "thermal"), "ms", "lower"),
        "throttled_power_ms": lambda: Found(_throttled_ms(samples, "power"), "ms", "lower"),
        "read_max_ms": lambda: Found(
            max(one.took_ns for row in samples for one in row.readings) / 1e6, "ms"
        ),
    }
    found: dict[str, Found | str] = {}
    for name, make in made.items():
        try:
            found[name] = make()
        except Unknown as why:
            found[name] = str(why)
    return found


def power_mw(samples: Sequence[Sample]) -> list[tuple[int, float]]:
    """(ns, sum over the devices) of each sample that has all of it: by the sensor of the instant
    where every device has one, and else by the one that averages over a second."""
    name = "power_instant_mw"
    try:
        _columns(samples, name)
    except Unknown:
        name = "power_mw"
        _columns(samples, name)
    return [
        (row.at_ns, float(sum(getattr(one, name) for one in row.readings)))
        for row in samples
        if all(getattr(one, name) is not None for one in row.readings)
    ]


def table(samples: Sequence[Sample], began_ns: int, source: str) -> str:
    """CSV, one line a sample and device; empty where the device did not tell. `source` is in every
    line, so that no part of it can pass for measured."""
    columns: Mapping[str, Callable[[Reading], float | int | None]] = {
        "energy_j": lambda one: _scaled(one.energy_mj),
        "power_w": lambda one: _scaled(one.power_mw),
        "power_instant_w": lambda one: _scaled(one.power_instant_mw),
        "power_average_w": lambda one: _scaled(one.power_average_mw),
        "memory_used_bytes": lambda one: one.memory_used_bytes,
        "utilisation_percent": lambda one: one.utilisation_percent,
        "sm_clock_mhz": lambda one: one.sm_clock_mhz,
        "memory_clock_mhz": lambda one: one.memory_clock_mhz,
        "temperature_c": lambda one: one.temperature_c,
        "clock_events": lambda one: one.clock_events,
        "read_us": lambda one: round(one.took_ns / 1e3, 1),
    }
    out = io.StringIO()
    out.write(",".join(["at_ms", "uuid", "source", *columns]) + "\n")
    for row in samples:
        for one in row.readings:
            told = [of(one) for of in columns.values()]
            cells = ["" if value is None else str(value) for value in told]
            at_ms = f"{(one.at_ns - began_ns) / 1e6:.3f}"
            out.write(",".join([at_ms, one.uuid, source, *cells]) + "\n")
    return out.getvalue()


def _scaled(value: int | None) -> float | None:
    return None if value is None else value / 1e3


def _columns(samples: Sequence[Sample], field: str) -> list[list[float]]:
    """Of each device, the values it told."""
    found = []
    for of in zip(*(row.readings for row in samples), strict=True):
        told = [value for one in of if (value := getattr(one, field)) is not None]
        if len(told) < len(of) * (1 - MISSING_MAX) or not told:
            raise Unknown(_reason(of, field))
        found.append(told)
    if not found:
        raise Unknown("no samples were taken")
    return found


def _reason(of: Sequence[Reading], field: str) -> str:
    silent = [one for one in of if getattr(one, field) is None]
    why = next((one.unknown[field] for one in silent if field in one.unknown), "not told")
    return f"{why} ({len(silent)} of {len(of)} samples of {of[0].uuid})"


def _mean(samples: Sequence[Sample], field: str) -> float:
    return fmean(fmean(of) for of in _columns(samples, field))


def _most_memory(samples: Sequence[Sample]) -> float:
    _columns(samples, "memory_used_bytes")
    rows = [[one.memory_used_bytes for one in row.readings] for row in samples]
    return float(max(sum(x for x in row if x is not None) for row in rows if None not in row))


def _mean_power_mw(samples: Sequence[Sample]) -> float:
    """Over time: samples may be late."""
    points = power_mw(samples)
    span = points[-1][0] - points[0][0]
    if span <= 0:
        return fmean(mw for _, mw in points)
    areas = ((late - early) * (one + other) / 2 for (early, one), (late, other) in pairwise(points))
    return sum(areas) / span


def _throttled_ms(samples: Sequence[Sample], kind: str) -> float:
    """By how much the counters grew from the first sample to the last: the one that grew most, of
    the device that was held down longest."""
    grown: list[int] = []
    for of in zip(*(row.readings for row in samples), strict=True):
        first, last = of[0].throttled_ns, of[-1].throttled_ns
        both = [name for name in THROTTLES[kind] if name in first and name in last]
        if not both:
            name = f"throttled_ns.{THROTTLES[kind][0]}"
            raise Unknown(of[-1].unknown.get(name, "no counter of that kind is told"))
        grown += [last[name] - first[name] for name in both]
    if not grown:
        raise Unknown("no samples were taken")
    if min(grown) < 0:
        raise Unknown("a counter began anew")
    return max(grown) / 1e6
