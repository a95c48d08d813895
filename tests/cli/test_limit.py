"""`--limit` limits everything that takes time, and what it makes is a spec like any other."""

from __future__ import annotations

import json

import msgspec
import pytest

from harness.cli.request import Asked, build_spec
from harness.engine import digest, make_plan, spec_from
from harness.engine.cells import search_loads
from harness.engine.specfile import plain
from harness.host import Host

BASE = {"backend": {"name": "openai", "model": "m"}, "scenario": {"name": "load"}}
GRID = {"axes": {"backend.options.top_k": [1, 2, 3], "scenario.options.max_tokens": [4, 8, 16]}}


@pytest.fixture(scope="module")
def host():
    return Host.load()


@pytest.fixture
def limited(host, tmp_path):
    def do(limit, **fields):
        path = tmp_path / "spec.json"
        path.write_text(json.dumps({**BASE, **fields}))
        spec = build_spec(Asked(what=str(path), limit=limit), host)
        again = spec_from(msgspec.json.decode(msgspec.json.encode(spec)))
        assert digest(again) == digest(spec)
        assert digest(spec_from(plain(spec))) == digest(spec), "as a resumed run reads it"
        return spec, make_plan(spec, host)

    return do


def test_a_grid_keeps_so_many_of_its_cells(limited):
    spec, plan = limited(2, sweep=GRID, trials=5, iterations={"measured": 9, "cold": 4})
    assert len(plan.cells) == 2
    assert len(plan.trials) == 4
    counts = spec.iterations
    assert (counts.warmup, counts.measured, counts.cold, spec.load.requests) == (1, 2, 2, 2)
    assert plan.cells == limited(2, sweep=GRID)[1].cells, "always the same"
    assert len(limited(9, sweep=GRID)[1].cells) == 9
    assert limited(9, sweep=GRID)[0].sweep.strategy == "cartesian"


@pytest.mark.parametrize("levels", [[4, 8, 16], {"few": 4, "some": 8, "many": 16}])
def test_levels_side_by_side_are_cut_behind(limited, levels):
    axes = {"scenario.options.max_tokens": levels, "backend.options.top_k": [1, 2, 3]}
    _, plan = limited(2, sweep={"axes": axes, "strategy": "zip"})
    assert [cell["scenario.options.max_tokens"] for cell in plan.cells.values()] == [4, 8]


def test_samples_are_fewer(limited):
    _, plan = limited(1, sweep={**GRID, "strategy": "random", "samples": 5})
    assert len(plan.cells) == 1


def test_requests_are_few_wherever_they_are_asked_for(limited):
    arms = {"a": {"load": {"requests": 500}}, "b": {}}
    _, plan = limited(3, arms=arms, load={"requests": 50})
    assert [arm.load.requests for arm in plan.arms] == [3, 3]
    _, plan = limited(3, sweep={"axes": {"load.requests": [2, 50]}})
    assert [arm.load.requests for arm in plan.arms] == [2, 3]


def test_adaptive_stopping_has_fewer_trials_to_go(limited):
    stop = {"metric": "ttft_ms", "trials_max": 30}
    spec, plan = limited(2, trials=5, stop=stop)
    assert (spec.trials, spec.stop.trials_max, len(plan.trials)) == (2, 2, 2)


def test_a_search_has_fewer_loads_and_can_still_decide(limited):
    search = {"low": 1, "high": 1000, "step": 1.2}
    slo = {"ttft_ms": 100}
    load = {"rate_per_s": 1, "requests": 500}
    spec, plan = limited(3, search=search, slo=slo, load=load)
    assert search_loads(spec.search) == [1, 1.2, 1.44]
    assert len(plan.trials) == 9
    assert 0 < spec.search.share_min < 0.99
    limited(1, search=search, slo=slo, load=load)
