"""Numbers as text: enough digits to compare, never more than were measured, unknown as a dash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from harness.schema import MetricSummary

__all__ = [
    "UNKNOWN",
    "and_more",
    "interval",
    "interval_of",
    "moment",
    "number",
    "percent",
    "short",
    "signed",
]

UNKNOWN: Final = "—"


def number(value: float | None, digits: int = 4) -> str:
    """`value` to `digits` significant digits, integers in full, without an exponent in the range
    that is read without one (1e-9 … 1e9: a call may cost a millionth of a dollar)."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if float(value).is_integer() and abs(value) < 1e9:
        return str(int(value))
    if not 1e-9 <= abs(value) < 1e9:
        return f"{value:.{digits - 1}e}"
    before_point = math.floor(math.log10(abs(value))) + 1
    return f"{value:.{max(digits - before_point, 0)}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """With its sign, also when it is positive; 0 has none."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text != UNKNOWN else text


def short(value: float | None) -> str:
    """In at most seven characters, for a narrow table."""
    text = number(value, 3)
    return text if len(text) <= 7 or value is None else f"{value:.1e}"


def percent(share: float | None) -> str:
    """A share (0 … 1) as percent."""
    return UNKNOWN if share is None else f"{number(share * 100, 3)} %"


def interval_of(one: MetricSummary) -> str:
    """The interval of a mean with what it speaks of, or why there is none."""
    found = interval(one.ci_low, one.ci_high)
    if found == UNKNOWN or one.ci_of is None:  # what was drawn was not recorded: no interval
        needed = one.needs.get("ci")
        return f"{UNKNOWN} (needs {needed} {one.ci_of})" if needed and one.ci_of else UNKNOWN
    return found if one.ci_of == "trials" else f"{found} within this launch"


def interval(low: float | None, high: float | None, digits: int = 4) -> str:
    if low is None or high is None:
        return UNKNOWN
    return f"{number(low, digits)} … {number(high, digits)}"


def and_more(others: Sequence[object], noun: str) -> str:
    """`, and 2 more cells`; empty without any."""
    return f", and {len(others)} more {noun}{'s' * (len(others) > 1)}" if others else ""


def moment(text: str) -> str:
    """An instant of a manifest, as it is read."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return text
