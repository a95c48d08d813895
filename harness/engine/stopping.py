"""Adaptive stopping: which trials are still needed, and why no more.

A *look* at k trials takes, per arm of a cell, Student's 95 % interval of the mean over the means of
its first k trials (launches are what varies independently; values within one are not). The cell has
enough when LOOKS_NEEDED looks in succession find all its arms narrow enough, the first of them at
LOOK_FROM trials, or at `$.trials` where that is more.

Who looks again and again, and stops when the interval happens to be narrow, stops too early more
often than too late: the intervals of such runs hold the true mean less often than they say. With
looks from 5 trials on, the first of which suffices, in 92 of 100 runs; with the rule above, in 93
to 95 (`python benchmarks/stopping.py` prints it, also for other rules).

An arm that is not swept is measured for as long as any cell is, so that each block of theirs has
one of its; and until it has enough itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from harness.engine.cells import BASE_CELL
from harness.engine.gathering import EndedTrial, Gathering, Place
from harness.metrics import all_series
from harness.schema import Record, RetryRecord, RunSpec, Stopping, ValiditySpec

__all__ = ["LOOKS_NEEDED", "LOOK_FROM", "StoppingRule", "mean_of", "relative_width"]

LOOK_FROM: Final = 6
LOOKS_NEEDED: Final = 3


def relative_width(means: Iterable[float | None]) -> float | None:
    """Half of Student's 95 % interval of the mean, as a share of it. None: too few, or around 0."""
    from harness.statistics import GROUPS_MIN, t_interval

    known = [mean for mean in means if mean is not None]
    interval = t_interval(known) if len(known) >= GROUPS_MIN else None
    if interval is None:
        return None
    middle = abs(interval.high + interval.low) / 2
    width = (interval.high - interval.low) / 2 / middle if middle else math.inf
    return width if math.isfinite(width) else None


def mean_of(
    metric: str,
    ended: EndedTrial,
    slo: Mapping[str, float] | None = None,
    validity: ValiditySpec | None = None,
) -> float | None:
    """Of the trial's values; None where it has none."""
    found = all_series(ended.calls, ended.iterations, load=ended.load, slo=slo, validity=validity)
    values = next((series.values for series in found if series.name == metric), ())
    return math.fsum(values) / len(values) if values else None


class StoppingRule:
    """Shown every record of a run so far, it says how many trials each place needs."""

    def __init__(
        self,
        spec: RunSpec,
        cells: Mapping[str, Mapping[str, Any]],
        plan: Iterable[tuple[str, str, int]],
    ) -> None:
        assert spec.stop is not None
        plan = list(plan)
        self._stop = spec.stop
        self._slo = spec.slo
        self._validity = spec.validity
        self._least = min(spec.trials, spec.stop.trials_max)
        self._gathering = Gathering(spec, cells, plan)
        self._arms: dict[str, list[str]] = {}
        places = {(arm, cell) for arm, cell, _ in plan}
        named = list(spec.arms) or sorted({arm for arm, _ in places})
        for cell in (BASE_CELL, *cells):
            arms = [arm for arm in named if (arm, cell) in places]
            if arms:
                self._arms[cell] = arms
        self._means: dict[Place, dict[int, float | None]] = defaultdict(dict)
        self._enough: dict[str, int | None] = {}

    def see(self, record: Record | RetryRecord) -> bool:
        """Whether something may have been decided by it."""
        ended = self._gathering.add(record)
        if ended is None:
            return False
        self._means[ended.place][ended.rank] = mean_of(
            self._stop.metric, ended, self._slo, self._validity
        )
        self._enough.pop(ended.place[1], None)
        return True

    def needed(self, cell: str) -> int:
        """Trials that each arm of the cell is to have, as far as can be said by now: all before
        the next look, and no more once there are enough."""
        own = self._own_need(cell)
        if cell != BASE_CELL:
            return own
        return max([own, *(self._own_need(other) for other in self._arms if other != cell)])

    def is_over(self, cell: str) -> bool:
        """Whether `needed` is final."""
        cells = [cell] if cell != BASE_CELL else list(self._arms)
        return all(self._enough_at(one) is not None for one in cells)

    def reason(self, cell: str) -> str:
        """Why it needs no more than that many."""
        found = self.decision(cell)
        widths = [width for width in found.relative_widths.values() if width is not None]
        return (
            f"after {found.trials} trials {found.metric} is known to ±{max(widths):.2%}, "
            f"and ±{found.bound:.2%} was asked for"
            if widths
            else f"{found.trials} trials are enough"
        )

    def decisions(self) -> tuple[Stopping, ...]:
        """One for each cell, in the order of the plan's cells."""
        return tuple(self.decision(cell) for cell in self._arms)

    def decision(self, cell: str) -> Stopping:
        complete = self._complete(cell)
        enough = self._enough_at(cell)
        trials = complete if enough is None else min(complete, self.needed(cell))
        at_cap = complete >= self._stop.trials_max
        return Stopping(
            cell=cell,
            metric=self._stop.metric,
            trials=trials,
            decision="reached" if enough is not None else "cap" if at_cap else "open",
            relative_widths={arm: self._width(arm, cell, trials) for arm in self._arms[cell]},
            bound=self._stop.relative_width_max,
        )

    def _own_need(self, cell: str) -> int:
        enough = self._enough_at(cell)
        if enough is not None:
            return enough
        return min(self._stop.trials_max, max(self._least, self._complete(cell) + 1))

    def _enough_at(self, cell: str) -> int | None:
        """The first number of trials that sufficed. At the last there may be, one look does: it
        was never a matter of what was seen."""
        if cell not in self._enough:
            self._enough[cell] = self._find_enough(cell)
        return self._enough[cell]

    def _find_enough(self, cell: str) -> int | None:
        cap, complete = self._stop.trials_max, self._complete(cell)
        in_succession = 0
        for trials in range(max(self._least, LOOK_FROM), complete + 1):
            in_succession = in_succession + 1 if self._narrow(cell, trials) else 0
            if in_succession == LOOKS_NEEDED:
                return trials
        return cap if complete == cap and self._narrow(cell, cap) else None

    def _narrow(self, cell: str, trials: int) -> bool:
        widths = [self._width(arm, cell, trials) for arm in self._arms[cell]]
        return all(w is not None and w <= self._stop.relative_width_max for w in widths)

    def _width(self, arm: str, cell: str, trials: int) -> float | None:
        means = self._means[arm, cell]
        return relative_width(means.get(rank) for rank in range(trials))

    def _complete(self, cell: str) -> int:
        """Blocks of which every arm has had its trial, one after another from the first."""
        complete = 0
        while all(complete in self._means[arm, cell] for arm in self._arms[cell]):
            complete += 1
        return complete
