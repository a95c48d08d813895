"""Names and numbers as figures show them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.plots.words import drawable, fold, metric_label, spread, tick


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.05, "0.05"),
        (1500, "1,500"),
        (2.5e6, "2.5M"),
        (-30, "−30"),
        (2e-6, "0.000002"),
        (3.46e-5, "0.0000346"),
        (1e-12, "1e−12"),
    ],
)
def test_ticks_have_no_mathematics(value, text):
    assert tick(value) == text


def test_names_break_where_they_have_joints():
    assert fold("chimera / num_ctx=512,num_gpu=80") == "chimera / num_ctx=512,\nnum_gpu=80"
    assert fold("an-arm-whose-name-is-long-01", 12, 2) == "an-arm-\nwhose-name-…"


@given(st.text(max_size=200), st.integers(4, 40), st.integers(1, 4))
def test_folding_stays_within_its_room(text, width, lines):
    found = fold(text, width, lines).split("\n")
    assert len(found) <= lines
    assert max(len(one) for one in found) <= width


def test_what_the_font_lacks_becomes_a_box():
    assert drawable("模型 é µs → ±") == "□□ é µs → ±"


def test_metrics_are_called_as_the_field_calls_them():
    assert metric_label("ttft_ms", "ms") == "TTFT, ms"
    assert metric_label("client_lag_p99_us", "us") == "client lag p99, µs"
    assert metric_label("span.ingest_ms", "ms") == "span.ingest, ms"
    assert metric_label("score", "") == "score"


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_are_moved_apart(wanted):
    found = spread(wanted, 0.05, 0.0, 1.0)
    placed = sorted(found)
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(placed))
    assert all(-1e-9 <= one <= 1 + 1e-9 for one in found)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert [found[i] for i in order] == placed


def test_labels_that_have_room_stay():
    assert spread([0.9, 0.1], 0.05, 0, 1) == [0.9, 0.1]
