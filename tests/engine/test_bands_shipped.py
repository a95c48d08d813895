"""Bands in a spec: shipped ones by name, resolved when the run is planned; SLOs and cold starts in
the summary that a run ends with."""

from __future__ import annotations

import pytest

from harness.engine import make_plan, spec_from
from harness.engine.bands import resolved_bands, shipped_bands
from harness.engine.summary import derive_summary
from harness.errors import SpecError
from harness.metrics.bands import check_bands
from harness.schema import BandSpec
from harness.testing import ScriptedBackend
from tests.store import builders
from tests.store.builders import MS, manifest

RAW = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}}


@pytest.mark.parametrize("name", shipped_bands())
def test_shipped_bands_are_right_and_name_their_source(name):
    found = shipped_bands()[name]
    check_bands(found.bands)
    assert found.source.strip().endswith(".")
    assert resolved_bands(name) == found.bands


def test_a_name_is_resolved_in_the_plan(host):
    by_name = make_plan(spec_from({**RAW, "bands": "stateset"}), host)
    assert by_name.spec.bands["e2e_ms"] == BandSpec(good=200, moderate=1000, of="p95")
    spelt = {"bands": {"ttft_ms": {"good": 20}}}
    assert make_plan(spec_from({**RAW, **spelt}), host).spec.bands["ttft_ms"].good == 20
    assert make_plan(spec_from(RAW), host).spec.bands == {}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bands": "statset"}, r"\$\.bands: no bands are shipped .*'statset' \(try: stateset"),
        ({"bands": {"ttft_ms": {"god": 1}}}, r"\$\.bands.*god.*good"),
        ({"bands": {"ttft_ms": {"good": 2, "moderate": 1}}}, r"\$\.bands\.ttft_ms: lower"),
        ({"slo": {"ttft": 100}}, r"\$\.slo\.ttft: .*ttft_ms"),
        ({"slo": {"ttft_ms": -1}}, r"\$\.slo\.ttft_ms: a bound is positive"),
    ],
)
def test_mistakes_are_found_before_anything_runs(host, changes, says):
    with pytest.raises(SpecError, match=says):
        make_plan(spec_from({**RAW, **changes}), host)


@pytest.mark.parametrize("metric", ["goodput_share", "slo.ttft_ms_share"])
def test_a_run_may_go_on_until_its_goodput_is_known(host, metric):
    raw = {**RAW, "stop": {"metric": metric}, "load": {"requests": 4}}
    assert make_plan(spec_from({**raw, "slo": {"ttft_ms": 100}}), host)
    with pytest.raises(SpecError, match=r"\$\.stop\.metric: (without objectives )?there is no"):
        make_plan(spec_from(raw), host)


def test_a_run_has_goodput_and_bands(execute):
    bands = {"ttft_ms": {"good": 1e6}, "e2e_ms": {"good": 1e6, "of": "p99"}}
    good = ScriptedBackend.answer(["a ", "b "])
    raw = {"slo": {"ttft_ms": 1e6}, "bands": bands, "load": {"requests": 4}}
    outcome, sink, _ = execute(raw, [good, good[:2]])  # every other answer breaks off
    (arm,) = derive_summary(outcome.manifest, sink.records).arms
    assert set(arm.calls) == {"ok", "truncated"}
    assert (arm.goodput.good, arm.goodput.of) == (arm.calls["ok"], 4)
    found = {one.name: one for one in arm.metrics}
    assert found["goodput_share"].mean == arm.goodput.share == arm.calls["ok"] / 4
    assert found["slo.ttft_ms_share"].n == 1
    assert found["ttft_ms"].band_by and found["e2e_ms"].band_by.startswith("p99")


def test_cold_iterations_are_in_their_own_figures_alone():
    warm = builders.records(("baseline",))
    call = builders.call(phase="cold", sent_ms=2000, ttft_ms=700)
    started = builders.iteration([call], start_ns=1000 * MS, ready_ns=1900 * MS, phase="cold")
    made = manifest(("baseline",), state="finished")
    (arm,) = derive_summary(made, [*warm, call, started]).arms
    (without,) = derive_summary(made, warm).arms
    found = {one.name: one for one in arm.metrics}
    assert found["cold_ttft_ms"].mean == found["cold_start_ms"].mean == 700.0
    assert found["cold_load_ms"].mean == 1.0
    rest = [one for one in arm.metrics if not one.name.startswith("cold_")]
    assert rest == list(without.metrics)
    assert (arm.calls, arm.planned, arm.iterations) == (
        without.calls,
        without.planned,
        without.iterations,
    )
