"""Each rule: the fault that must trigger it, and the clean run that must not."""

from __future__ import annotations

from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import (
    ArmSpec,
    Caveat,
    ClosedLoad,
    Effective,
    ScenarioSpec,
    Usage,
    ValiditySpec,
)
from tests.engine.faults import ARMS, caveat_of, caveats, changed, clean, codes, with_error
from tests.store import builders
from tests.store.builders import manifest


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
    assert "errors" not in codes(with_error(clean(), 0, "not_sent"), state="interrupted")
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
    cut = caveat_of("too-few", clean(9), state="interrupted")
    assert cut.remedy == "let it run to its end"
    offered = builders.spec(load=ClosedLoad(requests=9))
    assert caveat_of("too-few", clean(9), spec=offered).remedy == "--requests 10, or --runs 3"
    assert "too-few" not in codes(clean(10))


def test_single_launches():
    records = [r for r in clean(20) if r.trial < 2]
    plan = (("baseline", "base", 0), ("chimera", "base", 1))
    assert codes(records, plan=plan) == {"single-launch": "note"}
    assert caveat_of("single-launch", records, plan=plan).remedy == "--runs 5"


def test_remedies_agree():
    """The larger number of launches serves both."""
    plan = (("baseline", "base", 0), ("chimera", "base", 1))
    for n, runs in ((2, 10), (9, 5)):
        records = [r for r in clean(n) if r.trial < 2]
        found = caveats(records, plan=plan, spec=builders.spec(trials=1))
        few, single = (c for c in found if c.code in ("too-few", "single-launch"))
        assert few.remedy == single.remedy == f"--runs {runs}"


def test_more_of_what_fails_is_no_remedy():
    records = clean(9)
    for index in range(18):
        records = with_error(records, index)
    found = codes(records)
    assert found["errors"] == "invalid" and "too-few" not in found


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
    silent = everywhere
    for index in (1, 3):  # both of one arm, which never came to a server
        silent = changed(silent, "trial", index, status="error", effective=Effective())
    found = [c for c in caveats(silent) if c.code == "random-weights"]
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


def test_remedies_of_harness_tap_are_none_of_harness_run():
    """It has no --runs: what it lacks are calls."""
    one = [replace(r, arm="tapped") if hasattr(r, "arm") else r for r in clean(3) if r.trial < 1]
    opened = builders.spec(
        trials=1, scenario=ScenarioSpec(name="tapped"), arms={"tapped": ArmSpec()}
    )
    found = caveats(one, plan=(("tapped", "base", 0),), spec=opened)
    few, single = (c for c in found if c.code in ("too-few", "single-launch"))
    assert few.remedy == "more calls through the tap"
    assert single.remedy.startswith("a spec with trials: ")
