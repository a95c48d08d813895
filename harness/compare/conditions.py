"""Under which recorded conditions two sides differ, and whether they may be compared at all.

    forbids    the figures are not of the same thing: another scenario, other prompts, another load,
               another SLO, a stub against a server, an invalid run
    doubtful   it may make the difference that is about to be blamed on something else
    intended   the spec says that the arms or cells differ in it
    note       it is recorded and differs; it seldom matters

Only the first of these keeps two sides from being compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from harness.compare.configured import configured
from harness.compare.machine import machine
from harness.compare.measured import Party, measured
from harness.compare.sides import Place
from harness.compare.work import work
from harness.schema import Condition

__all__ = ["conditions", "explain", "forbidding"]

RANK: Final = {"forbids": 0, "doubtful": 1, "intended": 2, "note": 3}
GROUPS: Final = ("summary", "records", "spec", "effective", "environment")
"""Within one weight: what was done, what was asked for, what ran it."""


def conditions(
    a: Party, b: Party, *, allow_invalid: bool = False, strict: bool = False
) -> tuple[Condition, ...]:
    """Every recorded condition that differs, the weightiest first.

    allow_invalid   an invalid run is a doubt only
    strict          what is doubtful forbids
    """
    found = [*work(a, b, allow_invalid=allow_invalid), *configured(a, b), *machine(a, b)]
    if strict:
        found = [replace(c, weight="forbids") if c.weight == "doubtful" else c for c in found]
    return tuple(sorted(found, key=_rank))


def explain(pair: tuple[Place, Place]) -> tuple[Condition, ...]:
    """`conditions` of two sides that are still to be read."""
    a, b = (
        Party(
            place=place, data=measured(place.run, [(place.arm, place.cell)])[place.arm, place.cell]
        )
        for place in pair
    )
    return conditions(a, b)


def forbidding(found: Iterable[Condition]) -> list[Condition]:
    return [one for one in found if one.weight == "forbids"]


def _rank(one: Condition) -> tuple[int, int, str]:
    group = one.name.partition(".")[0]
    return RANK[one.weight], GROUPS.index(group) if group in GROUPS else len(GROUPS), one.name
