"""Service-level objectives: which requests were good, and by which bound the others were not.

A request is good if its call is `ok` and meets every bound: at most the bound, or at least it where
higher is better. A call that failed meets none. One whose figure is unknown meets that bound
neither: what cannot be shown is not counted as good, but it is counted apart, because the remedy is
another one. A call that a scenario announced and did not need is no request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from harness.errors import SpecError
from harness.metrics.call import CALL_METRICS, call_metric
from harness.metrics.metric import Metric, Provenance
from harness.schema import CallRecord

__all__ = [
    "Bound",
    "Slo",
    "Tally",
    "bounds",
    "check_slo",
    "good_requests",
    "provenance_of",
    "tally",
]

Slo = Mapping[str, float]
"""Call metric → bound, as in the spec."""

NOT_NEEDED: Final = "not_needed"
"""Error code of a call that its scenario announced and did not make."""

_SUREST: Final[tuple[Provenance, ...]] = ("declared", "derived", "measured")


class Bound(Struct, frozen=True, kw_only=True):
    """One objective."""

    metric: Metric[CallRecord]
    limit: float

    @property
    def share_name(self) -> str:
        """Of the metric that says how many requests meet it."""
        return f"slo.{self.metric.name}_share"

    @property
    def sentence(self) -> str:
        """`ttft_ms at most 200`."""
        way = "at least" if self.metric.better == "higher" else "at most"
        return f"{self.metric.name} {way} {self.limit:g}"

    def met(self, call: CallRecord) -> bool | None:
        """None where the call is `ok` and its figure unknown."""
        if call.status != "ok":
            return False
        value = self.metric.formula(call)
        if value is None or not math.isfinite(value):
            return None
        return value >= self.limit if self.metric.better == "higher" else value <= self.limit


class Tally(Struct, frozen=True, kw_only=True):
    """Requests counted. Shares are of `of`; without requests there are none."""

    good: int
    of: int
    unknown: int
    """`ok`, and not good only because a figure is unknown."""
    met: dict[str, int]
    """Metric → requests that meet its bound …"""
    unknown_of: dict[str, int]
    """… and for which nobody knows."""


def check_slo(slo: Slo, *, where: str = "$.slo") -> None:
    """Raises SpecError with the path of the first bound that cannot be one."""
    if not slo:
        raise SpecError("names no metric", where=where, remedy="slo: {ttft_ms: 500, tpot_ms: 50}")
    by_name = {one.name: one for one in CALL_METRICS}
    for name, limit in slo.items():
        at = f"{where}.{name}"
        if name not in by_name:
            from harness.strict import nearest

            raise SpecError(
                "there is no such metric of a call",
                where=at,
                remedy=nearest(name, by_name) or "one of " + ", ".join(by_name),
            )
        if by_name[name].better == "neither":
            raise SpecError("neither direction of it is better", where=at, remedy="leave it out")
        if not (math.isfinite(limit) and limit > 0):
            raise SpecError(f"a bound is positive, this is {limit:g}", where=at)


def bounds(slo: Slo) -> tuple[Bound, ...]:
    """In the order of the spec; SpecError for an unknown name."""
    return tuple(Bound(metric=call_metric(name), limit=limit) for name, limit in slo.items())


def provenance_of(slo: Slo) -> Provenance:
    """A share is as sure as the least sure figure in it: the server's word comes first."""
    found = {bound.metric.provenance for bound in bounds(slo)}
    return next((one for one in _SUREST if one in found), "measured")


def good_requests(calls: Iterable[CallRecord], slo: Slo) -> tuple[int, int]:
    """(good, of) over these calls, whatever their phase: who asks chooses them."""
    found = tally([*calls], slo)
    return found.good, found.of


def tally(calls: Sequence[CallRecord], slo: Slo, *, planned: int = 0) -> Tally:
    """`planned`: how many there were to be, where some may have left no record."""
    asked = [call for call in calls if not (call.error and call.error.code == NOT_NEEDED)]
    objectives = bounds(slo)
    met = {bound.metric.name: 0 for bound in objectives}
    unknown_of = dict(met)
    good = unknown = 0
    for call in asked:
        found = {bound.metric.name: bound.met(call) for bound in objectives}
        for name, one in found.items():
            met[name] += one is True
            unknown_of[name] += one is None
        good += all(found.values())
        unknown += None in found.values() and False not in found.values()
    of = max(len(asked), planned - (len(calls) - len(asked)))
    return Tally(good=good, of=of, unknown=unknown, met=met, unknown_of=unknown_of)
