"""The energy counters of CPU packages, as Linux shows them under /sys/class/powercap.

    intel-rapl:0        name `package-0`; its parts are intel-rapl:0:0 …: `core`, `uncore`, `dram`
    intel-rapl:1        the next package, or `psys`: the whole platform, packages included
    intel-rapl-mmio:0   the same package by another road, on laptops

AMD's processors (Zen and later) stand under the same names, mostly without `dram`. A counter is in
µJ and begins anew at max_energy_range_uj: after minutes of full load, where the range is small.
Since 2020 only root may read it, because it tells of what other processes compute (CVE-2020-8694).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final, Literal, TypeAlias

from msgspec import Struct

__all__ = [
    "LOOK_NS",
    "POWERCAP",
    "POWER_BOUND_W",
    "Kind",
    "Zone",
    "find_zones",
    "gone_uj",
    "is_of_kernel",
    "read_uj",
    "update_period_s",
]

POWERCAP: Final = Path("/sys/class/powercap")

Kind: TypeAlias = Literal["package", "dram", "core", "uncore", "psys", "other"]

POWER_BOUND_W: Final = 2000
"""More than any package, or a whole workstation, takes: a counter cannot have gone further than
this in a given time, unless it was reset."""

STEP_UJ: Final = POWER_BOUND_W * 100_000
"""What a counter may go on by in one step, if it is updated every 100 ms: ten times more slowly
than any that is known."""

UPDATES_SEEN: Final = 11
"""Steps of a counter that are watched to know how often it is updated …"""
LOOK_NS: Final = 500_000_000
"""… or for so long."""

_ZONE: Final = re.compile(r"(?P<driver>[\w-]*rapl[\w-]*):\d+(?::\d+)?")


class Zone(Struct, frozen=True, kw_only=True):
    """One counter."""

    name: str
    """`package-0`; of a part of it, `package-0/dram`."""
    kind: Kind
    path: Path
    range_uj: int | None
    """Where it begins anew."""
    refused: str = ""
    """Why it cannot be read."""


def find_zones(root: Path = POWERCAP) -> tuple[list[Zone], str]:
    """(the counters there are, each once; why there are none)."""
    try:
        names = sorted(os.listdir(root))  # noqa: PTH208 - names alone
    except OSError:
        return [], (
            f"there is no {root}: a virtual machine that is not given the counters, a processor "
            "that has none, or the kernel module intel_rapl_msr is not loaded (modprobe)"
        )
    zones: list[Zone] = []
    seen: dict[str, str] = {}
    # The shortest name is that of the driver which has been there longest: `intel-rapl`. What
    # another one shows under the same name is the same package by another road.
    for name in sorted(names, key=lambda one: (len(one.partition(":")[0]), one)):
        zone = _zone(root, name) if _ZONE.fullmatch(name) else None
        driver = name.partition(":")[0]
        if zone is not None and seen.setdefault(zone.name, driver) == driver:
            zones.append(zone)
    if not zones:
        return [], (
            f"{root} names no counter: a virtual machine that is not given them, or the kernel "
            "module intel_rapl_msr is not loaded (modprobe)"
        )
    return zones, ""


def read_uj(path: Path) -> int:
    """Of a zone, now. Raises OSError, and ValueError for what is no count."""
    count = int((path / "energy_uj").read_text("ascii"))
    if count < 0:
        raise ValueError(f"{count} µJ")
    return count


def gone_uj(zone: Zone, before_uj: int, after_uj: int, took_ns: int) -> int | None:
    """What a counter went on by between two readings, one wrap included. None: it cannot be told,
    because it may have wrapped more than once, or because it was reset."""
    most_uj = POWER_BOUND_W * took_ns // 1000
    if zone.range_uj is None:
        return after_uj - before_uj if after_uj >= before_uj else None
    if most_uj >= zone.range_uj:
        return None
    went_uj = after_uj - before_uj
    if went_uj < 0:
        went_uj += zone.range_uj
    return went_uj if 0 <= went_uj <= most_uj + STEP_UJ else None


def update_period_s(zone: Zone, clock: Callable[[], int]) -> float | None:
    """Median time between two steps of the counter, by polling it; None where it stands still.
    `clock`: ns."""
    until_ns = clock() + LOOK_NS
    steps_ns: list[int] = []
    before_uj = read_uj(zone.path)
    while len(steps_ns) < UPDATES_SEEN and (at_ns := clock()) < until_ns:
        count_uj = read_uj(zone.path)
        if count_uj != before_uj:
            steps_ns.append(at_ns)
            before_uj = count_uj
    gaps = [after - one for one, after in pairwise(steps_ns)]
    return median(gaps) / 1e9 if gaps else None


def is_of_kernel(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether the folder is the kernel's own account (sysfs), wherever that is mounted, and no
    files that somebody wrote."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    own, found = str(path.resolve()), ("", "")
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) < 5 or not kinds:
            continue
        at = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        within = own == at or own.startswith(at.rstrip("/") + "/")
        if within and len(at) >= len(found[0]):  # the last of equals lies above the others
            found = (at, kinds[0])
    return found[1] == "sysfs"


def _zone(root: Path, name: str) -> Zone | None:
    """None: it has no counter, such as the folder of the driver itself."""
    path = root / name
    own = _text(path / "name")
    if not own or not (path / "energy_uj").exists():
        return None
    driver, *numbers = name.split(":")
    parent = "" if len(numbers) < 2 else _text(root / f"{driver}:{numbers[0]}" / "name")
    if len(numbers) > 1 and not parent:
        parent = _text(path.parent / f"{driver}:{numbers[0]}" / "name") or f"zone-{numbers[0]}"
    whole = f"{parent}/{own}" if parent else own
    limit = _text(path / "max_energy_range_uj")
    return Zone(
        name=whole,
        kind=_kind(own),
        path=path,
        range_uj=int(limit) if limit.isdigit() and int(limit) else None,
        refused=_refusal(path),
    )


def _kind(name: str) -> Kind:
    if name.startswith("package"):
        return "package"
    for kind in ("dram", "core", "uncore", "psys"):
        if name == kind:
            return kind
    return "other"


def _refusal(path: Path) -> str:
    counter = path / "energy_uj"
    try:
        read_uj(path)
    except PermissionError:
        return (
            f"{counter} may be read by root alone: run as root, or allow it until the next start "
            f"with `sudo chmod a+r {path.parent}/*rapl*:*/energy_uj` (every user then sees how "
            "hard the CPU works)"
        )
    except OSError as error:
        return f"{counter}: {(error.strerror or str(error)).lower()}"
    except ValueError:
        return f"{counter} holds no count"
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
