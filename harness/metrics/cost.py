"""What calls cost: of one call, of an iteration, per token, and of all that an arm made.

Every call that was sent counts, whatever became of it: a truncated answer is billed. Unknown is not
free: where the cost of one call is unknown, so is that of its iteration. A call that the server
refused (4xx, 503) cost nothing, if it does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from harness.metrics import server
from harness.money import plain, uncosted, was_refused, was_sent
from harness.money.amounts import added
from harness.schema import CallRecord, CostSummary

__all__ = [
    "PRICED",
    "Costs",
    "call_cost_usd",
    "cost_per_1k",
    "has_costs",
    "iteration_cost",
    "provenance_of",
]

PRICED: Final = ("cost_usd", "iteration_cost_usd", "cost_usd_per_1k_output_tokens")
"""Figures of calls that cost something, shown only where any is known to."""


def has_costs(calls: Sequence[CallRecord]) -> bool:
    """Whether of any of these calls it is known what it cost."""
    return any(call.cost is not None for call in calls)


def provenance_of(calls: Sequence[CallRecord]) -> Literal["declared", "derived"]:
    """`declared` where the provider says so of every call that has a cost; a price of ours in any
    of them makes the figure derived."""
    costs = [call.cost for call in calls if call.cost is not None]
    return "declared" if all(cost.source == "provider" for cost in costs) else "derived"


def call_cost_usd(call: CallRecord) -> float | None:
    return None if call.cost is None else float(Decimal(call.cost.usd))


def iteration_cost(calls: Sequence[CallRecord]) -> Decimal | None:
    """Of all of its calls that were sent; None if that of any is unknown, or of none is known."""
    known = [Decimal(call.cost.usd) for call in calls if call.cost is not None]
    return added(known) if known and not any(map(uncosted, calls)) else None


def cost_per_1k(calls: Sequence[CallRecord]) -> float | None:
    """Of 1,000 output tokens, prompts and failures included; None if anything in it is unknown."""
    cost = iteration_cost(calls)
    counts = [server.output_tokens(call) for call in calls if was_sent(call) and not _free(call)]
    tokens = sum(count for count in counts if count is not None)
    if cost is None or None in counts or not tokens:
        return None
    return float(cost * 1000 / tokens)


class Costs:
    """Of every call of one arm and cell, as they come: warm-up, cold and failed ones included."""

    def __init__(self) -> None:
        self._usd = Decimal(0)
        self._provider = Decimal(0)
        self._sent = 0
        self._unknown = 0
        self._any_known = False

    def add(self, call: CallRecord) -> None:
        self._sent += was_sent(call) or call.cost is not None
        self._unknown += uncosted(call) > 0
        if call.cost is None:
            return
        cost = Decimal(call.cost.usd)
        self._any_known = True
        self._usd = added((self._usd, cost))
        if call.cost.source == "provider":
            self._provider = added((self._provider, cost))

    def summary(self) -> CostSummary | None:
        """None: of no call is it known."""
        if not self._any_known:
            return None
        return CostSummary(
            usd=plain(self._usd),
            calls=self._sent,
            unknown=self._unknown,
            provider_usd=plain(self._provider),
        )


def _free(call: CallRecord) -> bool:
    """Refused before it cost anything; there is no answer whose tokens could be counted."""
    return call.cost is None and was_refused(call)
