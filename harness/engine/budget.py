"""The budget of a run: what is spent, what trials under way may still spend, and when it is over.

The run gives each trial that it starts a part of what is left: all of it to one that runs alone;
where several run at once, an even share for each place. The trial sends no call that its part does
not cover (till.py), wherever it runs; what it leaves over is free again when it ends. The first
trial whose part does not suffice ends the run: those under way come to their own end, those not yet
begun are recorded as skipped.

All is counted from records, so that a resumed run counts what earlier sessions spent, with trials
that were cut short and are void. A trial that was lost takes the whole of its part with it: nobody
knows what was in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Final

from harness.engine.plan import Plan, PlannedTrial
from harness.engine.schedule import Schedule
from harness.engine.till import BUDGET
from harness.money import dollars, uncosted, worst_case
from harness.money.amounts import EXACT
from harness.schema import (
    CallRecord,
    Effective,
    PriceRecord,
    Record,
    RetryRecord,
    SessionRecord,
    TrialRecord,
)

__all__ = ["Budgeted", "Ledger", "begin_spending", "budgeted"]

STEP: Final = Decimal("1e-12")
"""Parts are rounded down to it."""
ENDED_FROM_OUTSIDE: Final = ("lost", "timeout", "cancelled")
"""Codes of trials that could not say themselves how they ended."""

Place = tuple[str, str]
"""(arm, cell)"""


def budgeted(schedule: Schedule, plan: Plan, prices: Sequence[PriceRecord]) -> Schedule:
    """`schedule`, held to the budget of the spec; as it is without one."""
    if plan.spec.budget_usd is None:
        return schedule
    known: dict[Place, PriceRecord] = {}
    for arm in plan.arms:
        key = arm.backend.name, arm.backend_config.model
        for record in prices:
            if (record.backend, record.model) == key:
                known.setdefault((arm.name, arm.cell), record)
    return Budgeted(schedule, plan, Ledger(Decimal(str(plan.spec.budget_usd)), known))


def begin_spending(
    schedule: Schedule,
    earlier: Callable[[], Iterable[Record | RetryRecord | SessionRecord]] = tuple,
) -> None:
    """What is seen from now on is spent by this session; `earlier` gives what was recorded by
    others, which the schedule has seen as far as it still counts."""
    if isinstance(schedule, Budgeted):
        schedule.begin(earlier())


class Ledger:
    """What the run has spent of its budget."""

    def __init__(self, budget: Decimal, prices: dict[Place, PriceRecord] | None = None) -> None:
        self.budget = budget
        self.spent = Decimal(0)
        self.is_refused = False
        """A trial's part did not suffice."""
        self._prices = dict(prices or {})
        """As far as known: a backend may fetch its own."""
        self._local: set[Place] = set()
        self._parts: dict[int, Decimal] = {}
        self._calls: dict[int, _Tally] = {}
        self._unpriced: list[tuple[_Tally, Decimal]] = []
        """Of trials that ended before their price was known, and what was counted for them."""

    @property
    def left(self) -> Decimal:
        """For trials that are not begun yet."""
        with localcontext(EXACT):
            return self.budget - self.spent - sum(self._parts.values())

    @property
    def is_over(self) -> bool:
        return self.is_refused or self.spent >= self.budget

    def recall(self, records: Iterable[Record | RetryRecord | SessionRecord]) -> None:
        """What earlier sessions recorded, void or not."""
        for record in records:
            if not isinstance(record, SessionRecord):
                self.see(record)
        for trial in [*self._calls]:  # cut short, with the session
            self._end(trial, None)

    def begin(self, trial: int, sharers: int) -> Decimal:
        """The part of a trial that starts now, of so many that are still to get one."""
        self._parts.pop(trial, None)
        with localcontext(EXACT):
            share = max(Decimal(0), self.left) / max(1, sharers)
            self._parts[trial] = part = share.quantize(STEP, rounding=ROUND_DOWN)
        return part

    def has_part(self, trial: int) -> bool:
        return trial in self._parts

    def see(self, record: Record | RetryRecord) -> None:
        """Every record, as it is made."""
        if isinstance(record, CallRecord):
            self._calls.setdefault(record.trial, _Tally()).add(record)
        elif isinstance(record, RetryRecord):
            self._end(record.trial, None, lost=True)
        elif isinstance(record, TrialRecord):
            self._ended(record)

    def words(self) -> str:
        """`$0.49 of $0.50 is spent`."""
        return f"{dollars(self.spent)} of {dollars(self.budget)} is spent"

    def _ended(self, record: TrialRecord) -> None:
        place, effective = (record.arm, record.cell), record.effective
        code = record.error.code if record.error is not None else ""
        if effective.price is not None:
            self._prices[place] = effective.price
            self._reckon_again(place, effective.price)
        elif effective.location == "local":
            self._local.add(place)
        lost = effective == Effective() and code in ENDED_FROM_OUTSIDE
        self._end(record.trial, place, lost=lost and place not in self._local)
        self.is_refused = self.is_refused or code == BUDGET

    def _end(self, trial: int, place: Place | None, *, lost: bool = False) -> None:
        calls = self._calls.pop(trial, None) or _Tally()
        price = self._prices.get(place or calls.place)
        cost = calls.charge(price)
        part = self._parts.pop(trial, Decimal(0))
        counted = max(cost, part) if lost else cost
        with localcontext(EXACT):
            self.spent += counted
        if price is None:
            self._unpriced.append((calls, counted))

    def _reckon_again(self, place: Place, price: PriceRecord) -> None:
        """A backend that fetches its price has told it: what a session that was killed had sent to
        it, and of which nobody knows what it cost, is counted as the most that it can have cost."""
        of_place = [one for one in self._unpriced if one[0].place == place]
        self._unpriced = [one for one in self._unpriced if one[0].place != place]
        with localcontext(EXACT):
            for calls, counted in of_place:
                self.spent += max(Decimal(0), calls.charge(price) - counted)


