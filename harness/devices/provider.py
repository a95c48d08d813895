"""The interface behind which GPUs are: five methods, and values that may each be unknown alone.

Units are those that NVML gives, so that a recording holds what was read and nothing derived from
it: mJ, mW, bytes, MHz, ns. Whoever reports turns them into joules and watts.
"""

from __future__ import annotations

import time
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct, field

__all__ = [
    "THROTTLES",
    "Clock",
    "Device",
    "Energy",
    "GpuProcess",
    "MachineClock",
    "NoDevices",
    "Processes",
    "Provider",
    "Reading",
    "Source",
]

Source: TypeAlias = Literal["nvml", "replay", "synthetic", "none"]
"""`nvml` alone is a measurement of this machine."""

THROTTLES: dict[str, tuple[str, ...]] = {
    "thermal": ("thermal", "sw_thermal", "hw_thermal"),
    "power": ("power", "board_limit", "power_brake"),
}
"""Kind → the counters of `Reading.throttled_ns` that are of this kind. They may count the same time
twice, so that the largest is taken and no sum."""


class Device(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One GPU, by what does not change while a run lasts."""

    uuid: str
    """By this it is known everywhere: an index is another one to NVML than to CUDA."""
    index: int
    """NVML's, which is the order of PCI addresses."""
    name: str | None = None
    pci: str | None = None
    """`00000000:65:00.0`."""
    memory_bytes: int | None = None
    driver: str | None = None
    power_limit_mw: int | None = None
    """That is enforced now."""
    unknown: dict[str, str] = field(default_factory=dict)


class Reading(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one device said of itself at one time. A field that it does not tell is None."""

    uuid: str
    at_ns: int
    """CLOCK_MONOTONIC, before the first call …"""
    took_ns: int = 0
    """… and how long all calls took together."""
    energy_mj: int | None = None
    """Counted since the driver was loaded."""
    power_mw: int | None = None
    """Of the whole board, as nvmlDeviceGetPowerUsage gives it: the mean of the last second on
    Ampere and later (GA100 excepted), of an instant before."""
    power_instant_mw: int | None = None
    power_average_mw: int | None = None
    memory_used_bytes: int | None = None
    """By anybody; what the driver keeps for itself is not in it."""
    memory_free_bytes: int | None = None
    utilisation_percent: float | None = None
    """Of the sensor's last period, with at least one kernel running: no occupancy."""
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    clock_events: int | None = None
    """Bit mask of what holds the clocks down now (nvmlClocksEventReason…)."""
    throttled_ns: dict[str, int] = field(default_factory=dict)
    """Counter → time it has counted so far; see THROTTLES."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Field (`throttled_ns.thermal`, say) → why it is not there."""


class Energy(Struct, frozen=True, kw_only=True):
    """The counter alone: one call, so that it can bracket a window tightly or be polled."""

    before_ns: int
    """CLOCK_MONOTONIC right before the call, and right after it."""
    after_ns: int
    energy_mj: int | None
    unknown: str = ""

    @classmethod
    def of(cls, reading: Reading, after_ns: int) -> Energy:
        """Where the counter is read with everything else."""
        return cls(
            before_ns=reading.at_ns,
            after_ns=after_ns,
            energy_mj=reading.energy_mj,
            unknown=reading.unknown.get("energy_mj", ""),
        )


class GpuProcess(Struct, frozen=True, kw_only=True):
    """A process with a context on a device."""

    pid: int
    """As the driver numbers it: of the machine, and not of a container."""
    used_bytes: int | None = None
    """None: the driver does not tell."""
    draws: bool = False
    """It has a context for graphics alone: a desktop, say."""


class Processes(Struct, frozen=True, kw_only=True):
    """Those on one device."""

    listed: tuple[GpuProcess, ...] = ()
    unknown: str = ""
    """Why they are not known; empty where `listed` is all of them."""


class NoDevices(Exception):  # noqa: N818 - an answer, and no fault
    """There is no device, or none that can be asked. `str()` is the reason."""


class Clock(Protocol):
    """Time, as a provider and whoever waits for its counters see it."""

    def monotonic_ns(self) -> int: ...

    def wait(self, seconds: float) -> None: ...


class MachineClock:
    """The real one."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class Provider(Protocol):
    """GPUs to be asked. No method raises for what a device does not tell; any may be called from
    any thread."""

    source: Source
    clock: Clock
    origin: str
    """Where the figures come from, in words: a library and its driver, a file, a made-up load."""

    def devices(self) -> tuple[Device, ...]:
        """All of this machine, in the order of their PCI addresses."""

    def read(self, uuid: str) -> Reading:
        """Everything; some ten calls of a driver. KeyError for a device that is not there."""

    def energy(self, uuid: str) -> Energy:
        """The counter alone."""

    def processes(self, uuid: str) -> Processes: ...

    def close(self) -> None:
        """May be called again."""
