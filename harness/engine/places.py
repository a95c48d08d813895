"""Places: what part of the machine a trial has to itself, as far as the spec gives it one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from harness.errors import SpecError
from harness.schema import PlacementSpec

__all__ = ["check_places", "cpus_here", "parse_cpus", "pin", "places"]

_RANGE: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_CPUS_MAX: Final = 65536


def places(placement: PlacementSpec) -> list[dict[str, str]]:
    """One mapping per trial that may run at a time: `cpus` and `gpus`, where they are given."""
    given = {"cpus": placement.cpus, "gpus": placement.gpus}
    return [
        {name: values[index] for name, values in given.items() if values}
        for index in range(placement.parallel)
    ]


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
    for index, text in enumerate(placement.gpus):
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
