"""Files of the legacy forms, with numbers of our own: by the fields that the older programs wrote.

A pair of numbers per call (tokens, tok/s) and its waits decide everything else, as it did there.
`write_fixtures` makes the files below tests/data/legacy.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from statistics import fmean, stdev

MODEL = "toy:1b"
OPTIONS = {"num_gpu": 80, "num_ctx": 512, "temperature": 0.8, "top_p": 0.9}


def f32(value):
    """As a 32-bit float prints in a 64-bit program."""
    return struct.unpack("<f", struct.pack("<f", value))[0] if isinstance(value, float) else value


def call(tokens=200, rate=100.0, ttft=40.0, load=20.0, prompt=15.0):
    """One call as the Rust programs wrote it."""
    spent = tokens / rate * 1e3
    return {
        "ttft_ms": ttft,
        "throughput_tokens_per_sec": rate,
        "total_duration_ms": ttft + spent + 2.0,
        "tokens_generated": tokens,
        "prompt_eval_duration_ms": prompt,
        "eval_duration_ms": spent,
        "load_duration_ms": load,
    }


def torn(ttft=55.0, total=10_020.0):
    """A call whose final line never came: everything of the server's is 0, as if it were so."""
    return dict.fromkeys(call(), 0.0) | {
        "ttft_ms": ttft, "total_duration_ms": total, "tokens_generated": 0,
    }  # fmt: skip


def aggregate(calls):
    """Means over calls, sums, sample standard deviations: failed calls averaged in."""

    def of(name):
        return [one[name] for one in calls]

    rates, waits = of("throughput_tokens_per_sec"), of("ttft_ms")
    return {
        "average_tokens_per_second": fmean(rates),
        "average_ttft_ms": fmean(waits),
        "total_duration_ms": sum(of("total_duration_ms")),
        "total_tokens_generated": sum(of("tokens_generated")),
        "prompt_eval_duration_ms": sum(of("prompt_eval_duration_ms")),
        "eval_duration_ms": sum(of("eval_duration_ms")),
        "load_duration_ms": sum(of("load_duration_ms")),
        "stddev_throughput": stdev(rates) if len(rates) > 1 else 0.0,
        "stddev_ttft": stdev(waits) if len(waits) > 1 else 0.0,
    }


def rust_result(runs, options=None, *, v1=False, files=101):
    """One agent of a single form; `runs` is a list of lists of calls."""
    every = [one for calls in runs for one in calls]
    made = {
        "agent_type": "Toy",
        "model": MODEL,
        "runs": len(runs),
        "configuration": {key: f32(value) for key, value in (options or {}).items()},
        "aggregate_metrics": aggregate(every),
        "timestamp": "2025-11-14T10:00:00.123456700Z",
        "system_info": {"os": "windows", "arch": "x86_64"},
    }
    if v1:
        return made | {"individual_runs": every}
    stages = ("analysis", "report")
    made["llm_calls"] = [
        {"run_number": n, "stage": stages[i % 2], "prompt": "p" * 70, "response": "r", "metrics": c}
        for n, calls in enumerate(runs, 1)
        for i, c in enumerate(calls)
    ]
    made["workflow_runs"] = [
        {
            "run_number": n,
            "benchmark_data_count": files,
            "workflow": {"ingest_seconds": 0.06, "analysis_seconds": 2.0, "report_seconds": 3.0,
                         "total_seconds": 5.1},
        }
        for n in range(1, len(runs) + 1)
    ]  # fmt: skip
    return made


def rust_single(baseline, chimera, **how):
    made = {
        "benchmark_type": "rust_vs_python_agent",
        "language": "rust",
        "timestamp": "2025-11-14T10:00:09.5Z",
        "baseline": rust_result(baseline, **how),
        "chimera": rust_result(chimera, OPTIONS, **how),
    }
    return made | {"delta": delta(made["baseline"], made["chimera"])}


def delta(baseline, chimera):
    one, two = (agent["aggregate_metrics"] for agent in (baseline, chimera))
    rate = [of["average_tokens_per_second"] for of in (one, two)]
    wait = [of["average_ttft_ms"] for of in (one, two)]
    return {
        "throughput_improvement_percent": (rate[1] - rate[0]) / rate[0] * 100,
        "ttft_reduction_percent": (wait[0] - wait[1]) / wait[0] * 100,
        "baseline_throughput": rate[0],
        "chimera_throughput": rate[1],
        "baseline_ttft_ms": wait[0],
        "chimera_ttft_ms": wait[1],
        "throughput_delta_absolute": rate[1] - rate[0],
        "ttft_delta_absolute_ms": wait[0] - wait[1],
    }


