"""What calls cost, from the answer to the report: the real engine, with scripted answers."""

from __future__ import annotations

import io
import json

import msgspec
import pytest
from rich.console import Console

from harness.errors import SpecError
from harness.report import comparison, csv_calls, csv_cells, html, jsonl, metrics_json, plots
from harness.report.beside import cost_of_all, cost_words
from harness.report.table import render_summary
from harness.schema import CostSummary
from harness.testing.wire import respond
from tests.money.runs import PRICE, PRICED, paid

NO_PRICE = {"prices": []}
FETCHED = {**PRICE, "input_usd_per_token": "1", "source": "the service"}


def answer(**last):
    """Three words, and what the last line says besides."""
    lines = [{"text": word} for word in ("a ", "b ", "c")] + [{"end": True, "tokens": 3, **last}]
    wire = [msgspec.json.encode(line) + b"\n" for line in lines]
    return respond(wire, content_type="application/x-ndjson")


def summary(ran, arm=0):
    return ran.data().summary.arms[arm]


def figure(arm, name):
    return next((one for one in arm.metrics if one.name == name), None)


def codes(ran):
    return [one.code for one in ran.data().summary.verdict.caveats]


def test_tokens_at_the_price_of_the_spec():
    ran = paid()
    assert {call.cost.usd for call in ran.calls} == {"0.000016"}  # 10 × 1 + 3 × 2 millionths
    assert {call.cost.source for call in ran.calls} == {"table"}
    assert {call.cost.price_date for call in ran.calls} == {"2026-01-01"}
    assert ran.trials[0].effective.price == ran.manifest.prices[0]
    arm = summary(ran)
    assert arm.cost == CostSummary(usd="0.000096", calls=6)  # two of them to warm up
    assert figure(arm, "cost_usd").mean == 0.000016
    assert figure(arm, "iteration_cost_usd").mean == 0.000064
    assert figure(arm, "cost_usd_per_1k_output_tokens").mean == pytest.approx(0.064 / 12)
    assert figure(arm, "cost_usd").provenance == "derived"
    assert "unpriced" not in codes(ran)


def test_the_providers_own_account_wins():
    ran = paid(answers=[answer(cost="0.25")])
    assert {call.cost.source for call in ran.calls} == {"provider"}
    arm = summary(ran)
    assert arm.cost == CostSummary(usd="1.5", calls=6, provider_usd="1.5")
    assert figure(arm, "cost_usd").provenance == "declared"
    mixed = paid(answers=[answer(cost="0.25"), answer()])
    assert figure(summary(mixed), "cost_usd").provenance == "derived"
    assert summary(mixed).cost.provider_usd == "0.75"


def test_what_a_hostile_answer_says_is_no_cost():
    for said in ("-1", "NaN", "9" * 1000, {"usd": "1"}, 0.1, "\u001b[2J"):
        ran = paid(answers=[answer(cost=said)])
        assert {call.cost.source for call in ran.calls} == {"table"}


def test_unknown_is_not_free():
    ran = paid({"backend": {**PRICED["backend"], "options": {"prompt_tokens": None}}})
    assert all(call.cost is None for call in ran.calls)
    arm = summary(ran)
    assert arm.cost is None and figure(arm, "cost_usd") is None
    half = paid(answers=[answer(cost="0.5"), answer(cost="0.5", tokens=None)], prices=[])
    assert summary(half).cost == CostSummary(usd="3", calls=6, provider_usd="3")
    some = paid(answers=[answer(cost="0.5"), answer()], prices=[])
    arm = summary(some)
    assert arm.cost == CostSummary(usd="1.5", calls=6, unknown=3, provider_usd="1.5")
    assert (figure(arm, "cost_usd").n, figure(arm, "cost_usd").missing) == (2, 2)
    assert figure(arm, "iteration_cost_usd").n == 0
    assert figure(arm, "cost_usd_per_1k_output_tokens").n == 0
    assert "unpriced" in codes(some)


def test_what_was_refused_cost_nothing():
    """The first call is of the warm-up. One whose answer broke off is of unknown cost, though."""
    refused = respond([b"{}"], status=429, content_type="application/json")
    load = {"mode": "closed", "requests": 6, "concurrency": 1}
    ran = paid(answers=[refused, answer()], load=load, iterations={"measured": 1, "warmup": 1})
    assert [call.http_status for call in ran.calls].count(429) == 4  # of 8, in turns
    assert {call.cost for call in ran.calls if call.http_status == 429} == {None}
    arm = summary(ran)
    assert arm.cost == CostSummary(usd="0.000064", calls=8)
    assert "unpriced" not in codes(ran)
    assert figure(arm, "iteration_cost_usd").mean == 0.000048
    assert figure(arm, "cost_usd_per_1k_output_tokens").mean == pytest.approx(0.048 / 9)
    broken = paid(answers=[answer()[:-2], answer()], load=load)
    assert summary(broken).cost == CostSummary(usd="0.000064", calls=8, unknown=4)
    assert figure(summary(broken), "iteration_cost_usd").n == 0


def test_a_service_without_a_price_is_said_to_have_none():
    ran = paid(NO_PRICE)
    assert ran.trials[0].effective.unknown["price"] == "no price record for 'm' of backend 'paid'"
    (caveat,) = [one for one in ran.data().summary.verdict.caveats if one.code == "unpriced"]
    assert caveat.severity == "note"
    assert "4 of 4 calls" in caveat.message and "no price record for 'm'" in caveat.message


