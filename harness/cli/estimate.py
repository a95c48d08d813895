"""How long a plan will take: from what earlier runs took, never from a guess."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from harness.schema import Load, Manifest, OpenLoad, RunSpec, Summary
from harness.store import list_runs
from harness.store.folder import MANIFEST, SUMMARY

if TYPE_CHECKING:
    from harness.engine.plan import Plan

__all__ = ["Estimate", "estimate"]

RUNS_LOOKED_AT: Final = 50


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """None: unknown."""

    seconds: float | None
    source: str

    @property
    def words(self) -> str:
        if self.seconds is None:
            return f"unknown: {self.source}"
        return f"{in_words(self.seconds)} ({self.source})"


def in_words(seconds: float) -> str:
    """`42 s`, `12 min`, `3 h 5 min`."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def estimate(plan: Plan, root: Path) -> Estimate:
    """By the newest finished run below `root` whose trials did the same work; failing that, what an
    open loop's schedule takes at least."""
    places = _places(plan)
    for entry in reversed(list_runs(root)[-RUNS_LOOKED_AT:]):
        trial_s = _trial_s(entry.path, plan.spec) if entry.state == "finished" else None
        if trial_s is not None:
            seconds = trial_s * len(plan.trials) / places
            return Estimate(seconds=seconds, source=f"by {entry.path.name}")
    least_s = [_least_s(t.arm.load, plan.spec) for t in plan.trials]
    known = [seconds for seconds in least_s if seconds is not None]
    if known and len(known) == len(least_s):
        return Estimate(seconds=sum(known) / places, source="at least: the schedules alone")
    return Estimate(seconds=None, source="no finished run below ./runs did the same work")


def _places(plan: Plan) -> int:
    placement = plan.spec.placement
    if placement.gpus != "each":
        return placement.parallel
    from harness.engine.places import places

    return len(places(placement))


def _trial_s(path: Path, spec: RunSpec) -> float | None:
    """Mean wall time of a trial of that run, if its trials did what those of `spec` will do."""
    try:
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
        summary = msgspec.json.decode((path / SUMMARY).read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError):
        return None
    trials = sum(arm.trials for arm in summary.arms)
    if not trials or summary.wall_s is None or _work(manifest.spec) != _work(spec):
        return None
    if manifest.spec.placement.gpus == "each":
        return None  # on how many, the manifest does not say
    return summary.wall_s * manifest.spec.placement.parallel / trials


def _work(spec: RunSpec) -> tuple[object, ...]:
    """What decides how long a trial takes, as far as arms do not differ."""
    backend = spec.backend
    return backend.name, backend.model, spec.scenario, spec.load, spec.iterations


def _least_s(load: Load | None, spec: RunSpec) -> float | None:
    if not isinstance(load, OpenLoad):
        return None
    return load.requests / load.rate_per_s * spec.iterations.measured
