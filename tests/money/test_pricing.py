"""What a call costs by its price, and at most."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.money import call_cost, charge, table_cost, uncosted, was_sent, worst_case
from harness.schema import CallError, Cost, PriceRecord, Usage
from tests.metrics.records import call

PRICE = PriceRecord(
    backend="b",
    model="m",
    input_usd_per_token="0.00000015",
    output_usd_per_token="0.0000006",
    cached_input_usd_per_token="0.000000075",
    request_usd="0.001",
    date="2026-01-01",
    source="the test",
)


def test_tokens_times_price_by_hand():
    usage = Usage(prompt_tokens=1000, cached_tokens=400, output_tokens=200, reasoning_tokens=150)
    # 600 × 0.15 + 400 × 0.075 + 200 × 0.60 millionths, and the request. Reasoning is output.
    assert table_cost(usage, PRICE) == Decimal("0.00124")
    no_cache = replace(PRICE, cached_input_usd_per_token=None, request_usd="0")
    assert table_cost(usage, no_cache) == Decimal("0.00027")


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(prompt_tokens=10),
        Usage(output_tokens=10),
        Usage(prompt_tokens=-1, output_tokens=10),
        Usage(prompt_tokens=10, output_tokens=2**63),
        Usage(prompt_tokens=10, output_tokens=10, cached_tokens=11),
        Usage(prompt_tokens=10, output_tokens=10, cached_tokens=-1),
    ],
)
def test_an_unknown_count_is_an_unknown_cost(usage):
    assert table_cost(usage, PRICE) is None
    assert call_cost(None, usage, PRICE) is None


def test_who_wins():
    usage = Usage(prompt_tokens=1000, output_tokens=0)
    price = replace(PRICE, request_usd="0")
    table = Cost(usd="0.00015", source="table", price_date="2026-01-01")
    assert call_cost(None, usage, price) == table
    assert call_cost("0.5", usage, price) == Cost(usd="0.5", source="provider")
    assert call_cost("1.5e-05", usage, None) == Cost(usd="0.000015", source="provider")
    assert call_cost("0", usage, price) == Cost(usd="0", source="provider")  # free, as it says
    for hostile in ("NaN", "-1", "1e999", "x" * 10**6, 0.5, ["1"], "\x1b[2J"):
        assert call_cost(hostile, usage, price) == table
        assert call_cost(hostile, usage, None) is None


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_no_usage_that_fits_costs_more_than_the_worst_case(prompt, output, cached):
    usage = Usage(prompt_tokens=prompt, output_tokens=output, cached_tokens=min(cached, prompt))
    assert table_cost(usage, PRICE) <= worst_case(PRICE, prompt, output)


def ended(status="ok", code=None, *, cost=None, http=None, sent=True, earlier=()):
    made = call(status=status, usage=Usage())
    instants = made.instants if sent else replace(made.instants, sent_ns=None)
    return replace(
        made,
        instants=instants,
        http_status=http,
        error=CallError(code=code) if code else None,
        cost=Cost(usd=cost, source="provider") if cost else None,
        request_bytes=1000,
        max_tokens=100,
        earlier=tuple(CallError(code=one) for one in earlier),
    )


WORST = worst_case(PRICE, 1000, 100)


@pytest.mark.parametrize(
    ("made", "counted"),
    [
        (ended(cost="0.002"), "0.002"),
        (ended("timeout", "timeout.total"), WORST),
        (ended("timeout", "timeout.total", cost="0.003"), "0.003"),
        (ended("truncated", "truncated"), WORST),
        (ended("cancelled", "cancelled", sent=False), WORST),
        (ended("not_sent", "budget", sent=False), 0),
        (ended("error", "connect", sent=False), 0),
        (ended("error", "http.429", http=429), 0),
        (ended("error", "http.503", http=503), 0),
        (ended("cancelled", "cancelled", http=429, earlier=("http.429",)), 0),
        (ended("error", "http.500", http=500), WORST),
        (ended("error", "stream", http=200), WORST),
        (ended(earlier=("http.429", "connect"), cost="0.002"), "0.002"),
        (ended(earlier=("http.500", "timeout.total"), cost="0"), 2 * WORST),
    ],
)
def test_what_a_budget_counts(made, counted):
    assert charge(made, PRICE) == Decimal(counted)


def test_without_a_price_only_what_is_known_counts():
    assert charge(ended("timeout", "timeout.total"), None) == 0
    assert charge(ended(cost="0.1"), None) == Decimal("0.1")
    assert uncosted(ended("timeout", "timeout.total")) == 1
    assert not was_sent(ended("not_sent", "budget", sent=False))
