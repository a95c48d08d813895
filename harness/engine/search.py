"""The highest load that meets the SLO: bisection over the cells of `$.search`, for each arm.

At a load, trials are made until Clopper and Pearson's interval of the share of good requests lies
on one side of `share_min`, or there are `trials_max`. Looking after each trial is looking up to
`trials_max` times: of servers just below `share_min`, intervals of 95 % each said "meets" of 7 in
100 with 5 trials at most, and of 12 with 20 (benchmarks/search.py). So the 5 % are divided by
`trials_max` (Bonferroni): then it is at most 2.5 in 100 in either direction. Then:

    meets       the interval lies at or above share_min: go up
    fails       it lies below: go down
    undecided   neither, by the last trial: it was not shown to meet, so go down
    invalid     we did not offer this load (requests went out late, or could not be made): nothing
                is known of the server; go down, to where we can measure

A request that waited because `load.concurrency_max` was reached waited for the server. One trial
may be spoilt by a hiccup of this machine: it is left out, and the second decides.

The ends of the grid are not taken on trust: no load is said to meet that was not measured. What
bisection does take on trust is that a higher load is not easier; where two measured loads say
otherwise, `contradictions` names them.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from harness.engine.gathering import EndedTrial, Gathering, Place
from harness.engine.rules.timing import LATE_CALLS_MAX, LATE_CALLS_SHARE_MAX, slip
from harness.metrics import good_requests
from harness.schema import (
    CallRecord,
    OpenLoad,
    Probe,
    Record,
    RetryRecord,
    RunSpec,
    SearchResult,
    ValiditySpec,
)

__all__ = ["SearchRule", "Tried", "contradictions", "level_of_look", "what_was_offered"]

LEVEL: Final = 0.95
"""Of all looks at one load together."""
SPOILT_MAX: Final = 1
"""Trials of a load that may be left out before it is called invalid."""

OUR_LIMITS: Final = tuple(os.strerror(n) for n in (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL))
"""Why a connection could not be made, where that was no matter of the server's."""


def level_of_look(trials_max: int) -> float:
    """The interval's level at each of so many looks."""
    return 1 - (1 - LEVEL) / trials_max


class Tried(Struct, frozen=True, kw_only=True):
    """What one trial says of its load."""

    good: int
    requests: int
    limit: Literal["client", "server"] | None = None
    """Who kept the load from being offered."""
    because: str = ""


def what_was_offered(
    calls: Sequence[CallRecord], load: object, bounds: ValiditySpec
) -> tuple[Literal["client", "server"] | None, str]:
    """Who kept these requests of one trial from being offered as the load says, and how."""
    unsent = sum(call.status == "not_sent" for call in calls)
    ours = [c for c in calls if c.error is not None and c.error.message.endswith(OUR_LIMITS)]
    if unsent:
        return "client", f"{unsent} requests were not sent"
    if ours:
        assert ours[0].error is not None
        return "client", f"{len(ours)} requests could not be made: {ours[0].error.message}"
    found = slip(calls, bounds) if isinstance(load, OpenLoad) else None
    if found is None or not found.problems:
        return None, ""
    because = "; ".join(found.problems)
    assert isinstance(load, OpenLoad)
    if load.concurrency_max is not None:
        waiting = _behind(calls, found.late, load.concurrency_max)
        if len(found.late) - waiting <= max(LATE_CALLS_MAX, LATE_CALLS_SHARE_MAX * len(calls)):
            return "server", f"{because}: all {load.concurrency_max} connections were taken"
    return "client", because


def _behind(calls: Sequence[CallRecord], late: Iterable[CallRecord], slots: int) -> int:
    """How many of the late ones found all slots taken when they were due."""
    sent = sorted(c.instants.sent_ns for c in calls if c.instants.sent_ns is not None)
    done = sorted(
        c.instants.closed_ns or c.instants.end_ns or c.instants.sent_ns
        for c in calls
        if c.instants.sent_ns is not None
    )
    due = [call.instants.due_ns for call in late]
    return sum(bisect_right(sent, at) - bisect_right(done, at) >= slots for at in due)


