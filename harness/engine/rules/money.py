"""What it cost: did the money last, and is it known of every call: budget, unpriced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from harness.engine.rules.view import ArmView, RunView
from harness.engine.till import BUDGET
from harness.money import dollars, uncosted, was_sent
from harness.money.amounts import added
from harness.schema import Caveat, TrialRecord

__all__ = ["budget", "unpaid", "unpriced"]

FIRST_MAX: Final = 300


def unpaid(trial: TrialRecord) -> bool:
    """Whether the budget kept it from its end, or from its beginning."""
    return trial.error is not None and trial.error.code == BUDGET


def budget(view: RunView) -> Iterator[Caveat]:
    """The budget ended the run: what it was to show has fewer calls, or trials, than planned."""
    cut = [trial for arm in view.arms for trial in arm.trials if unpaid(trial)]
    skipped = [trial for trial in view.skipped if unpaid(trial)]
    if not cut and not skipped:
        return
    refused = sum(
        call.error is not None and call.error.code == BUDGET
        for arm in view.arms
        for call in arm.calls
    )
    limit = Decimal(str(view.manifest.spec.budget_usd or 0))
    costs = [arm.summary.cost for arm in view.arms if arm.summary.cost is not None]
    spent = added(Decimal(cost.usd) for cost in costs)
    unknown = sum(cost.unknown for cost in costs)
    first = next((t.error.message[:FIRST_MAX] for t in cut if t.error), "")
    worst = re.search(r"it can cost \$[0-9.]*[0-9]", first)
    most = "counted as the most they can have cost"
    said = f"{dollars(spent)} is spent"
    if unknown:
        said += f" and {unknown} calls of unknown cost, {most}"
    if not costs:
        said = f"of no call is it known what it cost: they are {most}"
    yield Caveat(
        code="budget",
        severity="doubtful",
        message=f"the budget of {dollars(limit)} ended the run: {said}; "
        f"measured calls not sent: {refused}; "
        f"trials cut short: {len(cut)}, not begun: {len(skipped)}"
        + (f"; of the first call that did not fit: {worst[0]}" if worst else ""),
        evidence={
            "budget_usd": str(limit),
            "spent_usd": str(spent) if costs else None,
            "calls_of_unknown_cost": unknown,
            "calls_not_sent": refused,
            "trials_cut_short": len(cut),
            "trials_skipped": len(skipped),
            "first": first,
        },
        remedy="a larger --budget-usd, fewer --max-tokens, or fewer requests",
    )


def unpriced(view: RunView) -> Iterator[Caveat]:
    """Calls to a service that is paid for, of which nobody knows what they cost. A model on a
    machine of one's own has no price, and needs none."""
    for arm in view.arms:
        unknown, of = _unknown(arm)
        if not unknown:
            continue
        reasons = [t.effective.unknown.get("price", "") for t in arm.trials]
        why = next(filter(None, reasons), "")
        yield Caveat(
            code="unpriced",
            severity="note",
            message=f"what {unknown} of {of} calls cost is unknown"
            + (f": {why}" if why else ", and so is the sum"),
            evidence={"calls": of, "unknown": unknown, "because": why},
            remedy="harness prices add, or $.prices (docs/money.md)",
            arm=arm.name,
            cell=arm.cell,
        )


def _unknown(arm: ArmView) -> tuple[int, int]:
    """Calls of unknown cost, and all that were sent: measured ones, or warm-up and failed ones as
    well where those alone have it. One that the server refused is a failure, and shown as such."""
    cost = arm.summary.cost
    is_api = any(trial.effective.location == "api" for trial in arm.trials)
    if cost is None and not is_api:
        return 0, 0
    measured = sum(uncosted(call) > 0 for call in arm.calls)
    if cost is None or measured:
        return measured, sum(map(was_sent, arm.calls))
    return cost.unknown, cost.calls
