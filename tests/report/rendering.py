"""Reports as text, and runs to write them of."""

from __future__ import annotations

import io
import json

from harness.compare import compare_arms
from harness.report import comparison, metrics_json
from harness.report.aggregate import deltas
from tests.store import builders
from tests.store.builders import FakeRun, manifest


def markdown(run) -> str:
    out = io.BytesIO()
    comparison.write(run, out)
    return out.getvalue().decode()


def document(run) -> dict:
    out = io.BytesIO()
    metrics_json.write(run, out)
    return json.loads(out.getvalue())


def many_trials(shift_ms: float, trials: int = 5) -> FakeRun:
    """Launches that differ by a few ms, and arms that differ by `shift_ms`."""
    arms = ("baseline", "chimera")
    records, plan = [], []
    for number in range(2 * trials):
        arm = arms[number % 2]
        ttft = 50 + number // 2 + (shift_ms if arm == "chimera" else 0)
        calls = [
            builders.call(
                arm=arm,
                trial=number,
                ordinal=i,
                sent_ms=1000 * number + 200 * i,
                ttft_ms=ttft + i,
                tokens=6,
            )
            for i in range(4)
        ]
        records += [*calls, builders.iteration(calls), builders.trial(arm, number)]
        plan.append((arm, "base", number))
    return FakeRun(manifest(state="finished", plan=tuple(plan)), records)


def reading(run, name: str) -> str:
    (pair,) = deltas(run.summary, compare_arms(run))
    return next(delta.reading for delta in pair.deltas if delta.metric == name)
