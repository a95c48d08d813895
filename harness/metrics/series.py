"""The values behind every figure: of one arm and cell, metric by metric, each with its place.

Summaries, comparisons, stopping rules and plots all start from here, so that none of them can speak
of other values than the rest. Only measured, `ok` units have a value: a failed call has no figure
that belongs in an average. There are two exceptions. Goodput counts what failed, as not good. And
cold iterations have metrics of their own, which nothing else is in. Solo iterations are in nothing
but the metrics of concurrency, each beside the measured one that it belongs to.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from harness.metrics.agents import Pair, agents_of, ttft_median
from harness.metrics.call import CALL_METRICS, LOCAL, TAPPED
from harness.metrics.cold import COLD_METRICS
from harness.metrics.concurrency import CONCURRENCY_METRICS, SLOWDOWN, slowdown_of
from harness.metrics.cost import PRICED, has_costs
from harness.metrics.cost import provenance_of as provenance_of_costs
from harness.metrics.energy import ENERGY_METRICS, energy_metrics_of
from harness.metrics.energy import provenance_of as provenance_of_energy
from harness.metrics.iteration import GOODPUT, ITERATION_METRICS, IterationView
from harness.metrics.metric import Better, Metric, Provenance
from harness.metrics.slo import Slo, bounds, provenance_of
from harness.schema import CallRecord, IterationRecord, Load, ValiditySpec

__all__ = ["Series", "Unit", "all_series", "pairs_of", "series_of"]

Unit: TypeAlias = tuple[int, int]
"""(trial, iteration) that a value comes from."""


class Series(Struct, frozen=True, kw_only=True):
    """One metric of one arm and cell."""

    name: str
    unit: str
    better: Better
    provenance: Provenance
    of: Literal["call", "iteration"]
    places: Sequence[Unit]
    """Of each value, in ascending order; calls of one iteration in the order of sending."""
    values: Sequence[float]
    """Finite; those that are unknown are not there."""
    missing: int
    """`ok` units for which it is unknown."""

    def by_trial(self) -> dict[int, list[float]]:
        """Trial → its values, trials in ascending order."""
        found: dict[int, list[float]] = defaultdict(list)
        for (trial, _), value in zip(self.places, self.values, strict=True):
            found[trial].append(value)
        return dict(sorted(found.items()))


def all_series(
    calls: Iterable[CallRecord],
    iterations: Iterable[IterationRecord],
    *,
    load: Load | None = None,
    simulated: bool = False,
    slo: Slo | None = None,
    cold_by: Literal["unload", "restart"] = "unload",
    validity: ValiditySpec | None = None,
) -> Iterator[Series]:
    """Every metric: of the calls, of the iterations, of cold ones, of agents at once, of their
    spans, and what the scenario and the instruments measured, in this order. A metric that no unit
    has is there without values, but for those of an SLO, of money, of the tap, of cold starts or of
    several agents where there is no such thing. Of imported iterations, only what the table had.

    load        of this arm and cell, for `held_throughput_tok_s`; None for a workflow
    simulated   the server is a stub: no figure may pass for a measured one
    slo         what makes a request good, for `goodput_share` and its like
    cold_by     how cold iterations were made so, for `cold_start_ms`
    validity    bounds of contention and anomalies; None: their defaults

    ValueError if the records are of more than one arm or cell.
    """
    calls, iterations = sorted(calls, key=_in_order), sorted(iterations, key=_unit_of)
    measured_calls = [call for call in calls if call.phase == "measured"]
    measured = [one for one in iterations if one.phase == "measured"]
    places = {(call.arm, call.cell) for call in measured_calls}
    places |= {(one.arm, one.cell) for one in measured}
    if len(places) > 1:
        raise ValueError(f"records of more than one arm and cell: {sorted(places)}")
    mark: Provenance | None = "simulated" if simulated else None
    views = [*_views(measured_calls, measured, load=load, slo=slo)]
    ok_views = [view for view in views if view.record.status == "ok"]
    if measured and all(one.imported for one in measured) and not measured_calls:
        yield from _of_scenario(ok_views, mark)  # a table has no stamps to derive anything from
        return
    yield from _of_calls([call for call in measured_calls if call.status == "ok"], mark)
    later = {*GOODPUT, *PRICED}
    yield from _of_views(ok_views, [m for m in ITERATION_METRICS if m.name not in later], mark)
    if has_costs(measured_calls):
        found = mark or provenance_of_costs(measured_calls)
        yield from _of_views(ok_views, [m for m in ITERATION_METRICS if m.name in PRICED], found)
    for one in energy_metrics_of(ok_views):
        found = mark or provenance_of_energy(one, ok_views)
        yield from _of_views(ok_views, [one], found)
    if slo is not None:
        yield from _of_slo([view for view in views if view.record.status != "cancelled"], slo, mark)
    cold = [one for one in iterations if one.phase == "cold"]
    if cold:
        cold_calls = [call for call in calls if call.phase == "cold"]
        starts = _views(cold_calls, cold, load=load, cold_by=cold_by)
        ok_starts = [view for view in starts if view.record.status == "ok"]
        yield from _of_views(ok_starts, COLD_METRICS, mark)
    yield from _of_agents(pairs_of(calls, iterations, validity), mark)
    yield from _of_scenario(ok_views, mark)


def pairs_of(
    calls: Sequence[CallRecord],
    iterations: Sequence[IterationRecord],
    validity: ValiditySpec | None = None,
) -> list[Pair]:
    """Every measured iteration of one arm and cell with its solo one, whatever became of either;
    none where no two agents worked at once and nothing was measured alone."""
    measured = [one for one in iterations if one.phase == "measured"]
    solo = {_unit_of(one): one for one in iterations if one.phase == "solo"}
    if not solo and all(len(agents_of(one)) < 2 for one in measured):
        return []
    made: dict[tuple[str, Unit], list[CallRecord]] = defaultdict(list)
    for call in calls:
        if call.phase in ("measured", "solo"):
            made[call.phase, (call.trial, call.iteration)].append(call)
    middle_ms = ttft_median(call for call in calls if call.phase == "measured")
    return [
        Pair(
            record=one,
            calls=tuple(made["measured", _unit_of(one)]),
            solo=solo.get(_unit_of(one)),
            solo_calls=tuple(made["solo", _unit_of(one)]),
            bounds=validity or ValiditySpec(),
            ttft_median_ms=middle_ms,
        )
        for one in measured
    ]


def _in_order(call: CallRecord) -> tuple[int, int, int, str]:
    """Of sending: the log has them as they ended, and neighbours in time are to be neighbours."""
    sent_ns = call.instants.sent_ns
    at_ns = call.instants.due_ns if sent_ns is None else sent_ns
    return call.trial, call.iteration, at_ns, call.call_id


def _unit_of(record: IterationRecord) -> Unit:
    return record.trial, record.iteration


def _views(
    calls: Sequence[CallRecord], iterations: Sequence[IterationRecord], **how: Any
) -> Iterator[IterationView]:
    made: dict[Unit, list[CallRecord]] = defaultdict(list)
    for call in calls:
        made[call.trial, call.iteration].append(call)
    for one in iterations:
        yield IterationView(record=one, calls=tuple(made[one.trial, one.iteration]), **how)


def _of_calls(calls: Sequence[CallRecord], mark: Provenance | None) -> Iterator[Series]:
    units = [(call.trial, call.iteration) for call in calls]
    tapped = any(call.tap is not None for call in calls)
    priced = has_costs(calls)
    for one in CALL_METRICS:
        if (one.name in TAPPED and not tapped) or (one.name in PRICED and not priced):
            continue
        figures = [one.formula(call) for call in calls]
        if one.name in LOCAL and all(figure is None for figure in figures):
            continue
        found = mark or (provenance_of_costs(calls) if one.name in PRICED else one.provenance)
        yield series_of(one.name, one.unit, one.better, found, "call", units, figures)


def _of_views(
    views: Sequence[IterationView],
    metrics: Iterable[Metric[IterationView]],
    mark: Provenance | None,
) -> Iterator[Series]:
    units = [_unit_of(view.record) for view in views]
    for one in metrics:
        figures = map(one.formula, views)
        found = mark or one.provenance
        yield series_of(one.name, one.unit, one.better, found, "iteration", units, figures)


def _of_agents(pairs: Sequence[Pair], mark: Provenance | None) -> Iterator[Series]:
    """What became of agents that worked at once; then the slowdown of each, as
    `slowdown.<agent>`."""
    ok = [pair for pair in pairs if pair.record.status == "ok"]
    units = [_unit_of(pair.record) for pair in ok]
    for one in CONCURRENCY_METRICS if pairs else ():
        figures = map(one.formula, ok)
        found = mark or one.provenance
        yield series_of(one.name, one.unit, one.better, found, "iteration", units, figures)
    if any(pair.solo is not None for pair in pairs):
        for agent in dict.fromkeys(name for pair in pairs for name in agents_of(pair.record)):
            figures = map(slowdown_of(agent), ok)
            name = f"{SLOWDOWN}{agent}"
            yield series_of(name, "1", "lower", mark or "measured", "iteration", units, figures)


def _of_slo(views: Sequence[IterationView], slo: Slo, mark: Provenance | None) -> Iterator[Series]:
    """Goodput, then the share of requests that meet each bound, as `slo.<metric>_share`."""
    sure = mark or provenance_of(slo)
    units = [_unit_of(view.record) for view in views]
    for one in ITERATION_METRICS:
        if one.name in GOODPUT:
            figures = map(one.formula, views)
            yield series_of(one.name, one.unit, one.better, sure, "iteration", units, figures)
    tallies = [view.tally() for view in views]
    for bound in bounds(slo):
        name, found = bound.metric.name, mark or bound.metric.provenance
        shares = (one.met[name] / one.of if one and one.of else None for one in tallies)
        yield series_of(bound.share_name, "share", "higher", found, "iteration", units, shares)


def _of_scenario(views: Sequence[IterationView], mark: Provenance | None) -> Iterator[Series]:
    """Spans, as `span.<name>_ms` (an agent's as `span.<agent>.<name>_ms`), and the scenario's own
    metrics, under its names (with `scenario.` before a name that is ours; `imported.` before that
    of an imported figure, or one derived from such: whatever it was that somebody called TTFT, it
    is not known to be what we call so)."""
    units = [_unit_of(view.record) for view in views]
    spans = ((span.agent, span.name) for view in views for span in view.record.spans)
    for agent, name in dict.fromkeys(spans):
        lengths = (_span_ms(view.record, agent, name) for view in views)
        found = mark or "measured"
        shown = f"span.{agent}.{name}_ms" if agent else f"span.{name}_ms"
        yield series_of(shown, "ms", "lower", found, "iteration", units, lengths)
    iterations = (*ITERATION_METRICS, *ENERGY_METRICS, *COLD_METRICS)
    registries = (CALL_METRICS, iterations, CONCURRENCY_METRICS)
    ours = {m.name for of in registries for m in of}
    kinds = {(m.name, m.unit, m.provenance): m.better for v in views for m in v.record.metrics}
    for (name, unit, provenance), better in kinds.items():
        given = [(view, _own(view.record, name, unit, provenance)) for view in views]
        of_kind = {_kind(view.record) for view, value in given if value is not None}
        held = [(view, value) for view, value in given if _kind(view.record) in of_kind]
        whose = "imported" if all(view.record.imported for view, _ in held) else "scenario"
        taken = name in ours or name.startswith(SLOWDOWN)
        theirs = whose == "imported" and name.startswith("legacy_")  # by its very name
        shown = f"{whose}.{name}" if taken and not theirs else name
        units_of_kind, figures = [_unit_of(view.record) for view, _ in held], [x for _, x in held]
        found = mark or provenance
        yield series_of(shown, unit, better, found, "iteration", units_of_kind, figures)


def _kind(record: IterationRecord) -> str:
    """Imported rows may be of several kinds, such as `run` and `call`: a figure is missing only in
    rows that could have it."""
    return str(record.data.get("kind", "")) if record.imported else ""


def _span_ms(record: IterationRecord, agent: str, name: str) -> float | None:
    """Together, if the iteration opened it several times."""
    same = (span for span in record.spans if (span.agent, span.name) == (agent, name))
    lengths_ns = [span.end_ns - span.start_ns for span in same]
    return sum(lengths_ns) / 1e6 if lengths_ns and min(lengths_ns) >= 0 else None


def _own(record: IterationRecord, name: str, unit: str, provenance: str) -> float | None:
    """The last value, if the scenario gave several."""
    wanted = (name, unit, provenance)
    values = [m.value for m in record.metrics if (m.name, m.unit, m.provenance) == wanted]
    return values[-1] if values else None


def series_of(
    name: str,
    unit: str,
    better: Better,
    provenance: Provenance,
    of: Literal["call", "iteration"],
    units: Sequence[Unit],
    figures: Iterable[float | None],
) -> Series:
    pairs = [*zip(units, figures, strict=True)]
    known = [(place, x) for place, x in pairs if x is not None and math.isfinite(x)]
    return Series(
        name=name,
        unit=unit,
        better=better,
        provenance=provenance,
        of=of,
        places=[place for place, _ in known],
        values=[x for _, x in known],
        missing=len(pairs) - len(known),
    )
