"""Figures of one name that are not of one kind: another unit, or another source, on either side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from harness.compare.measured import Measured
from harness.schema import Condition
from harness.text import listed

__all__ = ["kinds"]

NAMED_MAX: Final = 4


def kinds(a: Measured, b: Measured) -> Iterator[Condition]:
    """Only of what both sides have values of."""
    both = [
        name for name in a.series if name in b.series and a.series[name].values and
        b.series[name].values
    ]  # fmt: skip
    for name in both:
        one, other = a.series[name], b.series[name]
        if one.unit != other.unit:
            yield Condition(
                name=f"records.unit.{name}",
                baseline=one.unit or "none",
                candidate=other.unit or "none",
                weight="doubtful",
                why="figures of two units are not compared: it is left out",
            )
        elif one.provenance != other.provenance and a.simulated == b.simulated:
            yield Condition(
                name=f"records.provenance.{name}",
                baseline=one.provenance,
                candidate=other.provenance,
                weight="doubtful",
                why="one of them was played back or made up: nothing is said of it"
                if "simulated" in (one.provenance, other.provenance)
                else "a figure that somebody declares is not one that was measured",
            )
    several = a.several, b.several
    if any(several):
        yield Condition(
            name="records.kinds",
            baseline=listed(several[0], NAMED_MAX),
            candidate=listed(several[1], NAMED_MAX),
            weight="note" if several[0] == several[1] else "doubtful",
            why="one name was given to figures of several units or sources: each is by itself",
        )
