"""Runs of a sweep, for tests of reports. Nothing in them was measured."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from harness.schema import (
    ArmSpec,
    CallError,
    Effective,
    Probe,
    SearchResult,
    SessionRecord,
    Stopping,
    SweepSpec,
)
from tests.store import builders
from tests.store.builders import FakeRun, manifest

AXES = {"backend.options.num_ctx": [512, 1024, 4096], "backend.options.num_gpu": [0, 40, 80]}


def cells() -> dict[str, dict[str, Any]]:
    return {
        f"num_ctx={ctx},num_gpu={gpu}": {
            "backend.options.num_ctx": ctx,
            "backend.options.num_gpu": gpu,
        }
        for ctx in AXES["backend.options.num_ctx"]
        for gpu in AXES["backend.options.num_gpu"]
    }


def sweep_run(trials: int = 3, calls: int = 3, arms: tuple[str, ...] = ("baseline", "chimera")):
    """Two arms in nine cells; the second is 8 % slower to its first token."""
    rng = random.Random(11)
    records, plan, number = [], [], 0
    for _ in range(trials):
        for cell, values in cells().items():
            level_ms = 40 + values["backend.options.num_ctx"] / 100
            for arm in arms:
                slower = 1.08 if arm != arms[0] else 1.0
                made = []
                for ordinal in range(calls):
                    made.append(
                        builders.call(
                            arm=arm,
                            trial=number,
                            ordinal=ordinal,
                            sent_ms=1000.0 * number + 200 * ordinal + 10,
                            ttft_ms=round(level_ms * slower + rng.gauss(0, 1), 3),
                            tpot_ms=round(rng.uniform(9, 11), 3),
                            cell=cell,
                        )
                    )
                effective = Effective(
                    server="toyd",
                    server_version="1.2",
                    model="toy:1b",
                    context_length=values["backend.options.num_ctx"],
                    options={k.rpartition(".")[2]: v for k, v in values.items()},
                    details={"load_ms": 10 + number},
                )
                records += [
                    *made,
                    builders.iteration(made, cell=cell),
                    builders.trial(
                        arm,
                        number,
                        cell=cell,
                        effective=effective,
                        start_ns=number * 10**9,
                        end_ns=(number + 1) * 10**9 - 1,
                    ),
                ]
                plan.append((arm, cell, number))
                number += 1
    one = manifest(arms, state="finished", plan=tuple(plan), cells=cells())
    spec = msgspec.structs.replace(one.spec, sweep=SweepSpec(axes=AXES), trials=trials)
    run = FakeRun(msgspec.structs.replace(one, spec=spec), records)
    run.summary = msgspec.structs.replace(run.summary, cells=cells())
    return run


def with_decisions(run):
    """The same, as if it had been stopped by a rule, searched, cut short and taken up again."""
    cell = next(iter(cells()))
    skipped = builders.trial(
        "baseline",
        990,
        cell=cell,
        status="skipped",
        error=CallError(code="skipped", message="ttft_ms was narrow enough after 3 trials"),
    )
    probes = (
        Probe(cell="rate_per_s=1", load=1.0, trials=1, requests=100, good=100,
              share_low=0.9638, share_high=1.0, decision="meets", because="whole interval above"),
        Probe(cell="rate_per_s=4", load=4.0, trials=2, requests=200, good=120,
              share_low=0.5286, share_high=0.6685, decision="fails", because="interval below"),
    )  # fmt: skip
    run.summary = msgspec.structs.replace(
        run.summary,
        stopping=(
            Stopping(cell=cell, metric="ttft_ms", trials=3, decision="reached",
                     relative_widths={"baseline": 0.031, "chimera": None}, bound=0.05),
        ),
        search=(
            SearchResult(arm="baseline", path="load.rate_per_s", share_min=0.9, probes=probes,
                         highest=1.0, next_higher=4.0),
        ),
        sessions=2,
    )  # fmt: skip
    run = FakeRun(run.manifest, [*run.records(), skipped], run.summary)
    run.sessions = (
        SessionRecord(
            started="2026-11-20T22:00:00+00:00", realtime_offset_ns=17, superseded=(4, 5)
        ),
    )
    return run


__all__ = ["ArmSpec", "cells", "sweep_run", "with_decisions"]
