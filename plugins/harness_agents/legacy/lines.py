"""What a line of each condensed table says, as the call, agent's run or pair that it was."""

from __future__ import annotations

from typing import Any, Final

from harness.protocols import ImportedRow
from harness.tables import Row
from harness_agents.legacy.cells import Cells
from harness_agents.legacy.checks import disagreeing_call, disagreeing_pair
from harness_agents.legacy.figures import agent_figures, call_figures, pair_figures
from harness_agents.legacy.parts import NO_TOKEN
from harness_agents.legacy.records import LegacyAgent, LegacyCall, LegacyPair, Told, Ttft

__all__ = ["agent_of_tr109", "call_of_tr108", "call_of_tr111", "pair_of_tr110", "pair_of_tr115"]

OPTIONS: Final = ("num_gpu", "num_ctx", "temperature")
FOUR_DECIMALS: Final = 2e-2
"""Relative: TR108's durations are printed to a tenth of a millisecond, of calls of a few."""


def call_of_tr108(row: Row, file: str) -> ImportedRow:
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


def agent_of_tr109(row: Row, file: str) -> ImportedRow:
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


def pair_of_tr110(row: Row, file: str) -> ImportedRow:
    cell = Cells(row, file)
    both = cell.options("gpu_layers", "context", "temperature", names=OPTIONS)
    own = cell.options("gpu2_layers", "context2", "temperature2", names=OPTIONS)
    scenario = cell.text("scenario")
    first = {} if scenario == "baseline_vs_chimera" else both
    return _pair(row, cell, file, "load+prompt", (first, own or both), "sequential_estimated_time",
                 arm=scenario, cell=cell.text("test_id"), launch=(cell.text("run"),),
                 data={"phase": cell.text("phase")})  # fmt: skip


def call_of_tr111(row: Row, file: str) -> ImportedRow:
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


def pair_of_tr115(row: Row, file: str) -> ImportedRow:
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
