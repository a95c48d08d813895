"""Runs of every shape that a figure has to cope with. Nothing in them was measured: every value
follows from its place, or from a seeded generator."""

from __future__ import annotations

import random
from itertools import product

import msgspec

from harness.schema import (
    ArmSpec,
    CallError,
    ClosedLoad,
    Comparison,
    Cost,
    Effect,
    IterationRecord,
    IterationsSpec,
    MetricValue,
    Probe,
    SearchResult,
    SearchSpec,
    Side,
    TrialRecord,
)
from tests.store import builders
from tests.store.builders import MS, FakeRun, manifest

LONG = "an-arm-whose-name-is-as-long-as-sixty-characters_can-be-00001"
HOSTILE = ["<script>alert(1)</script>", "$\\frac{1}{0}$ --> ]]>", "\x1b[31mred\u202e", "模型 🤖 é"]


def run_of(
    arms=("baseline", "chimera"),
    cells=None,
    *,
    trials=2,
    calls=8,
    warmup=2,
    unswept=(),
    seed=1,
    simulated=False,
    ttft=None,
    concurrency=1,
    cold=0,
    failed=0,
    spec=None,
    search=(),
) -> FakeRun:
    """A run with `calls` measured calls per trial. `ttft(arm index, cell values, rng)` in ms."""
    rng = random.Random(seed)
    cells = cells or {}
    keys = [
        (arm, cell)
        for arm in arms
        for cell in (list(cells) if cells and arm not in unswept else ["base"])
    ]
    law = ttft or (lambda index, values, rng: 50 + 5 * index + rng.gauss(0, 2))
    records, plan = [], []
    number = 0
    for _ in range(trials):
        for arm, cell in keys:
            values = cells.get(cell, {})
            records += _trial(arm, cell, number, arms.index(arm), values, law, rng,
                              calls, warmup, concurrency, cold, failed)  # fmt: skip
            end = max(r.end_ns for r in records if hasattr(r, "end_ns"))
            made = builders.trial(arm, number, cell=cell, start_ns=number * 10**11, end_ns=end)
            effective = msgspec.structs.replace(made.effective, simulated=simulated)
            records.append(msgspec.structs.replace(made, effective=effective))
            plan.append((arm, cell, number))
            number += 1
    made_spec = builders.spec(
        arms={arm: ArmSpec(swept=arm not in unswept) for arm in arms},
        trials=trials,
        iterations=IterationsSpec(warmup=1 if warmup else 0, cold=cold),
        **(spec or {}),
    )
    made = manifest(arms=arms, state="finished", plan=tuple(plan), cells=cells, spec=made_spec)
    run = FakeRun(made, records)
    run.sessions = ()
    run.summary = msgspec.structs.replace(run.summary, cells=cells, search=tuple(search))
    return run


def _trial(arm, cell, number, index, values, law, rng, calls, warmup, concurrency, cold, failed):
    start_ms = number * 100_000.0
    made = []
    for phase, count in (("cold", cold), ("warmup", warmup), ("measured", calls)):
        for iteration in range(cold if phase == "cold" else min(count, 1)):
            group = []
            for ordinal in range(1 if phase == "cold" else count):
                place = {"arm": arm, "trial": number, "iteration": iteration, "ordinal": ordinal,
                         "phase": phase, "cell": cell}  # fmt: skip
                slot, turn = ordinal % concurrency, ordinal // concurrency
                sent = start_ms + 200 * turn + 7 * slot
                if phase == "measured" and ordinal >= calls - failed:
                    place.pop("cell")
                    group.append(
                        msgspec.structs.replace(builders.failed(sent_ms=sent, **place), cell=cell)
                    )
                    continue
                more = {"cold": 900.0, "warmup": 30.0, "measured": 0.0}[phase]
                late = 60.0 if phase == "measured" and ordinal == calls // 2 and calls > 9 else 0
                wait = law(index, values, rng) + more + late
                group.append(builders.call(sent_ms=sent, ttft_ms=wait, tokens=6, **place))
            ready_ns = group[0].instants.due_ns if phase == "cold" else None
            made += [*group, builders.iteration(group, ready_ns=ready_ns)]
            start_ms = group[-1].instants.due_ns / MS + 500
    return made


def grid(**axes):
    """Cells of a sweep over backend.options.*"""
    names = list(axes)
    return {
        ",".join(f"{n}={v}" for n, v in zip(names, point, strict=True)): {
            f"backend.options.{n}": v for n, v in zip(names, point, strict=True)
        }
        for point in product(*axes.values())
    }


def swept(trials=2, **changes):
    """Two swept arms over 3 x 3 cells, and a baseline that is not."""
    return run_of(
        ("baseline", "chimera", "other"),
        grid(num_ctx=[512, 1024, 2048], num_gpu=[40, 60, 80]),
        unswept=("baseline",),
        trials=trials,
        calls=6,
        ttft=lambda i, v, rng: (
            60 + 4 * i + v.get("backend.options.num_ctx", 0) / 100
            - v.get("backend.options.num_gpu", 0) / 8 + rng.gauss(0, 1)
        ),
        **changes,
    )  # fmt: skip


def loads(trials=2, slo=80.0):
    """Five concurrencies of two arms."""
    cells = {f"concurrency={n}": {"load.concurrency": n} for n in (1, 2, 4, 8, 16)}
    return run_of(
        ("baseline", "chimera"),
        cells,
        trials=trials,
        calls=20,
        ttft=lambda i, v, rng: 40 + (2 + i) * v["load.concurrency"] ** 1.3 + rng.gauss(0, 2),
        spec={"load": ClosedLoad(concurrency=1, requests=20), "slo": {"ttft_ms": slo}},
        concurrency=4,
    )


