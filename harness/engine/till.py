"""What a trial's calls cost, and whether the next one can be paid for."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from harness.errors import BudgetError, SpecError
from harness.money import Purse, charge, worst_case
from harness.schema import CallError, CallRecord, Exchange, PriceRecord, Request

__all__ = ["BUDGET", "Till"]

BUDGET: Final = "budget"
"""Code of whatever was not done because it does not fit into `$.budget_usd`."""
BUDGET_FIELD: Final = "$.budget_usd"


class _Asked(msgspec.Struct):
    """What of a request's body says whose price it has."""

    model: str | None = None


class Till:
    """Of one trial: the price of its calls, and the purse that they are paid from. Without a purse
    nobody set a budget, or calls cost nothing."""

    def __init__(self, price: PriceRecord | None = None, purse: Purse | None = None) -> None:
        self.price = price
        self._purse = purse if price is not None else None

    @property
    def is_limited(self) -> bool:
        return self._purse is not None

    @property
    def is_closed(self) -> bool:
        """A call did not fit: no further one is sent."""
        return self._purse is not None and self._purse.is_closed

    def price_of(self, body: bytes) -> PriceRecord | None:
        """Of another program's request: ours, if it names our very model."""
        if self.price is None:
            return None
        try:
            asked = msgspec.json.decode(body, type=_Asked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return self.price if asked.model == self.price.model else None

    def hold(self, request: Request, exchange: Exchange) -> Decimal | None:
        """The most that the call can cost, which is held for it from now on; None: it does not fit.
        Raises SpecError where there is no telling."""
        if self._purse is None or self.price is None:
            return Decimal(0)
        if request.max_tokens is None:
            raise SpecError(
                "under a budget every request says how long its answer may be, and this one has no "
                "max_tokens",
                where=BUDGET_FIELD,
                remedy="--max-tokens 256",
            )
        worst = worst_case(self.price, len(exchange.body), request.max_tokens)
        return worst if self._purse.hold(worst) else None

    def settle(self, worst: Decimal, ended: CallRecord | None) -> None:
        """The call has ended for which `worst` was held; None: nobody knows how."""
        if self._purse is not None:
            self._purse.settle(worst, worst if ended is None else charge(ended, self.price))

    def refusal(self) -> CallError:
        """Of a call that did not fit."""
        return CallError(code=BUDGET, message=self._purse.refusal if self._purse else "")

    def check(self) -> None:
        """Raises BudgetError once a call did not fit."""
        if self._purse is not None and self._purse.is_closed:
            raise BudgetError(
                f"the next call does not fit: {self._purse.refusal}",
                where=BUDGET_FIELD,
                remedy="a larger budget, fewer max_tokens, or less concurrency",
            )