@pytest.mark.parametrize("location", ["local", None])
def test_a_model_of_ones_own_has_no_price_and_needs_none(location):
    backend = {"name": "paid", "model": "m", "options": {"location": location}}
    ran = paid(NO_PRICE, backend=backend)
    assert "price" not in ran.trials[0].effective.unknown
    assert "unpriced" not in codes(ran)
    data = ran.data()
    assert not any("cost" in one.name for one in data.summary.arms[0].metrics)
    assert "ost" not in terminal(data).replace("most", "").replace("host", "")


def test_the_order_of_precedence(tmp_path, monkeypatch):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"prices": [{**PRICE, "source": "the user"}]}))
    with_fetched = {"name": "paid", "model": "m", "options": {"fetched": FETCHED}}

    def used(raw=None, **more):
        return paid(raw, **more).trials[0].effective.price.source

    monkeypatch.setenv("HARNESS_PRICES", str(own))
    assert used() == "the test"
    assert used(backend=with_fetched) == "the test"
    assert used(NO_PRICE, backend=with_fetched) == "the service"
    assert used(NO_PRICE) == "the user"


def test_what_a_backend_fetched_must_be_a_price():
    broken = {**FETCHED, "input_usd_per_token": "free"}
    backend = {"name": "paid", "model": "m", "options": {"fetched": broken}}
    ran = paid(NO_PRICE, backend=backend)
    effective = ran.trials[0].effective
    assert effective.price is None
    assert "'free' is no amount" in effective.unknown["price"]


def test_a_price_of_tomorrow_is_not_used():
    ran = paid(prices=[{**PRICE, "date": "2999-01-01"}, {**PRICE, "date": "2025-01-01"}])
    assert {call.cost.price_date for call in ran.calls} == {"2025-01-01"}


def test_mistakes_are_found_before_anything_is_started(tmp_path, monkeypatch):
    with pytest.raises(SpecError, match=r"\$\.prices\[0\]\.input_usd_per_token"):
        paid(prices=[{**PRICE, "input_usd_per_token": "1.5 USD"}])
    with pytest.raises(SpecError, match=r"\$\.prices\[1\]\.input_usd: there is no such field"):
        paid(prices=[PRICE, {**PRICE, "input_usd": "1"}])
    with pytest.raises(SpecError, match=r"\$\.prices\[1\]"):
        paid(prices=[PRICE, PRICE])
    (tmp_path / "own.json").write_text('{"prices": [{}]}')
    monkeypatch.setenv("HARNESS_PRICES", str(tmp_path / "own.json"))
    with pytest.raises(SpecError, match=r"own\.json: \$\.prices\[0\]"):
        paid()


# Reports. -----------------------------------------------------------------------------------------


def terminal(data):
    out = io.StringIO()
    render_summary(data.summary, Console(file=out, width=80))
    return " ".join(out.getvalue().split())


def exported(writer, data):
    out = io.BytesIO()
    writer.write(data, out)
    return out.getvalue().decode()


@pytest.fixture(scope="module")
def two_arms():
    """One whose model has a price, and one whose has none."""
    arms = {"a": {}, "b": {"backend": {"model": "n"}}}
    return paid(arms=arms).data()


def test_reports_say_it_without_an_exponent(two_arms, monkeypatch):
    monkeypatch.setattr(plots, "figures_for", lambda run, **more: [])
    shown = terminal(two_arms)
    assert "a cost: $0.000096 for all its 6 calls, warm-up and failed ones included" in shown
    assert "the run cost $0.000096 for all its 6 calls" in shown
    assert "of all calls of b it is unknown" in shown
    assert "unpriced (b)" in shown
    page = exported(comparison, two_arms)
    assert r"| Cost | \$0.000096 for all its 6 calls" in page
    assert "0.00001600" in page and "e-05" not in page
    assert "Cost: " in page
    made = exported(html, two_arms)
    assert "$0.000096 for all its 6 calls" in made and "Cost per call" in made
    cells = exported(csv_cells, two_arms)
    assert ",cost_usd,USD,lower,derived,call,4," in cells and "e-05" not in cells


def test_calls_carry_their_cost(two_arms):
    rows = [line.split(",") for line in exported(csv_calls, two_arms).splitlines()]
    at = rows[0].index("cost_usd")
    arms = {(row[1], *row[at : at + 3]) for row in rows[1:]}
    assert arms == {("a", "0.000016", "table", "2026-01-01"), ("b", "", "", "")}
    lines = [json.loads(line) for line in exported(jsonl, two_arms).splitlines()]
    assert {line["cost_usd"] for line in lines} == {"0.000016", None}
    found = json.loads(exported(metrics_json, two_arms))
    assert [arm["cost"] for arm in found["arms"]] == [{"usd": "0.000096", "calls": 6}, None]


def test_cost_in_words():
    assert cost_words(CostSummary(usd="0.25", calls=1, provider_usd="0.25")) == (
        "$0.25 for its one call (by the provider's own account)"
    )
    assert cost_words(CostSummary(usd="0.25", calls=9, unknown=2, provider_usd="0.05")) == (
        "$0.25 for 7 of 9 calls; what the other 2 cost is unknown ($0.05 of it by the provider's "
        "own account, the rest by tokens at the price of the day)"
    )
    assert cost_of_all(paid(NO_PRICE).data().summary) == "unknown, of every call"