def searched():
    probes = [
        ("rate_per_s=4", 4, 100, 100, "meets"),
        ("rate_per_s=8", 8, 200, 199, "meets"),
        ("rate_per_s=10", 10, 200, 196, "undecided"),
        ("rate_per_s=12", 12, 200, 160, "fails"),
        ("rate_per_s=16", 16, 0, 0, "invalid"),
    ]
    from harness.statistics import clopper_pearson

    made = []
    for cell, load, requests, good, decision in probes:
        share = clopper_pearson(good, requests)
        made.append(
            Probe(cell=cell, load=load, trials=1, requests=requests, good=good, decision=decision,
                  share_low=share.low if requests else None,
                  share_high=share.high if requests else None)
        )  # fmt: skip
    result = SearchResult(
        arm="default", path="load.rate_per_s", share_min=0.99, probes=tuple(made), highest=8,
        next_higher=10,
    )  # fmt: skip
    return run_of(("default",), search=(result,),
                  spec={"slo": {"ttft_ms": 100.0},
                        "search": SearchSpec(low=4, high=16)})  # fmt: skip


def effect(metric="ttft_ms", share=-0.07, half=0.028, words="better", **changes):
    unit = metric.rpartition("_")[2]
    base = Effect(
        metric=metric, unit={"s": "tok/s"}.get(unit, unit), better="lower", words=words,
        sentence=f"{words} by {abs(share or 0) * 100:.1f} %", n=(6, 6), values=(48, 48),
        paired=True, share=share, share_low=None if share is None else share - half,
        share_high=None if share is None else share + half,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def side(arm, cell="base"):
    return Side(run_id="c0ffee12", run="toy", arm=arm, cell=cell, label=f"{arm} / {cell}",
                trials=6, calls=48, started="2026-11-20T21:17:00+00:00")  # fmt: skip


def comparison(candidate="chimera", cell="base", effects=None):
    return Comparison(
        baseline=side("baseline", cell), candidate=side(candidate, cell), comparable=True,
        conditions=(),
        effects=effects if effects is not None else (
            effect(),
            effect("tpot_ms", 0.004, 0.006, "equivalent", margin=0.02),
            effect("e2e_ms", 0.06, 0.02, "worse"),
            effect("throughput_tok_s", 0.02, 0.05, "no difference shown", better="higher"),
            effect("span.ingest_ms", 0.3, 0, "not enough data", share_low=None, share_high=None,
                   more_trials=6, n=(2, 2)),
            effect("prefill_rate_tok_s", None, 0, "not enough data", n=(0, 0)),
            effect("output_tokens", 0.11, 0.02, "changed", better="neither"),
        ),
    )  # fmt: skip


MODELS = {
    # name → parameters (None: nobody tells), declared, location, E2E-making TTFT, USD a call, score
    "Qwen/Qwen2.5-0.5B": (494_000_000, False, "local", 20, None, 0.31),
    "Qwen/Qwen2.5-7B": (7_620_000_000, False, "local", 90, None, 0.62),
    "meta-llama/Llama-3.1-8B": (8_030_000_000, False, "local", 100, None, 0.60),
    "mistralai/mistral-nemo": (12_200_000_000, False, "api", 60, "0.00004", 0.64),
    "qwen/qwen-2.5-72b": (72_700_000_000, False, "api", 160, "0.00036", 0.80),
    "anthropic/claude-x": (400_000_000_000, True, "api", 210, "0.0031", 0.86),
    "openai/gpt-free": (20_900_000_000, False, "api", 70, "0", 0.7),
    "acme/secret": (None, False, "api", 75, "0.0002", 0.66),
    "acme/silent": (3_000_000_000, False, None, 45, None, 0.4),
}


def over_models(models=None, *, trials=3, calls=6, fails=(), costs=True, **changes):
    """A sweep over models of which each tells something else. `fails`: names whose calls do."""
    models = MODELS if models is None else models
    cells = {f"model={name}": {"backend.model": name} for name in models}
    declared = {name: "400B" for name, one in models.items() if one[1]}
    run = run_of(
        ("default",), cells, trials=trials, calls=calls, warmup=0,
        ttft=lambda i, v, rng: models[v["backend.model"]][3] * (1 + rng.gauss(0, 0.04)),
        spec={"sizes": declared}, **changes,
    )  # fmt: skip
    records = [_of_model(record, models, fails, costs) for record in run.records()]
    made = FakeRun(run.manifest, records)
    made.sessions = ()
    made.summary = msgspec.structs.replace(made.summary, cells=cells)
    return made


def _of_model(record, models, fails, costs):
    name = record.cell.removeprefix("model=")
    parameters, declared, location, _, usd, score = models[name]
    change = msgspec.structs.replace
    if isinstance(record, TrialRecord):
        told = None if declared else parameters
        effective = change(record.effective, model=name, parameters=told, location=location)
        return change(record, effective=effective)
    if isinstance(record, IterationRecord):
        measured = MetricValue(name="score", value=score, unit="1", better="higher")
        return change(record, metrics=(*record.metrics, measured))
    if name in fails:
        error = CallError(code="http.500", message="boom")
        return change(record, status="error", error=error)
    if usd is None or not costs:
        return record
    return change(record, cost=Cost(usd=usd, source="provider"))
