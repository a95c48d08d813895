"""Margins as people write them: `ttft_ms=5%`, `wake_up_p50_us=20us`."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from harness.errors import SpecError
from harness.text import one_line

__all__ = ["Amount", "parse_margin"]

_MARGIN: Final = re.compile(r"(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(?P<unit>.*)")


class Amount(Struct, frozen=True, kw_only=True):
    """A margin as it was written: its unit is checked when the metric is known."""

    metric: str
    number: float
    unit: str
    text: str


def parse_margin(text: str, option: str = "--equivalent") -> Amount:
    """`METRIC=MARGIN`. Raises SpecError."""
    where = f"{option} {one_line(text, 80)}"
    metric, equals, margin = text.rpartition("=")
    fitting = _MARGIN.fullmatch(margin.strip())
    if not equals or not metric or fitting is None:
        raise SpecError("METRIC=MARGIN is expected", where=where, remedy=f"{option} ttft_ms=5%")
    number = float(fitting["number"])
    if not 0 < number < float("inf"):
        raise SpecError("a margin is more than 0", where=where, remedy=f"{option} {metric}=5%")
    return Amount(metric=metric.strip(), number=number, unit=fitting["unit"], text=where)
