"""A budget, kept by whoever sends the calls.

Before a call is sent the most that it can cost is held; when it has ended, what it did cost is
taken, and the rest is free again. What is spent and what is held never exceed the limit together,
so that no order of endings can: unless a provider charges more than its price.

The first call that does not fit closes the purse: a run that went on with calls that happen to be
cheaper would measure another load than the one it was asked for.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

from harness.money.amounts import EXACT, dollars

__all__ = ["Purse"]


class Purse:
    """Of one trial. Not for several threads."""

    def __init__(self, limit: Decimal) -> None:
        self.limit = limit
        self.spent = Decimal(0)
        self.held = Decimal(0)
        """For calls in flight."""
        self.refusal = ""
        """Why the first call was not sent that did not fit. Empty: all did."""

    @property
    def is_closed(self) -> bool:
        return bool(self.refusal)

    def hold(self, worst: Decimal) -> bool:
        """Whether a call may be sent that can cost so much."""
        if self.is_closed:
            return False
        with localcontext(EXACT):
            if self.spent + self.held + worst > self.limit:
                self.refusal = (
                    f"it can cost {dollars(worst)}; {dollars(self.spent)} of "
                    f"{dollars(self.limit)} is spent, and {dollars(self.held)} held for calls in "
                    "flight"
                )
                return False
            self.held += worst
        return True

    def settle(self, worst: Decimal, cost: Decimal) -> None:
        """A call has ended for which `worst` was held."""
        with localcontext(EXACT):
            self.held -= worst
            self.spent += cost
