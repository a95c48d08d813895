"""Legacy files of two agents at once, and the summary.json of a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from harness_agents.legacy.fields import (
    HeadAgent,
    HeadPair,
    PythonPair,
    PythonPairSummary,
    RustPair,
    RustPairSummary,
    Summary,
)
from harness_agents.legacy.parts import (
    NO_TOKEN,
    failed,
    options,
    rust_calls,
    scenario_name,
    spans,
    told,
    typed,
    without_tokens,
)
from harness_agents.legacy.records import (
    Form,
    LegacyAgent,
    LegacyCall,
    LegacyMetrics,
    LegacyPair,
    LegacySummary,
    Told,
)

__all__ = ["head_multi", "python_multi", "rust_multi", "summary_of"]


def rust_multi(found: RustPair, path: Path) -> LegacyMetrics:
    agents = []
    v2 = found.collector.result.llm_calls is not None
    for role, one in (("collector", found.collector), ("insight", found.insight)):
        place = f"$.{role}.result"
        calls = rust_calls(one.result, place, path)
        agents.append(
            LegacyAgent(
                role=role,
                run=found.run_number,
                model=one.result.model or one.config.model,
                options=options(one.result.configuration or one.config.options),
                calls=calls,
                told=told(one.result.aggregate_metrics, f"{place}.aggregate_metrics"),
                failed=failed(calls),
                execution_s=one.execution_time_s,
                spans_s=spans(one.result.workflow),
                files=one.result.benchmark_data_count,
                url=one.config.base_url,
                place=f"$.{role}",
            )
        )
    summary = found.summary
    return LegacyMetrics(
        form="multi-rust-v2" if v2 else "multi-rust-v1",
        pairs=(
            LegacyPair(
                run=found.run_number,
                scenario=scenario_name(found.scenario or summary.scenario),
                agents=(agents[0], agents[1]),
                wall_s=summary.concurrent_wall_time_s,
                told=told(msgspec.structs.asdict(summary), "$.summary"),
                contention=summary.resource_contention_detected,
                place="$",
            ),
        ),
        started=found.collector.result.timestamp,
    )


def python_multi(found: PythonPair) -> LegacyMetrics:
    summary = found.summary
    agents = [
        LegacyAgent(
            role=role,
            run=summary.run_number,
            model=one.model,
            options=options(one.configuration),
            told=told(one.aggregate_metrics, f"$.{role}.aggregate_metrics"),
            failed=without_tokens(one.aggregate_metrics),
            execution_s=seconds,
            url=url,
            place=f"$.{role}",
        )
        for role, one, seconds, url in (
            (
                "collector",
                found.collector,
                found.collector_execution_time,
                summary.collector_ollama_url,
            ),
            ("insight", found.insight, found.insight_execution_time, summary.insight_ollama_url),
        )
    ]
    return LegacyMetrics(
        form="multi-python",
        pairs=(
            LegacyPair(
                run=summary.run_number,
                scenario=None,
                agents=(agents[0], agents[1]),
                wall_s=summary.concurrent_wall_time,
                told=told(msgspec.structs.asdict(summary), "$.summary"),
                contention=summary.resource_contention_detected,
                place="$",
            ),
        ),
    )


def head_multi(found: HeadPair) -> LegacyMetrics:
    return LegacyMetrics(form="multi-python-head", pairs=(_head_pair(found, "$"),))


def _head_pair(found: HeadPair, place: str) -> LegacyPair:
    agents = [
        LegacyAgent(
            role=role,
            run=found.run_number,
            model=None,
            options=options(one.options),
            calls=(call := _head_call(one, found.run_number, f"{place}.{role}.metrics"),),
            told=_head_told(call, f"{place}.{role}.metrics"),
            failed=call.failed,
            execution_s=_seconds(one.metrics.wall_clock_ms),
            url=one.base_url,
            place=f"{place}.{role}",
        )
        for role, one in (("collector", found.collector), ("insight", found.insight))
    ]
    return LegacyPair(
        run=found.run_number,
        scenario=scenario_name(found.scenario),
        agents=(agents[0], agents[1]),
        wall_s=_seconds(found.concurrent_wall_time_ms),
        told=told(msgspec.structs.asdict(found), place),
        place=place,
    )


def _head_told(call: LegacyCall, place: str) -> Told:
    """An agent of one call, under the names that the other forms have for several."""
    found = {
        "average_tokens_per_second": call.throughput_tok_s,
        "average_ttft_ms": call.ttft_ms,
        "total_tokens_generated": call.tokens,
    }
    return told(found, place)


def _head_call(one: HeadAgent, run: int, place: str) -> LegacyCall:
    return LegacyCall(
        run=run,
        stage="",
        failed=NO_TOKEN if one.metrics.tokens_generated == 0 else "",
        tokens=one.metrics.tokens_generated,
        throughput_tok_s=one.metrics.throughput_tokens_per_sec,
        ttft_ms=one.metrics.ttft_ms,
        total_ms=one.metrics.total_duration_ms,
        prompt_ms=one.metrics.ttft_ms,
        text=one.response or "",
        place=place,
    )


def summary_of(value: Any, path: Path) -> LegacySummary:
    found = typed(value, Summary, path)
    form: Form = "multi-rust-v1"
    pairs = []
    for index, one in enumerate(found.runs):
        place = f"$.runs[{index}]"
        here = Path(f"{path}: {place}")
        if "concurrent_wall_time_ms" in one:
            form = "multi-python-head"
            pairs.append(_head_pair(typed(one, HeadPair, here), place))
            continue
        if "concurrent_wall_time" in one:
            form = "multi-python"
            python = typed(one, PythonPairSummary, here)
            run, wall, scenario = python.run_number, python.concurrent_wall_time, found.scenario
            contention = python.resource_contention_detected
        else:
            rust = typed(one, RustPairSummary, here)
            run, wall = rust.run_number, rust.concurrent_wall_time_s
            scenario = rust.scenario or found.scenario
            contention = rust.resource_contention_detected
        pairs.append(
            LegacyPair(
                run=run,
                scenario=scenario_name(scenario),
                agents=None,
                wall_s=wall,
                told=told(one, place),
                contention=contention,
                place=place,
            )
        )
    return LegacySummary(
        form=form,
        scenario=scenario_name(found.scenario),
        pairs=tuple(pairs),
        told=told(found.aggregate, "$.aggregate"),
        started=found.generated_at,
    )


def _seconds(value_ms: float | None) -> float | None:
    return None if value_ms is None else value_ms / 1e3
