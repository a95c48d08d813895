"""unequal-work, solo-missing, contention: from records with known truth, by the whole summary."""

from __future__ import annotations

import random

import msgspec
import pytest

from harness.engine.stopping import mean_of
from harness.engine.summary import derive_summary
from harness.schema import IterationRecord, StopSpec, ValiditySpec
from tests.report.agent_runs import run_of_agents
from tests.store.builders import FakeRun

OURS = ("unequal-work", "solo-missing", "contention")


def caveats(run, *codes):
    return [c for c in run.summary.verdict.caveats if c.code in (codes or OURS)]


def only(run, code):
    (found,) = caveats(run, code)
    return found


def test_the_same_work_on_as_many_slots_as_agents_is_no_doubt():
    run = run_of_agents(slots=2)
    assert caveats(run) == [] and run.summary.verdict.state == "valid"


@pytest.mark.parametrize(("alone", "fires"), [(24, False), (25, False), (26, True), (12, True)])
def test_other_amounts_alone_are_doubtful_beyond_a_twentieth(alone, fires):
    run = run_of_agents(slots=2, trials=2, tokens=24, solo_tokens=alone)
    found = caveats(run, "unequal-work")
    assert bool(found) is fires
    if fires:
        assert found[0].severity == "doubtful" and found[0].arm == "default"
        assert found[0].evidence["output_tokens"]["insight"] == {"together": 96, "alone": 4 * alone}


def test_the_bound_is_the_spec_s():
    wide = run_of_agents(slots=2, trials=2, solo_tokens=12,
                         spec={"validity": ValiditySpec(solo_work_share_max=1.0)})  # fmt: skip
    assert caveats(wide, "unequal-work") == []


def test_amounts_that_nobody_counted_are_a_note():
    found = only(run_of_agents(slots=2, usage=False), "unequal-work")
    assert found.severity == "note" and "collector, insight" in found.message


def test_a_solo_half_that_failed_is_doubtful_and_says_why():
    run = run_of_agents(trials=3, fail={("solo", "insight")})
    found = only(run, "solo-missing")
    assert found.severity == "doubtful" and "3 of 3" in found.message
    assert "an agent failed" in found.message
    assert caveats(run, "unequal-work") == [], "nothing whole is there to be judged"


def test_one_lost_half_is_told_with_its_place():
    run = run_of_agents(slots=2, trials=4)
    kept = [r for r in run.records()
            if not (isinstance(r, IterationRecord) and r.phase == "solo" and r.trial == 2)
            and not (getattr(r, "phase", "") == "solo" and r.trial == 2)]  # fmt: skip
    found = only(FakeRun(run.manifest, kept), "solo-missing")
    assert found.evidence["iterations"] == [{"trial": 2, "iteration": 0}]
    assert "no solo iteration was recorded" in found.message


def test_a_trial_that_was_cut_short_lacks_nothing():
    run = run_of_agents(slots=2, trials=2)
    kept = []
    for record in run.records():
        if record.trial == 1 and getattr(record, "phase", "") == "solo":
            continue
        if record.trial == 1 and not hasattr(record, "phase"):
            record = msgspec.structs.replace(record, status="cancelled")
        kept.append(record)
    manifest = msgspec.structs.replace(run.manifest, state="interrupted")
    assert caveats(FakeRun(manifest, kept), "solo-missing") == []


def test_agents_without_any_solo_arm_are_a_note():
    found = only(run_of_agents(solo=False), "solo-missing")
    assert found.severity == "note" and "no speed-up" in found.message


def test_a_measured_iteration_that_failed_is_the_rule_of_failures():
    run = run_of_agents(trials=2, fail={("measured", "insight")})
    assert caveats(run, "solo-missing") == []
    assert {c.code for c in run.summary.verdict.caveats} >= {"failures"}


def test_contention_is_a_note_with_its_evidence():
    found = only(run_of_agents(slots=1, trials=3), "contention")
    assert found.severity == "note" and "in 3 of 3 iterations" in found.message
    assert (found.evidence["by_slowdown"], found.evidence["by_queue"]) == (3, 0)
    first = found.evidence["iterations"][0]
    assert first["slowdowns"]["insight"] == pytest.approx(2, abs=0.1)
    together, alone = first["queue_residual_ms"]
    assert together - alone == pytest.approx(300, abs=30)
    queue = {"validity": ValiditySpec(contention_queue_max_ms=100.0)}
    by_queue = run_of_agents(slots=1, trials=3, spec=queue)
    assert only(by_queue, "contention").evidence["by_queue"] == 3


def test_the_summary_does_not_depend_on_the_order_in_which_records_came():
    """As after a resume: trials in another order, calls as they ended."""
    run = run_of_agents(trials=3, measured=2)
    shuffled = [*run.records()]
    random.Random(4).shuffle(shuffled)
    one, other = (derive_summary(run.manifest, r) for r in (run.records(), shuffled))
    assert msgspec.json.encode(one) == msgspec.json.encode(other)


def test_a_stopping_rule_may_go_by_the_speed_up():
    """The gathering of a trial must have its solo half."""
    from harness.engine.gathering import Gathering

    run = run_of_agents(slots=2, trials=2)
    stop = StopSpec(metric="speedup", trials_max=9)
    spec = msgspec.structs.replace(run.manifest.spec, stop=stop)
    gathering = Gathering(spec, {}, run.manifest.plan)
    ended = [e for record in run.records() if (e := gathering.add(record))]
    assert [mean_of("speedup", one) for one in ended] == pytest.approx([2, 2], abs=0.1)
    found = next(m for m in run.summary.arms[0].metrics if m.name == "speedup")
    assert sum(mean_of("speedup", one) for one in ended) / 2 == pytest.approx(found.mean)
