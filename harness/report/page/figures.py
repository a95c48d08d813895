"""Arms and cells: the figures that come first, and every figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from harness.compare.watermark import made_up
from harness.report.aggregate import durations, label, metric
from harness.report.figures import UNKNOWN, interval, interval_of, number
from harness.report.grid import Axis, axes, level, value
from harness.report.page.tables import Cell, Column, Table, figure, of_number, table
from harness.report.page.tables import label as text
from harness.schema import ArmSummary, Goodput, MetricSummary, Objective, Summary

__all__ = [
    "OK_TITLE",
    "ArmFigures",
    "bound_name",
    "cells_table",
    "cold_table",
    "every_figure",
    "goodput_table",
    "place_cells",
    "place_columns",
]

COLD: Final = "cold"
"""Figures of cold starts have names that begin so."""


class ArmFigures(Struct, frozen=True, kw_only=True):
    """One arm and cell, with every figure that it has."""

    name: str
    counts: str
    table: Table


def cells_table(summary: Summary) -> Table:
    """One row per arm and cell: where it lies in the sweep, how its calls ended, what came out."""
    swept = axes(summary.cells)
    shown = _headlines(summary)
    columns = [*place_columns(swept), Column(head="ok", numeric=True, title=OK_TITLE)]
    columns += [Column(head=head, unit=unit, numeric=True) for _, head, unit in shown]
    rows, fake = [], made_up(summary)
    for arm in summary.arms:
        cells = [*place_cells(arm.arm, arm.cell, summary), _ok(arm)]
        cells += [_figure(arm, name, fake) for name, _, _ in shown]
        rows.append(cells)
    return table("Median of every arm and cell", columns, rows, 1 + len(swept))


def _figure(arm: ArmSummary, name: str, fake: Sequence[str]) -> Cell:
    """Joules have the bound of their error beside them."""
    cell = figure(metric(arm, name), fake)
    bound = metric(arm, name.replace(".energy_j", ".energy_bound_j")) if "." in name else None
    if bound is None or not bound.n:
        return cell
    return replace(cell, lines=(f"± {number(bound.median, 3)} each", *cell.lines))


OK_TITLE: Final = "Measured calls that ended well, of those that were planned"


def _headlines(summary: Summary) -> list[tuple[str, str, str]]:
    """(metric, head, unit): latencies first, then throughput and what SLOs say; of a scenario
    without model calls, its own figures."""
    known = {one.name: one.unit for arm in summary.arms for one in arm.metrics if one.n}
    named = {name: head for name, head in durations(summary).items() if name in known}
    named |= {name: head for name, head in _ALSO.items() if name in known}
    if not named:
        named = {name: name for name in list(known)[:5] if not name.startswith(COLD)}
    units = {name: "" if unit == "1" else unit for name, unit in known.items()}
    return [(name, head, units[name]) for name, head in named.items()]


_ALSO: Final = {
    "speedup": "Speed-up",
    "throughput_tok_s": "Throughput",
    "goodput_share": "Goodput",
    "goodput_per_s": "Goodput rate",
    "wall_ms": "Iteration",
    "cost_usd": "Cost per call",
    "cost_usd_per_1k_output_tokens": "Cost per 1000 tok",
    "gpu.energy_j": "GPU energy",
    "gpu_energy_j_per_request": "GPU energy a request",
    "gpu_energy_j_per_token": "GPU energy a token",
    "gpu_energy_j_per_correct": "GPU energy a right answer",
    "rapl.energy_j": "CPU energy",
    "cpu_energy_j_per_request": "CPU energy a request",
    "cpu_energy_j_per_token": "CPU energy a token",
    "cpu_energy_j_per_correct": "CPU energy a right answer",
}


def place_columns(swept: Sequence[Axis]) -> list[Column]:
    return [Column(head="Arm"), *(Column(head=axis.head, title=axis.path) for axis in swept)]


def place_cells(arm: str, cell: str, summary: Summary) -> list[Cell]:
    """Arm and the levels of the cell: numbers sort as numbers, labels read as the spec has them."""
    cells = [text(arm)]
    for axis in axes(summary.cells):
        found = value(summary.cells, cell, axis)
        named = level(summary.cells, cell, axis)
        if found is None:
            cells.append(Cell(text=UNKNOWN, unknown=True, title="not swept"))
        elif isinstance(found, str | bool):
            cells.append(text(named))
        else:
            cells.append(of_number(found, named))
    return cells


def _ok(arm: ArmSummary) -> Cell:
    ok, planned = arm.calls.get("ok", 0), max(arm.planned, sum(arm.calls.values()))
    trials = f"{arm.trials} trial{'s' * (arm.trials != 1)}"
    skipped = (f"{arm.skipped} skipped",) if arm.skipped else ()
    return Cell(
        text=f"{ok} / {planned}",
        lines=(trials, *skipped),
        sort=ok / planned if planned else None,
        tone="" if ok == planned else "bad",
        title=", ".join(f"{count} {status}" for status, count in arm.calls.items()),
    )


def cold_table(summary: Summary) -> Table | None:
    """Cold starts, apart from everything warm."""
    known = {
        one.name: one.unit
        for arm in summary.arms
        for one in arm.metrics
        if one.n and one.name.startswith(COLD)
    }
    if not known:
        return None
    columns = place_columns(axes(summary.cells))
    columns += [Column(head=name, unit=unit, numeric=True) for name, unit in known.items()]
    rows = [
        [
            *place_cells(arm.arm, arm.cell, summary),
            *(figure(metric(arm, name)) for name in known),
        ]
        for arm in summary.arms
    ]
    return table("Cold starts, median", columns, rows, 1 + len(axes(summary.cells)))


def goodput_table(summary: Summary) -> Table | None:
    """Requests by the SLO; None where the spec has none."""
    bounds = _bounds(summary)
    if not any(arm.goodput for arm in summary.arms):
        return None
    columns = [
        *place_columns(axes(summary.cells)),
        Column(head="Good", numeric=True, title="Requests that were ok and met every bound"),
        Column(head="Share", unit="%", numeric=True),
        Column(head="Good per second", numeric=True),
        *(Column(head=bound, numeric=True, title="Requests that met it") for bound in bounds),
    ]
    rows = [
        [
            *place_cells(arm.arm, arm.cell, summary),
            Cell(text=f"{arm.goodput.good} / {arm.goodput.of}", sort=arm.goodput.good),
            _share(arm.goodput),
            of_number(arm.goodput.per_s),
            *(_met(arm.goodput, bound) for bound in bounds),
        ]
        for arm in summary.arms
        if arm.goodput is not None
    ]
    return table("Goodput", columns, rows, 1 + len(axes(summary.cells)))


def _bounds(summary: Summary) -> list[str]:
    made = [arm.goodput for arm in summary.arms if arm.goodput]
    return list(dict.fromkeys(bound_name(one) for found in made for one in found.objectives))


def bound_name(one: Objective) -> str:
    return f"{one.metric} {'≤' if one.better == 'lower' else '≥'} {number(one.bound)}"


def _share(made: Goodput) -> Cell:
    if made.share is None:
        return of_number(None)
    spread = UNKNOWN
    if made.share_low is not None and made.share_high is not None:
        spread = interval(made.share_low * 100, made.share_high * 100)
    unknown = (f"{made.unknown} of unknown figures",) if made.unknown else ()
    shown = number(made.share * 100, 3)
    return Cell(text=shown, lines=(spread, *unknown), sort=made.share, title=f"over {made.ci_of}")


def _met(made: Goodput, bound: str) -> Cell:
    found = next((one for one in made.objectives if bound_name(one) == bound), None)
    return of_number(found.met if found else None)


def every_figure(summary: Summary) -> Iterator[ArmFigures]:
    for arm in summary.arms:
        rows = [_row(one) for one in arm.metrics if one.n]
        yield ArmFigures(
            name=label(arm, summary),
            counts=_counts(arm),
            table=table(f"Every figure of {label(arm, summary)}", _COLUMNS, rows),
        )


_COLUMNS: Final = (
    Column(head="Metric", code=True),
    Column(head="Unit"),
    Column(head="n", numeric=True),
    Column(head="n_eff", numeric=True, title="So many independent values would do as well"),
    Column(head="Unknown", numeric=True, title="Units for which the figure is not known"),
    Column(head="Median", numeric=True),
    Column(head="Mean", numeric=True),
    Column(head="95 % of the mean", numeric=True),
    Column(head="SD", numeric=True, title="Spread of the values: not an interval"),
    Column(head="p95", numeric=True),
    Column(head="p99", numeric=True),
    Column(head="Outliers", numeric=True, title="By MAD; they are in every figure"),
    Column(head="Provenance"),
)


def _row(one: MetricSummary) -> list[Cell]:
    return [
        text(one.name, code=True, title=_direction(one)),
        text(one.unit),
        of_number(one.n),
        of_number(one.n_eff, number(one.n_eff, 3)),
        of_number(one.missing, tone="" if one.missing else "dim"),
        of_number(one.median),
        of_number(one.mean),
        Cell(text=interval_of(one), sort=one.ci_low, unknown=one.ci_low is None),
        of_number(one.sd),
        _tail(one, "p95"),
        _tail(one, "p99"),
        _outliers(one),
        text(f"{one.provenance}, per {one.of}"),
    ]


def _direction(one: MetricSummary) -> str:
    return "" if one.better == "neither" else f"{one.better} is better"


def _tail(one: MetricSummary, name: str) -> Cell:
    if name in one.needs:
        return Cell(text=f"n ≥ {one.needs[name]}", unknown=True, tone="dim", title="too few values")
    return of_number(getattr(one, name))


def _outliers(one: MetricSummary) -> Cell:
    without = f"without them: mean {number(one.mean_without_outliers)}" if one.outliers else ""
    return of_number(one.outliers, tone="" if one.outliers else "dim", title=without)


def _counts(arm: ArmSummary) -> str:
    statuses = ", ".join(f"{count:,} {status}" for status, count in arm.calls.items())
    return (
        f"{arm.trials} trials, {arm.iterations} measured iterations, {arm.planned:,} planned "
        f"calls: {statuses or 'none recorded'}"
    )
