"""Views of a run: functions of its records, registered by the same hooks as anybody's.

rows.py         one call as named values, shared by
  jsonl.py        `jsonl`                 one line per call, a contract of names
  csv_calls.py    `csv`                   one row per call
  parquet.py      `parquet`               the same with types; and iterations
chunks.py       `chunks`                one line per chunk
csv_cells.py    `cells.csv`             one row per arm, cell and metric
aggregate.py    arms and their differences, as data; iterations.py: run by run; configuration.py:
                what the backends said of themselves; grid.py: cells as levels of axes; shared by
  metrics_json.py `metrics.json`          structured JSON
  comparison.py   `comparison_report.md`  arms side by side, with cells.py for the cells of its
                                          tables, sweeps.py where there are many of them, and
                                          setup.py for the configuration
  html.py         `html`                  one page with everything: page/ is what it shows,
                                          templates/ how, svg.py takes plots in
models.py       models by size, with what became of each (model_outcome.py), as data; shared by
  scaling_comparison.py `scaling_comparison.csv`, `.json`   one row per model
  model_lines.py  which passed, failed or were skipped, on the terminal
table.py        the result on the terminal: its table (columns.py), and what stands below
                (footnotes.py)
beside.py       what stands beside the figures of an arm: bands, cold starts, what it cost;
                energy.py: what it took in joules; own.py: figures of whole iterations
together.py     agents at once, in every report; together_md.py, and multi_metrics.py as JSON
differences.py  a comparison on the terminal; differences_md.py as Markdown
decided.py      what rules of the spec decided while the run went on
machine.py      what plugins found out about the machine
instrument.py   the instrument's own error, in a line
figures.py      numbers as text
sanitise.py     text from models and servers, made harmless

This module is imported whenever the harness starts, so it imports the exporters on first use only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, BinaryIO

import harness

if TYPE_CHECKING:
    from harness.protocols import Exporter, RunData
    from harness.registry import ExporterRegistry

__all__ = ["harness_register_exporters"]


@harness.hookimpl
def harness_register_exporters(registry: ExporterRegistry) -> None:
    registry.add("jsonl", _late("jsonl"), suffix=".jsonl", summary="one JSON object per call")
    registry.add("chunks", _late("chunks"), suffix=".jsonl", summary="one JSON object per chunk")
    registry.add(
        "csv",
        _late("csv_calls"),
        suffix=".csv",
        summary="one row per call",
        automatic="calls.csv",
    )
    registry.add(
        "cells.csv",
        _late("csv_cells"),
        suffix=".csv",
        summary="one row per arm, cell and metric",
        automatic="cells.csv",
    )
    registry.add(
        "parquet",
        _late("parquet"),
        suffix=".parquet",
        summary="one row per call, typed (needs the extra [parquet])",
    )
    registry.add(
        "parquet-iterations",
        _late("parquet", "write_iterations"),
        suffix=".parquet",
        summary="one row per iteration, typed (needs the extra [parquet])",
    )
    registry.add(
        "html",
        _late("html"),
        suffix=".html",
        summary="the whole report as one file, with plots",
    )
    registry.add(
        "metrics.json",
        _late("metrics_json"),
        suffix=".json",
        summary="arms, iterations and differences as structured JSON",
        automatic="metrics.json",
    )
    registry.add(
        "multi_metrics.json",
        _late("multi_metrics"),
        suffix=".json",
        summary="agents at once and alone, iteration by iteration, with the legacy figures",
    )
    registry.add(
        "comparison_report.md",
        _late("comparison"),
        suffix=".md",
        summary="arms side by side, with verdict and caveats",
        automatic="comparison_report.md",
    )
    for kind, what in (("csv", "one row per model"), ("json", "the same with every figure")):
        registry.add(
            f"scaling_comparison.{kind}",
            _late("scaling_comparison", f"write_{kind}"),
            suffix=f".{kind}",
            summary=f"models by size, {what}; after runs over several models",
            automatic=f"scaling_comparison.{kind}",
            when=_is_over_models,
        )


def _is_over_models(run: RunData) -> bool:
    from harness.report.models import is_over_models

    return is_over_models(run)


def _late(module: str, function: str = "write") -> Exporter:
    """A function of a module of this package, imported when it is first called."""

    def write(run: RunData, out: BinaryIO) -> None:
        getattr(importlib.import_module(f"harness.report.{module}"), function)(run, out)

    return write
