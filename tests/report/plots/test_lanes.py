"""The timeline of several agents: every instant is that of a record, on its own side's axis."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from harness.report.plots import choose
from harness.report.plots.agentline import PLOTS_MAX
from harness.report.plots.lanes import LANES_MAX, ROWS_MAX
from tests.report.agent_runs import run_of_agents
from tests.report.plots import runs


def plots(run):
    found = choose(run, kinds=["timeline"])
    assert not found.refused, found.refused
    return found.plots


def scene(run):
    (plot,) = plots(run)
    return plot.data


def test_a_server_with_one_slot_is_seen_to_serialise():
    found = scene(run_of_agents(slots=1))
    assert found.speedup == pytest.approx(1.0, abs=0.05)
    assert found.together.wall_s == pytest.approx(found.alone.wall_s, rel=0.05)
    streams = sorted(
        (block.first_s, block.end_s) for lane in found.together.lanes for block in lane.blocks
    )
    assert len(streams) == 4
    assert all(one[1] <= other[0] for one, other in pairwise(streams))


def test_with_two_slots_both_are_half_as_long():
    found = scene(run_of_agents(slots=2))
    assert found.together.wall_s == pytest.approx(found.alone.wall_s / 2, rel=0.05)
    first, second = found.together.lanes
    assert first.start_s == second.start_s == 0


def test_the_sides_are_as_long_as_the_metrics_say():
    run = run_of_agents(slots=1, agents=("a", "b", "c"))
    found = scene(run)
    assert found.alone.wall_s / found.together.wall_s == pytest.approx(found.speedup, rel=1e-6)
    ends = [(lane.start_s, lane.end_s) for lane in found.alone.lanes]
    assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(ends))


def test_of_many_pairs_the_middle_one_is_drawn():
    run = run_of_agents(trials=5)
    found = scene(run)
    values = [m for m in run.summary.arms[0].metrics if m.name == "speedup"]
    assert found.pairs == 5 and found.speedup == pytest.approx(values[0].median)


def test_the_queue_residual_lies_within_the_wait():
    found = scene(run_of_agents(slots=1))
    blocks = [block for lane in found.together.lanes for block in lane.blocks]
    waited = [block for block in blocks if block.queued_s is not None]
    assert waited and all(b.sent_s < b.queued_s <= b.first_s for b in waited)
    assert max(b.queued_s - b.sent_s for b in waited) == pytest.approx(0.31, abs=0.03)


def test_reading_files_is_a_block_of_its_own_and_a_stage_is_its_calls():
    found = scene(run_of_agents())
    for lane in found.together.lanes:
        assert [name for name, _, _ in lane.others] == ["ingest"]
        assert {block.stage for block in lane.blocks} == {"analysis", "report"}


def test_what_failed_is_drawn_with_its_reason_and_no_speed_up():
    (plot,) = plots(run_of_agents(fail={("measured", "insight")}))
    assert plot.data.speedup is None and plot.data.together.failed == "1 call not ok"
    assert "no speed-up is known" in plot.title and "1 call not ok" in plot.subtitle
    statuses = [block.status for lane in plot.data.together.lanes for block in lane.blocks]
    assert statuses.count("timeout") == 1


def test_without_a_solo_arm_there_is_one_panel():
    (plot,) = plots(run_of_agents(solo=False))
    assert plot.data.alone is None and "never one after another" in plot.title


def test_streams_of_one_agent_lie_under_one_another():
    found = scene(run_of_agents(agents=("a", "b"), slots=20, streams=10, trials=1))
    assert [lane.rows for lane in found.together.lanes] == [ROWS_MAX, ROWS_MAX]
    assert max(b.row for b in found.together.lanes[0].blocks) == 9


def test_each_arm_has_its_own_figure_up_to_a_number():
    arms = tuple("abcdef")
    found = plots(run_of_agents(arms, slots=2, trials=1))
    assert len(found) == PLOTS_MAX and len({plot.name for plot in found}) == PLOTS_MAX
    assert "The first 4 of 6 arms" in found[0].caption and found[1].title.startswith("b: ")


def test_other_runs_keep_their_slots():
    (plot,) = plots(runs.run_of(calls=6, concurrency=2))
    assert plot.name == "timeline" and plot.title == "Concurrent calls"


@pytest.mark.parametrize(
    "how",
    [
        {"slots": 2},
        {"agents": tuple(f"agent-{i}" for i in range(20)), "slots": 4},
        {"agents": (*runs.HOSTILE, runs.LONG), "fail": {("measured", runs.LONG)}},
        {"streams": 12, "slots": 5},
    ],
    ids=["two", "twenty", "hostile", "streams"],
)
def test_it_is_drawn_sound_small_and_the_same_twice(how):
    run = run_of_agents(trials=1, **how)
    (plot,) = plots(run)
    svg = plot.svg()
    ET.fromstring(svg)
    assert len(svg) < 450_000 and "<script" not in svg and "\x1b" not in svg
    assert svg == plots(run)[0].svg()
    if len(how.get("agents", ())) > LANES_MAX:
        assert "4 more agents are not drawn" in plot.caption
