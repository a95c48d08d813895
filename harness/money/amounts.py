"""Amounts of money: decimals, never floats. 0.1 + 0.2 is 0.3 here, and a millionth of a dollar is
one. What comes as text from a stranger is an amount only if it looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Context, Decimal, localcontext
from typing import Final

__all__ = ["AMOUNT", "added", "dollars", "exact", "parse_amount", "plain"]

AMOUNT: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
"""Digits, a point, an exponent (a server may write 1.2e-05). No sign: nobody is paid for a call."""

EXACT: Final = Context(prec=200)
"""More digits than any sum of amounts has: nothing here is ever rounded."""
MAX_USD: Final = Decimal(10) ** 12
MIN_EXPONENT: Final = -60


def parse_amount(text: object) -> Decimal | None:
    """A finite amount of at least 0; None for anything else, whatever it is."""
    if not isinstance(text, str) or len(text) > 60 or not AMOUNT.fullmatch(text):
        return None
    amount = Decimal(text)
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < MIN_EXPONENT or amount > MAX_USD:
        return None
    return amount


def plain(amount: Decimal) -> str:
    """Without an exponent, and without zeros that say nothing: `0.000123`."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text or "0"


def added(amounts: Iterable[Decimal]) -> Decimal:
    """Their exact sum."""
    with localcontext(EXACT):
        return sum(amounts, Decimal(0))


def exact(price: Decimal, count: int) -> Decimal:
    """`price` × `count`, exactly."""
    with localcontext(EXACT):
        return price * count


def dollars(amount: Decimal | str, digits: int = 4) -> str:
    """For people: `$12.34`, `$0.000123`, at most `digits` significant digits behind the cents that
    are always there, and never an exponent."""
    value = amount if isinstance(amount, Decimal) else Decimal(amount)
    if not value:
        return "$0"
    places = max(2, digits - value.adjusted() - 1)
    with localcontext(EXACT):
        rounded = round(value, places)
    text = format(rounded, "f")
    whole, _, behind = text.partition(".")
    return f"${whole}.{behind.rstrip('0').ljust(2, '0')}"
