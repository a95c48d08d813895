"""Numbers as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.figures import interval, number, percent, short, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (math.inf, "—"),
        (0, "0"),
        (-0.0, "0"),
        (12.0, "12"),
        (1234.56, "1235"),
        (123.456, "123.5"),
        (12.3456, "12.35"),
        (1.23456, "1.235"),
        (0.0123456, "0.01235"),
        (99999.6, "100000"),
        (0.000123, "0.0001230"),
        (1e-7, "0.0000001000"),
        (1e-10, "1.000e-10"),
        (1.5e12, "1.500e+12"),
        (-3.14159, "-3.142"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_the_others():
    assert signed(1.5) == "+1.500"
    assert signed(-1.5) == "-1.500"
    assert signed(0.0) == "0"
    assert signed(None) == "—"
    assert percent(0.1234) == "12.3 %"
    assert percent(None) == "—"
    assert interval(1.0, 2.5) == "1 … 2.500"
    assert interval(None, 2.5) == "—"


@given(st.floats(1e-90, 1e90) | st.floats(-1e90, -1e-90) | st.just(math.nan) | st.just(0.0))
def test_short_is_short_and_number_is_near(value):
    assert len(short(value)) <= 8  # a sign may come on top
    if math.isfinite(value) and value != 0:
        assert math.isclose(float(number(value)), value, rel_tol=1e-3)