class SearchRule:
    """Shown every record of a run so far, it says which load each arm is at."""

    def __init__(
        self,
        spec: RunSpec,
        cells: Mapping[str, Mapping[str, Any]],
        plan: Iterable[tuple[str, str, int]],
    ) -> None:
        assert spec.search is not None
        plan = list(plan)
        self._spec = spec
        self._search = spec.search
        self._gathering = Gathering(spec, cells, plan)
        places = {(arm, cell) for arm, cell, _ in plan}
        path = spec.search.path
        self._grid = {cell: float(values[path]) for cell, values in cells.items()}
        """Cell → load, ascending."""
        named = list(spec.arms) or sorted({arm for arm, _ in places})
        self._arms = [arm for arm in named if any((arm, cell) in places for cell in self._grid)]
        self._tried: dict[Place, list[Tried]] = defaultdict(list)
        self._probes: dict[Place, Probe] = {}
        self._walks: dict[str, tuple[int, int, str | None]] = {}

    def see(self, record: Record | RetryRecord) -> bool:
        """Whether something may have been decided by it."""
        ended = self._gathering.add(record)
        if ended is None:
            return False
        self._tried[ended.place].append(self._judged(ended))
        self._probes.pop(ended.place, None)
        self._walks.pop(ended.place[0], None)
        return True

    def trials(self, arm: str, cell: str) -> int:
        """That ended there."""
        return len(self._tried[arm, cell])

    def current(self, arm: str) -> str | None:
        """The cell whose next trial is wanted. None: the arm's search is over."""
        return self._walk(arm)[2]

    def is_settled(self, arm: str, cell: str) -> bool:
        """Whether no further trial of the cell will be wanted."""
        low, high, current = self._walk(arm)
        at = list(self._grid).index(cell)
        return cell != current and (current is None or not low < at < high)

    def reason(self, arm: str, cell: str) -> str:
        """Why no further trial of the cell is wanted."""
        if self.trials(arm, cell):
            probe = self.probe(arm, cell)
            return f"{probe.decision}: {probe.because}" if probe.because else probe.decision
        low, high, _ = self._walk(arm)
        loads = list(self._grid.values())
        at = list(self._grid).index(cell)
        if at < low:
            return f"{loads[low]:g} meets the SLO"
        return (
            f"{loads[high]:g} was not shown to meet the SLO" if high < len(loads) else "not needed"
        )

    def results(self) -> tuple[SearchResult, ...]:
        """One for each arm."""
        return tuple(self._result(arm) for arm in self._arms)

    def _result(self, arm: str) -> SearchResult:
        low, high, _ = self._walk(arm)
        loads = list(self._grid.values())
        return SearchResult(
            arm=arm,
            path=self._search.path,
            share_min=self._search.share_min,
            probes=tuple(self.probe(arm, cell) for cell in self._grid if self._tried[arm, cell]),
            highest=loads[low] if low >= 0 else None,
            next_higher=loads[high] if high < len(loads) else None,
        )

    def _walk(self, arm: str) -> tuple[int, int, str | None]:
        if arm not in self._walks:
            self._walks[arm] = self._bisect(arm)
        return self._walks[arm]

    def _bisect(self, arm: str) -> tuple[int, int, str | None]:
        """Bisection as far as trials go: (index of the highest that meets, of the lowest that does
        not, the cell in between that is not decided)."""
        cells = list(self._grid)
        low, high = -1, len(cells)
        while high - low > 1:
            middle = (low + high) // 2
            if not self._is_decided(arm, cells[middle]):
                return low, high, cells[middle]
            if self.probe(arm, cells[middle]).decision == "meets":
                low = middle
            else:
                high = middle
        return low, high, None

    def _is_decided(self, arm: str, cell: str) -> bool:
        at_cap = self.trials(arm, cell) >= self._search.trials_max
        return at_cap or self.probe(arm, cell).decision != "undecided"

    def probe(self, arm: str, cell: str) -> Probe:
        """What is known of one load. `undecided` also where trials are still to come."""
        place = arm, cell
        if place not in self._probes:
            self._probes[place] = self._probe(arm, cell)
        return self._probes[place]

    def _probe(self, arm: str, cell: str) -> Probe:
        from harness.statistics import clopper_pearson

        tried = self._tried[arm, cell]
        spoilt = [one for one in tried if one.limit == "client"]
        counted = [one for one in tried if one.limit != "client"]
        good, requests = sum(c.good for c in counted), sum(c.requests for c in counted)
        share = clopper_pearson(good, requests, level=level_of_look(self._search.trials_max))
        decision, because = self._decision(share.low, share.high, tried, spoilt, counted)
        return Probe(
            cell=cell,
            load=self._grid[cell],
            trials=len(tried),
            requests=requests,
            good=good,
            share_low=share.low if requests else None,
            share_high=share.high if requests else None,
            decision=decision,
            because=because,
        )

    def _decision(
        self,
        low: float,
        high: float,
        tried: Sequence[Tried],
        spoilt: Sequence[Tried],
        counted: Sequence[Tried],
    ) -> tuple[Literal["meets", "fails", "undecided", "invalid"], str]:
        allowed = min(SPOILT_MAX, self._search.trials_max - 1)
        if len(spoilt) > allowed:
            return "invalid", f"the client was the limit: {spoilt[-1].because}"
        full = [one for one in counted if one.limit == "server"]
        if full:
            return "fails", full[0].because
        least = self._search.share_min
        note = f"; left out: {spoilt[0].because}" if spoilt else ""
        if low >= least:
            return "meets", note.removeprefix("; ")
        if high < least:
            return "fails", note.removeprefix("; ")
        trials = f"{len(tried)} trial{'s' if len(tried) != 1 else ''}"
        return "undecided", f"{least:g} lies within the interval after {trials}{note}"

    def _judged(self, ended: EndedTrial) -> Tried:
        good, requests = good_requests(ended.calls, self._spec.slo or {})
        limit, because = what_was_offered(ended.calls, ended.load, self._spec.validity)
        return Tried(good=good, requests=requests, limit=limit, because=because)


def contradictions(result: SearchResult) -> list[tuple[float, float]]:
    """(lower, higher) loads of which the lower one fails and the higher one meets."""
    fails = [probe.load for probe in result.probes if probe.decision == "fails"]
    meets = [probe.load for probe in result.probes if probe.decision == "meets"]
    return [(low, high) for low in fails for high in meets if low < high]
