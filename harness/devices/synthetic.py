"""GPUs that are not there, whose load is known exactly: for tests of whatever reads GPUs.

The load is a cycle of pieces of constant power, so that the true energy of any window is a sum and
no estimate (`true_energy_j`). What is told of it is as coarse as on hardware: the counter steps
every `period_ms`, the power is that of the last second. Everything can be made to fail.

    synthetic                                  one GPU, 60 W at rest and 300 W under load, in turns
    synthetic:devices=2,busy_w=400,rest_s=0    two, always busy
    synthetic:missing=energy_mj+throttled_ns   that do not tell these
"""

from __future__ import annotations

import bisect
import itertools
import os
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from harness.devices.provider import (
    Clock,
    Device,
    Energy,
    GpuProcess,
    MachineClock,
    Processes,
    Reading,
    Source,
)
from harness.errors import SpecError

__all__ = ["Synthetic", "SyntheticSpec", "parse_synthetic"]

NOT_SUPPORTED: Final = "Not Supported"
LOST: Final = "GPU is lost"
FOREIGN_PID: Final = 4_194_305
"""Over the highest that Linux gives to a process."""
THROTTLED: Final = ("thermal", "power")


class SyntheticSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the made-up GPUs are like."""

    devices: Annotated[int, Meta(ge=0, le=64)] = 1
    idle_w: Annotated[float, Meta(ge=0, le=1e5)] = 60.0
    busy_w: Annotated[float, Meta(ge=0, le=1e5)] = 300.0
    busy_s: Annotated[float, Meta(ge=0, le=1e6)] = 1.0
    rest_s: Annotated[float, Meta(ge=0, le=1e6)] = 1.0
    quiet_s: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    """At rest before the first load: what a baseline is taken of."""
    period_ms: Annotated[float, Meta(gt=0, le=1e5)] = 100.0
    """Of the energy counter."""
    average_s: Annotated[float, Meta(ge=0, le=60)] = 1.0
    """Over which the power sensor averages; 0: it does not."""
    memory_gib: Annotated[float, Meta(gt=0, le=1e5)] = 24.0
    used_gib: Annotated[float, Meta(ge=0, le=1e5)] = 4.0
    thermal_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Of the time: held down by heat."""
    capped_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Of the time: held down by the power limit."""
    foreign: Annotated[int, Meta(ge=0, le=1000)] = 0
    """Processes that are not ours."""
    reset_at_s: float | None = None
    """When the energy counter begins anew."""
    lost_at_s: float | None = None
    """When the GPU falls off the bus."""
    missing: str = ""
    """Fields of a reading that are not supported, `+` between them; `processes`; and
    `process_memory`."""


class _Load:
    """Power over time: `quiet_s` at rest, then the pieces over and over."""

    def __init__(
        self, idle_w: float, quiet_s: float, pieces: tuple[tuple[float, float], ...]
    ) -> None:
        self._idle_w, self._quiet_s = idle_w, quiet_s
        self._pieces = tuple(one for one in pieces if one[0] > 0) or ((1.0, idle_w),)
        self._ends_s = [*itertools.accumulate(seconds for seconds, _ in self._pieces)]
        self._joules = [*itertools.accumulate(s * watts for s, watts in self._pieces)]

    def watts(self, at_s: float) -> float:
        if at_s < self._quiet_s:
            return self._idle_w
        within_s = (at_s - self._quiet_s) % self._ends_s[-1]
        at = min(bisect.bisect_right(self._ends_s, within_s), len(self._pieces) - 1)
        return self._pieces[at][1]

    def joules(self, until_s: float) -> float:
        """Since 0; before that it was at rest."""
        quiet_j = min(until_s, self._quiet_s) * self._idle_w
        if until_s <= self._quiet_s:
            return quiet_j
        rounds, within_s = divmod(until_s - self._quiet_s, self._ends_s[-1])
        at = min(bisect.bisect_right(self._ends_s, within_s), len(self._pieces) - 1)
        done_j = self._joules[at - 1] if at else 0.0
        done_s = self._ends_s[at - 1] if at else 0.0
        last_j = (within_s - done_s) * self._pieces[at][1]
        return quiet_j + rounds * self._joules[-1] + done_j + last_j


class Synthetic:
    """GPUs that are made up. Time is `clock`'s, from the moment this is made."""

    source: Source = "synthetic"

    def __init__(
        self,
        spec: SyntheticSpec | None = None,
        *,
        clock: Clock | None = None,
        pieces: tuple[tuple[float, float], ...] | None = None,
        processes: tuple[GpuProcess, ...] | None = None,
    ) -> None:
        """`pieces`: (seconds, watts) of the load, over and over, instead of the spec's."""
        self._spec = spec = spec or SyntheticSpec()
        self.clock = clock or MachineClock()
        self.origin = "made up: no GPU was measured"
        square = ((spec.busy_s, spec.busy_w), (spec.rest_s, spec.idle_w))
        self._load = _Load(spec.idle_w, spec.quiet_s, square if pieces is None else pieces)
        self._missing = {one for one in spec.missing.split("+") if one}
        self._began_ns = self.clock.monotonic_ns()
        self._processes = processes
        self._devices = tuple(
            Device(
                uuid=f"GPU-5eed{index:04d}-0000-0000-0000-000000000000",
                index=index,
                name=f"synthetic GPU {index}",
                pci=f"00000000:{index + 1:02X}:00.0",
                memory_bytes=round(spec.memory_gib * 2**30),
                driver="none: synthetic",
                power_limit_mw=round(max(spec.busy_w, spec.idle_w) * 1e3),
            )
            for index in range(spec.devices)
        )
        self._index = {one.uuid: one.index for one in self._devices}

    def devices(self) -> tuple[Device, ...]:
        return self._devices

    def true_energy_j(self, start_ns: int, end_ns: int) -> float:
        """Of one device, in any window after this was made."""
        return self._load.joules(self._at_s(end_ns)) - self._load.joules(self._at_s(start_ns))

    def read(self, uuid: str) -> Reading:
        index, spec = self._index[uuid], self._spec
        now_ns = self.clock.monotonic_ns()
        at_s = self._at_s(now_ns)
        watts = self._load.watts(at_s)
        total, used = self._devices[index].memory_bytes or 0, round(spec.used_gib * 2**30)
        shares = zip(THROTTLED, (spec.thermal_share, spec.capped_share), strict=True)
        busy = watts > spec.idle_w
        found: dict[str, Any] = {
            "energy_mj": self._counted_mj(index, now_ns),
            "power_mw": self._averaged_mw(at_s),
            "power_instant_mw": round(watts * 1e3),
            "power_average_mw": self._averaged_mw(at_s),
            "memory_used_bytes": used,
            "memory_free_bytes": max(0, total - used),
            "utilisation_percent": 100.0 if busy else 0.0,
            "sm_clock_mhz": 1800 if busy else 300,
            "memory_clock_mhz": 2600,
            "temperature_c": 60 if busy else 40,
            "clock_events": 0 if busy else 1,
            "throttled_ns": {name: round(share * at_s * 1e9) for name, share in shares},
        }
        lost = spec.lost_at_s is not None and at_s >= spec.lost_at_s
        gone = dict.fromkeys(found, LOST) if lost else dict.fromkeys(self._missing, NOT_SUPPORTED)
        unknown = {name: why for name, why in gone.items() if name in found}
        found = {name: value for name, value in found.items() if name not in unknown}
        if "throttled_ns" in unknown:
            why = unknown.pop("throttled_ns")
            unknown |= {f"throttled_ns.{name}": why for name in THROTTLED}
        took_ns = self.clock.monotonic_ns() - now_ns
        return Reading(uuid=uuid, at_ns=now_ns, took_ns=took_ns, unknown=unknown, **found)

    def energy(self, uuid: str) -> Energy:
        one = self.read(uuid)
        return Energy.of(one, self.clock.monotonic_ns())

    def processes(self, uuid: str) -> Processes:
        if "processes" in self._missing:
            return Processes(unknown=NOT_SUPPORTED)
        told = "process_memory" not in self._missing
        used = round(self._spec.used_gib * 2**30) if told else None
        ours = self._processes
        if ours is None:
            ours = (GpuProcess(pid=os.getpid(), used_bytes=used),)
        others = (
            GpuProcess(pid=FOREIGN_PID + one, used_bytes=2**30 if told else None)
            for one in range(self._spec.foreign)
        )
        return Processes(listed=(*ours, *others))

    def close(self) -> None:
        pass

    # ------------------------------------------------------------------------------------------

    def _at_s(self, now_ns: int) -> float:
        return (now_ns - self._began_ns) / 1e9

    def _counted_mj(self, index: int, now_ns: int) -> int:
        """As it stood at its last step. Devices step one after the other."""
        period_ns = max(1, round(self._spec.period_ms * 1e6))
        shift_ns = period_ns * index // max(1, len(self._devices))
        since_ns = now_ns - self._began_ns - shift_ns
        stepped_s = max(0, since_ns // period_ns * period_ns + shift_ns) / 1e9
        reset_s = self._spec.reset_at_s
        base_j = 0.0 if reset_s is None or stepped_s < reset_s else self._load.joules(reset_s)
        before_j = 1e5 if reset_s is None or stepped_s < reset_s else 0.0
        return int((before_j + self._load.joules(stepped_s) - base_j) * 1e3)

    def _averaged_mw(self, at_s: float) -> int:
        over_s = self._spec.average_s
        if over_s <= 0:
            return round(self._load.watts(at_s) * 1e3)
        begun_s = at_s - over_s
        before_j = self._load.joules(begun_s) if begun_s > 0 else begun_s * self._spec.idle_w
        return round((self._load.joules(at_s) - before_j) / over_s * 1e3)


def parse_synthetic(text: str, where: str) -> SyntheticSpec:
    """Of `key=value,…`. SpecError for what is none."""
    given: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise SpecError(f"{part!r} is not key=value", where=where, remedy="devices=1")
        given[key.strip()] = value.strip()
    try:
        return msgspec.convert(given, SyntheticSpec, strict=False)
    except msgspec.ValidationError as error:
        remedy = "one of " + ", ".join(SyntheticSpec.__struct_fields__)
        raise SpecError(str(error), where=where, remedy=remedy) from error
