"""The terminal table: exact text, 80 columns, hostile names made harmless."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from harness.report.table import render_summary
from tests.store import builders
from tests.store.builders import FakeRun, manifest


def rendered(summary, width: int = 80, **options) -> str:
    out = io.StringIO()
    render_summary(summary, Console(file=out, width=width, **options))
    return out.getvalue()


def run_of(name: str, calls: list) -> FakeRun:
    number = calls[0].trial
    records = [*calls, builders.iteration(calls), builders.trial(name, number)]
    planned = manifest(arms=(name,), state="finished", plan=((name, "base", number),))
    return FakeRun(planned, records)


def test_two_arms_side_by_side():
    lines = [line.rstrip() for line in rendered(builders.toy_run().summary).splitlines()]
    assert lines == [
        "toy run · single_agent on scripted · toy:1b · finished in 4 s",
        "",
        "               TTFT ms       TPOT ms       E2E ms",
        " arm       ok   median  p95   median  p95  median  p95  tok/s  n",
        " ───────────────────────────────────────────────────────────────",
        " baseline   4     51.5    —       10    —    92.5    —   34.1  4",
        " chimera    4     62.5    —       10    —     104    —   32.9  4",
        "",
        "— a p95 needs n = 20",
        "n: calls with a first token; tok/s: output tokens / wall time, over iterations",
        "verdict: valid",
        "  note too-few: a p95 needs 20 values; there are 4 (baseline), 4 (chimera) →",
        "  more requests, iterations or trials",
    ]


def test_failed_calls_are_counted_beside_the_arm():
    calls = [builders.call(ordinal=i, sent_ms=200 * i + 10, ttft_ms=10 + i) for i in range(38)]
    calls += [builders.failed("timeout", "timeout.total", ordinal=38)]
    calls += [builders.failed("truncated", "truncated", ordinal=39)]
    text = rendered(run_of("baseline", calls).summary)
    assert "38/40" in text
    assert "baseline: 1 timeout, 1 truncated" in text
    assert "p95 needs" not in text
    assert "45.1" in text  # p95 of 10 … 47: h = 37 × 0.95 = 35.15
    assert "verdict: doubtful" in text
    assert "2 of 40 calls (5.0%) are not ok, 1 of them truncated streams" in " ".join(text.split())


def test_a_metric_that_fewer_calls_have_says_so():
    calls = [builders.call(ordinal=i, sent_ms=200 * i + 10, tokens=1 + (i > 6)) for i in range(20)]
    text = " ".join(rendered(run_of("baseline", calls).summary).split())
    assert "— a p95 needs n = 20; baseline has TPOT of 13 calls" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_whatever_the_figures(width):
    name = "an arm with a very long name, longer than any column"
    calls = [
        builders.call(arm=name, ordinal=i, sent_ms=1e6 * i, ttft_ms=123456.7 + i, tpot_ms=98765.4)
        for i in range(120)
    ]
    text = rendered(run_of(name, calls).summary, width=width)
    assert max(map(len, text.splitlines())) <= min(width, 80)
    if width >= 80:
        assert "123516" in text


def test_hostile_names_neither_escape_nor_style():
    name = "a\x1b]0;owned\x07\x9b31m[red]b\u202e"
    text = rendered(run_of(name, [builders.call(arm=name)]).summary, force_terminal=True)
    for forbidden in ("owned", "\x07", "\x9b", "\u202e", "\x1b]"):
        assert forbidden not in text
    assert "a[red]b" in text


def test_a_run_without_any_figure():
    run = FakeRun(manifest(state="failed"), [])
    text = rendered(run.summary)
    assert "failed in — s" in text
    assert "verdict: invalid" in text
    assert "not one call was measured" in text


def test_a_simulation_is_marked():
    calls = [builders.call()]
    effective = msgspec.structs.replace(builders.trial().effective, simulated=True)
    records = [*calls, builders.iteration(calls), builders.trial(effective=effective)]
    run = FakeRun(manifest(arms=("baseline",)), records)
    assert "SIMULATED: a stub was measured, no model server" in rendered(run.summary)
