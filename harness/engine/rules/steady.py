"""Do the figures describe one state of the server, or the way from one to another."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from harness.engine.rules.view import ArmView, RunView
from harness.metrics import call_metric
from harness.schema import CallRecord, Caveat, ClosedLoad, Load, OpenLoad
from harness.statistics import DRIFT_NEEDS, Drift, drift, mser5

__all__ = ["no_steady_state"]

FLOOR_MS: Final = {"tpot_ms": 0.1}
FLOOR_OTHERWISE_MS: Final = 0.5
"""A drift by less is none: wake-ups of client and server, on whatever else their machines run, are
of that size, and a mean of times so short is read with them in mind."""

QUEUE_SHARE: Final = 8
"""Closed loop of concurrency c: a call waits behind up to c others, so that what happens to one is
seen in the next c. With c/8 values taken together, neighbours are correlated as AR(1) at ρ ≤ 0.9,
which is what the test holds its level for …"""
ROUNDS_MIN: Final = 9
"""… and from 9 c values on, the second half holds more than four rounds of such a queue."""

WARMUP_MAX: Final = 20
"""More warm-up iterations than this are not advised; a longer run is."""


class _Series(Struct, frozen=True, kw_only=True):
    """One figure of one arm, in order of sending, once for each iteration (or launch)."""

    arm: ArmView
    metric: str
    of: str
    replicates: list[list[float]]
    together: int = 1


class _Finding(Struct, frozen=True, kw_only=True):
    series: _Series
    drift: Drift


def no_steady_state(view: RunView) -> Iterator[Caveat]:
    """In the second half of an arm's series, figures still rise, fall or jump: by more than chance
    explains, and by more than the bound. Whatever mean or median is read off such a series depends
    on how long the run happened to last."""
    series = [one for arm in view.arms for one in _series_of(arm, arm.load)]
    bound = view.manifest.spec.validity.drift_share_max
    found: dict[str, list[_Finding]] = defaultdict(list)
    for one in series:
        movement = drift(one.replicates, tests=len(series), together=one.together)
        if movement is not None and _matters(one.metric, movement, bound):
            key = f"{one.arm.name}\0{one.arm.summary.cell}"
            found[key].append(_Finding(series=one, drift=movement))
    for findings in found.values():
        arm = findings[0].series.arm
        yield Caveat(
            code="no-steady-state",
            severity="doubtful",
            message="no steady state: " + "; ".join(map(_sentence, findings)),
            evidence={
                "change_share_max": bound,
                "drifts": [_evidence(finding) for finding in findings],
            },
            remedy=_remedy(view, arm, findings),
            arm=arm.name,
            cell=arm.cell,
        )


def _matters(metric: str, movement: Drift, bound: float) -> bool:
    size_ms = abs(movement.after - movement.before)
    floor_ms = FLOOR_MS.get(metric, FLOOR_OTHERWISE_MS)
    return movement.significant and abs(movement.change_share) > bound and size_ms > floor_ms


# ---- the series


def _series_of(arm: ArmView, load: Load | None) -> Iterator[_Series]:
    """Those that are long enough to be tested: of calls, where the engine drove them (the steps of
    a workflow differ by nature), and of whole iterations."""
    walls: dict[int, list[float]] = defaultdict(list)
    for iteration in sorted(arm.iterations, key=lambda i: (i.trial, i.start_ns)):
        if iteration.status == "ok" and not iteration.imported:
            walls[iteration.trial].append((iteration.end_ns - iteration.start_ns) / 1e6)
    if _longest(walls.values()) >= DRIFT_NEEDS:
        yield _Series(arm=arm, metric="wall_ms", of="iterations", replicates=list(walls.values()))
    if load is None:
        return
    concurrency = load.concurrency if isinstance(load, ClosedLoad) else 1
    ttft = "ttft_from_due_ms" if isinstance(load, OpenLoad) else "ttft_ms"
    for metric in (ttft, "tpot_ms"):
        rows = [_figures(metric, calls, concurrency) for calls in _by_iteration(arm.calls)]
        if _longest(rows) >= max(DRIFT_NEEDS, ROUNDS_MIN * concurrency):
            together = math.ceil(concurrency / QUEUE_SHARE)
            yield _Series(arm=arm, metric=metric, of="calls", replicates=rows, together=together)


def _by_iteration(calls: Sequence[CallRecord]) -> list[list[CallRecord]]:
    """In order of sending."""
    groups: dict[tuple[int, int], list[CallRecord]] = defaultdict(list)
    for call in calls:
        groups[call.trial, call.iteration].append(call)
    return [
        sorted(group, key=lambda c: (c.instants.sent_ns or c.instants.due_ns, c.call_id))
        for group in groups.values()
    ]


def _figures(metric: str, calls: Sequence[CallRecord], concurrency: int) -> list[float]:
    """Of the ok calls; without the last c − 1 of a closed loop, beside which slots ran empty."""
    formula = call_metric(metric).formula
    held = calls[: len(calls) - concurrency + 1]
    figures = [formula(call) for call in held if call.status == "ok"]
    return [figure for figure in figures if figure is not None]


def _longest(rows: Any) -> int:
    return max(map(len, rows), default=0)


# ---- what is said


def _sentence(finding: _Finding) -> str:
    movement, series = finding.drift, finding.series
    of = f"{series.of} {movement.begins + 1} to {_longest(series.replicates)}"
    if movement.kind == "shift":
        verb = "jumps" if movement.after > movement.before else "drops"
        where = f"at {series.of[:-1]} {movement.begins + 1} of {_longest(series.replicates)}"
    else:
        verb = "still rises" if movement.after > movement.before else "still falls"
        where = f"over {of}"
    return f"{series.metric} {verb} from {movement.before:.4g} to {movement.after:.4g} ms {where}"


def _evidence(finding: _Finding) -> dict[str, Any]:
    """`mser5_keeps_from`: where the rule MSER-5 would cut the first of the series."""
    movement, series = finding.drift, finding.series
    share = movement.change_share
    return {
        "metric": series.metric,
        "kind": movement.kind,
        "begins_at": movement.begins,
        "n": _longest(series.replicates),
        "series": len(series.replicates),
        "before_ms": movement.before,
        "after_ms": movement.after,
        "change_share": share if math.isfinite(share) else None,
        "t": movement.statistic,
        "t_bound": movement.bound,
        "mser5_keeps_from": mser5(series.replicates[0]),
    }


def _remedy(view: RunView, arm: ArmView, findings: list[_Finding]) -> str:
    spec, load = view.manifest.spec, arm.load
    rising = any(f.drift.after > f.drift.before and f.drift.kind == "trend" for f in findings)
    if isinstance(load, OpenLoad) and rising:
        answered = _answered_per_s(arm.calls)
        if answered and answered < 0.95 * load.rate_per_s:
            return (
                f"a lower --rate: {load.rate_per_s:.4g} requests per second were offered, and "
                f"{answered:.4g} were answered, so the queue grows for as long as the run lasts"
            )
        return f"--requests {2 * load.requests} to see where it ends, or a lower --rate"
    if any(finding.drift.kind == "shift" for finding in findings):
        return (
            "find what changed at that point (another program, a clock, a cache), and run it again"
        )
    n = max(_longest(finding.series.replicates) for finding in findings)
    if load is None:
        return f"--warmup {min(WARMUP_MAX, spec.iterations.warmup + n)}, or let it run for longer"
    per_warmup = max(2, load.concurrency) if isinstance(load, ClosedLoad) else 4
    warmup = spec.iterations.warmup + math.ceil(n / per_warmup)
    longer = f"--requests {2 * load.requests}"
    return longer if warmup > WARMUP_MAX else f"--warmup {warmup}, or {longer}"


def _answered_per_s(calls: Sequence[CallRecord]) -> float | None:
    """Over each iteration, from the first request sent to the last answer's end."""
    answered, span_ns = 0, 0
    for group in _by_iteration(calls):
        sent = [c.instants.sent_ns for c in group if c.instants.sent_ns is not None]
        ended = [c.instants.end_ns for c in group if c.instants.end_ns is not None]
        if sent and ended:
            answered += len(ended)
            span_ns += max(ended) - min(sent)
    return answered / span_ns * 1e9 if span_ns > 0 else None
