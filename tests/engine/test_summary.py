"""derive_summary: a function of manifest and records."""

from __future__ import annotations

import random

from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import ArmSpec
from tests.store import builders
from tests.store.builders import manifest


def test_counts_add_up_and_warm_up_counts_for_nothing():
    summary = derive_summary(manifest(state="finished"), builders.records())
    for arm in summary.arms:
        assert (arm.trials, arm.iterations, arm.planned) == (2, 2, 4)
        assert arm.calls == {"ok": 4}
        assert sum(arm.calls.values()) == arm.planned
        assert arm.output_tokens == 20
    assert summary.wall_s == 4.0  # the first call was due at 999 ms, the last trial ended at 4999


def test_identity_comes_from_the_manifest():
    summary = derive_summary(manifest(), builders.records(), state="finished")
    assert (summary.run_id, summary.name, summary.state) == ("c0ffee12", "toy run", "finished")
    assert (summary.scenario, summary.backend, summary.model) == (
        "single_agent",
        "scripted",
        "toy:1b",
    )


def test_it_is_repeatable():
    once = derive_summary(manifest(state="finished"), iter(builders.records()))
    assert derive_summary(manifest(state="finished"), builders.records()) == once


def test_arms_stand_in_the_order_of_the_spec_not_of_the_shuffled_plan():
    records = builders.records(("zeta", "alpha"))
    plan = list(manifest(("zeta", "alpha")).plan)
    random.Random(3).shuffle(plan)
    plan.sort(key=lambda trial: trial[0])
    shuffled = manifest(("zeta", "alpha"), plan=tuple(plan), state="finished")
    assert [arm.arm for arm in derive_summary(shuffled, records).arms] == ["zeta", "alpha"]


def test_without_named_arms_there_is_one():
    base = manifest(("default",), state="finished")
    base = replace(base, spec=replace(base.spec, arms={}))
    (arm,) = derive_summary(base, builders.records(("default",))).arms
    assert arm.arm == "default"


def test_an_arm_that_never_started_is_listed():
    base = manifest(("baseline", "chimera"), state="interrupted")
    records = [r for r in builders.records() if r.arm == "baseline"]
    arms = derive_summary(base, records).arms
    assert [(arm.arm, arm.calls, arm.trials) for arm in arms] == [
        ("baseline", {"ok": 4}, 2),
        ("chimera", {}, 0),
    ]


def test_tokens_unknown_for_one_call_are_unknown_for_the_sum():
    call = builders.call()
    unknown = builders.call(ordinal=1, sent_ms=2000)
    unknown = replace(unknown, usage=replace(unknown.usage, output_tokens=None))
    base = manifest(("baseline",))
    records = [call, unknown, builders.iteration([call, unknown])]
    (arm,) = derive_summary(base, records).arms
    assert arm.output_tokens is None


def test_a_run_without_records_has_no_wall_time():
    summary = derive_summary(manifest(state="failed"), [])
    assert summary.wall_s is None
    assert summary.verdict.state == "invalid"


def test_records_outside_the_plan_are_not_hidden():
    base = manifest(("baseline",))
    base = replace(base, spec=replace(base.spec, arms={"baseline": ArmSpec()}))
    arms = derive_summary(base, builders.records(("baseline", "stray"))).arms
    assert [arm.arm for arm in arms] == ["baseline", "stray"]