def rust_agent(calls, seconds, options, *, v1, port):
    """One agent of a pair, with its label and address."""
    result = rust_result([calls], options, v1=v1)
    if not v1:
        del result["workflow_runs"]
        for one in result["llm_calls"]:
            del one["run_number"]
        result |= {"individual_runs": calls, "benchmark_data_count": 0,
                   "workflow": {"ingest_seconds": 0.0, "analysis_seconds": 2.0,
                                "report_seconds": 3.0, "total_seconds": 5.0}}  # fmt: skip
    config = {"id": "a", "label": "A", "prompt": "p", "model": MODEL,
              "base_url": f"http://localhost:{port}",
              "options": result["configuration"]}  # fmt: skip
    return {"config": config, "result": result, "execution_time_s": seconds}


def rust_pair(run, a, b, seconds, wall, *, scenario="chimera_homo", v1=False, options=None):
    """`a`, `b`: lists of calls; seconds: each agent's own time while both ran."""
    options = (OPTIONS, OPTIONS) if options is None else options
    one = rust_agent(a, seconds[0], options[0], v1=v1, port=11434)
    two = rust_agent(b, seconds[1], options[1], v1=v1, port=11435)
    speedup = sum(seconds) / wall
    rates = [agent["result"]["aggregate_metrics"] for agent in (one, two)]
    summary = {
        "run_number": run,
        "scenario": scenario,
        "throughput_delta": rates[1]["average_tokens_per_second"]
        - rates[0]["average_tokens_per_second"],
        "ttft_delta_ms": rates[0]["average_ttft_ms"] - rates[1]["average_ttft_ms"],
        "concurrency_speedup": speedup,
        "efficiency_percent": speedup * 50,
        "sequential_estimated_s": sum(seconds),
        "concurrent_wall_time_s": wall,
        "resource_contention_detected": speedup < 1.5,
        "collector_throughput": rates[0]["average_tokens_per_second"],
        "insight_throughput": rates[1]["average_tokens_per_second"],
        "collector_ttft_ms": rates[0]["average_ttft_ms"],
        "insight_ttft_ms": rates[1]["average_ttft_ms"],
    }
    return {"run_number": run, "scenario": scenario, "collector": one, "insight": two,
            "summary": summary}  # fmt: skip


def python_metrics(tokens, rate, ttft, options):
    """Aggregates of one agent, as the first Python programs wrote them."""
    return {
        "agent_type": "toy",
        "model": MODEL,
        "configuration": options,
        "aggregate_metrics": {
            "total_requests": 2,
            "total_duration_ms": tokens / rate * 1e3,
            "total_tokens_generated": tokens,
            "average_ttft_ms": ttft,
            "average_tokens_per_second": rate,
            "p95_ttft_ms": ttft * 1.5,
            "p95_tokens_per_second": rate * 1.1,
            "average_gpu_utilization": None,
            "peak_gpu_memory_gb": None,
            "peak_gpu_temperature_c": None,
        },
        "execution_summary": "Execution not completed",
    }


def python_pair(run, a, b, seconds, wall):
    """`a`, `b`: (tokens, tok/s, load + prompt in ms, options)."""
    speedup = sum(seconds) / wall
    return {
        "collector": python_metrics(*a),
        "insight": python_metrics(*b),
        "summary": {
            "run_number": run,
            "collector_ollama_url": "http://localhost:11434",
            "insight_ollama_url": "http://localhost:11435",
            "baseline_throughput": a[1],
            "chimera_throughput": b[1],
            "throughput_delta": b[1] - a[1],
            "baseline_ttft_ms": a[2],
            "chimera_ttft_ms": b[2],
            "ttft_delta_ms": a[2] - b[2],
            "baseline_duration": seconds[0],
            "chimera_duration": seconds[1],
            "concurrent_wall_time": wall,
            "sequential_estimated_time": sum(seconds),
            "concurrency_speedup": speedup,
            "gpu_memory_peak": None,
            "resource_contention_detected": speedup < 1.5,
        },
        "collector_execution_time": seconds[0],
        "insight_execution_time": seconds[1],
    }


def python_summary(pairs, scenario):
    runs = [one["summary"] for one in pairs]

    def mean(name):
        return fmean(one[name] for one in runs)

    return {
        "runs": runs,
        "aggregate": {
            "average_throughput_delta": mean("throughput_delta"),
            "average_ttft_delta_ms": mean("ttft_delta_ms"),
            "average_concurrency_speedup": mean("concurrency_speedup"),
            "average_wall_time": mean("concurrent_wall_time"),
            "average_efficiency": mean("concurrency_speedup") * 50,
            "contention_detected_runs": sum(one["resource_contention_detected"] for one in runs),
        },
        "scenario": scenario,
        "generated_at": "2025-10-09T23:26:14.649636",
    }


def head_agent(tokens, rate, prompt, wall, options):
    return {
        "id": "a",
        "base_url": "http://localhost:11434",
        "options": options,
        "response": "## Inventory",
        "metrics": {
            "tokens_generated": tokens,
            "throughput_tokens_per_sec": rate,
            "ttft_ms": prompt,
            "total_duration_ms": tokens / rate * 1e3 + prompt,
            "wall_clock_ms": wall,
        },
    }


