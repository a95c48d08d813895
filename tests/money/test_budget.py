"""A budget: what is not sent because of it, and that no order of endings exceeds it."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.engine.budget import Ledger
from harness.errors import SpecError
from harness.money import Purse
from harness.schema import CallError, Cost, Effective, PriceRecord, RetryRecord
from harness.testing.wire import respond
from tests.money.runs import PRICE, paid
from tests.store import builders

RECORD = msgspec.convert(PRICE, PriceRecord)


# The purse. ---------------------------------------------------------------------------------------


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100), st.booleans(), st.integers(0, 9))),
)
def test_no_order_of_endings_exceeds_a_limit(limit, calls):
    """Calls in flight at once, ending in any order; the provider charges at most its price, whether
    or not it says so."""
    purse, flight, charged = Purse(Decimal(limit)), [], Decimal(0)
    for worst, share, is_said, ending in calls:
        if purse.hold(Decimal(worst)):
            flight.append((Decimal(worst), Decimal(worst) * share / 100, is_said))
        if flight and ending < len(flight):
            held, cost, said = flight.pop(ending)
            charged += cost
            purse.settle(held, cost if said else held)
        in_flight = sum(cost for _, cost, _ in flight)
        assert charged + in_flight <= limit
        assert purse.spent + purse.held <= limit


def test_the_first_call_that_does_not_fit_closes_the_purse():
    purse = Purse(Decimal("1"))
    assert purse.hold(Decimal("0.7"))
    assert not purse.hold(Decimal("0.5"))
    purse.settle(Decimal("0.7"), Decimal("0.1"))
    assert not purse.hold(Decimal("0.01")), "cheaper calls would be another load"
    assert "$0.50" in purse.refusal and "$0.70 held" in purse.refusal


# The ledger. --------------------------------------------------------------------------------------


def made(trial=0, cost="0.1", status="ok", **more):
    call = builders.call(trial=trial, ordinal=0, ttft_ms=1, tpot_ms=1, tokens=1)
    return replace(
        call,
        status=status,
        cost=Cost(usd=cost, source="provider") if cost else None,
        request_bytes=100_000,
        max_tokens=50_000,
        **more,
    )


def end(trial=0, *, code=None, effective=None):
    ended = builders.trial(number=trial)
    error = CallError(code=code) if code else None
    price = Effective(price=RECORD, location="api")
    return replace(
        ended,
        status="error" if code else "ok",
        error=error,
        effective=price if effective is None else effective,
    )


def test_parts_are_of_what_is_left_and_come_back():
    ledger = Ledger(Decimal(1))
    assert ledger.begin(0, sharers=3) == Decimal("0.333333333333")
    assert ledger.begin(1, sharers=2) == Decimal("0.333333333333")
    ledger.see(made(0))
    ledger.see(made(1, cost="0.2"))
    ledger.see(end(0))
    assert ledger.spent == Decimal("0.1")
    assert ledger.begin(2, sharers=1) == Decimal("0.9") - Decimal("0.333333333333")
    ledger.see(end(1))
    ledger.see(end(2))
    assert (ledger.spent, ledger.left) == (Decimal("0.3"), Decimal("0.7"))
    assert not ledger.is_over


def test_calls_of_unknown_cost_count_as_the_most_they_can_have_cost():
    ledger = Ledger(Decimal(1))
    ledger.begin(0, 1)
    ledger.see(made(cost=None, status="timeout"))
    ledger.see(end())
    assert ledger.spent == Decimal("0.2")  # 100,000 × 1 + 50,000 × 2 millionths


def test_a_lost_trial_takes_its_part_with_it():
    ledger = Ledger(Decimal(1))
    ledger.begin(0, 2)
    ledger.see(made(0))
    ledger.see(end(0, code="lost", effective=Effective()))
    assert ledger.spent == Decimal("0.5")
    ledger.begin(1, 1)
    ledger.see(RetryRecord(trial=1, attempt=1, reason="its place was lost"))
    assert ledger.left == 0 and ledger.is_over


def test_a_lost_local_trial_costs_nothing():
    ledger = Ledger(Decimal(1))
    ledger.begin(0, 1)
    ledger.see(end(0, effective=Effective(location="local", server="here")))
    ledger.begin(1, 1)
    ledger.see(end(1, code="lost", effective=Effective()))
    assert ledger.spent == 0


def test_what_earlier_sessions_spent_counts_void_or_not():
    ledger = Ledger(Decimal(1), {("baseline", "base"): RECORD})
    ledger.recall([made(0), end(0), made(1), made(1, cost=None, status="cancelled")])
    assert ledger.spent == Decimal("0.4")
    ledger.see(made(2))
    assert ledger.begin(2, 1) == Decimal("0.6")


def test_what_was_sent_before_a_price_was_recorded_is_reckoned_with_once_it_is():
    """A backend that fetches its price has it in a trial's record, and the session was killed."""
    ledger = Ledger(Decimal(1))
    ledger.recall([made(0), made(0, cost=None, status="timeout")])
    assert ledger.spent == Decimal("0.2")  # as the dearest that is known
    ledger.see(made(1, cost="0.05"))
    ledger.see(end(1))
    assert ledger.spent == Decimal("0.1") + Decimal("0.2") + Decimal("0.05")
    ledger.see(end(2))
    assert ledger.spent == Decimal("0.35"), "once"


# Runs. --------------------------------------------------------------------------------------------


def statuses(ran, phase="measured"):
    return [call.status for call in ran.calls if call.phase == phase]


def spent(ran):
    return sum(Decimal(call.cost.usd) for call in ran.calls if call.cost is not None)


def codes(ran):
    return {one.code: one for one in ran.data().summary.verdict.caveats}


