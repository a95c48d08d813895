"""Counters and sensors of one GPU, held against each other.

A square wave of load: bursts of matrix products with pauses between them, in slices of 20 ms, after
each of which everything is read. The energy counter and the integral of the power are then of the
very same window. Trials begin at different phases of the sensor's update.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import quantiles
from typing import NamedTuple

from harness_hardware.gpu_energy import Look, counted, idle_mw, integrated_mj, period_of

from harness.devices import Provider, Reading

__all__ = ["Cost", "Counter", "Square", "call_costs", "counter", "square_wave"]

SLICE_S = 0.02
POLL_S = 0.001


class Cost(NamedTuple):
    """Of one kind of call, in µs."""

    name: str
    n: int
    p50_us: float
    p99_us: float
    max_us: float


class Counter(NamedTuple):
    """The energy counter of an idle GPU."""

    looks: int
    steps: int
    period_ms: float | None
    longest_ms: float | None
    idle_w: float | None


class Square(NamedTuple):
    """One window of square-wave load. None: the device does not tell."""

    window_s: float
    counter_j: float | None
    bound_j: float | None
    instant_j: float | None
    """Integral of the power of the instant …"""
    average_j: float | None
    """… and of the power that nvmlDeviceGetPowerUsage gives."""
    peak_w: float | None


def call_costs(provider: Provider, uuid: str, n: int = 500) -> list[Cost]:
    """What asking costs. The first of each kind is left out: it opens things."""
    kinds: dict[str, Callable[[], object]] = {
        "energy counter": lambda: provider.energy(uuid),
        "everything of a sample": lambda: provider.read(uuid),
        "processes": lambda: provider.processes(uuid),
    }
    found = []
    for name, ask in kinds.items():
        ask()
        took = []
        for _ in range(n):
            before_ns = provider.clock.monotonic_ns()
            ask()
            took.append((provider.clock.monotonic_ns() - before_ns) / 1e3)
        cuts = quantiles(took, n=100, method="inclusive")
        found.append(Cost(name, n, cuts[49], cuts[98], max(took)))
    return found


def counter(provider: Provider, uuid: str, seconds: float) -> Counter:
    """By polling it while nothing runs."""
    clock, looks = provider.clock, []
    until_ns = clock.monotonic_ns() + seconds * 1e9
    while clock.monotonic_ns() < until_ns:
        looks.append(_look(provider, uuid))
        clock.wait(POLL_S)
    period, idle = period_of(looks), idle_mw(looks)
    return Counter(
        looks=len(looks),
        steps=period.steps if period else 0,
        period_ms=period.median_ns / 1e6 if period else None,
        longest_ms=period.longest_ns / 1e6 if period else None,
        idle_w=None if idle is None else idle / 1e3,
    )


def square_wave(
    provider: Provider,
    uuid: str,
    work: Callable[[float], None],
    *,
    cycles: int = 6,
    busy_s: float = 1.0,
    rest_s: float = 1.0,
) -> Square:
    """`work(seconds)` keeps the GPU busy for so long, and returns when it is done."""
    clock, readings = provider.clock, [provider.read(uuid)]
    begun = _look(provider, uuid)
    start_ns = clock.monotonic_ns()
    for _ in range(cycles):
        for seconds, do in ((busy_s, work), (rest_s, clock.wait)):
            for _ in range(round(seconds / SLICE_S)):
                do(SLICE_S)
                readings.append(provider.read(uuid))
    ended = _look(provider, uuid)
    end_ns = clock.monotonic_ns()
    within = [Look(one.at_ns, one.energy_mj) for one in readings[1:]]
    found = counted(begun, within, ended, _after(provider, uuid, ended))
    peaks = [one.power_instant_mw for one in readings if one.power_instant_mw is not None]
    return Square(
        window_s=(end_ns - start_ns) / 1e9,
        counter_j=None if found.energy_mj is None else found.energy_mj / 1e3,
        bound_j=None if found.bound_mj is None else found.bound_mj / 1e3,
        instant_j=_integral(readings, "power_instant_mw", start_ns, end_ns),
        average_j=_integral(readings, "power_mw", start_ns, end_ns),
        peak_w=max(peaks) / 1e3 if peaks else None,
    )


def _after(provider: Provider, uuid: str, ended: Look) -> Look:
    until_ns = ended.at_ns + 1e9
    while (look := _look(provider, uuid)).energy_mj == ended.energy_mj and look.at_ns < until_ns:
        provider.clock.wait(POLL_S)
    return look


def _look(provider: Provider, uuid: str) -> Look:
    one = provider.energy(uuid)
    return Look((one.before_ns + one.after_ns) // 2, one.energy_mj)


def _integral(readings: list[Reading], field: str, start_ns: int, end_ns: int) -> float | None:
    told = [(one.at_ns, value) for one in readings if (value := getattr(one, field)) is not None]
    inside = [(at_ns, float(mw)) for at_ns, mw in told if start_ns <= at_ns <= end_ns]
    total_mj = integrated_mj(inside, start_ns, end_ns)
    return None if total_mj is None else total_mj / 1e3
