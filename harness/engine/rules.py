"""The rules that make a run doubtful: one function per rule, over one view of the run.

Each looks at the whole run and yields what it finds. A rule fires on facts in the records, never on
the absence of a figure that a backend does not offer. Severities:

    note        read the figures with this in mind; the verdict stays `valid`
    doubtful    some figure may mislead
    invalid     the figures do not describe what was asked for
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from harness.schema import (
    ArmSummary,
    CallRecord,
    Caveat,
    IterationRecord,
    Manifest,
    RunState,
    TrialRecord,
)

__all__ = [
    "ERROR_SHARE_INVALID",
    "OUTPUT_RATIO_MAX",
    "ArmView",
    "RunView",
    "clock_step",
    "counts",
    "empty_workload",
    "errors",
    "failures",
    "incomplete",
    "too_few",
    "unbounded_output",
    "user_stamps",
    "what_was_measured",
]

ERROR_SHARE_INVALID: Final = 0.05
"""Beyond one failed call in twenty, even p95 of the survivors says nothing of the whole: failed
calls are mostly the slow ones, and they are missing from exactly that tail."""

OUTPUT_RATIO_MAX: Final = 1.10
"""Mean output tokens per call between arms. Duration is close to proportional to it, so a larger
difference would pass for a 10 % difference in speed."""

_TOO_FEW_FOR: Final = ("ttft_ms", "e2e_ms")
"""Metrics whose p95 the summary table shows."""

_SEE_ERRORS: Final = "harness export RUN --format jsonl shows every call with its error"


class ArmView(Struct, frozen=True, kw_only=True):
    """One arm and cell: its measured calls and iterations, all its trials, and what they give."""

    calls: list[CallRecord]
    iterations: list[IterationRecord]
    trials: list[TrialRecord]
    summary: ArmSummary

    @property
    def name(self) -> str:
        return self.summary.arm


class RunView(Struct, frozen=True, kw_only=True):
    """What the rules look at."""

    manifest: Manifest
    state: RunState
    arms: tuple[ArmView, ...]


# ---- is anything missing


def incomplete(view: RunView) -> Iterator[Caveat]:
    """The run did not come to its end."""
    if view.state == "finished":
        return
    ended = sum(len(arm.trials) for arm in view.arms)
    planned = len(view.manifest.plan)
    how = {"running": "is still under way", "failed": "failed"}.get(view.state, "was interrupted")
    yield Caveat(
        code="incomplete",
        severity="doubtful",
        message=f"the run {how}: {ended} of {planned} planned trials ended",
        evidence={"state": view.state, "trials_ended": ended, "trials_planned": planned},
        remedy="wait for its end" if view.state == "running" else "run it again",
    )


def counts(view: RunView) -> Iterator[Caveat]:
    """Every planned call must have ended in exactly one status, and every planned trial ended."""
    for arm in view.arms:
        wrong = _miscounted(arm, view.state)
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
            )
    ended = {(t.arm, t.cell, t.trial) for arm in view.arms for t in arm.trials}
    lost = [list(trial) for trial in view.manifest.plan if trial not in ended]
    if lost and view.state == "finished":
        yield Caveat(
            code="unbalanced",
            severity="invalid",
            message=f"{len(lost)} planned trials left no record",
            evidence={"trials": lost[:10]},
            remedy="report this as a defect: the harness lost count",
        )


def _miscounted(arm: ArmView, state: RunState) -> list[dict[str, int | None]]:
    planned = {(i.trial, i.iteration): i.planned_calls for i in arm.iterations}
    recorded = Counter((call.trial, call.iteration) for call in arm.calls)
    # Where a run was cut short, or a trial failed, its last iteration left no record: no surprise.
    cut_short = {trial.trial for trial in arm.trials if trial.status != "ok"}
    for key in recorded.keys() - planned.keys():
        if state != "finished" or key[0] in cut_short:
            del recorded[key]
    return [
        {"trial": k[0], "iteration": k[1], "planned": planned.get(k), "recorded": recorded[k]}
        for k in sorted(planned.keys() | recorded.keys())
        if planned.get(k) != recorded[k]
    ]


def empty_workload(view: RunView) -> Iterator[Caveat]:
    """An arm that measured nothing. A scenario may do without calls if it measures by itself."""
    for arm in view.arms:
        if arm.calls or any(iteration.metrics for iteration in arm.iterations):
            continue
        yield Caveat(
            code="empty-workload",
            severity="invalid",
            message="not one call was measured",
            evidence={"trials": arm.summary.trials, "iterations": arm.summary.iterations},
            remedy=_first_failure(arm) or "give the scenario some input",
            arm=arm.name,
        )


def _first_failure(arm: ArmView) -> str:
    items: list[TrialRecord | IterationRecord] = [*arm.trials, *arm.iterations]
    messages = [item.error.message for item in items if item.error is not None]
    return f"first see to this: {messages[0][:300]}" if messages else ""


# ---- did it go well


def errors(view: RunView) -> Iterator[Caveat]:
    """Calls that are not `ok`, against the spec's bound. An interrupt's cancellations are none."""
    for arm in view.arms:
        ignored = {"ok"} if view.state == "finished" else {"ok", "cancelled"}
        failed = [call for call in arm.calls if call.status not in ignored]
        if not failed:
            continue
        share = len(failed) / len(arm.calls)
        bound = view.manifest.spec.validity.error_share_max
        truncated = sum(call.status == "truncated" for call in failed)
        yield Caveat(
            code="errors",
            severity=_error_severity(share, bound, truncated),
            message=f"{len(failed)} of {len(arm.calls)} calls ({share:.1%}) are not ok"
            + (f", {truncated} of them truncated streams" if truncated else ""),
            evidence={
                "share": share,
                "share_max": bound,
                "statuses": dict(Counter(call.status for call in failed)),
                "codes": dict(Counter(c.error.code for c in failed if c.error).most_common(10)),
                "example": next((c.error.message[:300] for c in failed if c.error), ""),
            },
            remedy=_SEE_ERRORS,
            arm=arm.name,
        )


def _error_severity(
    share: float, bound: float, truncated: int
) -> Literal["note", "doubtful", "invalid"]:
    if share > bound and share > ERROR_SHARE_INVALID:
        return "invalid"
    return "doubtful" if share > bound or truncated else "note"


def failures(view: RunView) -> Iterator[Caveat]:
    """Trials and iterations that ended in an error: what they would have shown is missing."""
    for arm in view.arms:
        items: list[TrialRecord | IterationRecord] = [*arm.trials, *arm.iterations]
        failed = [item for item in items if item.status == "error"]
        if not failed:
            continue
        all_failed = not any(item.status == "ok" for item in arm.iterations)
        first = failed[0].error
        yield Caveat(
            code="failures",
            severity="invalid" if all_failed else "doubtful",
            message=f"{sum(isinstance(f, TrialRecord) for f in failed)} of {len(arm.trials)} trials"
            f" and {sum(isinstance(f, IterationRecord) for f in failed)} of {len(arm.iterations)} "
            "measured iterations failed",
            evidence={"first": f"{first.code}: {first.message[:300]}" if first else "unknown"},
            remedy="see to the first failure, then run again",
            arm=arm.name,
        )


# ---- can it be read, and compared


def unbounded_output(view: RunView) -> Iterator[Caveat]:
    """Arms whose calls generated clearly different numbers of tokens."""
    means: dict[str, float] = {}
    for arm in view.arms:
        tokens = [c.usage.output_tokens for c in arm.calls if c.status == "ok"]
        known = [count for count in tokens if count is not None]
        if known:
            means[_label(arm, view)] = sum(known) / len(known)
    if len(means) < 2:
        return
    least, most = min(means.values()), max(means.values())
    if most > least * OUTPUT_RATIO_MAX:
        yield Caveat(
            code="unbounded-output",
            severity="doubtful",
            message=f"the arms generated {least:.1f} to {most:.1f} tokens per call, so their "
            "durations are not comparable",
            evidence={"output_tokens_per_call": means, "ratio_max": OUTPUT_RATIO_MAX},
            remedy="bound the output (max_tokens, ignore_eos), or compare TTFT and TPOT only",
        )


def too_few(view: RunView) -> Iterator[Caveat]:
    """Figures that n cannot carry; single launches."""
    lacking = {
        _label(arm, view): one
        for arm in view.arms
        for one in arm.summary.metrics
        if one.name in _TOO_FEW_FOR and one.n and "p95" in one.needs
    }
    if lacking:
        needs = max(one.needs["p95"] for one in lacking.values())
        have = ", ".join(f"{one.n} ({name})" for name, one in lacking.items())
        yield Caveat(
            code="too-few",
            severity="note",
            message=f"a p95 needs {needs} values; there are {have}",
            evidence={name: {"n": one.n, "needs": one.needs} for name, one in lacking.items()},
            remedy="more requests, iterations or trials",
        )
    if view.arms and all(arm.summary.trials < 2 for arm in view.arms):
        yield Caveat(
            code="single-launch",
            severity="note",
            message="one trial per arm: what differs from launch to launch is in no interval",
            remedy="--set trials=5",
        )


def user_stamps(view: RunView) -> Iterator[Caveat]:
    """Stamps taken in user space where the kernel's were to be expected."""
    asked_for = view.manifest.spec.transport == "portable"
    for arm in view.arms:
        stamped = [call for call in arm.calls if call.instants.first_chunk_ns is not None]
        user = sum(call.stamp_source == "user" for call in stamped)
        if asked_for or not user:
            continue
        transports = sorted({trial.transport for trial in arm.trials if trial.transport})
        yield Caveat(
            code="user-stamps",
            severity="note",
            message=f"{user} of {len(stamped)} calls carry user-space stamps: the client's own "
            "delay is in their figures",
            evidence={"user": user, "calls": len(stamped), "transports": transports},
            remedy="plain HTTP on Linux has kernel stamps; TLS, proxies and other systems do not",
            arm=arm.name,
        )


