"""Amounts: what is one, and how it reads."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.money.amounts import added, dollars, parse_amount, plain


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"),
        ("0.00000015", "0.00000015"),
        ("1.2e-05", "0.000012"),
        ("1E+2", "100"),
        ("0.10", "0.1"),
        ("12", "12"),
    ],
)
def test_what_is_an_amount(text, amount):
    assert plain(parse_amount(text)) == amount


@pytest.mark.parametrize(
    "text",
    [
        None,
        0.5,
        1,
        True,
        b"1",
        "",
        "-1",
        "+1",
        "NaN",
        "inf",
        "sNaN",
        "1_000",
        "1,5",
        " 1",
        "1\n",
        "٣",  # a digit, elsewhere
        "1e999",
        "9" * 13,
        "0." + "1" * 31,
        "1e-99",
        "\x1b[31m1",
        "0x10",
        "$1",
    ],
)
def test_what_is_none(text):
    assert parse_amount(text) is None


@given(st.text(max_size=80))
def test_no_text_breaks_it(text):
    amount = parse_amount(text)
    assert amount is None or (amount.is_finite() and amount >= 0)


@given(st.decimals(0, 1000, places=12))
def test_an_amount_survives_being_written(amount):
    assert parse_amount(plain(amount)) == amount
    assert "e" not in plain(amount).lower()


@given(st.lists(st.integers(0, 10**15), max_size=200))
def test_sums_are_exact(picodollars):
    sums = added(Decimal(one).scaleb(-12) for one in picodollars)
    assert sums == Decimal(sum(picodollars)).scaleb(-12)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("0.000123", "$0.000123"),
        ("0.00000015", "$0.00000015"),
        ("0.000012345678", "$0.00001235"),
        ("0.5", "$0.50"),
        ("12.3456", "$12.35"),
        ("1234.5", "$1234.50"),
        ("3", "$3.00"),
    ],
)
def test_dollars_have_no_exponent(amount, text):
    assert dollars(Decimal(amount)) == dollars(amount) == text
