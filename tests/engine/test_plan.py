"""The plan: what is run, in which order, and what is refused before anything starts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.engine import spec_from
from harness.engine.plan import make_plan, seed_for
from harness.errors import SpecError
from harness.schema import ClosedLoad, OpenLoad

BASE = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}}
ARMS = {"baseline": {}, "chimera": {"backend": {"options": {"max_tokens": 3}}}}
SWEEP = {"axes": {"backend.options.num_ctx": [512, 1024, 2048]}}


def plan(host, **fields):
    return make_plan(spec_from({**BASE, **fields}), host)


def keys(planned):
    return [(trial.arm.name, trial.cell) for trial in planned]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    trials=st.integers(1, 5),
    seed=st.integers(0, 10**9),
    order=st.sampled_from(["interleaved", "randomised", "sequential"]),
)
def test_every_arm_and_cell_gets_every_block_once(host, trials, seed, order):
    made = plan(host, arms=ARMS, sweep=SWEEP, trials=trials, seed=seed, order=order)
    counted = Counter((t.arm.name, t.cell, t.block) for t in made.trials)
    assert set(counted.values()) == {1}
    assert len(counted) == 2 * 3 * trials
    assert [t.trial for t in made.trials] == list(range(len(made.trials)))
    again = plan(host, arms=ARMS, sweep=SWEEP, trials=trials, seed=seed, order=order)
    assert keys(made.trials) == keys(again.trials)
    if order == "interleaved":
        size = len(made.trials) // trials
        for block in range(trials):
            part = made.trials[block * size : (block + 1) * size]
            assert {t.block for t in part} == {block}
    if order == "sequential":
        assert keys(made.trials) == sorted(
            keys(made.trials), key=lambda key: keys(made.trials).index(key)
        )


def test_blocks_are_shuffled_each_by_itself(host):
    made = plan(host, arms=ARMS, sweep=SWEEP, trials=20)
    orders = {tuple(keys(made.trials[i * 6 : i * 6 + 6])) for i in range(20)}
    assert len(orders) > 10


def test_an_arm_may_stay_out_of_the_sweep(host):
    arms = {"baseline": {"swept": False}, "chimera": {}}
    made = plan(host, arms=arms, sweep=SWEEP, trials=2)
    assert Counter(keys(made.trials)) == {
        ("baseline", "base"): 2,
        ("chimera", "num_ctx=512"): 2,
        ("chimera", "num_ctx=1024"): 2,
        ("chimera", "num_ctx=2048"): 2,
    }
    with pytest.raises(SpecError, match="no arm takes part"):
        plan(host, arms={"baseline": {"swept": False}}, sweep=SWEEP)


def test_each_cell_has_its_own_options_and_load(host):
    made = plan(
        host,
        load={"requests": 5},
        arms={"one": {}, "two": {"load": {"requests": 9}}},
        sweep={"axes": {"load.concurrency": [1, 8], "backend.options.num_ctx": [1, 2]}},
    )
    found = {(a.name, a.cell): (a.load, a.backend_config.options.num_ctx) for a in made.arms}
    assert found["one", "concurrency=8,num_ctx=2"] == (ClosedLoad(concurrency=8, requests=5), 2)
    assert found["two", "concurrency=1,num_ctx=1"] == (ClosedLoad(concurrency=1, requests=9), 1)


def test_a_rate_may_be_an_axis_where_nothing_else_speaks_of_loads(host):
    made = plan(host, sweep={"axes": {"load.rate_per_s": [2, 4]}})
    assert [arm.load for arm in made.arms] == [OpenLoad(rate_per_s=2), OpenLoad(rate_per_s=4)]


def test_backends_may_be_an_axis(host):
    levels = {"small": {"options": {"num_ctx": 1}}, "large": {"options": {"num_ctx": 2}}}
    made = plan(host, sweep={"axes": {"backend": levels}})
    assert [(a.cell, a.backend_config.options.num_ctx) for a in made.arms] == [
        ("backend=small", 1),
        ("backend=large", 2),
    ]


def test_an_arm_keeps_what_no_cell_speaks_of(host):
    """A level that is a mapping is merged: it overrules what it names, and nothing else."""
    levels = {"small": {"num_ctx": 1}, "large": {"num_ctx": 2}}
    sweep = {"axes": {"backend.options": levels}}
    made = plan(host, arms=ARMS, sweep=sweep)
    found = {(a.name, a.cell): a.backend_config.options for a in made.arms}
    assert found["chimera", "options=large"].max_tokens == 3
    assert found["chimera", "options=large"].num_ctx == 2
    with pytest.raises(SpecError, match="would overrule this"):
        plan(host, arms={"a": {"backend": {"options": {"num_ctx": 3}}}}, sweep=sweep)


def test_scenarios_of_both_kinds_need_to_say_which_load_is_whose(host):
    kinds = {"a": {"scenario": {"name": "two_steps"}}, "b": {}}
    with pytest.raises(SpecError, match="make their calls themselves") as caught:
        plan(host, arms=kinds)
    assert caught.value.where == "$.arms.b.load"
    made = plan(host, arms={**kinds, "b": {"load": {"requests": 3}}})
    assert [(arm.is_workflow, arm.load) for arm in made.arms] == [
        (True, None),
        (False, ClosedLoad(requests=3)),
    ]
    assert make_plan(made.spec, host).digest == made.digest  # what is stored can be planned again


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        (
            {"sweep": {"axes": {"backend.options.num_ctxx": [1]}}},
            "$ (cell num_ctxx=1).backend.options.num_ctxx",
        ),
        (
            {"sweep": {"axes": {"backend.options.num_ctx": [1, "x"]}}},
            "$ (cell num_ctx=x).backend.options.num_ctx",
        ),
        ({"sweep": {"axes": {"backend.nam": ["x"]}}}, "$ (cell nam=x).backend.nam"),
        ({"sweep": {"axes": {"backend.name": ["scriptd"]}}}, "$ (cell name=scriptd).backend.name"),
        ({"sweep": {"axes": {"load.concurrency": [0]}}}, "$ (cell concurrency=0).load.concurrency"),
        ({"sweep": {"axes": {"backend.url": ["ftp://x"]}}}, "$ (cell url=ftp://x).backend.url"),
        (
            {"arms": {"a": {"backend": {"options": {"num_ctx": 1}}}}, "sweep": SWEEP},
            "$.arms.a.backend.options.num_ctx",
        ),
        ({"arms": {"a": {"load": {"requests": 0}}}}, "$.arms.a.load.requests"),
        ({"arms": {"a": {"load": {"requests": 2}}, "b": {}}}, "$.arms.b.load"),
        ({"placement": {"parallel": 2, "cpus": ["0"]}}, "$.placement.cpus"),
        ({"placement": {"parallel": 0}}, "$.placement.parallel"),
        ({"placement": {"trial_timeout_s": 0}}, "$.placement.trial_timeout_s"),
        ({"iterations": {"cold": -1}}, "$.iterations.cold"),
        ({"stop": {"metric": "ttft_ms", "trials_max": 2}, "trials": 3}, "$.stop.trials_max"),
        ({"stop": {"metric": "ttft"}, "load": {"requests": 2}}, "$.stop.metric"),
        ({"stop": {"metric": "Wall-ms"}, "scenario": {"name": "two_steps"}}, "$.stop.metric"),
        ({"stop": {"metric": "goodput_share"}}, "$.stop.metric"),
        ({"stop": {"metric": "ttft_ms", "relative_width_max": 0}}, "$.stop.relative_width_max"),
        ({"search": {"low": 1, "high": 2}}, "$.slo"),
        ({"search": {"low": 1, "high": 2}, "slo": {"ttft_ms": 1}, "sweep": SWEEP}, "$.search"),
        (
            {"search": {"low": 1, "high": 2}, "slo": {"ttft_ms": 1}, "load": {"mode": "closed"}},
            "$.load",
        ),
    ],
)
def test_mistakes_are_named_by_their_place(host, fields, where):
    with pytest.raises(SpecError) as caught:
        plan(host, **fields)
    assert caught.value.where == where


def test_duplicates_are_found_by_what_is_asked_not_by_name(host):
    made = plan(
        host,
        arms={
            "a": {},
            "b": {"backend": {"options": {"num_ctx": 4096}}},
            "c": {"load": {"requests": 3}},
        },
        load={"requests": 20},
    )
    assert made.duplicates() == [[("a", "base"), ("b", "base")]]  # 4096 is the default


def test_arms_and_cells_of_a_block_share_their_seed(host):
    made = plan(host, arms=ARMS, sweep=SWEEP, trials=2)
    seeds = {t.block: {seed_for(made.spec, t.block, "measured", 0)} for t in made.trials}
    assert len(seeds) == 2
    assert seeds[0] != seeds[1]


def test_the_digest_is_that_of_what_is_meant(host):
    one = plan(host)
    assert (
        one.digest == plan(host, load={"mode": "closed", "concurrency": 1, "requests": 20}).digest
    )
    assert one.digest != plan(host, load={"concurrency": 2}).digest


def test_a_host_made_by_hand_is_not_for_other_processes(host):
    assert plan(host, trials=5).isolation == "inline"
    host.is_installed = True
    assert plan(host, trials=5).isolation == "process"
    assert plan(host, trials=1).isolation == "inline"
    assert plan(host, trials=5, isolation="inline").isolation == "inline"
