"""The experiments without a model: each in every kind, through the engine, proving what it did."""

from __future__ import annotations

import asyncio

import pytest

from harness.engine import run, spec_from
from harness.host import Host
from harness.schema import IterationRecord
from harness.testing import MemorySink

KINDS = [
    *(("storage_modes", {"mode": m}) for m in ("file", "memory", "memory_then_file", "jsonl")),
    *(
        ("sqlite_pragma", {"profile": p, "workload": w})
        for p in ("balanced", "performance", "safety", "memory")
        for w in ("write_heavy", "read_heavy", "mixed")
    ),
    *(("observation_flow", {"storage": s}) for s in ("dense", "sparse")),
    *(
        ("index_retrieval", {"index": i, "layout": y})
        for i in ("exhaustive", "kd_tree", "grid")
        for y in ("uniform", "clustered")
    ),
    *(("memory_store", {"engine": e}) for e in ("dict", "sqlite")),
]
SMALL = {
    "storage_modes": {"records": 300, "batch": 128},
    "sqlite_pragma": {"records": 300, "batch": 128},
    "observation_flow": {"agents": 12, "steps": 20, "width": 40, "height": 30, "radius": 4},
    "index_retrieval": {"points": 400, "radius_queries": 10, "nearest_queries": 10},
    "memory_store": {"entries": 90, "batch": 40, "searches": 12},
}


def execute(name, options):
    sink = MemorySink()
    spec = spec_from(
        {
            "backend": {"name": "none"},
            "scenario": {"name": name, "options": {**SMALL[name], **options}},
            "iterations": {"warmup": 0, "measured": 2},
        }
    )
    outcome = asyncio.run(run(spec, Host.load(), sink))
    assert outcome.manifest.state == "finished", outcome.error
    return [record for record in sink.records if isinstance(record, IterationRecord)]


@pytest.mark.parametrize(
    ("name", "options"),
    KINDS,
    ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else v,
)
def test_every_kind_measures_and_proves_itself(name, options):
    for iteration in execute(name, options):
        assert iteration.status == "ok", iteration.error
        figures = {metric.name: metric for metric in iteration.metrics}
        assert figures
        for metric in figures.values():
            assert metric.value >= 0, metric
        assert {m.better for m in figures.values()} & {"lower", "higher"}


def test_a_mode_that_does_not_take_effect_fails_the_iteration(monkeypatch):
    from harness_experiments import storage

    class Disobedient:
        """sqlite3, but for files that are asked for: they end up in memory."""

        def __getattr__(self, name):
            return getattr(sqlite3, name)

        def connect(self, path):
            return sqlite3.connect(":memory:")

    import sqlite3

    monkeypatch.setattr(storage, "sqlite3", Disobedient())
    first, *_ = execute("storage_modes", {"mode": "file"})
    assert first.status == "error"
    assert "asked for mode file" in first.error.message
    assert "is in memory" in first.error.message


def test_settings_are_read_back_and_recorded():
    first, *_ = execute("sqlite_pragma", {"profile": "safety"})
    assert first.data["pragmas"]["journal_mode"] == "wal"
    assert first.data["pragmas"]["synchronous"] == 2


def test_settings_that_do_not_take_effect_fail_the_iteration(monkeypatch):
    from harness_experiments import pragmas

    wrong = {**pragmas.PROFILES, "balanced": {"journal_mode": "wall"}}
    monkeypatch.setattr(pragmas, "PROFILES", wrong)
    first, *_ = execute("sqlite_pragma", {})
    assert first.status == "error"
    assert "asked wall, runs delete" in first.error.message


def test_an_index_that_misses_points_fails_the_iteration(monkeypatch):
    from harness_experiments import retrieval

    class Short(retrieval._KdTree):
        def within(self, query, radius):
            return super().within(query, radius / 2)

    monkeypatch.setitem(retrieval._BUILDERS, "kd_tree", Short)
    first, *_ = execute("index_retrieval", {"index": "kd_tree", "radius": 200.0})
    assert first.status == "error"
    assert "missed points" in first.error.message


def test_arms_of_a_block_get_the_same_data():
    import random

    from harness_experiments.memory import MemoryStore
    from harness_experiments.options import MemoryOptions

    from harness.protocols import ScenarioConfig

    class Context:
        def __init__(self):
            self.rng = random.Random(7)

    made = []
    for arm in ("a", "b"):
        config = ScenarioConfig(
            options=MemoryOptions(entries=5, searches=3), seed=1, arm=arm, cell="base"
        )
        store = MemoryStore(config)
        asyncio.run(store.setup(Context()))
        made.append((store.entries, store.asked))
    assert made[0] == made[1]
