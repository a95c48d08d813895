"""`parquet` and `parquet-iterations`: the calls and the iterations of a run as typed columns.

The columns of `parquet` are those of `csv`, but a number is a number and unknown is null, whatever
reads it. Written block by block: a run is never held whole. pyarrow is an extra, imported when a
file is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO, Final

from harness.errors import MissingExtra
from harness.protocols import RunData
from harness.report.csv_calls import columns_of, row_of
from harness.report.grid import axis_columns, value
from harness.report.iterations import IterationLine, iteration_lines
from harness.report.rows import METRICS, calls_with_effective

__all__ = ["write", "write_iterations"]

BLOCK: Final = 8192
"""Rows of a block, and of a row group."""
FORMAT_VERSION: Final = "1"

_INTEGERS: Final = (
    "trial",
    "iteration",
    "chunks",
    "content_chunks",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "max_tokens",
    "effective_context_length",
)


def write(run: RunData, out: BinaryIO) -> None:
    """One row per call, warm-up included. Raises MissingExtra."""
    kinds = {name: _kind(name) for name in columns_of(run)} | _axis_kinds(run)
    rows = (row_of(run, *found) for found in calls_with_effective(run))
    _write(run, out, kinds, rows, "calls")


def write_iterations(run: RunData, out: BinaryIO) -> None:
    """One row per iteration, warm-up included. Raises MissingExtra."""
    lines = iteration_lines(run)
    own = {
        **dict.fromkeys(("arm", "cell"), "string"),
        **_axis_kinds(run),
        **dict.fromkeys(("trial", "iteration"), "int64"),
        **dict.fromkeys(("phase", "status", "error"), "string"),
        **dict.fromkeys(("planned_calls", "ok_calls"), "int64"),
    }
    figures = dict.fromkeys(name for line in lines for name in _figures(line))
    kinds = own | {name: "double" for name in figures if name not in own}
    _write(run, out, kinds, (_iteration(line, run) for line in lines), "iterations")


def _iteration(line: IterationLine, run: RunData) -> dict[str, Any]:
    cells = run.manifest.cells
    figures = _figures(line)
    return {
        **figures,
        "arm": line.arm,
        "cell": line.cell,
        **{name: value(cells, line.cell, axis) for name, axis in axis_columns(cells).items()},
        "trial": line.trial,
        "iteration": line.iteration,
        "phase": line.phase,
        "status": line.status,
        "error": line.error,
        "planned_calls": line.planned_calls,
        "ok_calls": line.calls.get("ok", 0),
    }


def _figures(line: IterationLine) -> dict[str, float | None]:
    """Spans and metrics under the names that summaries give them; means over the `ok` calls as
    `mean.<metric>`."""
    spans = {f"span.{name}_ms": length for name, length in line.spans_ms.items()}
    means = {f"mean.{name}": figure for name, figure in line.call_means.items()}
    return {**line.figures, **spans, **means}


# ----------------------------------------------------------------------------------------- writing


def _write(
    run: RunData,
    out: BinaryIO,
    kinds: Mapping[str, str],
    rows: Iterable[Mapping[str, Any]],
    what: str,
) -> None:
    pa = _pyarrow()
    import pyarrow.parquet

    said = {
        "chimera-harness": what,
        "format_version": FORMAT_VERSION,
        "run_id": run.manifest.run_id,
        "spec_digest": run.manifest.spec_digest,
    }
    types = {"int64": pa.int64(), "double": pa.float64(), "string": pa.string(), "bool": pa.bool_()}
    fields = [(name, types[kind]) for name, kind in kinds.items()]
    schema = pa.schema(fields, metadata=said)
    with pyarrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for block in _blocks(rows):
            columns = {name: _column(block, name, kind) for name, kind in kinds.items()}
            writer.write_table(pa.table(columns, schema=schema))


def _blocks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    source = iter(rows)
    while block := list(islice(source, BLOCK)):
        yield block


def _column(block: list[Mapping[str, Any]], name: str, kind: str) -> list[Any]:
    found = [row.get(name) for row in block]
    if kind == "string":
        return [None if one is None else _storable(one) for one in found]
    if kind == "double":
        return [None if one is None else float(one) for one in found]
    return found


def _storable(text: Any) -> str:
    """Half of a surrogate pair cannot be stored as UTF-8."""
    return str(text).encode("utf-8", "replace").decode()


def _kind(name: str) -> str:
    if name in METRICS or name == "cost_usd":
        return "double"
    return "int64" if name.endswith("_ns") or name in _INTEGERS else "string"


def _axis_kinds(run: RunData) -> dict[str, str]:
    """A column has one type: that of all levels of its axis, or text where they differ."""
    cells = run.manifest.cells
    kinds = {}
    for name, axis in axis_columns(cells).items():
        found = {type(value(cells, cell, axis)) for cell in cells} - {type(None)}
        kinds[name] = {
            frozenset({bool}): "bool",
            frozenset({int}): "int64",
            frozenset({float}): "double",
            frozenset({int, float}): "double",
        }.get(frozenset(found), "string")
    return kinds


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra("parquet", missing="pyarrow") from None
    return pyarrow
