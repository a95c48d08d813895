"""One metric over many runs, in the order of time: its level in each, and where it stepped.

Runs are put into one series if they are of one spec (or, asked so, of one name) and of one arm and
cell. What a step cannot tell is why; so the recorded conditions that changed between the two runs
are named beside it, and beside every other run where they changed: a step without any, and changes
without a step, are both worth knowing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from harness.compare.audit.folder import changed_fields
from harness.engine.readings import CONFIGURATION
from harness.errors import SpecError
from harness.schema import ArmSummary, Effective, MetricSummary, TrialRecord
from harness.statistics import STEP_ALPHA, Step, find_steps
from harness.statistics.steps import SIDE_MIN
from harness.store.load import Run
from harness.strict import nearest
from harness.text import listed

__all__ = ["History", "Point", "default_metric", "history", "metrics_of"]

CONDITIONS = (*CONFIGURATION, "options", "read_back")


class Point(Struct, frozen=True, kw_only=True):
    """One run."""

    run_id: str
    path: str
    started: str
    state: Literal["valid", "doubtful", "invalid"]
    trials: int
    n: int
    value: float | None
    """Mean of the metric, as in the run's summary."""
    low: float | None = None
    """95 % interval of the mean, as in the run's summary."""
    high: float | None = None
    ci_of: str | None = None
    left_out: str = ""
    """Why it is not in the series, if it is not."""
    changed: dict[str, list[Any]] = {}
    """Condition → [in the run before, in this one]."""
    step: Step | None = None
    """The level changed with this run."""


class History(Struct, frozen=True, kw_only=True):
    """One series of runs."""

    name: str
    arm: str
    cell: str
    metric: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    points: tuple[Point, ...]
    alpha: float
    runs: int
    """Of the points: those in the series."""
    needs: int | None = None
    """Runs that it takes to show any step, where there are fewer."""
    simulated: bool = False
    side_min: int = SIDE_MIN

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(point.step for point in self.points if point.step is not None)


class _Seen(Struct, frozen=True):
    run: Run
    arm: ArmSummary


def history(
    runs: Iterable[Run],
    metric: str,
    *,
    by: Literal["spec", "name"] = "spec",
    arm: str | None = None,
    cell: str | None = None,
    alpha: float = STEP_ALPHA,
    seed: int = 0,
) -> tuple[History, ...]:
    """A series for each arm and cell of each spec, in the order in which they were first run.

    Raises SpecError where no run has the metric.
    """
    groups: dict[tuple[str, str, str], list[_Seen]] = defaultdict(list)
    names: dict[str, None] = {}
    every: list[tuple[str, str, str]] = []
    for run in sorted(runs, key=lambda one: (one.manifest.started, one.manifest.run_id)):
        identity = run.manifest.spec_digest if by == "spec" else run.manifest.name
        for one in run.summary.arms:
            names |= dict.fromkeys(m.name for m in one.metrics if m.n)
            every.append((identity, one.arm, one.cell))
            if arm in (None, one.arm) and cell in (None, one.cell):
                groups[identity, one.arm, one.cell].append(_Seen(run, one))
    found = tuple(
        made for seen in groups.values() if (made := _series(seen, metric, alpha, seed)) is not None
    )
    if not found and metric in names:
        places = [f"{one}/{other}" for _, one, other in every]
        raise SpecError(
            "no run has this arm and cell with this metric",
            where=f"{arm or '*'}/{cell or '*'}",
            remedy=f"one of {listed(list(dict.fromkeys(places)))}",
        )
    if not found:
        raise SpecError(
            "no run has this metric",
            where=metric,
            remedy=nearest(metric, names) or f"one of {listed(list(names))}",
        )
    return found


def metrics_of(runs: Iterable[Run]) -> list[str]:
    """Every metric with values, in the order of the first run's."""
    every = (m.name for run in runs for arm in run.summary.arms for m in arm.metrics if m.n)
    return list(dict.fromkeys(every))


