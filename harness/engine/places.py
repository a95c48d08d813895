"""Places: what part of the machine a trial has to itself, as far as the spec gives it one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from harness.errors import SpecError
from harness.schema import PlacementSpec

__all__ = ["EACH", "check_gpus", "check_places", "cpus_here", "parse_cpus", "pin", "places"]

EACH: Final = "each"
ORDER: Final = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""In which CUDA counts the GPUs of a place: NVML's order. By its own, `0` is the fastest."""

_RANGE: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_CPUS_MAX: Final = 65536


def places(placement: PlacementSpec) -> list[dict[str, str]]:
    """One mapping per trial that may run at a time: `cpus` and `gpus`, where they are given. For
    each GPU of this machine one, where that is asked for. Raises SpecError as check_gpus does."""
    gpus: tuple[str, ...] = _each() if placement.gpus == EACH else tuple(placement.gpus)
    count = len(gpus) if placement.gpus == EACH else placement.parallel
    given = {"cpus": placement.cpus, "gpus": gpus}
    return [
        {name: values[index] for name, values in given.items() if values} for index in range(count)
    ]


def check_gpus(placement: PlacementSpec, where: str) -> None:
    """The GPUs of this machine are what the places need: there, and no two places have the same.
    `0` and `GPU-…` may be one and the same. Raises SpecError. Asks the driver."""
    if placement.gpus == EACH:
        count = len(_each(f"{where}.gpus"))
        if 0 < len(placement.cpus) < count:
            raise SpecError(
                f"{count} GPUs make as many places, and {len(placement.cpus)} lists are given",
                where=f"{where}.cpus",
                remedy="one for each, or leave it out",
            )
        return
    owner: dict[str, int] = {}
    for index, text in enumerate(placement.gpus):
        for name in _named(text, f"{where}.gpus[{index}]"):
            first = owner.setdefault(name, index)
            if first != index and not placement.share_gpus:
                raise SpecError(
                    f"{text!r} and {placement.gpus[first]!r} are the same GPU: two trials would "
                    "measure each other",
                    where=f"{where}.gpus[{index}]",
                    remedy="share_gpus: true, if that is the question",
                )


def _each(where: str = "$.placement.gpus") -> tuple[str, ...]:
    """UUIDs of the GPUs that this process may use."""
    from harness.devices import NoDevices, open_provider, used_devices

    try:
        provider = open_provider()
    except NoDevices as reason:
        raise SpecError(
            f"there is no GPU here ({reason})", where=where, remedy="leave it out"
        ) from None
    try:
        used = used_devices(provider)
    finally:
        provider.close()
    if not used.devices:
        raise SpecError(
            f"there is no GPU to use here ({used.unknown})", where=where, remedy="leave it out"
        )
    return tuple(device.uuid for device in used.devices)


def _named(text: str, where: str) -> Iterable[str]:
    """What a value of CUDA_VISIBLE_DEVICES stands for: UUIDs, where this machine knows them."""
    from harness.devices import NoDevices, open_provider, used_devices

    names = [part.strip().casefold() for part in text.split(",")]
    literal = [name for name in names if name not in ("", "-1")]
    if any(name.startswith("mig-") for name in literal):
        return literal
    try:
        provider = open_provider()
    except NoDevices:
        return literal
    try:
        used = used_devices(provider, text, environ={**os.environ, **ORDER})
    finally:
        provider.close()
    if used.unknown and not used.hidden:
        raise SpecError(used.unknown, where=where, remedy="harness doctor lists the GPUs")
    return [device.uuid for device in used.devices]


def check_places(placement: PlacementSpec, where: str) -> None:
    """Raises SpecError for a list that cannot be read, and for a CPU that is not there."""
    for index, text in enumerate(placement.cpus):
        asked = parse_cpus(text, f"{where}.cpus[{index}]")
        here = cpus_here()
        if not here:
            raise SpecError(
                "this system cannot bind a process to CPUs",
                where=f"{where}.cpus[{index}]",
                remedy="leave it out",
            )
        if missing := asked - here:
            raise SpecError(
                f"there is no CPU {_listed(missing)} for this process",
                where=f"{where}.cpus[{index}]",
                remedy=f"of {_listed(here)}",
            )
    for index, text in enumerate(() if placement.gpus == EACH else placement.gpus):
        if not text.isprintable() or len(text) > 1000:
            raise SpecError(
                f"{text!r} is no value for CUDA_VISIBLE_DEVICES", where=f"{where}.gpus[{index}]"
            )


def parse_cpus(text: str, where: str = "") -> frozenset[int]:
    """`0-3,8` → {0, 1, 2, 3, 8}. Raises SpecError."""
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < _CPUS_MAX:
            raise SpecError(f"{text!r} is no list of CPUs", where=where, remedy="such as 0-3,8")
        found.update(range(first, last + 1))
    return frozenset(found)


@cache
def cpus_here() -> frozenset[int]:
    """The CPUs that this process had when it started, before `pin`: a trial is planned again where
    it runs. Empty where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    return frozenset(os.sched_getaffinity(0))


def pin(cpus: Iterable[int]) -> None:
    """Run on these CPUs alone, and whatever is started from now on too. OSError."""
    cpus_here()
    os.sched_setaffinity(0, cpus)


def _listed(cpus: Iterable[int]) -> str:
    """{0, 1, 2, 3, 8} → `0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in runs)
