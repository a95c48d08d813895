"""The published tables, imported through the documented path, and read by our own statistics."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from harness.host import Host
from harness.metrics import all_series
from harness.protocols import ImportedRows
from harness.schema import IterationRecord
from harness.store.imported import Imported, run_of

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "published"
MAPPINGS = ROOT / "examples" / "import"

FILES = {
    "tr108": "chimeraforge/tr108_ollama_quant_bench.csv",
    "tr109": "chimeraforge/tr109_python_single_36.csv",
    "tr110": "chimeraforge/tr110_python_dual_150runs.csv",
    "tr111": "chimeraforge/tr111v2_rust_single_228calls.csv",
    "tr115": "chimeraforge/tr115v2_runtimes_150runs.csv",
    "agentfarm_spatial": "agentfarm/spatial_benchmark_verified.json",
    "agentfarm_steps": "agentfarm/spatial_benchmark_verified.json",
}


@cache
def importers():
    return Host.load().importers


@cache
def rows(name: str) -> ImportedRows:
    """As `harness import` reads it: a table of the Chimeraforge project by its own importer, any
    other with its mapping."""
    path = DATA / FILES[name]
    if path.parent.name == "chimeraforge":
        entry, options = importers().get("chimeraforge"), {}
    else:
        entry, options = importers().get("json"), {"map": str(MAPPINGS / f"{name}.yaml")}
    return entry.factory(entry.decode_options(options, "$")).read(path)


@cache
def imported(name: str) -> Imported:
    return run_of(rows(name))


def values(
    table: str,
    metric: str,
    *,
    arms: Iterable[str] | None = None,
    cells: Iterable[str] | None = None,
) -> list[float]:
    """All values of a metric, in the order of the table, as `all_series` has them."""
    return [value for of in by_cell(table, metric, arms=arms, cells=cells).values() for value in of]


def with_failed(table: str, metric: str, *, arm: str) -> dict[str, list[float]]:
    """Cell → values in the records, those of failed rows as well: as they were published."""
    found: dict[str, list[float]] = {}
    for record in imported(table).records:
        if isinstance(record, IterationRecord) and record.arm == arm:
            values = [one.value for one in record.metrics if one.name == metric]
            found.setdefault(record.cell, []).extend(values)
    return found


def by_cell(
    table: str,
    metric: str,
    *,
    arms: Iterable[str] | None = None,
    cells: Iterable[str] | None = None,
) -> dict[tuple[str, str], list[float]]:
    """(arm, cell) → values."""
    run = imported(table)
    arms, cells = (None if one is None else set(one) for one in (arms, cells))
    rows = [r for r in run.records if isinstance(r, IterationRecord)]
    found = {}
    for key in dict.fromkeys((r.arm, r.cell) for r in rows):
        if (arms is None or key[0] in arms) and (cells is None or key[1] in cells):
            series = all_series([], [r for r in rows if (r.arm, r.cell) == key])
            found[key] = next(
                (list(s.values) for s in series if s.name in (metric, f"imported.{metric}")), []
            )
    return found


def config_means(table: str, metric: str, **where) -> list[float]:
    from harness.statistics import describe

    return [describe(of).mean for of in by_cell(table, metric, **where).values()]
