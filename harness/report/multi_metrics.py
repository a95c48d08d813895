"""`multi_metrics.json`: agents that worked at once, iteration by iteration and agent by agent.

    format, format_version   what this is
    definitions              every figure in a sentence; the legacy ones say what they are today
    run, verdict             as in metrics.json
    runs[]                   one entry per measured iteration: `metrics` of the pair that it makes
                             with its solo iteration, `agents[]` with each one's figures together
                             and alone, `legacy` under the names that older reports used

The legacy names hold figures of the same records by the older definitions. `concurrency_speedup` is
no speed-up; that is `metrics.speedup`, and null where nothing was measured alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

import msgspec

from harness.metrics.agents import Pair, agent_spans, agents_of, tokens_of
from harness.metrics.call import call_metric
from harness.metrics.concurrency import CONCURRENCY_METRICS, concurrency_metric, slowdown_of
from harness.metrics.series import pairs_of
from harness.protocols import RunData
from harness.schema import CallRecord, IterationRecord
from harness.text import plain_json

__all__ = ["FORMAT_VERSION", "write"]

FORMAT_VERSION: Final = 1
_OF_CALL: Final = ("ttft_ms", "e2e_ms", "decode_rate_server_tok_s", "queue_residual_ms")
_LEGACY: Final = {
    "concurrency_speedup": "metrics.load_balance_ratio: the agents' times while they worked at "
    "once, added up / their wall time. No sequential run is in it",
    "efficiency_percent": "concurrency_speedup / number of agents, in %",
    "sequential_estimated_s": "the agents' times while they worked at once, added up: an estimate "
    "by name, and no measurement of agents one after another",
    "concurrent_wall_time_s": "metrics.agents_wall_ms, in s",
    "resource_contention_detected": "concurrency_speedup < 1.5, of two agents; else null",
    "throughput_tok_s": "agent → mean of its calls' rates, as the server reports them",
    "ttft_ms": "agent → mean TTFT of its calls, measured",
    "throughput_delta": "of two agents, second - first: positive means that the second is faster",
    "ttft_delta_ms": "of two agents, second - first: positive means that the second waited "
    "longer. Some older files have the other sign",
}


def write(run: RunData, out: BinaryIO) -> None:
    document = msgspec.json.encode(_document(run))
    out.write(plain_json(msgspec.json.format(document, indent=2)) + b"\n")


def _document(run: RunData) -> dict[str, Any]:
    summary = run.summary
    return {
        "format": "chimera-harness multi-agent metrics",
        "format_version": FORMAT_VERSION,
        "definitions": {
            **{one.name: one.definition for one in CONCURRENCY_METRICS},
            **{name: call_metric(name).definition for name in _OF_CALL},
            **{f"legacy.{name}": meaning for name, meaning in _LEGACY.items()},
        },
        "run": {
            "run_id": summary.run_id,
            "name": summary.name,
            "state": summary.state,
            "scenario": summary.scenario,
            "backend": summary.backend,
            "model": summary.model,
            "started": summary.started,
        },
        "verdict": summary.verdict,
        "cells": summary.cells,
        "runs": [_entry(pair) for pair in _pairs(run)],
    }


def _pairs(run: RunData) -> Iterator[Pair]:
    """Of every arm and cell, in the order in which they were first recorded."""
    calls: dict[tuple[str, str], list[CallRecord]] = defaultdict(list)
    iterations: dict[tuple[str, str], list[IterationRecord]] = defaultdict(list)
    for record in run.records():
        place = (record.arm, record.cell)
        if isinstance(record, CallRecord):
            bare = msgspec.structs.replace(record, text=None, reasoning=None, payloads=None)
            calls[place].append(bare)
        elif isinstance(record, IterationRecord) and not record.imported:
            iterations[place].append(record)
    for place, found in iterations.items():
        yield from pairs_of(calls[place], found, run.manifest.spec.validity)


def _entry(pair: Pair) -> dict[str, Any]:
    record = pair.record
    noted = _noted_agents(record)
    return {
        "arm": record.arm,
        "cell": record.cell,
        "trial": record.trial,
        "iteration": record.iteration,
        "status": record.status,
        "error": record.error,
        "scenario": record.data.get("form"),
        "solo_status": pair.solo.status if pair.solo is not None else None,
        "metrics": {one.name: one.formula(pair) for one in CONCURRENCY_METRICS},
        "agents": [_agent(pair, name, noted.get(name, {})) for name in _in_order(record)],
        "legacy": _legacy(pair),
    }


def _noted_agents(record: IterationRecord) -> dict[str, dict[str, Any]]:
    """What the scenario said of each agent, in its order; a stranger may have noted anything."""
    found = record.data.get("agents")
    listed = found if isinstance(found, dict) else {}
    return {name: one for name, one in listed.items() if isinstance(one, dict)}


def _in_order(record: IterationRecord) -> list[str]:
    """Those that worked, as the spec has them: spans may be in the order of their ends."""
    worked = agents_of(record)
    named = [name for name in _noted_agents(record) if name in worked]
    return named + [name for name in worked if name not in named]


def _agent(pair: Pair, name: str, noted: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "about": noted,
        "slowdown": slowdown_of(name)(pair),
        "together": _work(pair.record, pair.calls, name),
        "alone": _work(pair.solo, pair.solo_calls, name) if pair.solo is not None else None,
    }


def _work(
    record: IterationRecord, calls: Sequence[CallRecord], agent: str
) -> dict[str, Any] | None:
    span = (agent_spans(record) or {}).get(agent)
    if span is None:
        return None
    mine = [call for call in calls if call.agent == agent]
    return {
        "start_ns": span[0],
        "agent_ms": (span[1] - span[0]) / 1e6,
        "output_tokens": tokens_of(mine),
        "calls": [
            {
                "call_id": call.call_id,
                "stage": call.stage,
                "status": call.status,
                "stamp_source": call.stamp_source,
                "output_tokens": call.usage.output_tokens,
                **{name: call_metric(name).formula(call) for name in _OF_CALL},
            }
            for call in mine
        ],
    }


def _legacy(pair: Pair) -> dict[str, Any]:
    spans = pair.together()
    ratio = concurrency_metric("load_balance_ratio").formula(pair)
    wall_ms = concurrency_metric("agents_wall_ms").formula(pair)
    flagged = concurrency_metric("legacy_contention").formula(pair)
    rates = _means(pair, "decode_rate_server_tok_s")
    waits = _means(pair, "ttft_ms")
    total_ns = sum(end - start for start, end in spans.values()) if spans else None
    return {
        "concurrency_speedup": ratio,
        "efficiency_percent": 100 * ratio / len(spans) if ratio is not None and spans else None,
        "sequential_estimated_s": total_ns / 1e9 if total_ns is not None else None,
        "concurrent_wall_time_s": wall_ms / 1e3 if wall_ms is not None else None,
        "resource_contention_detected": bool(flagged) if flagged is not None else None,
        "throughput_tok_s": rates,
        "ttft_ms": waits,
        "throughput_delta": _delta(rates),
        "ttft_delta_ms": _delta(waits),
    }


def _means(pair: Pair, metric: str) -> dict[str, float | None]:
    """Agent → mean over its calls, while all worked; None where one of them is unknown."""
    formula = call_metric(metric).formula
    found: dict[str, float | None] = {}
    for agent in _in_order(pair.record):
        values = [formula(call) for call in pair.calls if call.agent == agent]
        known = [value for value in values if value is not None]
        whole = bool(known) and len(known) == len(values)
        found[agent] = sum(known) / len(known) if whole else None
    return found


def _delta(of: dict[str, float | None]) -> float | None:
    """Second − first, of two."""
    if len(of) != 2:
        return None
    first, second = of.values()
    return None if first is None or second is None else second - first
