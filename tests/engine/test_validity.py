"""Each rule: the fault that must trigger it, and the clean run that must not."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import Caveat, ClosedLoad, MetricValue, Summary, Usage, ValiditySpec
from tests.store import builders
from tests.store.builders import manifest

ARMS = ("baseline", "chimera")


def clean(calls: int = 10) -> list:
    return builders.records(ARMS, calls=calls)


def codes(records, **changes) -> dict[str, str]:
    """Code → severity of every caveat of the run."""
    return {caveat.code: caveat.severity for caveat in caveats(records, **changes)}


def caveat_of(code: str, records, **changes) -> Caveat:
    return next(caveat for caveat in caveats(records, **changes) if caveat.code == code)


def caveats(records, **changes) -> tuple[Caveat, ...]:
    changes = {"state": "finished"} | changes
    summary = derive_summary(manifest(ARMS, **changes), records)
    # What is written must read as what is derived: evidence may hold no tuple, no number as a key.
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary
    return summary.verdict.caveats


def changed(records, kind: str, index: int, **changes) -> list:
    """`records` with the n-th measured record (or trial) of a kind changed."""
    tag = {"call": "CallRecord", "iteration": "IterationRecord", "trial": "TrialRecord"}[kind]
    places = [
        i
        for i, r in enumerate(records)
        if type(r).__name__ == tag and getattr(r, "phase", "measured") == "measured"
    ]
    made = list(records)
    made[places[index]] = replace(made[places[index]], **changes)
    return made


def with_error(records, index: int, status: str = "error") -> list:
    call = builders.failed(status, f"code.{status}")
    return changed(records, "call", index, status=status, error=call.error, usage=Usage())


def test_a_clean_run_is_valid():
    summary = derive_summary(manifest(ARMS, state="finished"), clean(20))
    assert summary.verdict.state == "valid"
    assert summary.verdict.caveats == ()


# errors ------------------------------------------------------------------------------------------


def test_one_error_in_twenty_is_doubtful_and_more_are_invalid():
    one = with_error(clean(), 0)
    assert codes(one)["errors"] == "doubtful"
    assert codes(with_error(one, 1))["errors"] == "invalid"


def test_the_spec_s_bound_is_respected():
    bound = builders.spec(validity=ValiditySpec(error_share_max=0.2))
    two = with_error(with_error(clean(), 0), 1)
    assert codes(two, spec=bound)["errors"] == "note"
    assert codes(with_error(clean(), 0, "truncated"), spec=bound)["errors"] == "doubtful"
    many = two
    for index in (2, 3, 4):
        many = with_error(many, index)
    assert codes(many, spec=bound)["errors"] == "invalid"


def test_the_evidence_of_errors():
    caveat = caveat_of("errors", with_error(with_error(clean(), 0), 1, "timeout"))
    assert caveat.arm == "baseline"
    assert caveat.evidence["statuses"] == {"error": 1, "timeout": 1}
    assert caveat.evidence["codes"] == {"code.error": 1, "code.timeout": 1}
    assert caveat.evidence["share"] == 2 / 20


def test_the_message_of_errors_says_what_failed_and_where_the_rest_is():
    records = clean()
    for index, status in enumerate(["error", "error", "timeout"]):
        records = with_error(records, index, status)
    caveat = caveat_of("errors", records)
    assert caveat.message == "3 of 20 calls (15.0%) are not ok: code.error (2 of them), boom"
    assert caveat.remedy == "harness export c0ffee12 --format jsonl gives the error of each"
    evil = builders.failed().error
    evil = replace(evil, code="x", message="\x1b]0;owned\x07a\n\u202eb " + "c" * 500)
    hostile = caveat_of("errors", changed(clean(), "call", 0, status="error", error=evil)).message
    assert hostile.startswith("1 of 20 calls (5.0%) are not ok: x, a b ccc")
    assert hostile.isprintable()
    assert len(hostile) < 200


def test_what_an_interrupt_cancelled_is_no_error():
    cancelled = with_error(clean(), 0, "cancelled")
    assert codes(cancelled)["errors"] == "doubtful"
    assert "errors" not in codes(cancelled, state="interrupted")
    beside = caveat_of("errors", with_error(cancelled, 1), state="interrupted")
    assert beside.evidence["share"] == 1 / 19


def test_failed_iterations_and_trials():
    failed = changed(clean(), "iteration", 0, status="error", error=builders.failed().error)
    assert codes(failed)["failures"] == "doubtful"
    trial = changed(clean(), "trial", 0, status="error", error=builders.failed().error)
    caveat = caveat_of("failures", trial)
    assert caveat.evidence == {"first": "http.500: boom"}
    assert caveat.message.endswith("measured iterations failed, first with http.500: boom")
    both = changed(failed, "iteration", 2, status="error", error=builders.failed().error)
    assert codes(both)["failures"] == "invalid"


# counts ------------------------------------------------------------------------------------------


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
    assert caveat.message.startswith("interrupted: 16 of 20 planned calls have a record")
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


# comparability, provenance -----------------------------------------------------------------------


def test_outputs_of_different_length():
    longer = [
        replace(r, usage=replace(r.usage, output_tokens=6))
        if getattr(r, "call_id", "") and r.arm == "chimera"
        else r
        for r in clean()
    ]
    caveat = caveat_of("unbounded-output", longer)
    assert caveat.severity == "doubtful"
    assert caveat.evidence["output_tokens_per_call"] == {"baseline": 5.0, "chimera": 6.0}
    little = changed(clean(), "call", 0, usage=Usage(output_tokens=6))
    assert "unbounded-output" not in codes(little)


def test_too_few_for_a_p95():
    caveat = caveat_of("too-few", clean(9))
    assert caveat.severity == "note"
    assert caveat.message == "a p95 needs 20 values; there are 18 (baseline), 18 (chimera)"
    assert caveat.remedy == "--runs 3"
    offered = builders.spec(load=ClosedLoad(requests=9))
    assert caveat_of("too-few", clean(9), spec=offered).remedy == "--requests 10, or --runs 3"
    assert "too-few" not in codes(clean(10))


def test_single_launches():
    records = [r for r in clean(20) if r.trial < 2]
    plan = (("baseline", "base", 0), ("chimera", "base", 1))
    assert codes(records, plan=plan) == {"single-launch": "note"}
    assert caveat_of("single-launch", records, plan=plan).remedy == "--runs 5"


def test_user_stamps():
    records = changed(clean(), "call", 0, stamp_source="user")
    caveat = caveat_of("user-stamps", records)
    assert caveat.severity == "note"
    assert (caveat.evidence["user"], caveat.evidence["calls"]) == (1, 20)
    portable = builders.spec(transport="portable")
    assert "user-stamps" not in codes(records, spec=portable)


def test_clock_steps():
    records = changed(clean(), "call", 0, clock_stepped=True)
    assert codes(records)["clock-step"] == "note"


def test_stubs_and_random_weights():
    effective = builders.trial().effective
    simulated = changed(clean(), "trial", 0, effective=replace(effective, simulated=True))
    assert codes(simulated)["simulated"] == "doubtful"
    noise = changed(clean(), "trial", 0, effective=replace(effective, random_weights=True))
    assert codes(noise)["random-weights"] == "note"
    assert caveat_of("random-weights", noise).arm == "baseline"
    everywhere = noise
    for index in (1, 2, 3):
        random = replace(effective, random_weights=True)
        everywhere = changed(everywhere, "trial", index, effective=random)
    found = [c for c in caveats(everywhere) if c.code == "random-weights"]
    assert [caveat.arm for caveat in found] == [None]


# verdict -----------------------------------------------------------------------------------------


def test_the_worst_severity_decides_and_comes_first():
    records = with_error(with_error(changed(clean(), "call", 5, clock_stepped=True), 0), 1)
    verdict = derive_summary(manifest(ARMS, state="interrupted"), records).verdict
    assert verdict.state == "invalid"
    order = [caveat.severity for caveat in verdict.caveats]
    assert order == sorted(order, key=["invalid", "doubtful", "note"].index)


def test_doubts_from_elsewhere_count():
    plugin = Caveat(code="thermal", severity="doubtful", message="the GPU was throttled")
    summary = derive_summary(manifest(ARMS, state="finished"), clean(20), caveats=[plugin])
    assert summary.verdict.state == "doubtful"
    assert summary.verdict.caveats == (plugin,)
