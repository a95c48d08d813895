"""What differs besides the figures, and what keeps two sides from being compared."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.compare import explain
from harness.schema import (
    ArmSpec,
    CallRecord,
    Caveat,
    ClosedLoad,
    Environment,
    OpenLoad,
    ScenarioSpec,
    SweepSpec,
    TrialRecord,
    Verdict,
)
from tests.compare.runs import compare_one, place, run_of
from tests.store import builders

BASE = [50.0, 51.0, 49.5, 50.5, 52.0]


def spec(**changes):
    arms = {"baseline": ArmSpec()}
    return replace(builders.spec(), **{"arms": arms, "load": ClosedLoad(), **changes})


def other(**changes):
    return run_of({"baseline": BASE}, run_id="cafe", **changes)


def weights(a, b, **kinds):
    one, two = place(a, name="one"), place(b, kinds.pop("arm", "baseline"), name="two")
    return {found.name: found.weight for found in explain((one, two))}


def test_equal_runs_differ_in_when_they_were_made_at_most():
    assert weights(run_of({"baseline": BASE}), other()) == {}
    later = other(started="2026-12-24T18:00:00+00:00")
    assert weights(run_of({"baseline": BASE}), later) == {"environment.started": "note"}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"scenario": ScenarioSpec(name="load")}, "spec.scenario.name"),
        ({"load": ClosedLoad(concurrency=8)}, "spec.load.concurrency"),
        ({"load": OpenLoad(rate_per_s=5.0)}, "spec.load.mode"),
        ({"slo": {"ttft_ms": 100.0}}, "spec.slo.ttft_ms"),
    ],
)
def test_other_work_forbids_a_comparison(changes, name):
    before = run_of({"baseline": BASE}, spec=spec(slo={"ttft_ms": 200.0}))
    found = compare_one(place(before, name="one"), place(other(spec=spec(**changes)), name="two"))
    assert not found.comparable
    assert found.effects == ()
    assert name in {one.name for one in found.conditions if one.weight == "forbids"}
    assert found.conditions[0].weight == "forbids"


def test_other_prompts_forbid_a_comparison_between_runs():
    def changed_digest(record):
        return replace(record, prompt_digest="new") if isinstance(record, CallRecord) else record

    changed = other(change=changed_digest)
    assert weights(run_of({"baseline": BASE}), changed) == {"records.prompts": "forbids"}
    some = other(
        change=lambda r: (
            replace(r, prompt_digest="made of the answer")
            if isinstance(r, CallRecord) and r.call_id.endswith("2")
            else r
        )
    )
    assert weights(run_of({"baseline": BASE}), some) == {"records.prompts": "note"}
    drawn = other(change=changed_digest, spec=spec(seed=7))
    before = run_of({"baseline": BASE}, spec=spec())
    assert weights(before, drawn) == {"records.prompts": "doubtful", "spec.seed": "note"}
    fewer = run_of({"baseline": BASE[:3]}, run_id="cafe")  # the same, as far as they go
    assert weights(run_of({"baseline": BASE}), fewer) == {}


def test_prompts_that_no_cache_may_know_are_compared_by_their_length():
    def cold(chars):
        return lambda r: (
            replace(r, cold_prompt=True, prompt_digest=str(id(r)), prompt_chars=chars)
            if isinstance(r, CallRecord)
            else r
        )

    before = run_of({"baseline": BASE}, change=cold(400))
    assert weights(before, other(change=cold(404))) == {}
    drawn = weights(before, other(change=cold(800)))  # of the same law, as far as anybody said
    assert drawn == {"records.prompt_chars_per_call": "doubtful"}
    asked = spec(scenario=ScenarioSpec(name="single_agent", options={"words": 800}))
    longer = weights(before, other(change=cold(800), spec=asked))
    assert longer["records.prompt_chars_per_call"] == "forbids"


def test_a_stub_is_not_compared_with_a_server():
    def simulated(record):
        if not isinstance(record, TrialRecord):
            return record
        return replace(record, effective=replace(record.effective, simulated=True))

    stub = other(change=simulated)
    assert weights(run_of({"baseline": BASE}), stub) == {"records.simulated": "forbids"}
    both = compare_one(
        place(run_of({"baseline": BASE}, change=simulated), name="one"), place(stub, name="two")
    )
    assert both.comparable and both.simulated


def test_an_invalid_run_is_compared_only_if_that_is_asked_for():
    run = run_of({"baseline": BASE, "chimera": BASE})
    caveat = Caveat(code="errors", severity="invalid", message="half of the calls", arm="chimera")
    run.summary = replace(run.summary, verdict=Verdict(state="invalid", caveats=(caveat,)))
    found = compare_one(place(run), place(run, "chimera"))
    assert not found.comparable
    assert found.conditions[0].name == "summary.verdict"
    assert "errors" in found.conditions[0].why
    assert compare_one(place(run), place(run, "chimera"), allow_invalid=True).comparable
    # The other arm has nothing to do with it.
    assert compare_one(place(run, name="one"), place(other(), name="two")).comparable


def test_what_the_arms_were_to_differ_in_is_intended():
    arms = {
        "baseline": ArmSpec(),
        "chimera": ArmSpec(backend={"options": {"num_ctx": 512}, "model": "other:1b"}),
    }
    run = run_of({"baseline": BASE, "chimera": BASE}, spec=spec(arms=arms))
    found = weights(run, run, arm="chimera")
    assert found["spec.backend.options.num_ctx"] == "intended"
    assert found["spec.backend.model"] == "intended"
    # The same difference between two runs, of arms of the same name, is nobody's intention.
    changed = replace(builders.spec().backend, options={"num_ctx": 512})
    assert weights(run_of({"baseline": BASE}, spec=spec()), other(spec=spec(backend=changed))) == {
        "spec.backend.options.num_ctx": "doubtful"
    }


def test_cells_differ_in_what_was_swept():
    swept = spec(sweep=SweepSpec(axes={"backend.options.num_ctx": [1, 2]}))
    cells = {f"num_ctx={n}": {"backend.options.num_ctx": n} for n in (1, 2)}
    run = run_of({("baseline", cell): BASE for cell in cells}, spec=swept, cells=cells)
    one, two = (place(run, cell=cell) for cell in cells)
    (condition,) = explain((one, two))
    assert (condition.name, condition.weight) == ("spec.backend.options.num_ctx", "intended")
    assert (condition.baseline, condition.candidate) == (1, 2)


def test_what_the_server_ran_is_a_doubt_unless_it_follows_from_the_arms():
    def running(**changes):
        return lambda r: (
            replace(r, effective=replace(r.effective, **changes))
            if isinstance(r, TrialRecord)
            else r
        )

    newer = other(change=running(server_version="1.3", model_digest="sha256:1"))
    assert weights(run_of({"baseline": BASE}), newer) == {
        "effective.server_version": "doubtful",
        "effective.model_digest": "doubtful",
    }
    details = other(change=running(details={"load_duration_ns": 5, "colour": "red"}))
    assert weights(run_of({"baseline": BASE}), details) == {"effective.details.colour": "note"}
    arms = {"baseline": ArmSpec(), "chimera": ArmSpec(backend={"options": {"num_ctx": 512}})}
    run = run_of(
        {"baseline": BASE, "chimera": BASE},
        spec=spec(arms=arms),
        change=lambda r: (
            running(context_length=256, server_version="1.3")(r)
            if getattr(r, "arm", "") == "chimera"
            else r
        ),
    )
    found = weights(run, run, arm="chimera")
    assert found["effective.context_length"] == "intended"
    assert found["effective.server_version"] == "doubtful"  # no option makes another server


def test_another_machine_and_other_software_are_doubts():
    def environment(**changes):
        base = Environment(
            harness_version="0.1.0",
            python="3.11.7",
            platform="linux",
            kernel="6.18",
            cpu_model="A",
            packages={"numpy": "1"},
            variables={"OLLAMA_NUM_PARALLEL": "1"},
        )
        return replace(base, **changes)

    before = run_of({"baseline": BASE}, environment=environment())
    after = other(
        environment=environment(
            kernel="6.19",
            cpu_model="B",
            packages={"numpy": "2"},
            variables={"OLLAMA_NUM_PARALLEL": "4"},
            harness_version="0.2.0",
        )
    )
    found = weights(before, after)
    assert found.pop("environment.packages.numpy") == "note"
    assert found == dict.fromkeys(
        [f"environment.{x}" for x in ("cpu_model", "harness_version", "kernel")]
        + ["environment.variables.OLLAMA_NUM_PARALLEL"],
        "doubtful",
    )
    one, two = place(before, name="one"), place(after, name="two")
    assert compare_one(one, two).comparable
    assert not compare_one(one, two, strict=True).comparable


def test_what_plugins_found_out_about_the_machine_counts_but_not_what_is_of_an_instant():
    def machine(**changes):
        facts = {
            "governors": {"performance": "0-3"},
            "boost": True,
            "cgroup_cpus": 4.0,
            "swap_total_bytes": 0,
            "now": {"frequency_mhz": [800.0, 3500.0]},
            "unknown": {"microcode": "not told"},
        }
        base = Environment(harness_version="0.1.0", python="3.11.7", platform="linux")
        return replace(base, collected={"hardware": facts | changes})

    before = run_of({"baseline": BASE}, environment=machine())
    assert weights(before, other(environment=machine(now={"frequency_mhz": [900.0, 900.0]}))) == {}
    after = machine(
        governors={"powersave": "0-3"}, boost=False, cgroup_cpus="unlimited", swap_total_bytes=9
    )
    of = "environment.collected.hardware"
    assert weights(before, other(environment=after)) == {
        f"{of}.governors.performance": "doubtful",
        f"{of}.governors.powersave": "doubtful",
        f"{of}.boost": "doubtful",
        f"{of}.cgroup_cpus": "doubtful",
        f"{of}.swap_total_bytes": "note",
    }


def test_how_it_was_watched_is_a_doubt():
    def portable(record):
        if isinstance(record, CallRecord):
            return replace(record, stamp_source="user")
        return replace(record, transport="portable") if isinstance(record, TrialRecord) else record

    assert weights(run_of({"baseline": BASE}), other(change=portable)) == {
        "records.stamp_source": "doubtful",
        "records.transport": "doubtful",
    }
    longer = weights(run_of({"baseline": BASE}), other(tokens=8))
    assert longer == {"records.output_tokens_per_call": "doubtful"}


def test_a_side_beside_itself_is_said_to_be_that():
    run = run_of({"baseline": BASE})
    assert weights(run, run) == {"records.sides": "doubtful"}


def test_arms_that_ran_one_after_another_are_a_doubt_and_no_blocks():
    run = run_of({"baseline": BASE, "chimera": BASE}, spec=spec(order="sequential"))
    found = compare_one(place(run), place(run, "chimera"))
    assert [(one.name, one.weight) for one in found.conditions] == [("records.order", "doubtful")]
    assert not any(one.paired for one in found.effects)
