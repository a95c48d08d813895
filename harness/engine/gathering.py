"""Trials as rules of the spec see them: each is handed over whole, when it ended.

The schedule of a run and its summary both decide from these, and from nothing else; so that a run
that was resumed, and whoever derives its summary years later, come to the same decisions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from harness.engine.cells import load_of
from harness.engine.guard import DOES_NOT_FIT
from harness.engine.holding import Holding
from harness.schema import (
    CallRecord,
    IterationRecord,
    Load,
    Record,
    RetryRecord,
    RunSpec,
    TrialRecord,
)

__all__ = ["EndedTrial", "Gathering", "Place", "ranks"]

Place = tuple[str, str]
"""(arm, cell)"""


class EndedTrial(Struct, frozen=True, kw_only=True):
    """One launch that came to its end, well or not, with what it measured."""

    place: Place
    rank: int
    """The how-manieth of its arm and cell in the plan, from 0."""
    calls: tuple[CallRecord, ...]
    """Measured ones, as harness.engine.holding keeps them, and solo ones."""
    iterations: tuple[IterationRecord, ...]
    load: Load | None


def ranks(plan: Iterable[tuple[str, str, int]]) -> dict[int, int]:
    """Trial → its rank, of (arm, cell, trial) in any order."""
    of: dict[Place, list[int]] = defaultdict(list)
    for arm, cell, trial in plan:
        of[arm, cell].append(trial)
    return {trial: rank for trials in of.values() for rank, trial in enumerate(sorted(trials))}


class Gathering:
    """`add` every record, in any interleaving of trials; while they are made, also what makes
    some of them void."""

    def __init__(
        self,
        spec: RunSpec,
        cells: Mapping[str, Mapping[str, Any]],
        plan: Iterable[tuple[str, str, int]],
    ) -> None:
        self._spec = spec
        self._cells = cells
        self._ranks = ranks(plan)
        self._loads: dict[Place, Load | None] = {}
        self._under_way: dict[int, list[CallRecord | IterationRecord]] = {}

    def add(self, record: Record | RetryRecord) -> EndedTrial | None:
        """The trial that `record` ends. One that was interrupted has not ended: it runs again; nor
        has one whose place was lost, and which begins anew."""
        if isinstance(record, RetryRecord):
            self._under_way.pop(record.trial, None)
            return None
        if isinstance(record, TrialRecord):
            return self._ended(record)
        if record.phase in ("measured", "solo"):
            # No more than this while the trial runs: it may be measuring in this very process.
            if isinstance(record, CallRecord):
                record = replace(record, text=None, reasoning=None, tool_calls=[], payloads=None)
            self._under_way.setdefault(record.trial, []).append(record)
        return None

    def _ended(self, ended: TrialRecord) -> EndedTrial | None:
        records = self._under_way.pop(ended.trial, [])
        rank = self._ranks.get(ended.trial)
        unfit = ended.error is not None and ended.error.code == DOES_NOT_FIT
        if rank is None or (ended.status not in ("ok", "error") and not unfit):
            return None
        place = ended.arm, ended.cell
        load = self._load(place)
        held, solo = Holding(load), Holding(None)
        for record in records:
            if isinstance(record, CallRecord):
                (solo if record.phase == "solo" else held).add(record)
        return EndedTrial(
            place=place,
            rank=rank,
            calls=(*held.calls, *solo.calls),
            iterations=tuple(one for one in records if isinstance(one, IterationRecord)),
            load=load,
        )

    def _load(self, place: Place) -> Load | None:
        if place not in self._loads:
            self._loads[place] = load_of(self._spec, *place, self._cells)
        return self._loads[place]