def test_the_run_ends_in_order_when_the_budget_does():
    # A call is about 1,000 bytes and 16 tokens: 0.00103 at most; it costs 0.000016.
    ran = paid(budget_usd=0.00112, trials=4)
    assert ran.error is None and ran.manifest.state == "finished"
    refused = [call for call in ran.calls if call.status == "not_sent"]
    assert {call.error.code for call in refused} == {"budget"}
    assert all(call.cost is None and call.instants.sent_ns is None for call in refused)
    assert "is spent" in refused[0].error.message
    ends = [(trial.status, trial.error and trial.error.code) for trial in ran.trials]
    assert ("error", "budget") in ends
    assert ends[-1] == ("skipped", "budget")
    assert sorted(trial.trial for trial in ran.trials) == [0, 1, 2, 3]
    assert 0 < spent(ran) <= Decimal("0.00112")
    found = codes(ran)
    assert found["budget"].severity == "doubtful"
    assert found["budget"].evidence["budget_usd"] == "0.00112"
    assert not {"unbalanced", "errors", "failures"} & set(found)


def test_a_budget_that_went_on_calls_of_unknown_cost_does_not_say_that_nothing_is_spent():
    broken = respond([b'{"text": "a "}\n'], content_type="application/x-ndjson")[:-1]
    found = codes(paid(answers=[broken], budget_usd=0.003))["budget"]
    assert "of no call is it known what it cost" in found.message and "$0 is" not in found.message
    assert found.evidence["spent_usd"] is None


def test_an_iteration_that_was_cut_short_still_balances():
    ran = paid({"load": {"mode": "closed", "requests": 40, "concurrency": 1}}, budget_usd=0.0013)
    ended = statuses(ran)
    assert len(ended) == 40 and {"ok", "not_sent"} == set(ended)
    assert ended.index("not_sent") == ended.count("ok"), "nothing is sent after that"
    assert "unbalanced" not in codes(ran)


def test_an_open_loop_does_not_wait_for_what_it_will_not_send():
    load = {"mode": "open", "rate_per_s": 0.2, "requests": 50, "arrival": "constant"}
    ran = paid({"load": load, "iterations": {"warmup": 0, "measured": 1}}, budget_usd=0.0005)
    assert statuses(ran) == ["not_sent"] * 50  # 250 s of schedule


def test_a_budget_that_suffices_changes_nothing():
    ran = paid(budget_usd=1)
    assert statuses(ran) == ["ok"] * 4
    assert "budget" not in codes(ran)


def test_warm_up_is_paid_for_too():
    ran = paid(budget_usd=0.0005)
    assert statuses(ran, "warmup") == ["not_sent"] * 2
    assert statuses(ran) == []
    found = codes(ran)
    assert found["empty-workload"].remedy == "a larger budget (`budget`)"


def test_a_request_without_a_bound_is_refused_before_it_is_sent():
    ran = paid(scenario={"name": "bare"}, budget_usd=1)
    assert isinstance(ran.error, SpecError)
    assert "max_tokens" in str(ran.error) and "$.budget_usd" in str(ran.error)
    assert ran.calls == []


def test_without_a_price_nothing_is_sent():
    ran = paid(prices=[], budget_usd=1)
    assert isinstance(ran.error, SpecError) and ran.calls == []
    assert "no price record for 'm' of backend 'paid'" in str(ran.error)
    assert "harness prices add paid m" in str(ran.error)


def test_a_local_model_needs_no_price_under_a_budget():
    local = {"name": "paid", "model": "m", "options": {"location": "local"}}
    ran = paid(prices=[], backend=local, budget_usd=0.0001)
    assert ran.error is None and statuses(ran) == ["ok"] * 4


def test_a_budget_is_a_number_above_nothing():
    for wrong in (0, -1, 1e9):
        with pytest.raises(SpecError, match=r"\$\.budget_usd"):
            paid(budget_usd=wrong)


@settings(max_examples=15)
@given(st.data())
def test_the_providers_bill_never_exceeds_the_budget(data):
    """Through the engine: any costs up to the price, any outcome, any concurrency."""
    billed = []

    def answered(exchange):
        worst = Decimal(len(exchange.body)) * Decimal("0.000001") + 16 * Decimal("0.000002")
        share = data.draw(st.integers(0, 100))
        billed.append(worst * share / 100)
        how = data.draw(st.sampled_from(["told", "silent", "torn", "refused"]))
        end = {"end": True, "tokens": None}
        if how == "refused":
            billed[-1] = Decimal(0)
            return respond([b"{}\n"], status=429, content_type="application/x-ndjson")
        if how == "told":
            end["cost"] = format(billed[-1], "f")
        lines = [{"text": "a"}, *([end] if how != "torn" else [])]
        wire = [msgspec.json.encode(line) + b"\n" for line in lines]
        return respond(wire, content_type="application/x-ndjson")

    budget = data.draw(st.integers(1, 20)) / 1000
    load = {"mode": "closed", "requests": 12, "concurrency": data.draw(st.integers(1, 5))}
    iterations = {"warmup": data.draw(st.integers(0, 1)), "measured": 1}
    trials = data.draw(st.integers(1, 2))
    ran = paid(
        {"load": load, "iterations": iterations},
        answers=[answered],
        budget_usd=budget,
        trials=trials,
    )
    assert sum(billed) <= Decimal(str(budget))
    assert len(ran.trials) == trials


def test_two_at_once_in_one_process_share():
    ran = paid({"placement": {"parallel": 2}}, trials=2, budget_usd=0.01, isolation="inline")
    assert len(ran.trials) == 2
    assert 0 < spent(ran) <= Decimal("0.01")
