"""The fields of the legacy forms: every Struct is what the writing program wrote. What becomes of
them is in single.py and pairs.py.

Decoded strictly: a field that it always wrote must be there, with its type; what it left null is
unknown; what else is in the file is not read.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

__all__ = [
    "Figures",
    "HeadAgent",
    "HeadCall",
    "HeadPair",
    "PythonAgentRun",
    "PythonMetrics",
    "PythonPair",
    "PythonPairSummary",
    "PythonRun",
    "RustAgentConfig",
    "RustCall",
    "RustExecution",
    "RustPair",
    "RustPairSummary",
    "RustResult",
    "RustSingle",
    "RustStage",
    "RustWorkflow",
    "RustWorkflowRun",
    "Summary",
]

Figures = dict[str, Any]


class _Form(Struct, frozen=True, kw_only=True):
    pass


# ---- Rust


class RustCall(_Form, frozen=True):
    ttft_ms: float | None
    throughput_tokens_per_sec: float | None
    total_duration_ms: float | None
    tokens_generated: int | None
    prompt_eval_duration_ms: float | None
    eval_duration_ms: float | None
    load_duration_ms: float | None


class RustStage(_Form, frozen=True):
    metrics: RustCall
    stage: str = ""
    prompt: str | None = None
    response: str | None = None
    run_number: int | None = None


class RustWorkflow(_Form, frozen=True):
    ingest_seconds: float | None = None
    analysis_seconds: float | None = None
    report_seconds: float | None = None
    total_seconds: float | None = None


class RustWorkflowRun(_Form, frozen=True):
    run_number: int
    workflow: RustWorkflow = RustWorkflow()
    benchmark_data_count: int | None = None


class RustResult(_Form, frozen=True):
    aggregate_metrics: Figures
    configuration: Figures
    model: str | None = None
    llm_calls: list[RustStage] | None = None
    individual_runs: list[RustCall] | None = None
    workflow_runs: list[RustWorkflowRun] = field(default_factory=list)
    workflow: RustWorkflow = RustWorkflow()
    benchmark_data_count: int | None = None
    timestamp: str | None = None


class RustSingle(_Form, frozen=True):
    baseline: RustResult
    chimera: RustResult
    delta: Figures = field(default_factory=dict)
    timestamp: str | None = None


class RustAgentConfig(_Form, frozen=True):
    base_url: str = ""
    model: str | None = None
    options: Figures = field(default_factory=dict)


class RustExecution(_Form, frozen=True):
    result: RustResult
    execution_time_s: float | None
    config: RustAgentConfig = RustAgentConfig()


class RustPairSummary(_Form, frozen=True):
    run_number: int
    concurrent_wall_time_s: float | None
    sequential_estimated_s: float | None
    concurrency_speedup: float | None
    efficiency_percent: float | None
    resource_contention_detected: bool | None
    throughput_delta: float | None
    ttft_delta_ms: float | None
    collector_throughput: float | None
    insight_throughput: float | None
    collector_ttft_ms: float | None
    insight_ttft_ms: float | None
    scenario: str | None = None


class RustPair(_Form, frozen=True):
    collector: RustExecution
    insight: RustExecution
    summary: RustPairSummary
    run_number: int
    scenario: str | None = None


# ---- Python


class PythonMetrics(_Form, frozen=True):
    aggregate_metrics: Figures
    configuration: Figures = field(default_factory=dict)
    model: str | None = None


class PythonAgentRun(_Form, frozen=True):
    metrics: PythonMetrics
    benchmark_data_count: int | None = None
    analysis: Figures = field(default_factory=dict)
    start_time: str | None = None


class PythonRun(_Form, frozen=True):
    run_number: int
    baseline_results: PythonAgentRun
    chimera_results: PythonAgentRun
    baseline_duration: float | None = None
    chimera_duration: float | None = None
    performance_delta: Figures = field(default_factory=dict)


class PythonPairSummary(_Form, frozen=True):
    run_number: int
    concurrent_wall_time: float | None
    sequential_estimated_time: float | None
    concurrency_speedup: float | None
    throughput_delta: float | None
    ttft_delta_ms: float | None
    resource_contention_detected: bool | None = None
    baseline_throughput: float | None = None
    chimera_throughput: float | None = None
    baseline_ttft_ms: float | None = None
    chimera_ttft_ms: float | None = None
    baseline_duration: float | None = None
    chimera_duration: float | None = None
    collector_ollama_url: str = ""
    insight_ollama_url: str = ""


class PythonPair(_Form, frozen=True):
    collector: PythonMetrics
    insight: PythonMetrics
    summary: PythonPairSummary
    collector_execution_time: float | None
    insight_execution_time: float | None


class HeadCall(_Form, frozen=True):
    tokens_generated: int | None
    throughput_tokens_per_sec: float | None
    ttft_ms: float | None
    total_duration_ms: float | None
    wall_clock_ms: float | None = None


class HeadAgent(_Form, frozen=True):
    metrics: HeadCall
    options: Figures = field(default_factory=dict)
    base_url: str = ""
    response: str | None = None


class HeadPair(_Form, frozen=True):
    run_number: int
    collector: HeadAgent
    insight: HeadAgent
    concurrent_wall_time_ms: float | None
    sequential_estimate_ms: float | None
    concurrency_speedup: float | None
    efficiency_percent: float | None
    throughput_delta: float | None
    ttft_delta_ms: float | None
    scenario: str | None = None


# ---- summary.json


class Summary(_Form, frozen=True):
    runs: list[dict[str, Any]]
    aggregate: Figures = field(default_factory=dict)
    scenario: str | None = None
    generated_at: str | None = None
