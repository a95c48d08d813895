"""What the rules look at, and how they name it."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from harness.engine.cells import BASE_CELL
from harness.engine.till import BUDGET
from harness.schema import (
    ArmSummary,
    CallRecord,
    Effective,
    IterationRecord,
    Load,
    Manifest,
    RunState,
    SearchResult,
    SessionRecord,
    Stopping,
    TrialRecord,
)

__all__ = ["ArmView", "RunView", "label", "places"]


class ArmView(Struct, frozen=True, kw_only=True):
    """One arm and cell: its measured calls and iterations, all its trials, and what they give."""

    calls: list[CallRecord]
    """Without texts and, but for a few, without the stamps of their chunks: harness.metrics.gaps
    and the call metrics have what those amounted to. `chunks.kind` and `chunk_tokens` are there."""
    iterations: list[IterationRecord]
    trials: list[TrialRecord]
    summary: ArmSummary
    load: Load | None
    """None: a workflow."""
    solo_calls: list[CallRecord] = []
    """Of the agents one after another …"""
    solo: list[IterationRecord] = []
    """… each the counterpart of the measured iteration of the same trial and number."""

    @property
    def name(self) -> str:
        return self.summary.arm

    @property
    def cell(self) -> str | None:
        """None where nothing is swept."""
        return None if self.summary.cell == BASE_CELL else self.summary.cell

    @property
    def is_empty(self) -> bool:
        """Nothing was measured. A scenario may do without calls if it measures by itself."""
        return not self.calls and not any(iteration.metrics for iteration in self.iterations)

    def failures(self) -> Iterator[TrialRecord | IterationRecord]:
        """What ended in an error, trials first; that the money was spent is none."""
        items: list[TrialRecord | IterationRecord] = [*self.trials, *self.iterations]
        found = (item for item in items if item.status == "error")
        return (item for item in found if item.error is None or item.error.code != BUDGET)


class RunView(Struct, frozen=True, kw_only=True):
    """One run as the rules see it."""

    manifest: Manifest
    state: RunState
    arms: tuple[ArmView, ...]
    """Those that were launched, or are to be: not a load that a search never came to."""
    skipped: tuple[TrialRecord, ...] = ()
    """Trials that a rule of the spec made unnecessary. They are in no arm."""
    stopping: tuple[Stopping, ...] = ()
    search: tuple[SearchResult, ...] = ()
    sessions: tuple[SessionRecord, ...] = ()

    def judged(self, arm: ArmView) -> list[CallRecord]:
        """The calls that a verdict may rest on: what an interrupt took back, or kept from being
        sent, counts neither way, and neither does what there was no money for."""
        if self.state == "finished":
            return [one for one in arm.calls if one.error is None or one.error.code != BUDGET]
        return [call for call in arm.calls if call.status not in ("cancelled", "not_sent")]


def places(arms: list[ArmView], view: RunView) -> list[str | None]:
    """Where to say it: once for the whole run, if it is so everywhere."""
    # An arm of which every trial was lost before its server could say anything is no exception.
    known = [a for a in view.arms if any(t.effective != Effective() for t in a.trials)]
    if arms and len(arms) == len(known):
        return [None]
    return [*dict.fromkeys(arm.name for arm in arms)]


def label(arm: ArmView, view: RunView) -> str:
    """The arm's name, with its cell where there is more than one."""
    cells = {other.summary.cell for other in view.arms}
    return f"{arm.name} / {arm.summary.cell}" if len(cells) > 1 else arm.name
