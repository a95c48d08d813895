"""Models side by side: their sizes, where they run, what became of each, memory and cost."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Final

from harness.engine.guard import amount
from harness.money.amounts import dollars
from harness.protocols import RunData
from harness.report.figures import UNKNOWN, number
from harness.report.models import ModelRow, is_over_models, model_rows
from harness.report.page.tables import Cell, Column, Table, Tone, of_number, table
from harness.report.page.tables import label as text

__all__ = ["models_table"]

TONES: Final[dict[str, Tone]] = {"failed": "bad", "skipped": "dim", "not run": "dim"}
PLACES: Final = {"local": "here", "api": "somebody's API"}


def models_table(run: RunData) -> tuple[Table, str] | None:
    """With a sentence on them, `2 passed, 1 skipped.` None for a run of one model, whose records
    are not read for it."""
    if len(run.summary.arms) < 2:
        return None
    rows = model_rows(run)
    if not is_over_models(run) and len({(row.backend, row.model) for row in rows}) < 2:
        return None
    several = len({row.arm for row in rows}) > 1
    columns = [
        *([Column(head="Arm")] if several else []),
        Column(head="Model"),
        Column(head="Backend"),
        Column(head="Parameters", numeric=True, title="*: as the spec declares them"),
        Column(head="Runs", title="An API's latency is a service's, and no model's speed"),
        Column(head="Outcome"),
        Column(head="Load", unit="ms", numeric=True, title="Until it was ready, without a token"),
        Column(head="Files", numeric=True),
        Column(head="Memory, peak", numeric=True, title="The most of any launch"),
        Column(head="Cost", numeric=True, title="Of all its calls, warm-up and failed ones too"),
    ]
    cells = [[*([text(row.arm)] if several else []), *_cells(row)] for row in rows]
    counts = Counter(row.outcome for row in rows)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + "."
    if any(row.size.source == "declared" for row in rows):
        told += " * is a size that the spec declares, and no server told."
    return table("Models side by side", columns, cells, 1 + several), told


def _cells(row: ModelRow) -> list[Cell]:
    launches = f"{row.trials.get('ok', 0)} of {row.trials['planned']} launches"
    outcome = Cell(
        text=row.outcome,
        lines=(launches, *([row.reason] if row.reason else [])),
        tone=TONES.get(row.outcome, ""),
        title=row.reason,
    )
    load = of_number(row.load_ms)
    if row.load_ms is not None:
        load = Cell(text=number(row.load_ms), lines=(f"n = {row.load_n}",), sort=row.load_ms)
    return [
        Cell(text=row.label, lines=_asked(row), title=row.model_digest or ""),
        Cell(text=row.backend, lines=_what(row)),
        of_number(row.size.parameters, row.size.words),
        text(PLACES[row.location]) if row.location else Cell(text=UNKNOWN, unknown=True),
        outcome,
        load,
        _bytes(row.disk_bytes),
        _memory(row),
        _cost(row),
    ]


def _asked(row: ModelRow) -> tuple[str, ...]:
    """Its name, where it has another on the axis."""
    return (row.model,) if row.model and row.model != row.label else ()


def _what(row: ModelRow) -> tuple[str, ...]:
    marks = (row.quantization, "random weights" if row.random_weights else None)
    return tuple(filter(None, (*marks, "simulated" if row.simulated else None)))


def _bytes(size: int | None, lines: tuple[str, ...] = (), title: str = "") -> Cell:
    shown = UNKNOWN if size is None else amount(size)
    return Cell(text=shown, lines=lines, sort=size, unknown=size is None, title=title)


def _memory(row: ModelRow) -> Cell:
    predicted = row.memory_predicted_bytes
    lines = () if predicted is None else (f"predicted {amount(predicted)}",)
    return _bytes(row.memory_peak_bytes, lines, row.memory_peak_of)


def _cost(row: ModelRow) -> Cell:
    if row.cost is None:
        return Cell(text=UNKNOWN, unknown=True)
    usd = Decimal(row.cost.usd)
    lines = (f"unknown of {row.cost.unknown} calls",) if row.cost.unknown else ()
    return Cell(text=dollars(usd), lines=lines, sort=float(usd))
