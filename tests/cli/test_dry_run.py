"""`harness run --dry-run` and `--preset`: the plan before it runs, and nothing else."""

from __future__ import annotations

import json

import pytest

from harness.host import Host
from harness.presets import find_presets

SPEC = """
backend: {name: llamacpp, model: tiny}
scenario: {name: load, options: {max_tokens: 16}}
arms:
  baseline: {}
  chimera: {backend: {options: {top_k: 20}}}
sweep:
  axes:
    backend.options.num_ctx: [512, 1024, 1024]
    load.concurrency: [1, 2, 4]
trials: 2
load: {requests: 10}
"""
PRESETS = [preset.name for preset in find_presets(Host.load().plugins)]


@pytest.fixture
def spec_file(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def test_the_plan_is_shown_and_nothing_started(harness_command, spec_file, tmp_path):
    done = harness_command("run", spec_file, "--dry-run")
    assert done.status == 0, done.err
    words = " ".join(done.out.split())
    assert "load: 36 trials, nothing was started" in words
    assert "2 arms × 9 cells, 2 trials each" in words
    assert "6 cells asked for the same as another" in words
    assert "differences need at least 5" in words
    assert "unknown: no finished run below ./runs did the same work" in words
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


def test_a_level_that_is_a_mapping_is_shown_by_its_name(harness_command):
    axis = "sweep.axes.backend.options={small step: {num_batch: 32}, large step: {num_batch: 64}}"
    done = harness_command("run", "load", "--set", axis, "--dry-run")
    assert done.status == 0, done.err
    assert "small step" in done.out and "num_batch" not in done.out.partition("in this order")[0]


def test_as_json_the_plan_is_whole(harness_command, spec_file):
    first = harness_command("run", spec_file, "--dry-run", "--json")
    plan = json.loads(first.out)
    assert len(plan["trials"]) == 36
    assert len(plan["cells"]) == 9
    assert plan["estimated_s"] is None
    second = json.loads(harness_command("run", spec_file, "--dry-run", "--json").out)
    fits, again = plan.pop("memory"), second.pop("memory")  # what is free is free now
    assert plan == second
    assert [one["predicted"] for one in fits] == [one["predicted"] for one in again]
    other = harness_command("run", spec_file, "--dry-run", "--json", "--runs", "3")
    assert json.loads(other.out)["spec_digest"] != plan["spec_digest"]


def test_a_finished_run_tells_how_long_it_will_take(harness_command):
    words = ("run", "load", "--requests", "2", "--max-tokens", "4")
    assert harness_command(*words).status == 0
    plan = json.loads(harness_command(*words, "--runs", "10", "--dry-run", "--json").out)
    assert plan["estimated_s"] > 0
    assert plan["estimated_from"].startswith("by load-")


def test_an_axis_can_be_set_on_the_command_line(harness_command):
    axis = "sweep.axes.backend.options.num_ctx=[512, 1024]"
    plan = json.loads(harness_command("run", "load", "--set", axis, "--dry-run", "--json").out)
    assert list(plan["cells"]) == ["num_ctx=512", "num_ctx=1024"]


def test_the_shipped_presets_are_there():
    assert {"tr108", "tr108-quants", "tr109", "tr111", "demo"} <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_planned(harness_command, preset):
    done = harness_command("run", "--preset", preset, "--dry-run", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["trials"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "what is to be run?"),
        (["run", "--preset", "tr10"], "there is no preset 'tr10' (try: tr1"),
        (["run", "load", "--preset", "tr109"], "a preset is a spec of its own"),
        (["run", "load", "--set", "sweep.axes.backend.optins.x=[1]", "--dry-run"], "try: options"),
    ],
)
def test_mistakes_are_explained(harness_command, words, says):
    done = harness_command(*words)
    assert done.status == 2
    assert says in " ".join(done.err.split())


def test_presets_are_listed(harness_command):
    listed = {p["name"]: p for p in json.loads(harness_command("list", "--json").out)["presets"]}
    assert listed["tr109"]["summary"].startswith("TR109: 18 configurations of the single agent")
    assert listed["tr109"]["plugin"] == "single_agent"
