"""`metrics.json`: a run as one structured JSON document, for scripts that do not read record logs.

    format, format_version   what this is
    definitions              every metric in a sentence; what the interval is
    run                      identity, spec digest, state, times
    verdict                  state and caveats
    cells                    of a sweep: cell → path → value
    arms[]                   calls, effective configuration, aggregate_metrics, by name; one entry
                             per arm and cell, with its place on the axes of the sweep
    stopping[], search[]     what rules of the spec decided, and on what evidence
    sessions[]               when the run was taken up again
    iterations[]             run by run, warm-up included and marked
    comparisons[]            candidate − baseline, with the meaning of the sign

Every name ends in its unit, or has a `unit` beside it; unknown is null.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Final

import msgspec

from harness.compare import compare_arms
from harness.compare.gain import gain_of
from harness.protocols import RunData
from harness.report.aggregate import Pair, deltas
from harness.report.iterations import iteration_lines
from harness.report.rows import effective_by_trial
from harness.schema import ArmSummary, Effective, MetricSummary, Summary
from harness.text import plain_json

__all__ = ["FORMAT_VERSION", "write"]

FORMAT_VERSION: Final = 1

SIGN: Final = (
    "differences are candidate - baseline: positive means that the candidate's value is higher, "
    "which is good where `better` is `higher` and bad where it is `lower`"
)


def write(run: RunData, out: BinaryIO) -> None:
    document = msgspec.json.encode(_document(run))
    out.write(plain_json(msgspec.json.format(document, indent=2)) + b"\n")


def _document(run: RunData) -> dict[str, Any]:
    manifest, summary = run.manifest, run.summary
    effective = effective_by_trial(run)
    return {
        "format": "chimera-harness metrics",
        "format_version": FORMAT_VERSION,
        "definitions": _definitions(),
        "run": {
            "run_id": summary.run_id,
            "name": summary.name,
            "state": summary.state,
            "scenario": summary.scenario,
            "backend": summary.backend,
            "model": summary.model,
            "load_mode": summary.load_mode,
            "spec_digest": summary.spec_digest,
            "seed": manifest.spec.seed,
            "started": summary.started,
            "ended": manifest.ended,
            "wall_s": summary.wall_s,
            "harness_version": manifest.environment.harness_version,
        },
        "verdict": summary.verdict,
        "cells": summary.cells,
        "arms": [
            _arm(
                arm,
                summary,
                [e for (a, c, _), e in effective.items() if (a, c) == (arm.arm, arm.cell)],
            )
            for arm in summary.arms
        ],
        "stopping": summary.stopping,
        "search": summary.search,
        "sessions": run.sessions,
        "iterations": iteration_lines(run),
        "comparisons": [_comparison(pair) for pair in deltas(summary, compare_arms(run))],
    }


def _definitions() -> dict[str, str]:
    from harness.metrics import (
        CALL_METRICS,
        COLD_METRICS,
        CONCURRENCY_METRICS,
        ENERGY_METRICS,
        ITERATION_METRICS,
    )

    return {
        "ci_low … ci_high": "95 % interval of the mean, by expanded percentile bootstrap; null "
        "where there are fewer of ci_of than needs.ci",
        "ci_of": "what the bootstrap draws, then values within each: trials; iterations or calls "
        "where there is one trial, and the interval then says nothing of another launch",
        "n_eff": "independent values that would fix the mean as well: less than n where those sent "
        "one after the other resemble one another",
        "outliers": "values over 3.5 scaled deviations (MAD) from the median; they are in every "
        "figure but mean_without_outliers and median_without_outliers; null below 10 values",
        "band": "what the spec's bands call it; band_by: which figure was looked at, or why there "
        "is none",
        "goodput": "requests that met every bound of the SLO, of all that were planned",
        "cost": "of all calls that were sent, warm-up, cold and failed ones included: usd is the "
        "sum of those that are known, a decimal; unknown: calls of which nobody knows, which are "
        "not free",
        "warmup": "where MSER-5 would cut the series off; nothing was",
        **{one.name: one.definition for one in CALL_METRICS},
        **{one.name: one.definition for one in (*ITERATION_METRICS, *COLD_METRICS)},
        **{one.name: one.definition for one in ENERGY_METRICS},
        **{one.name: one.definition for one in CONCURRENCY_METRICS},
    }


def _arm(arm: ArmSummary, summary: Summary, effective: list[Effective]) -> dict[str, Any]:
    distinct = [e for index, e in enumerate(effective) if e not in effective[:index]]
    return {
        "arm": arm.arm,
        "cell": arm.cell,
        "trials": arm.trials,
        "iterations": arm.iterations,
        "axes": summary.cells.get(arm.cell, {}),
        "skipped_trials": arm.skipped,
        "planned_calls": arm.planned,
        "calls": arm.calls,
        "output_tokens": arm.output_tokens,
        "goodput": arm.goodput,
        "cost": arm.cost,
        "warmup": arm.warmup,
        "agents": arm.agents,
        "gain": gain_of(arm, summary.verdict.caveats),
        "effective_configurations": distinct,
        "aggregate_metrics": {one.name: _metric(one) for one in arm.metrics},
    }


def _metric(one: MetricSummary) -> dict[str, Any]:
    fields = msgspec.structs.asdict(one)
    del fields["name"]
    return fields


def _comparison(pair: Pair) -> dict[str, Any]:
    return {
        "baseline": pair.baseline.arm,
        "candidate": pair.candidate.arm,
        "cell": pair.candidate.cell,
        "baseline_cell": pair.baseline.cell,
        "sign": SIGN,
        "metrics": {delta.metric: delta for delta in pair.deltas},
    }