def head_pair(run, a, b, wall, scenario="baseline_vs_chimera"):
    one, two = head_agent(*a), head_agent(*b)
    estimate = sum(agent["metrics"]["total_duration_ms"] for agent in (one, two))
    speedup = estimate / wall
    return {
        "run_number": run,
        "scenario": scenario,
        "collector": one,
        "insight": two,
        "concurrent_wall_time_ms": wall,
        "sequential_estimate_ms": estimate,
        "concurrency_speedup": speedup,
        "efficiency_percent": speedup * 50,
        "throughput_delta": b[1] - a[1],
        "ttft_delta_ms": b[2] - a[2],
    }


def python_single(runs, *, head=False, files=0):
    """`runs`: list of ((tokens, tok/s, ttft), (…)) of baseline and chimera."""
    made = []
    for number, pair in enumerate(runs, 1):
        agents = []
        for options, (tokens, rate, ttft) in zip(({}, OPTIONS), pair, strict=True):
            metrics = python_metrics(tokens, rate, ttft, options)
            one = {"report": "#", "metrics": metrics, "start_time": "2025-10-09T16:45:47.655478",
                   "analysis": {
                       "performance_metrics": {"total_files_analyzed": files}}}  # fmt: skip
            if head:
                told = metrics["aggregate_metrics"]
                told["request_count"] = told.pop("total_requests")
                del told["p95_ttft_ms"], told["p95_tokens_per_second"]
            else:
                one["benchmark_data_count"] = files
            agents.append(one)
        one, two = (agent["metrics"] for agent in agents)
        made.append(
            {
                "run_number": number,
                "baseline_results": agents[0],
                "chimera_results": agents[1],
                "performance_delta": delta(one, two),
                "baseline_duration": pair[0][0] / pair[0][1] + 1,
                "chimera_duration": pair[1][0] / pair[1][1] + 1,
            }
        )
    return made


# ---- files


def write(path, value):
    """As those programs wrote: indented, NaN as such."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
    return path


def folder_of_pairs(root):
    """Two configurations of a Python sweep; of the second the last run is lost, its folder is
    empty, and its summary still has it. A third left nothing at all."""
    wanted = {"phase_1_test_001": "baseline_vs_chimera", "phase_1_test_008": "chimera_hetero"}
    b = OPTIONS | {"num_ctx": 2048}
    for config, scenario in wanted.items():
        first = {} if scenario == "baseline_vs_chimera" else OPTIONS
        pairs = [
            python_pair(n, (400 + n, 80.0, 300.0, first), (420, 78.0 + n, 250.0, b),
                        (6.0 + n, 6.5), 6.6 + n)
            for n in (1, 2, 3)
        ]  # fmt: skip
        for n, one in enumerate(pairs, 1):
            if (config, n) == ("phase_1_test_008", 3):
                (root / config / "run_3").mkdir(parents=True)
            else:
                write(root / config / f"run_{n}" / "metrics.json", one)
        write(root / config / "summary.json", python_summary(pairs, scenario))
    (root / "phase_1_test_009").mkdir()
    return root


def write_fixtures(root: Path) -> None:
    """The stored files; `tests/plugins/test_legacy.py` compares them with this."""
    two = [[call(), call(150, 96.0, 44.0)], [call(220, 101.0), call(140, 95.0, 60.0)]]
    poisoned = [[call(), torn()], [call(210, 99.0), call(160, 97.0)]]
    pair = ([call(), call(180, 60.0, 900.0)], [call(210, 58.0), call(190, 61.0)])
    later = [((900, 118.0, 210.0), (880, 119.0, 205.0))]
    late = [call(300, 90.0, 2600.0)]
    for name, value in {
        "single-python": python_single([((1000, 99.0, 1400.0), (1010, 99.2, 1390.0))]),
        "single-python-head": python_single(later, head=True),
        "single-rust": rust_single(two, poisoned),
        "single-rust-v1": rust_single([[call()]], [[call(210, 99.0)]], v1=True),
        "multi-rust-v1": rust_pair(1, [call()], late, (4.0, 6.0), 6.1, v1=True),
        "multi-rust-v2": rust_pair(2, *pair, (8.0, 7.5), 8.1),
        "multi-python": python_pair(1, (400, 43.0, 480.0, OPTIONS),
                                    (420, 63.0, 32_950.0, OPTIONS | {"num_ctx": 2048}),
                                    (49.3, 106.1), 106.45),
        "multi-python-head": head_pair(1, (440, 42.0, 25.0, 16_890.0, {}),
                                       (634, 52.0, 60.0, 18_895.0, OPTIONS), 18_906.0),
    }.items():  # fmt: skip
        write(root / name / "metrics.json", value)
