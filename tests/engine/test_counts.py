"""Is anything missing: what was lost, what was cut short, and what never began."""

from __future__ import annotations

from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import CallError, ClosedLoad, IterationRecord, MetricValue
from tests.engine.faults import caveat_of, caveats, changed, clean, codes
from tests.store import builders
from tests.store.builders import manifest


def test_a_lost_call_and_a_double_call_unbalance_the_counts():
    lost = [r for r in clean() if getattr(r, "call_id", "") != "0000.m0.00003"]
    caveat = caveat_of("unbalanced", lost)
    assert caveat.severity == "invalid"
    assert caveat.evidence["iterations"] == [
        {"trial": 0, "iteration": 0, "planned": 10, "recorded": 9}
    ]
    double = [*clean(), next(r for r in clean() if getattr(r, "phase", "") == "measured")]
    assert caveat_of("unbalanced", double).evidence["twice"] == ["0000.m0.00000"]


def test_a_missing_iteration_is_expected_only_where_the_run_was_cut_short():
    cut = clean()[:-2]  # without the last iteration's and the last trial's record
    assert codes(cut)["unbalanced"] == "invalid"
    assert "unbalanced" not in codes(cut, state="interrupted")
    failed = [*cut, builders.trial("chimera", 3, status="error", error=builders.failed().error)]
    assert "unbalanced" not in codes(failed)


def test_a_planned_trial_without_a_record():
    records = [r for r in clean() if r.trial != 3]
    assert caveat_of("unbalanced", records).evidence == {"trials": [["chimera", "base", 3]]}


def test_incomplete_runs():
    assert codes(clean(), state="interrupted")["incomplete"] == "doubtful"
    caveat = caveat_of("incomplete", clean()[:-1], state="running")
    assert caveat.evidence["trials_ended"] == 3
    assert caveat.evidence["trials_planned"] == 4
    cancelled = changed(clean(), "trial", 3, status="cancelled")
    caveat = caveat_of("incomplete", cancelled, state="interrupted")
    assert caveat.message == "the run was interrupted: 3 of 4 planned trials came to their end"


def test_an_interrupted_iteration_has_not_lost_count():
    """Ten calls planned, six begun: four have no record, and nobody lost them."""
    records = [r for r in clean() if getattr(r, "call_id", "") < "0003.m0.00006"]
    records = changed(records, "iteration", 3, status="cancelled")
    records = changed(records, "trial", 3, status="cancelled")
    found = codes(records, state="interrupted")
    assert found["interrupted"] == "note"
    assert "unbalanced" not in found
    caveat = caveat_of("interrupted", records, state="interrupted")
    assert caveat.message.startswith("16 of 20 planned calls have a record")
    assert caveat.arm == "chimera"
    more = changed(records, "iteration", 3, status="cancelled", planned_calls=5)
    assert codes(more, state="interrupted")["unbalanced"] == "invalid"


def test_a_request_that_was_refused_ends_its_iteration_and_loses_no_count():
    error = builders.failed().error
    records = [r for r in clean() if getattr(r, "call_id", "") < "0003.m0.00006"]
    records = changed(records, "iteration", 3, status="error", error=error)
    records = changed(records, "trial", 3, status="error", error=error)
    offered = builders.spec(load=ClosedLoad(requests=10))
    assert "unbalanced" not in codes(records, spec=offered)
    assert codes(records)["unbalanced"] == "invalid"  # a workflow says what it did not send


def test_a_run_under_way_or_failed_has_no_empty_workload():
    assert codes([], state="running") == {"incomplete": "doubtful"}
    failed = [builders.trial(status="error", error=builders.failed().error)]
    (caveat,) = caveats(failed, state="failed")
    assert (caveat.code, caveat.severity) == ("incomplete", "invalid")
    assert caveat.message == "the run failed before anything was measured: boom"
    (caveat,) = caveats([], state="failed", error="no server")
    assert caveat.message.endswith(": no server")


def test_an_arm_that_measured_nothing():
    records = [r for r in clean() if r.arm == "baseline"]
    caveat = caveat_of("empty-workload", records)
    assert (caveat.severity, caveat.arm) == ("invalid", "chimera")


def test_a_scenario_that_measures_without_calls_is_no_empty_workload():
    call = builders.call()
    own = (MetricValue(name="rows", value=3.0, unit="rows"),)
    records = [builders.iteration([call], planned_calls=0, metrics=own), builders.trial()]
    found = derive_summary(
        manifest(("baseline",), state="finished", plan=(("baseline", "base", 0),)), records
    )
    assert "empty-workload" not in [caveat.code for caveat in found.verdict.caveats]
    assert "unbalanced" not in [caveat.code for caveat in found.verdict.caveats]


def test_why_nothing_was_measured_is_said_once_and_whole():
    reason = "the program ended with status 1: " + "no key " * 20 + "at all"
    error = CallError(code="scenario", message=reason)
    made = [r for r in clean() if isinstance(r, IterationRecord) and r.arm == "chimera"]
    failed = next(r for r in made if r.phase == "measured")
    records = [r for r in clean() if r.arm == "baseline"]
    records.append(replace(failed, status="error", error=error))
    found = caveats(records)
    told = [c.code for c in found if reason in f"{c.message} {c.remedy}"]
    assert told == ["failures"]
    assert "`failures`" in next(c.remedy for c in found if c.code == "empty-workload")
