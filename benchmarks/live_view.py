"""What the live view costs: one redraw (rich's thread, four a second) and one call (the thread that
measures), with a table of so many rows.

    python benchmarks/live_view.py
"""

from __future__ import annotations

import os
import pty
import statistics
import threading
import time
from types import SimpleNamespace
from typing import Any

from harness.cli.live.terminal import LiveView
from harness.schema import BackendSpec, CallRecord, Instants, RunSpec, ScenarioSpec, TrialRecord

CALLS = 20_000
REDRAWS = 200


def plan_of(rows: int) -> Any:
    arms = tuple(
        SimpleNamespace(name=f"arm-{i % 3}", cell=f"num_ctx={512 * i},num_gpu={i}", load=None)
        for i in range(rows)
    )
    trials = tuple(
        SimpleNamespace(arm=arm, cell=arm.cell, trial=i, block=0) for i, arm in enumerate(arms)
    )
    spec = RunSpec(backend=BackendSpec(name="x"), scenario=ScenarioSpec(name="y"))
    return SimpleNamespace(spec=spec, arms=arms, cells={a.cell: {} for a in arms}, trials=trials)


def main() -> None:
    print("rows   redraw ms p50   max   call µs   end of a trial of 4,000 calls, ms")
    for rows in (2, 18, 90):
        ours, theirs = pty.openpty()
        threading.Thread(target=_drain, args=(ours,), daemon=True).start()
        with os.fdopen(theirs, "w") as stream:
            view = LiveView(stream)
            plan = plan_of(rows)
            view.run_started(plan)
            view.trial_started(plan.trials[0], rows)
            per_call, end_ms = _calls(view, plan)
            took = []
            view.start()
            for _ in range(REDRAWS):
                before = time.thread_time_ns()
                view._live.refresh()
                took.append((time.thread_time_ns() - before) / 1e6)
            view.stop()
        print(f"{rows:4}   {statistics.median(took):13.2f}   {max(took):.2f}   {per_call:7.2f}"
              f"   {end_ms:.1f}")  # fmt: skip


def _calls(view: LiveView, plan: Any) -> tuple[float, float]:
    arm = plan.trials[0].arm
    at = Instants(due_ns=0, sent_ns=0, first_token_ns=50, last_token_ns=90, end_ns=100)
    call = CallRecord(call_id="0", arm=arm.name, cell=arm.cell, trial=0, iteration=0,
                      phase="measured", status="ok", instants=at)  # fmt: skip
    before = time.thread_time_ns()
    for _ in range(CALLS):
        view.call_finished(call)
    between = time.thread_time_ns()
    record = TrialRecord(arm=arm.name, cell=arm.cell, trial=0, status="ok", start_ns=0, end_ns=100)
    view.trial_finished(record)
    after = time.thread_time_ns()
    return (between - before) / 1e3 / CALLS, (after - between) / 1e6


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return


if __name__ == "__main__":
    main()
