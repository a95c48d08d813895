"""Requests by the SLO, and intervals of their shares.

A share of requests is a share of trials of a coin only where requests do not depend on one another,
and those of one launch do. So its interval is that of any figure: over trials, by bootstrap. But
five launches in which every request was good draw nothing but 1, and [1, 1] is no interval: chance
alone, among so many independent requests, leaves room below 1 (Clopper & Pearson). The wider end of
both is taken; with fewer trials, that of chance alone stands there, and `ci_of` says `calls`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from harness.metrics.slo import Slo, bounds, tally
from harness.schema import CallRecord, Goodput, IterationRecord, MetricSummary, Objective

__all__ = ["goodput", "share_intervals"]


def goodput(
    calls: Iterable[CallRecord], iterations: Iterable[IterationRecord], slo: Slo
) -> Goodput:
    """Over the measured iterations that were not cut short, failed ones included. Without an
    interval, which `share_intervals` finds."""
    measured = [one for one in iterations if one.phase == "measured" and one.status != "cancelled"]
    planned = {(one.trial, one.iteration): one.planned_calls for one in measured}
    made: dict[tuple[int, int], list[CallRecord]] = {key: [] for key in planned}
    for call in calls:
        key = (call.trial, call.iteration)
        if call.phase == "measured" and key in made:
            made[key].append(call)
    tallies = [tally(made[key], slo, planned=count) for key, count in planned.items()]
    good, of = (sum(getattr(one, name) for one in tallies) for name in ("good", "of"))
    met, unknown = _together([t.met for t in tallies]), _together([t.unknown_of for t in tallies])
    return Goodput(
        good=good,
        of=of,
        unknown=sum(one.unknown for one in tallies),
        objectives=tuple(
            Objective(
                metric=bound.metric.name,
                bound=bound.limit,
                better="higher" if bound.metric.better == "higher" else "lower",
                met=met[bound.metric.name],
                unknown=unknown[bound.metric.name],
            )
            for bound in bounds(slo)
        ),
        share=good / of if of else None,
    )


def share_intervals(found: Iterable[MetricSummary], made: Goodput) -> Iterator[MetricSummary]:
    """The summaries, those of shares of requests with the interval that is due to them."""
    counts = {f"slo.{one.metric}_share": one.met for one in made.objectives}
    counts["goodput_share"] = made.good
    for one in found:
        if one.name in counts and made.of:
            yield _with_interval(one, counts[one.name], made.of)
        else:
            yield one


def _with_interval(one: MetricSummary, k: int, n: int) -> MetricSummary:
    from harness.statistics import clopper_pearson

    chance = clopper_pearson(k, n)
    if one.ci_of == "trials" and one.ci_low is not None and one.ci_high is not None:
        low, high = min(one.ci_low, chance.low), max(one.ci_high, chance.high)
        return replace(one, ci_low=max(low, 0.0), ci_high=min(high, 1.0))
    needs = {name: count for name, count in one.needs.items() if name != "ci"}
    return replace(one, ci_low=chance.low, ci_high=chance.high, ci_of="calls", needs=needs)


def _together(parts: Sequence[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total
