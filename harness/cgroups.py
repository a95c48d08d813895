"""What the cgroups of this process allow it, and how often they held it back. Linux; public.

A container is a cgroup with bounds: on a machine of 64 CPUs it may run for as long as two of them
would, and is stopped for the rest of each 100 ms when it has used that up. Nothing else tells so:
neither the CPUs that it may use nor the load of the machine.

Both versions are read. A bound of any group above counts, so that the tightest is the one that
holds; where groups are seen from inside a container, its own is the root of all it can see.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

__all__ = ["PROC", "ROOT", "Limits", "MemoryBound", "limits", "memory_bounds", "throttled_us"]

PROC: Final = Path("/proc")
ROOT: Final = Path("/sys/fs/cgroup")

UNBOUNDED: Final = 1 << 60
"""Version 1 has no word for `no limit`: it says the largest number of whole pages."""


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tightest bound on the way up. None: none, unless `unknown` says why it cannot be told."""

    version: int | None = None
    cpus: float | None = None
    """CPU time / wall time that all its processes together may take."""
    memory_bytes: int | None = None
    unknown: str = ""


class MemoryBound(Struct, frozen=True):
    """Of one group that has one."""

    limit_bytes: int
    used_bytes: int | None
    """What cannot be dropped at once, as files that were read can be; None: it is not told."""


def limits(proc: Path = PROC, root: Path = ROOT) -> Limits:
    """Raises nothing."""
    cpu, memory = [*_groups("cpu", proc, root)], [*_groups("memory", proc, root)]
    if not cpu and not memory:
        return Limits(unknown=f"no cgroups at {root}")
    allowed = [share for group in cpu if (share := _cpus(group)) is not None]
    return Limits(
        version=2 if _is_v2(cpu or memory) else 1,
        cpus=min(allowed, default=None),
        memory_bytes=min((bound.limit_bytes for bound in memory_bounds(proc, root)), default=None),
    )


def memory_bounds(proc: Path = PROC, root: Path = ROOT) -> list[MemoryBound]:
    """Ours first, then each above it."""
    return [
        MemoryBound(limit_bytes, _used_bytes(group))
        for group in _groups("memory", proc, root)
        if (limit_bytes := _limit_bytes(group)) is not None
    ]


def throttled_us(proc: Path = PROC, root: Path = ROOT) -> int | None:
    """Time that a quota has held back our group or one above, so far, over all their CPUs together:
    it may grow faster than the clock. None: no group counts it."""
    counted = [us for group in _groups("cpu", proc, root) if (us := _held_us(group)) is not None]
    # Each counts its own: held back by both a group and the one above is seen by either alone.
    return sum(counted) if counted else None


# ---- which folders


def _groups(controller: str, proc: Path, root: Path) -> Iterator[Path]:
    """Ours, then each above it. Of the controller's own tree, where version 1 has one."""
    for base, path in _trees(controller, proc, root):
        own = base.joinpath(*[part for part in path.split("/") if part not in ("", "..")])
        if not own.is_dir():
            own = base  # the path is of the host's tree, and we see our part of it alone
        yield own
        while own != base:
            own = own.parent
            yield own
        return


def _trees(controller: str, proc: Path, root: Path) -> Iterator[tuple[Path, str]]:
    """(folder, path within) of the tree that has the controller: its own first."""
    unified: str | None = None
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            for name in (names, controller):
                if (root / name).is_dir():
                    yield root / name, path
        elif not names:
            unified = path
    for folder in (root, root / "unified"):
        if unified is not None and (folder / "cgroup.controllers").exists():
            yield folder, unified


def _is_v2(groups: list[Path]) -> bool:
    return any((group / "cgroup.controllers").exists() for group in groups)


# ---- files


def _cpus(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _read(group / "cpu.cfs_quota_us").strip()  # -1: none
        period = _read(group / "cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit() and int(period):
        return int(quota) / int(period)
    return None


def _limit_bytes(group: Path) -> int | None:
    """Version 2 says `max` where there is none."""
    found = _number(group / "memory.max", group / "memory.limit_in_bytes")
    return found if found is not None and found < UNBOUNDED else None


def _used_bytes(group: Path) -> int | None:
    used = _number(group / "memory.current", group / "memory.usage_in_bytes")
    if used is None:
        return None
    counts = _counts(group / "memory.stat")
    # Version 1 has `total_` for the group with all that is below it.
    cached = counts.get("total_inactive_file", counts.get("inactive_file", 0))
    return max(0, used - cached)


def _held_us(group: Path) -> int | None:
    counts = _counts(group / "cpu.stat")
    if "throttled_usec" in counts:
        return counts["throttled_usec"]
    held_ns = counts.get("throttled_time")  # version 1
    return None if held_ns is None else held_ns // 1000


def _counts(path: Path) -> dict[str, int]:
    """Name → number, of a file with one a line."""
    pairs = (line.split(" ", 1) for line in _read(path).splitlines() if " " in line)
    return {name: int(value) for name, value in pairs if value.isdigit()}


def _number(*paths: Path) -> int | None:
    """Of the first that has one."""
    texts = (_read(path).strip() for path in paths)
    return next((int(text) for text in texts if text.isdigit()), None)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
