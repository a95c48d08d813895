"""The published tables, imported through the documented path, and read by our own statistics."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from harness.metrics import all_series
from harness.schema import IterationRecord
from harness.store.imported import Imported, read_table, run_of_rows
from harness.store.mapping import read_mapping

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
def imported(name: str) -> Imported:
    mapping = read_mapping(MAPPINGS / f"{name}.yaml")
    return run_of_rows(read_table(DATA / FILES[name], mapping), mapping)


def values(
    table: str,
    metric: str,
    *,
    arms: Iterable[str] | None = None,
    cells: Iterable[str] | None = None,
) -> list[float]:
    """All values of a metric, in the order of the table, as `all_series` has them."""
    return [value for of in by_cell(table, metric, arms=arms, cells=cells).values() for value in of]


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
