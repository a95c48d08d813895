"""multi_metrics.json: pairs of iterations, agent by agent, and the figures of older reports."""

from __future__ import annotations

import io
import json

import pytest

from harness.report import multi_metrics
from harness.schema import MetricValue
from tests.metrics.agents import call_of, calls_of, of_agents
from tests.metrics.records import MS, iteration
from tests.store.builders import FakeRun, manifest, toy_run, trial

TOGETHER = {"insight": (100.0, 1700.0), "collector": (100.0, 1100.0)}
ALONE = {"collector": (3000.0, 3800.0), "insight": (4000.0, 4800.0)}
NOTED = {
    "form": "chimera_homo",
    "agents": {"collector": {"options": {"num_ctx": 512}}, "insight": {}},
}


def document(run):
    out = io.BytesIO()
    multi_metrics.write(run, out)
    return json.loads(out.getvalue())


def a_run(*records):
    plan = (("a", "c", 0),)
    return FakeRun(manifest(arms=("a",), plan=plan, state="finished"), [*records, trial("a", 0)])


def rated(agent, rate_tok_s, ttft_ms):
    call = call_of(agent, TOGETHER[agent], ttft_ms=ttft_ms)
    call.server.update(eval_count=10, eval_duration=round(10 / rate_tok_s * 1e9))
    return call


def pair_of_runs():
    return a_run(
        rated("insight", 40.0, 900.0),
        rated("collector", 50.0, 50.0),
        of_agents(TOGETHER, data=NOTED),
        *calls_of(ALONE, "solo"),
        of_agents(ALONE, "solo", data=NOTED),
    )


def test_a_pair_of_iterations_is_one_entry():
    (entry,) = document(pair_of_runs())["runs"]
    assert (entry["arm"], entry["trial"], entry["scenario"]) == ("a", 0, "chimera_homo")
    assert entry["metrics"]["speedup"] == 1.0
    assert entry["metrics"]["load_balance_ratio"] == pytest.approx(2600 / 1600)
    collector, insight = entry["agents"]
    assert (collector["name"], insight["name"]) == ("collector", "insight"), "as the spec has them"
    assert collector["about"] == {"options": {"num_ctx": 512}}
    assert collector["slowdown"] == pytest.approx(1000 / 800)
    assert (insight["together"]["agent_ms"], insight["alone"]["agent_ms"]) == (1600.0, 800.0)
    assert insight["together"]["output_tokens"] == 10
    assert insight["together"]["calls"][0]["ttft_ms"] == 900.0


def test_the_legacy_names_hold_the_legacy_figures():
    found = document(pair_of_runs())
    legacy = found["runs"][0]["legacy"]
    assert legacy["concurrency_speedup"] == pytest.approx(2600 / 1600)
    assert legacy["efficiency_percent"] == pytest.approx(50 * 2600 / 1600)
    assert legacy["sequential_estimated_s"] == pytest.approx(2.6)
    assert legacy["concurrent_wall_time_s"] == pytest.approx(1.6)
    assert legacy["resource_contention_detected"] is False
    assert legacy["throughput_tok_s"] == pytest.approx({"collector": 50.0, "insight": 40.0})
    assert legacy["throughput_delta"] == pytest.approx(-10.0), "second - first"
    assert legacy["ttft_delta_ms"] == pytest.approx(850.0)
    assert {f"legacy.{name}" for name in legacy} <= {*found["definitions"]}
    assert "No sequential run" in found["definitions"]["legacy.concurrency_speedup"]


def test_what_was_not_measured_alone_has_no_speed_up():
    (entry,) = document(a_run(*calls_of(TOGETHER), of_agents(TOGETHER)))["runs"]
    assert entry["metrics"]["speedup"] is None
    assert entry["solo_status"] is None
    assert entry["agents"][0]["alone"] is None
    assert entry["legacy"]["concurrency_speedup"] is not None
    assert entry["legacy"]["throughput_delta"] is None, "the server told no rate"


def test_three_agents_have_no_delta_and_no_flag():
    three = {"x": (0.0, 100.0), "y": (0.0, 100.0), "z": (0.0, 100.0)}
    (entry,) = document(a_run(*calls_of(three), of_agents(three)))["runs"]
    assert entry["legacy"]["resource_contention_detected"] is None
    assert entry["legacy"]["ttft_delta_ms"] is None
    assert entry["legacy"]["efficiency_percent"] == pytest.approx(100.0)


def test_runs_without_agents_and_notes_of_strangers_do_no_harm():
    assert document(toy_run())["runs"] == []
    for noted in ("text", [1, {"name": None}], {"name": "collector"}, {"nobody": {}}):
        data = {"agents": noted}
        (entry,) = document(a_run(*calls_of(TOGETHER), of_agents(TOGETHER, data=data)))["runs"]
        assert [one["name"] for one in entry["agents"]] == [*TOGETHER]


def test_an_imported_iteration_is_none_of_ours():
    figures = (MetricValue(name="legacy_speedup", value=1.9, unit="1"),)
    assert document(a_run(iteration(imported=True, end_ns=0, metrics=figures)))["runs"] == []


def test_a_failed_iteration_is_listed_without_figures():
    record = of_agents(TOGETHER, status="error", end_ns=2000 * MS)
    (entry,) = document(a_run(*calls_of(TOGETHER), record))["runs"]
    assert entry["status"] == "error"
    assert entry["metrics"]["load_balance_ratio"] is None
    assert entry["legacy"]["concurrency_speedup"] is None
