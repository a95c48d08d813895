"""Is anything missing: an end, a record, or all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from typing import Final, TypeAlias

from harness.engine.rules.memory import did_not_fit
from harness.engine.rules.money import unpaid
from harness.engine.rules.view import ArmView, RunView
from harness.schema import Caveat, RunState
from harness.text import one_line

__all__ = ["counts", "empty_workload", "incomplete"]

_Place: TypeAlias = tuple[int, int]
"""(trial, iteration) within an arm."""


def incomplete(view: RunView) -> Iterator[Caveat]:
    """The run did not come to its end."""
    if view.state == "finished":
        return
    if view.state == "failed" and all(arm.is_empty for arm in view.arms):
        yield _failed(view)
        return
    ended = sum(trial.status == "ok" for arm in view.arms for trial in arm.trials)
    ended += len(view.skipped)
    planned = len(view.manifest.plan)
    how = {"running": "is still under way", "failed": "failed"}.get(view.state, "was interrupted")
    yield Caveat(
        code="incomplete",
        severity="doubtful",
        message=f"the run {how}: {ended} of {planned} planned trials came to their end",
        evidence={"state": view.state, "trials_ended": ended, "trials_planned": planned},
        remedy="wait for its end" if view.state == "running" else resume_command(view),
    )


def resume_command(view: RunView) -> str:
    """A run is also found by the beginning of its id."""
    return f"harness run --resume {view.manifest.run_id}"


def _failed(view: RunView) -> Caveat:
    """It never came to measuring: one caveat with the reason says all there is to say."""
    errors = [item.error for arm in view.arms for item in arm.failures() if item.error is not None]
    reasons = [view.manifest.error or "", *(error.message for error in errors)]
    reason = one_line(next(filter(None, reasons), "the reason was not recorded"), 300)
    return Caveat(
        code="incomplete",
        severity="invalid",
        message=f"the run failed before anything was measured: {reason}",
        evidence={"state": view.state, "trials_planned": len(view.manifest.plan)},
        remedy=f"see to that, then {resume_command(view)}",
    )


def counts(view: RunView) -> Iterator[Caveat]:
    """Every planned call must have ended in exactly one status, and every planned trial ended."""
    for arm in view.arms:
        yield from _calls(arm, view)
    ended = {(t.arm, t.cell, t.trial) for arm in view.arms for t in arm.trials}
    ended |= {(t.arm, t.cell, t.trial) for t in view.skipped}
    lost = [list(trial) for trial in view.manifest.plan if trial not in ended]
    if lost and view.state == "finished":
        yield Caveat(
            code="unbalanced",
            severity="invalid",
            message=f"{len(lost)} planned trials left no record",
            evidence={"trials": lost[:10]},
            remedy="report this as a defect: the harness lost count",
        )


def _calls(arm: ArmView, view: RunView) -> Iterator[Caveat]:
    planned = {(i.trial, i.iteration): i.planned_calls for i in arm.iterations}
    recorded = Counter((call.trial, call.iteration) for call in arm.calls)
    short = _cut_short(arm, view, planned, recorded)
    wrong = _miscounted(arm, view.state, planned, recorded, short.keys())
    twice = [call_id for call_id, n in Counter(c.call_id for c in arm.calls).items() if n > 1]
    if wrong or twice:
        yield Caveat(
            code="unbalanced",
            severity="invalid",
            message=f"{len(wrong)} iterations planned another number of calls than was "
            f"recorded; {len(twice)} calls are recorded twice",
            evidence={"iterations": wrong[:10], "twice": twice[:10]},
            remedy="report this as a defect: the harness lost count",
            arm=arm.name,
            cell=arm.cell,
        )
    cut = [place for place, status in short.items() if status == "cancelled"]
    if cut:
        of = sum(planned.values())
        yield Caveat(
            code="interrupted",
            severity="note",
            message=f"{len(arm.calls)} of {of} planned calls have a record; the rest "
            "were never begun",
            evidence={"recorded": len(arm.calls), "planned": of, "iterations": len(cut)},
            remedy=f"{resume_command(view)} runs the trial anew",
            arm=arm.name,
            cell=arm.cell,
        )


def _cut_short(
    arm: ArmView, view: RunView, planned: dict[_Place, int], recorded: Counter[_Place]
) -> dict[_Place, str]:
    """Iterations that ended before all their calls had begun, and as what: an interrupt did that,
    or (of a request scenario) a refused request, and no count was lost."""
    early = {"cancelled", "error"} if arm.load is not None else {"cancelled"}
    ended = {(i.trial, i.iteration): i.status for i in arm.iterations if i.status in early}
    return {place: how for place, how in ended.items() if recorded[place] < planned[place]}


def _miscounted(
    arm: ArmView,
    state: RunState,
    planned: dict[_Place, int],
    recorded: Counter[_Place],
    short: Set[_Place],
) -> list[dict[str, int | None]]:
    # Where a run was cut short, or a trial failed, its last iteration may have left no record.
    ended_early = {trial.trial for trial in arm.trials if trial.status != "ok"}
    expected = {
        place
        for place in recorded.keys() - planned.keys()
        if state != "finished" or place[0] in ended_early
    }
    return [
        {"trial": k[0], "iteration": k[1], "planned": planned.get(k), "recorded": recorded[k]}
        for k in sorted((planned.keys() | recorded.keys()) - expected - short)
        if planned.get(k) != recorded[k]
    ]


FAILED_FIRST: Final = "see to what failed first (`failures`)"


def empty_workload(view: RunView) -> Iterator[Caveat]:
    """An arm that measured nothing, although it could have. A run still under way may yet; one
    that failed before it measured says that instead."""
    if view.state in ("running", "failed"):
        return
    unfit = {(t.arm, t.cell) for t in view.skipped if did_not_fit(t) or unpaid(t)}
    left_out = [a for a in view.arms if not a.trials and (a.name, a.summary.cell) in unfit]
    for arm in view.arms:
        # A model that does not fit is left out of the run; a run of nothing else measured nothing.
        if not arm.is_empty or (arm in left_out and len(left_out) < len(view.arms)):
            continue
        yield Caveat(
            code="empty-workload",
            severity="invalid",
            message="not one call was measured",
            evidence={"trials": arm.summary.trials, "iterations": arm.summary.iterations},
            remedy=_to_measure(view, arm, arm in left_out),
            arm=arm.name,
            cell=arm.cell,
        )


def _to_measure(view: RunView, arm: ArmView, unfit: bool) -> str:
    if any(arm.failures()):
        return FAILED_FIRST
    if any(map(unpaid, (*arm.trials, *view.skipped))):
        return "a larger budget (`budget`)"
    if unfit:
        return "a model that fits into memory (`skipped-models`)"
    return resume_command(view) if view.state == "interrupted" else "give the scenario some input"
