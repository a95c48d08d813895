"""The condensed tables of the Chimeraforge project's raw runs, each recognised by its header: what
a line says, as the call, agent's run or pair that it was.

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
from typing import Any, Final

import msgspec

from harness.errors import StoreError
from harness.protocols import ImportedRow, ImportedRows
from harness.tables import Row, csv_header, read_csv
from harness_agents.legacy import LegacyAgent, LegacyCall, LegacyPair, Told, Ttft
from harness_agents.legacy_cells import Cells, instant
from harness_agents.legacy_checks import disagreeing_call, disagreeing_pair
from harness_agents.legacy_figures import agent_figures, bounds_of, call_figures, pair_figures
from harness_agents.legacy_parts import NO_TOKEN

__all__ = ["TABLES", "read_table"]

PROJECT: Final = "Chimeraforge {}, {} (MIT, Copyright (c) 2025 Sahil Kadadekar)"
FOUR_DECIMALS: Final = 2e-2
"""Relative: TR108's durations are printed to a tenth of a millisecond, of calls of a few."""


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


# ---- lines


def _call108(row: Row, file: str) -> ImportedRow:
    cell = Cells(row, file)
    tokens = cell.whole("eval_count")
    error = cell.text("error")
    call = LegacyCall(
        run=cell.whole("prompt_index") or 0,
        stage="",
        failed=error or (NO_TOKEN if tokens == 0 else ""),
        tokens=tokens,
        throughput_tok_s=cell.number("tokens_s"),
        ttft_ms=_ms(cell.number("ttft_s")),
        total_ms=_ms(_both(cell.number("prompt_eval_s"), cell.number("eval_s"))),
        load_ms=_ms(cell.number("load_s")),
        prompt_ms=_ms(cell.number("prompt_eval_s")),
        eval_ms=_ms(cell.number("eval_s")),
        prompt_chars=len(row.fields["prompt_text"]),
        place=f"line {row.place}",
    )
    return ImportedRow(
        arm=cell.text("tag"),
        launch=(cell.text("tag"),),  # loaded once, and asked all prompts
        place=row.place,
        metrics=call_figures(call, "load+prompt"),
        failed=call.failed,
        model=cell.text("model"),
        disagrees=tuple(disagreeing_call(call, file, FOUR_DECIMALS)),
    )


def _agent109(row: Row, file: str) -> ImportedRow:
    cell = Cells(row, file)
    options = cell.options("num_gpu", "num_ctx", "temperature")
    agent = LegacyAgent(
        role=cell.text("agent"),
        run=1,
        model=None,
        options=options,
        told=Told(
            figures=cell.numbers(
                average_tokens_per_second="tok_s",
                average_ttft_ms="ttft_ms",
                total_tokens_generated="tokens",
                total_duration_ms="llm_ms",
            ),
            place=f"line {row.place}",
        ),
        execution_s=cell.number("exec_s"),
        files=cell.whole("files"),
    )
    return ImportedRow(
        arm=agent.role,
        cell=cell.text("config"),
        launch=(f"line {row.place}",),
        place=row.place,
        metrics=agent_figures(agent, "load+prompt"),
        factors=options,
        failed=NO_TOKEN if cell.whole("tokens") == 0 else "",
    )


def _pair110(row: Row, file: str) -> ImportedRow:
    cell = Cells(row, file)
    both = cell.options("gpu_layers", "context", "temperature", names=OPTIONS)
    own = cell.options("gpu2_layers", "context2", "temperature2", names=OPTIONS)
    scenario = cell.text("scenario")
    first = {} if scenario == "baseline_vs_chimera" else both
    return _pair(row, cell, file, "load+prompt", (first, own or both), "sequential_estimated_time",
                 arm=scenario, cell=cell.text("test_id"), launch=(cell.text("run"),),
                 data={"phase": cell.text("phase")})  # fmt: skip


def _call111(row: Row, file: str) -> ImportedRow:
    cell = Cells(row, file)
    options = cell.options("num_gpu", "num_ctx", "temperature")
    tokens = cell.whole("tokens_generated")
    call = LegacyCall(
        run=cell.whole("run") or 0,
        stage=cell.text("stage"),
        failed=NO_TOKEN if tokens == 0 else "",
        tokens=tokens,
        throughput_tok_s=cell.number("throughput_tokens_per_sec"),
        ttft_ms=cell.number("ttft_ms"),
        total_ms=cell.number("total_duration_ms"),
        load_ms=cell.number("load_duration_ms"),
        prompt_ms=cell.number("prompt_eval_duration_ms"),
        eval_ms=cell.number("eval_duration_ms"),
        prompt_chars=cell.whole("prompt_chars"),
        place=f"line {row.place}",
    )
    return ImportedRow(
        arm=cell.text("agent"),
        cell=cell.text("config"),
        launch=(cell.text("run"),),
        place=row.place,
        metrics=call_figures(call, "measured"),
        factors=options,
        failed=call.failed,
        disagrees=tuple(disagreeing_call(call, file)),
        data={"stage": call.stage},
    )


