"""What stands beside the figures: goodput, bands, cold starts, warm-up, outliers."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

from harness.report import comparison
from harness.report.beside import beside, goodput_words, outlier_words, warmup_words
from harness.report.iterations import iteration_lines
from harness.report.table import render_summary
from harness.schema import BandSpec, Goodput, MetricSummary, MetricValue, Objective, WarmupHint
from tests.store import builders
from tests.store.builders import MS, FakeRun, manifest

MADE = Goodput(
    good=48,
    of=50,
    unknown=1,
    objectives=(
        Objective(metric="ttft_ms", bound=200, better="lower", met=49, unknown=0),
        Objective(metric="prefill_rate_tok_s", bound=1000, better="higher", met=48, unknown=1),
    ),
    share=0.96,
    share_low=0.863,
    share_high=0.995,
    ci_of="calls",
    per_s=11.82,
)


def run_with(records=None, **changes):
    made = manifest(state="finished")
    made = replace(made, spec=replace(made.spec, **changes))
    return FakeRun(made, builders.records() if records is None else records)


def terminal(run):
    out = io.StringIO()
    render_summary(run.summary, Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    return " ".join(out.getvalue().split())


def page(run):
    out = io.BytesIO()
    comparison.write(run, out)
    return out.getvalue().decode()


def test_goodput_in_words():
    assert goodput_words(MADE) == (
        "96 % good (48 of 50; 95 %: 86.3 … 99.5 % by chance alone), 11.8/s; "
        "ttft_ms ≤ 200: 98 %, prefill_rate_tok_s ≥ 1000: 96 %; 1 unknown count as not good"
    )
    sure = replace(MADE, ci_of="trials", unknown=0, per_s=None)
    assert goodput_words(sure).startswith("96 % good (48 of 50; 95 %: 86.3 … 99.5 %); ttft")
    assert goodput_words(replace(MADE, of=0, share=None)) == "no request was planned"


def test_outliers_in_words():
    one = MetricSummary(name="x", unit="ms", better="lower", provenance="measured", of="call", n=12)
    assert outlier_words(one) == "—"
    assert outlier_words(replace(one, outliers=0)) == "0"
    flagged = replace(one, outliers=2, mean_without_outliers=48.12, median_without_outliers=47.9)
    assert outlier_words(flagged) == "2: mean 48.12, median 47.90 without"


@pytest.mark.parametrize("keep_from", [None, 0])
def test_a_warm_up_that_is_none_is_not_spoken_of(keep_from):
    hint = WarmupHint(metric="ttft_ms", of="calls", n=60, series=1, keep_from=keep_from)
    assert warmup_words(hint) == ""
    some = replace(hint, keep_from=10, mean=60.0, mean_kept=50.0)
    assert warmup_words(some) == (
        "MSER-5 would leave out the first 10 of 60 calls (ttft_ms: mean 60 → 50)"
    )


def test_without_slo_and_bands_nothing_is_added():
    assert [*beside(run_with().summary.arms[0])] == []


def test_terminal_and_page_say_the_same():
    bands = {"ttft_ms": BandSpec(good=52, moderate=60), "e2e_ms": BandSpec(good=1, of="p95")}
    run = run_with(slo={"ttft_ms": 52.0}, bands=bands)
    shown, written = terminal(run), page(run)
    for arm, good, share, band in (("baseline", 3, 75, "good"), ("chimera", 0, 0, "poor")):
        assert f"{arm} goodput: {share} % good ({good} of 4; 95 %:" in shown
        assert f"{arm} bands: ttft_ms {band} (median), e2e_ms — (p95: needs n = 20)" in shown
        assert f"Goodput: {share} % good ({good} of 4; 95 %:" in written
        assert rf"Bands: ttft\_ms {band} (median), e2e\_ms — (p95: needs n = 20)" in written
    assert "| `goodput_share` | share |" in written


def test_cold_starts_stand_apart():
    call = builders.call(phase="cold", sent_ms=2000, ttft_ms=700)
    started = builders.iteration([call], start_ns=MS, ready_ns=1900 * MS)
    run = run_with([*builders.records(), call, started])
    words = "baseline cold: 700 ms to the first token, of which loading 1 ms (median, n = 1)"
    assert words in terminal(run)
    unsure = replace(started, ready_ns=None)
    run = run_with([*builders.records(), call, unsure])
    assert "none of 1 cold starts is known to have been one" in terminal(run)


def test_iterations_have_theirs_one_by_one():
    call = builders.call(phase="cold", sent_ms=2000, ttft_ms=700)
    started = builders.iteration([call], start_ns=MS, ready_ns=1900 * MS)
    run = run_with([*builders.records(), call, started], slo={"ttft_ms": 52.0})
    warm = [line for line in iteration_lines(run) if line.phase == "measured"]
    assert [line.figures["goodput_share"] for line in warm] == [1.0, 0.0, 0.5, 0.0]
    (cold,) = (line for line in iteration_lines(run) if line.phase == "cold")
    assert cold.figures["cold_ttft_ms"] == 700.0
    without = iteration_lines(run_with())
    assert not any("goodput_share" in line.figures for line in without)


@pytest.mark.parametrize(
    ("longer", "said"),
    [
        (1, "… 8 more lines of this kind are in the report"),
        (0, "all arms and cells goodput: 100 %"),
    ],
)
def test_many_lines_are_cut_short(longer, said):
    cells = {f"n={n}": {"backend.options.num_ctx": n} for n in range(20)}
    records = []
    for number, cell in enumerate(cells):
        tokens = 5 + longer * number
        call = builders.call(trial=number, cell=cell, sent_ms=1000 * (number + 1), tokens=tokens)
        records += [call, builders.iteration([call]), builders.trial(number=number, cell=cell)]
    plan = tuple(("baseline", cell, number) for number, cell in enumerate(cells))
    run = run_with(records, slo={"ttft_ms": 52.0})
    run = FakeRun(replace(run.manifest, cells=cells, plan=plan), records)
    assert said in terminal(run)


def test_a_strangers_name_is_made_harmless():
    name = "\x1b[31m|<b>[link](x)"
    value = MetricValue(name=name, value=1.0, unit="x", better="lower")
    records = [
        replace(one, metrics=(value,)) if type(one).__name__ == "IterationRecord" else one
        for one in builders.records()
    ]
    run = run_with(records, bands={name: BandSpec(good=2)})
    assert "\x1b[31m" not in terminal(run)
    written = page(run)
    assert "\x1b" not in written
    assert "<b>" not in written.split("Bands:")[1].split("\n")[0]