def default_metric(runs: Sequence[Run]) -> str:
    """What the newest run is about first. Raises SpecError where it does not say."""
    from harness.compare.recommend import headline

    return headline(runs[-1].summary)


def _series(seen: Sequence[_Seen], metric: str, alpha: float, seed: int) -> History | None:
    known = [one for one in (_metric(each.arm, metric) for each in seen) if one and one.n]
    if not known:
        return None
    points = [_point(each, metric, known[-1].unit) for each in seen]
    points = list(_with_changes(seen, points))
    series = [index for index, point in enumerate(points) if not point.left_out]
    levels = [value for at in series if (value := points[at].value) is not None]
    found = find_steps(levels, alpha=alpha, seed=seed)
    for step in found.steps:
        at = series[step.at]
        points[at] = replace(points[at], step=step)
    last = seen[-1].run.manifest
    return History(
        name=last.name,
        arm=seen[-1].arm.arm,
        cell=seen[-1].arm.cell,
        metric=metric,
        unit=known[-1].unit,
        better=known[-1].better,
        points=tuple(points),
        alpha=alpha,
        runs=len(series),
        needs=found.needs,
        simulated=any(one.provenance == "simulated" for one in known),
    )


def _point(seen: _Seen, metric: str, unit: str) -> Point:
    run, arm = seen.run, seen.arm
    one = _metric(arm, metric)
    left_out = ""
    value = one.mean if one else None
    if one is None or not one.n or value is None:
        left_out = "it has no such figure"
    elif one.unit != unit:
        left_out = f"its figure is in {one.unit}"
    elif run.summary.verdict.state == "invalid":
        left_out = "the run is invalid"
    elif run.summary.state == "running":
        left_out = "it is still under way"
    return Point(
        run_id=run.manifest.run_id,
        path=str(run.path),
        started=run.manifest.started,
        state=run.summary.verdict.state,
        trials=arm.trials,
        n=one.n if one else 0,
        value=value,
        low=one.ci_low if one else None,
        high=one.ci_high if one else None,
        ci_of=one.ci_of if one else None,
        left_out=left_out,
    )


def _metric(arm: ArmSummary, name: str) -> MetricSummary | None:
    return next((one for one in arm.metrics if one.name == name), None)


# ---- conditions: those that can be had without reading every record of every run. Of two runs,
# `harness explain` has all of them.


def _with_changes(seen: Sequence[_Seen], points: Sequence[Point]) -> Iterator[Point]:
    """Against the run before that is in the series."""
    before: _Seen | None = None
    for each, point in zip(seen, points, strict=True):
        changed = _changes(before, each) if before is not None else {}
        yield replace(point, changed=changed)
        if not point.left_out:
            before = each


def _changes(before: _Seen, after: _Seen) -> dict[str, list[Any]]:
    one, other = before.run.manifest, after.run.manifest
    found = dict(_effective_changes(_account(before), _account(after)))
    found |= changed_fields(one.environment, other.environment)
    # That of a table has the digest of its file in it.
    if one.spec_digest != other.spec_digest and other.spec.backend.name != "imported":
        found["spec"] = [one.spec_digest[:12], other.spec_digest[:12]]
    return found


def _effective_changes(
    one: Effective | None, other: Effective | None
) -> Iterator[tuple[str, list[Any]]]:
    if one is None or other is None:
        return
    for name in CONDITIONS:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, dict):
            for key in dict.fromkeys([*a, *b]):
                if a.get(key) != b.get(key):
                    yield f"{name}.{key}", [a.get(key), b.get(key)]
        elif a != b:
            yield name, [a, b]


def _account(seen: _Seen) -> Effective | None:
    """What the backend said of itself in the first trial of that arm and cell."""
    for record in seen.run.records():
        if (
            isinstance(record, TrialRecord)
            and (record.arm, record.cell) == (seen.arm.arm, seen.arm.cell)
            and record.status == "ok"
        ):
            return record.effective
    return None
