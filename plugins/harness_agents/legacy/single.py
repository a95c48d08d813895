"""Legacy files of single agents: a baseline and a chimera agent, one after the other."""

from __future__ import annotations

from pathlib import Path

from harness_agents.legacy.fields import Figures, PythonAgentRun, PythonRun, RustSingle
from harness_agents.legacy.parts import failed, options, rust_calls, spans, told, without_tokens
from harness_agents.legacy.records import LegacyAgent, LegacyMetrics, Told

__all__ = ["python_single", "rust_single"]


def rust_single(found: RustSingle, path: Path) -> LegacyMetrics:
    agents: list[LegacyAgent] = []
    of_all: dict[str, Told] = {}
    for role, result in (("baseline", found.baseline), ("chimera", found.chimera)):
        place = f"$.{role}"
        calls = rust_calls(result, place, path)
        of_all[role] = told(result.aggregate_metrics, f"{place}.aggregate_metrics")
        workflows = {one.run_number: one for one in result.workflow_runs}
        for run in sorted({call.run for call in calls} | set(workflows)):
            workflow = workflows.get(run)
            mine = tuple(call for call in calls if call.run == run)
            agents.append(
                LegacyAgent(
                    role=role,
                    run=run,
                    model=result.model,
                    options=options(result.configuration),
                    calls=mine,
                    told=Told(figures={}, place=place),
                    failed=failed(mine),
                    spans_s=spans(workflow.workflow) if workflow else {},
                    execution_s=workflow.workflow.total_seconds if workflow else None,
                    files=workflow.benchmark_data_count if workflow else None,
                    place=place,
                )
            )
    of_all["delta"] = told(found.delta, "$.delta")
    return LegacyMetrics(
        form="single-rust", agents=tuple(agents), told=of_all, started=found.timestamp
    )


def python_single(runs: list[PythonRun]) -> LegacyMetrics:
    agents: list[LegacyAgent] = []
    of_all: dict[str, Told] = {}
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
                    options=options(one.metrics.configuration),
                    told=told(one.metrics.aggregate_metrics, f"{place}.metrics.aggregate_metrics"),
                    failed=without_tokens(one.metrics.aggregate_metrics),
                    execution_s=seconds,
                    files=_files(one),
                    started=one.start_time or _text(one.metrics.aggregate_metrics, "start_time"),
                    place=place,
                )
            )
        of_all[f"delta {run.run_number}"] = told(
            run.performance_delta, f"$[{index}].performance_delta"
        )
    started = [agent.started for agent in agents if agent.started]
    return LegacyMetrics(
        form="single-python-head" if head else "single-python",
        agents=tuple(agents),
        told=of_all,
        started=min(started, default=None),
    )


def _files(one: PythonAgentRun) -> int | None:
    if one.benchmark_data_count is not None:
        return one.benchmark_data_count
    harvested = one.analysis.get("performance_metrics")
    count = harvested.get("total_files_analyzed") if isinstance(harvested, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _text(raw: Figures, key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) else None
