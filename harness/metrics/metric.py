"""What a metric is, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Literal, TypeAlias, TypeVar

from msgspec import Struct

from harness.errors import SpecError

__all__ = ["Better", "Level", "Metric", "Provenance", "definer", "find"]

Better: TypeAlias = Literal["lower", "higher", "neither"]
Level: TypeAlias = Literal["call", "iteration"]
Provenance: TypeAlias = Literal["measured", "derived", "declared", "simulated", "imported"]

Over = TypeVar("Over")


class Metric(Struct, Generic[Over], frozen=True, kw_only=True):
    """One figure, defined once. `formula(record)` is it, in `unit`, or None where it is unknown."""

    name: str
    """With its unit last, as in exports."""
    unit: str
    better: Better
    provenance: Provenance
    """`measured`: a difference of our own stamps. `derived`: computed, with at least one figure of
    the server in it. `declared`: the server's account alone."""
    level: Level
    definition: str
    """One sentence."""
    formula: Callable[[Over], float | None]


def definer(
    level: Level, _over: type[Over]
) -> Callable[[str, str, Better, Provenance, Callable[[Over], float | None], str], Metric[Over]]:
    """What makes the metrics of one registry: `define(name, unit, better, provenance, formula,
    definition)`, in the order in which a table of them is read."""

    def define(
        name: str,
        unit: str,
        better: Better,
        provenance: Provenance,
        formula: Callable[[Over], float | None],
        definition: str,
    ) -> Metric[Over]:
        return Metric(
            name=name,
            unit=unit,
            better=better,
            provenance=provenance,
            level=level,
            definition=definition,
            formula=formula,
        )

    return define


def find(name: str, metrics: Iterable[Metric[Over]]) -> Metric[Over]:
    """The metric of that name. SpecError with the nearest name there is."""
    import difflib

    by_name = {metric.name: metric for metric in metrics}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=1)
    remedy = near[0] if near else "one of " + ", ".join(by_name)
    raise SpecError(f"there is no metric {name!r}", where="metric", remedy=remedy)
