"""Agents at once, in every report: the answer in words; each agent's figures alone and together."""

from __future__ import annotations

import io
import json
import re

import pytest
from msgspec.structs import replace
from rich.console import Console

from harness.compare import compare_arms
from harness.compare.gain import gain_of
from harness.compare.measured import measured
from harness.report import comparison, html, metrics_json
from harness.report.table import render_summary
from harness.schema import Caveat
from tests.report.agent_runs import run_of_agents

HOSTILE = ("<script>alert(1)</script>", "[bold]x\x1b[31m|y", "an-agent-with-a-name-of-sixty" * 2)


def gain(run):
    (arm,) = run.summary.arms
    return gain_of(arm, run.summary.verdict.caveats)


def shown(run, width=80):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    render_summary(run.summary, console)
    return console.file.getvalue()


def written(exporter, run):
    out = io.BytesIO()
    exporter.write(run, out)
    return out.getvalue().decode()


def with_speedup(run, **changes):
    """The same run, had its speed-up been another one."""
    (arm,) = run.summary.arms
    metrics = tuple(replace(m, **changes) if m.name == "speedup" else m for m in arm.metrics)
    return replace(arm, metrics=metrics)


def test_two_slots_pay_off_and_one_does_not():
    two, one = gain(run_of_agents(slots=2)), gain(run_of_agents(slots=1))
    assert two.words == "pays off" and two.agents == 2
    assert 1.9 < two.low < two.speedup < two.high < 2.1
    assert two.sentence.startswith("2 agents at once: 1.9") and two.sentence.endswith("pays off")
    assert one.words == "hardly pays off", "reading files overlaps, the model does not"
    assert "the gain is at most" in one.sentence


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.7, 0.9, "a loss"), (0.99, 1.05, "no gain shown"), (1.01, 1.04, "hardly pays off"),
     (1.01, 1.06, "pays off"), (1.0, 1.2, "no gain shown")],
)  # fmt: skip
def test_the_words_go_by_the_interval(low, high, words):
    arm = with_speedup(run_of_agents(), mean=(low + high) / 2, ci_low=low, ci_high=high)
    found = gain_of(arm)
    assert found.words == words and words in found.sentence and found.more_trials is None


def test_too_few_launches_are_told_how_many_are_lacking():
    found = gain(run_of_agents(trials=2, slots=2))
    assert (found.words, found.more_trials) == ("not enough data", 3)
    assert "3 more trials" in found.sentence and "1.9" in found.sentence
    lone = gain(run_of_agents(trials=1, measured=8, slots=2))
    assert (lone.words, lone.more_trials, lone.low) == ("not enough data", 4, None)


def test_doubts_are_part_of_the_sentence():
    unequal = gain(run_of_agents(slots=2, solo_tokens=12))
    assert unequal.sentence.endswith("did not do the same work together and alone")
    none = gain(run_of_agents(fail={("solo", "insight")}))
    assert none.words == "not enough data" and none.speedup is None
    assert "none of 5 iterations" in none.sentence


def test_a_semaphore_is_named_where_it_made_agents_wait():
    run = run_of_agents(slots=1)
    (arm,) = run.summary.arms
    held = Caveat(code="held-back", severity="note", message="", arm=arm.arm, cell=arm.cell)
    assert gain_of(arm, [held]).sentence.endswith("a semaphore of ours let them wait for one "
                                                  "another, not the server")  # fmt: skip
    elsewhere = replace(held, arm="another")
    assert gain_of(arm, [elsewhere]).sentence == gain_of(arm).sentence


def test_without_a_solo_arm_nothing_is_said_of_a_gain():
    assert gain(run_of_agents(solo=False)) is None
    text = shown(run_of_agents(solo=False))
    assert "times as fast" not in text and "together" in text and "alone" not in text.split("→")[0]


def test_the_terminal_answers_and_fits():
    run = run_of_agents(("one-slot", "two-slots"), slots={"one-slot": 1, "two-slots": 2})
    text = shown(run)
    assert max(map(len, text.splitlines())) <= 80
    assert "two-slots: 2 agents at once: 1.9" in text and "pays off" in text
    assert "load-balance ratio" in text and "contention in 5 of 5" in text
    rows = [line for line in text.splitlines() if "together" in line and "collector" not in line]
    assert len([line for line in text.splitlines() if " alone " in line]) >= 4 and rows


def test_eight_agents_in_two_arms_are_cut_and_counted():
    run = run_of_agents(("a", "b"), agents=tuple(f"agent-{i}" for i in range(8)), trials=1)
    text = " ".join(shown(run).split())
    assert "and 8 more rows" in text and "and 4 more" in text


def test_markdown_and_html_have_both_and_nothing_breaks_out():
    run = run_of_agents(agents=HOSTILE, slots=3)
    for text in (written(comparison, run), shown(run)):
        assert "\x1b" not in text and "3 agents at once" in text
    page = written(html, run)
    assert "<script>alert" not in page and "3 agents at once" in page and "\x1b" not in page
    markdown = written(comparison, run)
    assert "<script>" not in re.sub(r"`[^`]*`", "", markdown)
    rows = [line for line in markdown.splitlines() if "| alone |" in line]
    assert len(rows) == 3


def test_json_has_pairs_evidence_and_agents():
    found = json.loads(written(metrics_json, run_of_agents(trials=2)))
    (arm,) = found["arms"]
    assert [one["agent"] for one in arm["agents"]] == ["collector", "insight"]
    assert arm["gain"]["words"] == "not enough data"
    assert "speedup" in found["definitions"] and "speedup" in arm["aggregate_metrics"]
    lines = [one for one in found["iterations"] if one["phase"] == "measured"]
    assert lines[0]["figures"]["speedup"] == pytest.approx(1.0, abs=0.05)
    assert lines[0]["contention"]["slowdowns"]["insight"] == pytest.approx(2, abs=0.1)
    assert "insight.agent" in lines[0]["spans_ms"]
    solo = [one for one in found["iterations"] if one["phase"] == "solo"]
    assert solo[0]["contention"] is None and "speedup" not in solo[0]["figures"]


def test_a_speed_up_is_compared_like_any_other_figure():
    run = run_of_agents(("one-slot", "two-slots"), slots={"one-slot": 1, "two-slots": 2})
    (found,) = compare_arms(run)
    effect = next(one for one in found.effects if one.metric == "speedup")
    assert effect.words == "better" and effect.difference == pytest.approx(0.96, abs=0.1)
    series = measured(run, [("two-slots", "base")])["two-slots", "base"].series
    summary = {m.name: m for m in run.summary.arms[1].metrics}
    for name in ("speedup", "jain", "contention", "slowdown.insight"):
        values = series[name].values
        assert sum(values) / len(values) == pytest.approx(summary[name].mean)


def test_one_agent_at_once_with_itself_is_no_question():
    """A cell of a sweep over their number."""
    run = run_of_agents(agents=("only",))
    assert gain(run) is None and "alone" in shown(run)


def test_the_same_run_of_one_agent_has_none_of_it():
    run = run_of_agents(agents=("only",), solo=False)
    assert run.summary.arms[0].agents == () and "together" not in shown(run)
    assert "speedup" not in {m.name for m in run.summary.arms[0].metrics}