def _pair115(row: Row, file: str) -> ImportedRow:
    cell = Cells(row, file)
    runtime, found, config = cell.text("config").partition("/")
    if not found:
        raise cell.wrong("config", "RUNTIME/CONFIGURATION")
    a = cell.options("a_num_gpu", "a_num_ctx", "a_temp", names=OPTIONS)
    b = cell.options("b_num_gpu", "b_num_ctx", "b_temp", names=OPTIONS)
    ttft: Ttft = "late" if runtime.endswith("smol-1kb") else "measured"
    return _pair(row, cell, file, ttft, (a, b), "sequential_estimated_s",
                 arm=runtime.removeprefix("runtime-"), cell=config, launch=(cell.text("run"),),
                 data={"scenario": cell.text("scenario")})  # fmt: skip


OPTIONS: Final = ("num_gpu", "num_ctx", "temperature")


def _pair(
    row: Row,
    fields: Cells,
    file: str,
    ttft: Ttft,
    options: tuple[dict[str, Any], dict[str, Any]],
    sequential: str,
    **place: Any,
) -> ImportedRow:
    agents = [
        LegacyAgent(
            role=role,
            run=0,
            model=None,
            options=options[index],
            told=Told(
                figures=fields.numbers(
                    average_tokens_per_second=f"{letter}_tok_s",
                    average_ttft_ms=f"{letter}_ttft_ms",
                    total_tokens_generated=f"{letter}_tokens",
                    load_duration_ms=f"{letter}_load_ms",
                ),
                place=f"line {row.place}",
            ),
            failed=NO_TOKEN if fields.whole(f"{letter}_tokens") == 0 else "",
            execution_s=fields.number(f"{letter}_exec_s"),
        )
        for index, (letter, role) in enumerate((("a", "collector"), ("b", "insight")))
    ]
    figures = fields.numbers(concurrency_speedup="speedup", efficiency_percent="efficiency")
    pair = LegacyPair(
        run=0,
        scenario=None,
        agents=(agents[0], agents[1]),
        wall_s=fields.number("concurrent_wall_s"),
        told=Told(
            figures=figures | fields.numbers(**{sequential: "sequential_est_s"}),
            place=f"line {row.place}",
        ),
        contention=fields.truth("contention"),
    )
    return ImportedRow(
        place=row.place,
        metrics=pair_figures(pair, ttft),
        factors=two_agents(*options),
        failed=agents[0].failed or agents[1].failed,
        disagrees=tuple(disagreeing_pair(pair, ttft, file)),
        **place,
    )


def two_agents(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The options of a pair, each under its agent's letter."""
    return {f"a_{k}": v for k, v in a.items()} | {f"b_{k}": v for k, v in b.items()}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _both(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


GEMMA: Final = "gemma3:latest"
TABLES: Final = (
    Known(
        name="TR108",
        date="2025-10-08",
        columns=("timestamp", "model", "tag", "prompt_index", "prompt_text", "ttft_s", "tokens_s",
                 "load_s", "prompt_eval_s", "eval_s", "eval_count", "error"),
        row=_call108,
        model="llama3.1:8b-instruct",
        ttft="load+prompt",
        started="timestamp",
    ),
    Known(
        name="TR109",
        date="2025-10-09",
        columns=("config", "agent", "num_gpu", "num_ctx", "temperature", "files", "tokens", "tok_s",
                 "ttft_ms", "llm_ms", "exec_s", "start"),
        row=_agent109,
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
        row=_pair110,
        model=GEMMA,
        ttft="load+prompt",
    ),
    Known(
        name="TR111",
        date="2025-11-14",
        columns=("config", "agent", "num_gpu", "num_ctx", "temperature", "run", "stage",
                 "prompt_chars", "eval_duration_ms", "load_duration_ms", "prompt_eval_duration_ms",
                 "throughput_tokens_per_sec", "tokens_generated", "total_duration_ms", "ttft_ms"),
        row=_call111,
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
        row=_pair115,
        model=GEMMA,
        ttft="measured",
        baseline="async-std",
        started="timestamp",
    ),
)  # fmt: skip