class _Tally:
    """The calls of one trial under way. What a call of unknown cost can have cost at most is linear
    in its size, so sums will do."""

    def __init__(self) -> None:
        self.place: Place = ("", "")
        self._known = Decimal(0)
        self._dearest = Decimal(0)
        self._uncosted = 0
        self._bytes = 0
        self._tokens = 0

    def add(self, call: CallRecord) -> None:
        self.place = call.arm, call.cell
        if call.cost is not None:
            cost = Decimal(call.cost.usd)
            self._dearest = max(self._dearest, cost)
            with localcontext(EXACT):
                self._known += cost
        times = uncosted(call)
        self._uncosted += times
        self._bytes += times * (call.request_bytes or 0)
        self._tokens += times * (call.max_tokens or 0)

    def charge(self, price: PriceRecord | None) -> Decimal:
        with localcontext(EXACT):
            if price is None:  # nobody knows: as the dearest of those that are known
                return self._known + self._uncosted * self._dearest
            return self._known + worst_case(price, self._bytes, self._tokens, self._uncosted)


class Budgeted:
    """A schedule that ends with the budget; the plan is `schedule`'s until then."""

    def __init__(self, schedule: Schedule, plan: Plan, ledger: Ledger) -> None:
        self._schedule = schedule
        self._ledger = ledger
        self._left = {planned.trial: planned for planned in plan.trials}
        self._under_way: set[int] = set()
        self._is_live = False

    def begin(self, earlier: Iterable[Record | RetryRecord | SessionRecord]) -> None:
        self._ledger.recall(earlier)
        self._is_live = True

    def see(self, record: Record | RetryRecord) -> None:
        self._schedule.see(record)
        if self._is_live:
            self._ledger.see(record)
        if isinstance(record, TrialRecord):
            self._left.pop(record.trial, None)
            self._under_way.discard(record.trial)

    def next(self) -> PlannedTrial | None:
        planned = None if self._ledger.is_over else self._schedule.next()
        if planned is not None:
            self._left.pop(planned.trial, None)
            self._under_way.add(planned.trial)
        return planned

    def skipped(self) -> Iterable[tuple[PlannedTrial, str]]:
        gone = [*self._schedule.skipped()]
        for planned, _ in gone:
            self._left.pop(planned.trial, None)
        if self._ledger.is_over:
            why = f"{BUDGET}: {self._ledger.words()}"
            gone += [(planned, why) for planned in self._left.values()]
            self._left = {}
        return gone

    def part(self, trial: int, free: int) -> Decimal:
        """Of a trial that starts now, while so many places are free beside its own."""
        waiting = sum(not self._ledger.has_part(one) for one in self._under_way | {trial})
        return self._ledger.begin(trial, waiting + min(free, len(self._left)))
