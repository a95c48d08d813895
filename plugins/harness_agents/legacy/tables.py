"""The condensed tables of the Chimeraforge project's raw runs, each recognised by its header.

| table | a line is | TTFT there is |
|---|---|---|
| TR108 | a call | load + prompt |
| TR109 | an agent's run | load + prompt |
| TR110 | a pair of agents | load + prompt |
| TR111 | a call | measured |
| TR115 | a pair of agents | measured (not with the runtime smol-1kb, which reads too late) |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from harness.errors import StoreError
from harness.protocols import ImportedRow, ImportedRows
from harness.tables import Row, csv_header, read_csv
from harness_agents.legacy.cells import instant
from harness_agents.legacy.figures import bounds_of
from harness_agents.legacy.lines import (
    agent_of_tr109,
    call_of_tr108,
    call_of_tr111,
    pair_of_tr110,
    pair_of_tr115,
)
from harness_agents.legacy.records import Ttft

__all__ = ["TABLES", "read_table"]

PROJECT: Final = "Chimeraforge {}, {} (MIT, Copyright (c) 2025 Sahil Kadadekar)"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tables."""

    name: str
    date: str
    columns: tuple[str, ...]
    row: Callable[[Row, str], ImportedRow]
    """(line, name of the file)"""
    model: str
    ttft: Ttft
    baseline: str | None = None
    started: str = ""


def read_table(path: Path) -> ImportedRows:
    """Raises StoreError: it is none of them, or a line is not what its header promises."""
    header = csv_header(path)
    known = next((one for one in TABLES if set(one.columns) <= set(header)), None)
    if known is None:
        raise StoreError(
            f"its columns are those of no known table ({', '.join(one.name for one in TABLES)})",
            where=str(path),
            remedy=f"harness import csv {path} --map FILE, which reads any",
        )
    table = read_csv(path)
    rows = tuple(known.row(row, table.file) for row in table.rows)
    started = [text for row in table.rows if (text := row.fields.get(known.started, "").strip())]
    unused = [name for name in table.columns if name not in known.columns]
    return ImportedRows(
        name=known.name.lower(),
        file=table.file,
        sha256=table.sha256,
        rows=rows,
        of=len(rows),
        source=PROJECT.format(known.name, known.date),
        model=known.model,
        baseline=known.baseline,
        started=instant(min(started, default="")),
        bounds=bounds_of({metric.name for row in rows for metric in row.metrics}),
        about={"importer": "chimeraforge", "table": known.name, "ttft": known.ttft},
        remarks=(
            f"the table of {known.name}: what it calls TTFT is {known.ttft}",
            f"columns that are not used: {', '.join(unused) or 'none'}",
        ),
    )


GEMMA: Final = "gemma3:latest"
TABLES: Final = (
    Known(
        name="TR108",
        date="2025-10-08",
        columns=("timestamp", "model", "tag", "prompt_index", "prompt_text", "ttft_s", "tokens_s",
                 "load_s", "prompt_eval_s", "eval_s", "eval_count", "error"),
        row=call_of_tr108,
        model="llama3.1:8b-instruct",
        ttft="load+prompt",
        started="timestamp",
    ),
    Known(
        name="TR109",
        date="2025-10-09",
        columns=("config", "agent", "num_gpu", "num_ctx", "temperature", "files", "tokens", "tok_s",
                 "ttft_ms", "llm_ms", "exec_s", "start"),
        row=agent_of_tr109,
        model=GEMMA,
        ttft="load+prompt",
        baseline="baseline",
        started="start",
    ),
    Known(
        name="TR110",
        date="2025-10-10",
        columns=("phase", "test_id", "scenario", "gpu_layers", "context", "temperature",
                 "gpu2_layers", "context2", "temperature2", "run", "a_tokens", "b_tokens",
                 "a_tok_s", "b_tok_s", "a_ttft_ms", "b_ttft_ms", "a_exec_s", "b_exec_s",
                 "concurrent_wall_s", "sequential_est_s", "speedup", "contention"),
        row=pair_of_tr110,
        model=GEMMA,
        ttft="load+prompt",
    ),
    Known(
        name="TR111",
        date="2025-11-14",
        columns=("config", "agent", "num_gpu", "num_ctx", "temperature", "run", "stage",
                 "prompt_chars", "eval_duration_ms", "load_duration_ms", "prompt_eval_duration_ms",
                 "throughput_tokens_per_sec", "tokens_generated", "total_duration_ms", "ttft_ms"),
        row=call_of_tr111,
        model=GEMMA,
        ttft="measured",
        baseline="baseline",
    ),
    Known(
        name="TR115",
        date="2025-11-15",
        columns=("config", "scenario", "run", "a_num_gpu", "a_num_ctx", "a_temp", "b_num_gpu",
                 "b_num_ctx", "b_temp", "a_tokens", "b_tokens", "a_tok_s", "b_tok_s", "a_ttft_ms",
                 "b_ttft_ms", "a_load_ms", "b_load_ms", "a_exec_s", "b_exec_s",
                 "concurrent_wall_s", "sequential_est_s", "speedup", "efficiency", "contention",
                 "timestamp"),
        row=pair_of_tr115,
        model=GEMMA,
        ttft="measured",
        baseline="async-std",
        started="timestamp",
    ),
)  # fmt: skip
