"""`--smoke`: does every cell run at all? One launch, one iteration and one request of each."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from harness.engine import make_plan
from harness.host import Host
from harness.schema import ClosedLoad, RunSpec, SweepSpec

__all__ = ["smoked"]

REQUESTS: Final = "load.requests"
CONCURRENCY: Final = "load.concurrency"
TAG: Final = "smoke"


def smoked(spec: RunSpec, host: Host) -> RunSpec:
    """A spec like any other, tagged, so that whoever has the run can repeat it. Every model stays
    in it, and the guard is on. Raises SpecError."""
    replace = msgspec.structs.replace
    load = make_plan(spec, host).spec.load  # with the default that a request scenario has
    if isinstance(load, ClosedLoad):
        load = replace(load, requests=1, concurrency=1)
    elif load is not None:
        load = replace(load, requests=1)
    counts = spec.iterations
    return replace(
        spec,
        trials=1,
        iterations=replace(counts, warmup=min(counts.warmup, 1), measured=1, cold=0),
        load=load,
        arms={name: replace(arm, load=_one(arm.load)) for name, arm in spec.arms.items()},
        sweep=_without_loads(spec.sweep) if spec.sweep is not None else None,
        stop=None,
        search=None,
        guard=replace(spec.guard, memory="skip"),
        tags=tuple(dict.fromkeys((*spec.tags, TAG))),
    )


def _one(load: dict[str, Any]) -> dict[str, Any]:
    """An arm's part of the load."""
    return {key: 1 if key in ("requests", "concurrency") else n for key, n in load.items()}


def _without_loads(sweep: SweepSpec) -> SweepSpec | None:
    """How many requests is no question any more. Levels side by side keep their number."""
    if sweep.strategy == "zip":
        axes = {
            path: _ones(levels) if path in (REQUESTS, CONCURRENCY) else levels
            for path, levels in sweep.axes.items()
        }
        return msgspec.structs.replace(sweep, axes=axes)
    axes = {p: levels for p, levels in sweep.axes.items() if p not in (REQUESTS, CONCURRENCY)}
    if not axes:
        return None
    if len(axes) == len(sweep.axes) or sweep.samples is None:
        return msgspec.structs.replace(sweep, axes=axes)
    points = 1
    for levels in axes.values():
        points *= len(levels) if isinstance(levels, list | tuple | dict) else 1
    return msgspec.structs.replace(sweep, axes=axes, samples=min(sweep.samples, points))


def _ones(levels: Any) -> Any:
    return dict.fromkeys(levels, 1) if isinstance(levels, dict) else [1 for _ in levels]
