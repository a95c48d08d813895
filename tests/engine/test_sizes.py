"""Numbers of parameters, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import make_plan, spec_from
from harness.errors import SpecError
from harness.host import Host
from harness.sizes import parse_size, size_words


@pytest.mark.parametrize(
    ("written", "parameters"),
    [
        ("7.6B", 7_600_000_000),
        ("135M", 135_000_000),
        (" 8 b ", 8_000_000_000),
        ("1.5T", 1_500_000_000_000),
        ("3e9", 3_000_000_000),
        ("135000000", 135_000_000),
        (135000000, 135_000_000),
        (7.6e9, 7_600_000_000),
    ],
)
def test_what_is_written(written, parameters):
    assert parse_size(written) == parameters


@pytest.mark.parametrize(
    "written", ["", "big", "8x7B", "-7B", "0", 0, -1, True, "7.6 GB", "1e99", float("nan"), "B"]
)
def test_what_is_no_size_is_refused_with_its_path(written):
    with pytest.raises(SpecError, match=r"^\$\.sizes\.m: .* is no number of parameters"):
        parse_size(written, "$.sizes.m")


@given(st.integers(1, 10**14))
def test_words_are_as_good_as_three_digits(parameters):
    words = size_words(parameters)
    assert len(words) <= 6
    assert parse_size(words) == pytest.approx(parameters, rel=0.006)


def test_unknown_is_no_zero():
    assert size_words(None) == "—"


def test_a_spec_is_refused_by_its_path():
    raw = {"backend": {"name": "openai"}, "scenario": {"name": "load"}, "sizes": {"q": "large"}}
    with pytest.raises(SpecError, match=r"^\$\.sizes\.q: 'large'"):
        make_plan(spec_from(raw), Host.load())
