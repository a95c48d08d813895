"""Runs whose figures are exact, for comparisons. Nothing in them was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from harness.compare import Asked, Place, compare
from harness.schema import (
    ArmSpec,
    ArmSummary,
    ClosedLoad,
    Manifest,
    MetricValue,
    Summary,
    Verdict,
)
from tests.store import builders
from tests.store.builders import FakeRun, manifest

Levels = Mapping[tuple[str, str] | str, Sequence[float]]


def run_of(
    levels: Levels,
    *,
    calls: int = 3,
    spread_ms: float = 1.0,
    own: Mapping[str, Sequence[float]] | None = None,
    own_unit: str = "1",
    run_id: str = "c0ffee12",
    change: Any = lambda record: record,
    tokens: int = 5,
    whole: bool = False,
    **manifest_changes: Any,
) -> FakeRun:
    """`levels`: arm, or (arm, cell) → the TTFT of each of its trials in ms; trials are interleaved.
    `own`: arm → the figure `right` of each of its trials; `whole`: with the real summary."""
    keys = [key if isinstance(key, tuple) else (key, "base") for key in levels]
    figures = dict(zip(keys, levels.values(), strict=True))
    records, plan = [], []
    for block in range(max(map(len, figures.values()))):
        for key in keys:
            if block >= len(figures[key]):
                continue
            arm, cell = key
            number = len(plan)
            plan.append((arm, cell, number))
            made = [
                replace(
                    builders.call(
                        arm=arm,
                        trial=number,
                        ordinal=i,
                        sent_ms=1000.0 * number + 100 * i,
                        ttft_ms=figures[key][block] + spread_ms * (i - (calls - 1) / 2),
                        tokens=tokens,
                    ),
                    cell=cell,
                    prompt_digest=f"{block}.{i}",
                )
                for i in range(calls)
            ]
            value = (own or {}).get(arm)
            metrics = (
                (MetricValue(name="right", value=value[block], unit=own_unit, better="higher"),)
                if value
                else ()
            )
            iteration = builders.iteration(made, metrics=metrics) if made else None
            trial = builders.trial(arm, number, cell=cell)
            records += [change(one) for one in (*made, iteration, trial) if one is not None]
    arms = dict.fromkeys(arm for arm, _ in keys)
    cells = {cell: {"backend.options.num_ctx": cell} for _, cell in keys if cell != "base"}
    spec = replace(builders.spec(), arms={arm: ArmSpec() for arm in arms}, load=ClosedLoad())
    changes = {
        "state": "finished",
        "run_id": run_id,
        "cells": cells,
        "spec": spec,
        "plan": tuple(plan),
    }
    made_of = manifest(tuple(arms), **{**changes, **manifest_changes})
    return FakeRun(made_of, records, None if whole else _summary(made_of, keys))


def _summary(made_of: Manifest, keys: Sequence[tuple[str, str]]) -> Summary:
    """Without figures, which take their time; comparisons go to the records."""
    return Summary(
        schema_version=made_of.schema_version,
        run_id=made_of.run_id,
        name=made_of.name,
        state=made_of.state,
        scenario=made_of.spec.scenario.name,
        backend=made_of.spec.backend.name,
        model=made_of.spec.backend.model,
        spec_digest=made_of.spec_digest,
        arms=tuple(
            ArmSummary(arm=a, cell=c, trials=0, iterations=0, calls={}, planned=0, metrics=())
            for a, c in keys
        ),
        verdict=Verdict(state="valid"),
        started=made_of.started,
    )


def place(run: FakeRun, arm: str = "baseline", cell: str = "base", name: str = "run") -> Place:
    return Place(run=run, name=name, arm=arm, cell=cell)


def compare_one(a: Place, b: Place, **asked: Any) -> Any:
    (found,) = compare([(a, b)], Asked(**asked))
    return found


def effect(found: Any, metric: str = "ttft_ms") -> Any:
    return next(one for one in found.effects if one.metric == metric)
