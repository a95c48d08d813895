"""Which of the legacy forms a file is, and what its fields (legacy_fields.py) become."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.errors import StoreError
from harness_agents.legacy import (
    Form,
    LegacyAgent,
    LegacyCall,
    LegacyMetrics,
    LegacyPair,
    LegacySummary,
    Told,
    scenario_name,
    typed_again,
    unlike,
)
from harness_agents.legacy_fields import (
    Figures,
    HeadAgent,
    HeadPair,
    PythonAgentRun,
    PythonPair,
    PythonPairSummary,
    PythonRun,
    RustCall,
    RustPair,
    RustPairSummary,
    RustResult,
    RustSingle,
    RustWorkflow,
    Summary,
)

__all__ = ["forms_of", "summary_of"]

T = TypeVar("T")
_AT = re.compile(r" - at `(?P<path>[^`]*)`$")
NO_TOKEN = "it ended without its final line: 0 tokens"


# ---- which form is it


def forms_of(value: Any, path: Path) -> LegacyMetrics:
    if isinstance(value, list):
        return _python_single(_typed(value, list[PythonRun], path))
    keys = set(value) if isinstance(value, dict) else set()
    if {"baseline", "chimera"} <= keys:
        return _rust_single(_typed(value, RustSingle, path), path)
    if {"collector", "insight"} <= keys:
        first = value["collector"] if isinstance(value["collector"], dict) else {}
        if "result" in first:
            return _rust_multi(_typed(value, RustPair, path), path)
        if "aggregate_metrics" in first:
            return _python_multi(_typed(value, PythonPair, path))
        return _head_multi(_typed(value, HeadPair, path))
    raise unlike(path, value)


def _typed(value: Any, kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
        at = _AT.search(message)
        what = _AT.sub("", message)
        raise StoreError(
            what[:1].lower() + what[1:].replace("`", ""),
            where=f"{path}: {at['path'] if at else '$'}",
        ) from None


# ---- single agents


def _rust_single(found: RustSingle, path: Path) -> LegacyMetrics:
    agents: list[LegacyAgent] = []
    told: dict[str, Told] = {}
    for role, result in (("baseline", found.baseline), ("chimera", found.chimera)):
        place = f"$.{role}"
        calls = _rust_calls(result, place, path)
        told[role] = _told(result.aggregate_metrics, f"{place}.aggregate_metrics")
        workflows = {one.run_number: one for one in result.workflow_runs}
        for run in sorted({call.run for call in calls} | set(workflows)):
            workflow = workflows.get(run)
            mine = tuple(call for call in calls if call.run == run)
            agents.append(
                LegacyAgent(
                    role=role,
                    run=run,
                    model=result.model,
                    options=_options(result.configuration),
                    calls=mine,
                    told=Told(figures={}, place=place),
                    failed=_failed(mine),
                    spans_s=_spans(workflow.workflow) if workflow else {},
                    execution_s=workflow.workflow.total_seconds if workflow else None,
                    files=workflow.benchmark_data_count if workflow else None,
                    place=place,
                )
            )
    told["delta"] = _told(found.delta, "$.delta")
    return LegacyMetrics(
        form="single-rust", agents=tuple(agents), told=told, started=found.timestamp
    )


def _python_single(runs: list[PythonRun]) -> LegacyMetrics:
    agents: list[LegacyAgent] = []
    told: dict[str, Told] = {}
    head = any(
        "request_count" in one.metrics.aggregate_metrics
        for run in runs
        for one in (run.baseline_results, run.chimera_results)
    )
    for index, run in enumerate(runs):
        for role, one, seconds in (
            ("baseline", run.baseline_results, run.baseline_duration),
            ("chimera", run.chimera_results, run.chimera_duration),
        ):
            place = f"$[{index}].{role}_results"
            agents.append(
                LegacyAgent(
                    role=role,
                    run=run.run_number,
                    model=one.metrics.model,
                    options=_options(one.metrics.configuration),
                    told=_told(one.metrics.aggregate_metrics, f"{place}.metrics.aggregate_metrics"),
                    failed=_without_tokens(one.metrics.aggregate_metrics),
                    execution_s=seconds,
                    files=_files(one),
                    started=one.start_time or _text(one.metrics.aggregate_metrics, "start_time"),
                    place=place,
                )
            )
        told[f"delta {run.run_number}"] = _told(
            run.performance_delta, f"$[{index}].performance_delta"
        )
    started = [agent.started for agent in agents if agent.started]
    return LegacyMetrics(
        form="single-python-head" if head else "single-python",
        agents=tuple(agents),
        told=told,
        started=min(started, default=None),
    )


# ---- pairs


def _rust_multi(found: RustPair, path: Path) -> LegacyMetrics:
    agents = []
    v2 = found.collector.result.llm_calls is not None
    for role, one in (("collector", found.collector), ("insight", found.insight)):
        place = f"$.{role}.result"
        calls = _rust_calls(one.result, place, path)
        agents.append(
            LegacyAgent(
                role=role,
                run=found.run_number,
                model=one.result.model or one.config.model,
                options=_options(one.result.configuration or one.config.options),
                calls=calls,
                told=_told(one.result.aggregate_metrics, f"{place}.aggregate_metrics"),
                failed=_failed(calls),
                execution_s=one.execution_time_s,
                spans_s=_spans(one.result.workflow),
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
                told=_told(msgspec.structs.asdict(summary), "$.summary"),
                contention=summary.resource_contention_detected,
                place="$",
            ),
        ),
        started=found.collector.result.timestamp,
    )


def _python_multi(found: PythonPair) -> LegacyMetrics:
    summary = found.summary
    agents = [
        LegacyAgent(
            role=role,
            run=summary.run_number,
            model=one.model,
            options=_options(one.configuration),
            told=_told(one.aggregate_metrics, f"$.{role}.aggregate_metrics"),
            failed=_without_tokens(one.aggregate_metrics),
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
                told=_told(msgspec.structs.asdict(summary), "$.summary"),
                contention=summary.resource_contention_detected,
                place="$",
            ),
        ),
    )


def _head_multi(found: HeadPair) -> LegacyMetrics:
    return LegacyMetrics(form="multi-python-head", pairs=(_head_pair(found, "$"),))


def _head_pair(found: HeadPair, place: str) -> LegacyPair:
    agents = [
        LegacyAgent(
            role=role,
            run=found.run_number,
            model=None,
            options=_options(one.options),
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
        told=_told(msgspec.structs.asdict(found), place),
        place=place,
    )


def _head_told(call: LegacyCall, place: str) -> Told:
    """An agent of one call, under the names that the other forms have for several."""
    found = {
        "average_tokens_per_second": call.throughput_tok_s,
        "average_ttft_ms": call.ttft_ms,
        "total_tokens_generated": call.tokens,
    }
    return _told(found, place)


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


# ---- summary.json


def summary_of(value: Any, path: Path) -> LegacySummary:
    found = _typed(value, Summary, path)
    form: Form = "multi-rust-v1"
    pairs = []
    for index, one in enumerate(found.runs):
        place = f"$.runs[{index}]"
        here = Path(f"{path}: {place}")
        if "concurrent_wall_time_ms" in one:
            form = "multi-python-head"
            pairs.append(_head_pair(_typed(one, HeadPair, here), place))
            continue
        if "concurrent_wall_time" in one:
            form = "multi-python"
            python = _typed(one, PythonPairSummary, here)
            run, wall, scenario = python.run_number, python.concurrent_wall_time, found.scenario
            contention = python.resource_contention_detected
        else:
            rust = _typed(one, RustPairSummary, here)
            run, wall = rust.run_number, rust.concurrent_wall_time_s
            scenario = rust.scenario or found.scenario
            contention = rust.resource_contention_detected
        pairs.append(
            LegacyPair(
                run=run,
                scenario=scenario_name(scenario),
                agents=None,
                wall_s=wall,
                told=_told(one, place),
                contention=contention,
                place=place,
            )
        )
    return LegacySummary(
        form=form,
        scenario=scenario_name(found.scenario),
        pairs=tuple(pairs),
        told=_told(found.aggregate, "$.aggregate"),
        started=found.generated_at,
    )


# ---- parts


def _rust_calls(result: RustResult, place: str, path: Path) -> tuple[LegacyCall, ...]:
    if result.llm_calls is not None:
        return tuple(
            _rust_call(
                one.metrics,
                run=one.run_number or 1,
                stage=one.stage,
                prompt_chars=None if one.prompt is None else len(one.prompt),
                text=one.response or "",
                place=f"{place}.llm_calls[{index}]",
            )
            for index, one in enumerate(result.llm_calls)
        )
    if result.individual_runs is None:
        raise StoreError("neither llm_calls nor individual_runs is there", where=f"{path}: {place}")
    return tuple(
        _rust_call(one, run=index + 1, stage="", place=f"{place}.individual_runs[{index}]")
        for index, one in enumerate(result.individual_runs)
    )


def _rust_call(one: RustCall, **more: Any) -> LegacyCall:
    return LegacyCall(
        failed=NO_TOKEN if one.tokens_generated == 0 else "",
        tokens=one.tokens_generated,
        throughput_tok_s=one.throughput_tokens_per_sec,
        ttft_ms=one.ttft_ms,
        total_ms=one.total_duration_ms,
        load_ms=one.load_duration_ms,
        prompt_ms=one.prompt_eval_duration_ms,
        eval_ms=one.eval_duration_ms,
        **more,
    )


def _failed(calls: tuple[LegacyCall, ...]) -> str:
    return next((f"{one.place}: {one.failed}" for one in calls if one.failed), "")


def _without_tokens(figures: Figures) -> str:
    return NO_TOKEN if figures.get("total_tokens_generated") == 0 else ""


def _options(raw: Figures) -> dict[str, Any]:
    return {key: typed_again(value) for key, value in raw.items() if value is not None}


def _spans(workflow: RustWorkflow) -> dict[str, float]:
    found = msgspec.structs.asdict(workflow)
    return {
        name.removesuffix("_seconds"): float(value)
        for name, value in found.items()
        if value is not None and name != "total_seconds"
    }


def _files(one: PythonAgentRun) -> int | None:
    if one.benchmark_data_count is not None:
        return one.benchmark_data_count
    harvested = one.analysis.get("performance_metrics")
    count = harvested.get("total_files_analyzed") if isinstance(harvested, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _told(raw: Figures, place: str) -> Told:
    """The numbers of an object; what is null, text or an object is none."""
    numbers = {
        key: float(value)
        for key, value in raw.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Told(figures=numbers, place=place)


def _text(raw: Figures, key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) else None


def _seconds(value_ms: float | None) -> float | None:
    return None if value_ms is None else value_ms / 1e3
