"""`scaling_comparison`: models by their size, as one table: CSV, and JSON with everything.

A figure is `<metric>_median`, its mean with the 95 % interval of the mean, and n; an interval that
n does not carry is empty, and so is whatever is not known: never 0. `parameters_source` says
whether the server told the size or the spec declares it.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Final

import msgspec

from harness.protocols import RunData
from harness.report.csv_calls import write_rows
from harness.report.models import METRICS, ModelRow, model_rows, own_metrics
from harness.text import plain_json

__all__ = ["FORMAT_VERSION", "write_csv", "write_json"]

FORMAT_VERSION: Final = 1
PLACE: Final = (
    "run_id",
    "arm",
    "cell",
    "label",
    "backend",
    "model",
    "parameters",
    "parameters_source",
    "location",
    "quantization",
    "model_digest",
    "context_length",
    "outcome",
    "reason",
    "trials_planned",
    "trials_ok",
    "trials_failed",
    "trials_skipped",
    "calls_ok",
    "calls_not_ok",
    "prompt_tokens",
    "output_tokens",
    "disk_bytes",
    "load_ms_median",
    "load_ms_n",
    "memory_predicted_bytes",
    "memory_peak_bytes",
    "memory_peak_of",
    "memory_free_bytes",
    "memory_device",
    "cost_usd_total",
    "cost_calls_unknown",
    "simulated",
    "simulated_figures",
    "random_weights",
)
PARTS: Final = ("median", "mean", "ci_low", "ci_high", "n")


def write_csv(run: RunData, out: BinaryIO) -> None:
    """One row per model. Columns of what a scenario measured itself come last."""
    rows = model_rows(run)
    names = [*METRICS, *own_metrics(rows)]
    columns = [*PLACE, *(f"{name}_{part}" for name in names for part in PARTS)]
    write_rows(out, columns, (_row(run, row, names) for row in rows))


def write_json(run: RunData, out: BinaryIO) -> None:
    """The rows with every figure of theirs, units and provenance included."""
    summary = run.summary
    document = {
        "format": "chimera-harness scaling comparison",
        "format_version": FORMAT_VERSION,
        "definitions": {
            "interval": "ci_low … ci_high: 95 % of the mean, by bootstrap over ci_of",
            "parameters": "source `server`: read back, or out of the model's files; `declared`: "
            "by the spec",
            "unknown": "null: unknown, never 0",
        },
        "run_id": summary.run_id,
        "name": summary.name,
        "spec_digest": summary.spec_digest,
        "verdict": summary.verdict.state,
        "models": model_rows(run),
    }
    encoded = msgspec.json.encode(document)
    out.write(plain_json(msgspec.json.format(encoded, indent=2)) + b"\n")


def _row(run: RunData, row: ModelRow, names: list[str]) -> dict[str, Any]:
    calls = row.calls
    ok = calls.get("ok", 0)
    own = {
        "run_id": run.summary.run_id,
        "parameters": row.size.parameters,
        "parameters_source": row.size.source or None,
        "trials_planned": row.trials["planned"],
        "trials_ok": row.trials.get("ok", 0),
        "trials_failed": row.trials.get("error", 0),
        "trials_skipped": row.trials.get("skipped", 0),
        "calls_ok": ok,
        "calls_not_ok": sum(calls.values()) - ok,
        "load_ms_median": row.load_ms,
        "load_ms_n": row.load_n,
        "cost_usd_total": row.cost.usd if row.cost is not None else None,
        "cost_calls_unknown": row.cost.unknown if row.cost is not None else None,
        "simulated": _truth(row.simulated),
        "simulated_figures": _made_up(row),
        "random_weights": _truth(row.random_weights),
    }
    plain = {name: getattr(row, name) for name in PLACE if name not in own}
    return {**plain, **own, **_figures(row, names)}


def _truth(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _made_up(row: ModelRow) -> str | None:
    """Names of what an instrument played back or made up, beside a server that was real."""
    if row.simulated:
        return None  # all of them
    names = (name for name, one in row.figures.items() if one.provenance == "simulated")
    return " ".join(names) or None


def _figures(row: ModelRow, names: list[str]) -> dict[str, Any]:
    return {
        f"{name}_{part}": getattr(row.figures[name], part) if name in row.figures else None
        for name in names
        for part in PARTS
    }