def clock_step(view: RunView) -> Iterator[Caveat]:
    """The wall clock stepped while calls ran."""
    for arm in view.arms:
        stepped = sum(call.clock_stepped for call in arm.calls)
        if stepped:
            yield Caveat(
                code="clock-step",
                severity="note",
                message=f"the wall clock stepped during {stepped} calls; their stamps are the "
                "user-space ones",
                evidence={"calls": stepped},
                remedy="let the clock settle (chronyc tracking), then run again",
                arm=arm.name,
            )


def what_was_measured(view: RunView) -> Iterator[Caveat]:
    """A stub, or a model of random weights."""
    simulated = [a for a in view.arms if any(t.effective.simulated for t in a.trials)]
    noise = [a for a in view.arms if any(t.effective.random_weights for t in a.trials)]
    for place in _places(simulated, view):
        yield Caveat(
            code="simulated",
            severity="doubtful",
            message="the server is a simulation: its figures say nothing of any model",
            remedy="measure a real server",
            arm=place,
        )
    for place in _places(noise, view):
        yield Caveat(
            code="random-weights",
            severity="note",
            message="the model's weights are random: its text is noise, its speed is real for a "
            "model of this shape",
            remedy="--model with a real GGUF file",
            arm=place,
        )


def _places(arms: list[ArmView], view: RunView) -> list[str | None]:
    """Where to say it: once for the whole run, if it is so everywhere."""
    return [None] if arms and len(arms) == len(view.arms) else [arm.name for arm in arms]


def _label(arm: ArmView, view: RunView) -> str:
    cells = {other.summary.cell for other in view.arms}
    return f"{arm.name} / {arm.summary.cell}" if len(cells) > 1 else arm.name
