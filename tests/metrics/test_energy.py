"""Joules per request, token and right answer: of what was counted, where anything was done."""

from __future__ import annotations

import pytest

from harness.metrics import ENERGY_METRICS, IterationView, all_series, energy_metric
from harness.schema import CallRecord, Instants, IterationRecord, MetricValue, Usage


def call(number, status="ok", tokens=10):
    return CallRecord(
        call_id=f"0000.m0.{number:05d}",
        arm="a",
        cell="",
        trial=0,
        iteration=0,
        phase="measured",
        status=status,
        instants=Instants(due_ns=number, sent_ns=number, end_ns=number + 5),
        usage=Usage(output_tokens=tokens),
    )


def own(name, value, unit="J", provenance="measured"):
    return MetricValue(name=name, value=value, unit=unit, provenance=provenance)


def iteration(*metrics):
    return IterationRecord(
        arm="a",
        cell="",
        trial=0,
        iteration=0,
        phase="measured",
        status="ok",
        start_ns=0,
        end_ns=10,
        planned_calls=2,
        metrics=metrics,
    )


def values(calls, *metrics):
    view = IterationView(record=iteration(*metrics), calls=tuple(calls))
    return {one.name: one.formula(view) for one in ENERGY_METRICS}


def series(calls, *metrics, **how):
    names = {one.name for one in ENERGY_METRICS}
    found = all_series(calls, [iteration(*metrics)], **how)
    return {one.name: one for one in found if one.name in names}


def test_energy_is_shared_out_over_what_was_done():
    found = values(
        [call(0), call(1, tokens=30)], own("gpu.energy_j", 80.0), own("correct", 1, "answers")
    )
    assert found == {
        "gpu_energy_j_per_request": 40.0,
        "gpu_energy_j_per_token": 2.0,
        "gpu_energy_j_per_correct": 80.0,
        "cpu_energy_j_per_request": None,
        "cpu_energy_j_per_token": None,
        "cpu_energy_j_per_correct": None,
    }


def test_failed_calls_cost_energy_and_are_no_requests():
    found = values([call(0), call(1, status="error")], own("rapl.energy_j", 80.0))
    assert found["cpu_energy_j_per_request"] == 80.0
    assert found["cpu_energy_j_per_token"] == 8.0


@pytest.mark.parametrize(
    "calls", [[], [call(0, status="error")], [call(0, tokens=0)], [call(0, tokens=None)]]
)
def test_where_nothing_was_done_there_is_no_energy_for_each(calls):
    assert values(calls, own("gpu.energy_j", 80.0))["gpu_energy_j_per_token"] is None


def test_no_right_answer_has_no_joules():
    found = values([call(0)], own("gpu.energy_j", 80.0), own("correct", 0, "answers"))
    assert found["gpu_energy_j_per_correct"] is None
    other = values([call(0)], own("gpu.energy_j", 80.0), own("correct", 1, "share"))
    assert other["gpu_energy_j_per_correct"] is None  # a share is no number of answers


def test_series_are_there_only_where_energy_was_counted():
    assert series([call(0)]) == {}
    assert set(series([call(0)], own("gpu.energy_j", 8.0))) == {
        "gpu_energy_j_per_request",
        "gpu_energy_j_per_token",
    }
    both = series(
        [call(0)], own("gpu.energy_j", 8.0), own("rapl.energy_j", 9.0), own("correct", 2, "answers")
    )
    assert set(both) == {one.name for one in ENERGY_METRICS}
    assert both["gpu_energy_j_per_token"].values == [0.8]
    assert both["cpu_energy_j_per_correct"].values == [4.5]


def test_of_made_up_energy_they_are_simulated():
    made_up = own("gpu.energy_j", 8.0, provenance="simulated")
    found = series([call(0)], made_up, own("rapl.energy_j", 8.0))
    assert found["gpu_energy_j_per_token"].provenance == "simulated"
    assert found["cpu_energy_j_per_token"].provenance == "derived"
    stub = series([call(0)], own("rapl.energy_j", 8.0), simulated=True)
    assert stub["cpu_energy_j_per_token"].provenance == "simulated"


def test_the_scenarios_own_figure_of_that_name_is_not_taken_for_ours():
    found = {
        one.name for one in all_series([call(0)], [iteration(own("gpu_energy_j_per_token", 1.0))])
    }
    assert "scenario.gpu_energy_j_per_token" in found
    assert energy_metric("gpu_energy_j_per_token").unit == "J/tok"
