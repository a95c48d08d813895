"""Several models: `--models`, `--smoke`, `--skip-existing`, `--trial-timeout`, and what is said of
each in the end."""

from __future__ import annotations

import csv
import json

import msgspec
import pytest

from harness.cli.over_models import labels
from harness.cli.request import Asked, build_spec
from harness.engine import digest, make_plan, spec_from
from harness.engine.cells import sweeps_models
from harness.errors import SpecError
from harness.host import Host

BASE = {"backend": {"name": "openai", "model": "m"}, "scenario": {"name": "load"}}


@pytest.fixture(scope="module")
def host():
    return Host.load()


@pytest.fixture
def plan_of(host, tmp_path):
    def do(*models, smoke=False, model=None, **fields):
        path = tmp_path / "spec.json"
        path.write_text(json.dumps({**BASE, **fields}))
        spec = build_spec(Asked(what=str(path), models=models, smoke=smoke), host)
        again = spec_from(msgspec.json.decode(msgspec.json.encode(spec)))
        assert digest(again) == digest(spec)
        return make_plan(spec, host)

    return do


def asked(plan):
    return [(arm.backend.name, arm.backend_config.model) for arm in plan.arms]


# The axis. ----------------------------------------------------------------------------------------


def test_models_are_an_axis(plan_of):
    plan = plan_of("qwen3:1.7b, qwen3:8b", "c")
    assert list(plan.cells) == ["model=qwen3:1.7b", "model=qwen3:8b", "model=c"]
    assert asked(plan) == [("openai", name) for name in ("qwen3:1.7b", "qwen3:8b", "c")]
    assert plan.spec.backend.model is None, "what no cell has is nobody's"
    assert sweeps_models(plan.cells)


def test_they_take_the_place_of_those_of_the_spec(plan_of):
    axes = {"load.requests": [1, 2], "backend.model": ["x", "y"], "load.concurrency": [1]}
    plan = plan_of("a", "b", sweep={"axes": axes})
    assert list(next(iter(plan.cells.values()))) == [*axes]
    assert {model for _, model in asked(plan)} == {"a", "b"}
    whole = {"axes": {"backend": {"one": {"model": "x"}}}}
    assert list(plan_of("a", sweep=whole).cells) == ["model=a"]


def test_of_several_backends(plan_of):
    spec = {"backend": {"name": "openai", "model": "m", "url": "http://127.0.0.1:1",
                        "options": {"api": "chat"}}}  # fmt: skip
    plan = plan_of("llamacpp:tiny,ollama:gemma3:latest,own", **spec)
    found = [("llamacpp", "tiny"), ("ollama", "gemma3:latest"), ("openai", "own")]
    assert asked(plan) == found
    assert next(iter(plan.cells)) == "backend=llamacpp:tiny"
    tiny, gemma, own = plan.arms
    assert tiny.backend_config.urls == gemma.backend_config.urls == ()
    assert own.backend_config.urls and own.backend_config.options.api == "chat"


def test_a_model_of_an_arm_that_is_not_swept_stays(plan_of):
    plan = plan_of("a", "b", arms={"base": {"swept": False}, "over": {}})
    assert ("openai", "m") in asked(plan)


def test_long_names_are_told_apart_by_their_ends():
    assert labels(["/x/a/model.gguf", "/x/b/model.gguf"]) == ["a/model.gguf", "b/model.gguf"]
    assert labels(["~/m/one.gguf", "Qwen/Qwen2.5-7B"]) == ["one.gguf", "Qwen/Qwen2.5-7B"]


@pytest.mark.parametrize("models", [("a,,b",), ("",), ("a", "b,a")])
def test_what_is_no_list_of_models(plan_of, models):
    with pytest.raises(SpecError, match=r"^--models: "):
        plan_of(*models)


def test_no_other_axis_makes_a_run_over_models():
    cells = {"a": {"backend.options.num_ctx": 1}, "b": {"backend.options.num_ctx": 2}}
    assert not sweeps_models(cells)
    assert not sweeps_models({"a": {"backend": {"options": {"x": 1}}}, "b": {"backend": {}}})
    assert sweeps_models({"a": {"backend": {"name": "x"}}, "b": {"backend": {"name": "y"}}})


# Smoke. -------------------------------------------------------------------------------------------


def test_smoke_runs_every_model_once(plan_of):
    plan = plan_of(
        "a,b,c",
        smoke=True,
        trials=5,
        iterations={"warmup": 3, "measured": 9, "cold": 2},
        load={"concurrency": 64, "requests": 640},
        sweep={"axes": {"load.concurrency": [1, 64], "load.requests": [5, 9]}},
        stop={"metric": "ttft_ms", "trials_max": 30},
        arms={"x": {"backend": {"options": {"api": "chat"}}}, "y": {}},
        guard={"memory": "off"},
    )
    spec = plan.spec
    assert len(plan.cells) == 3 and len(plan.trials) == 6
    assert {arm.load.requests for arm in plan.arms} == {1}
    counts = spec.iterations
    assert (counts.warmup, counts.measured, counts.cold, spec.stop) == (1, 1, 0, None)
    assert spec.guard.memory == "skip" and "smoke" in spec.tags


def test_smoke_of_levels_side_by_side(plan_of):
    sweep = {"axes": {"load.requests": [5, 9]}, "strategy": "zip"}
    assert {arm.load.requests for arm in plan_of("a,b", smoke=True, sweep=sweep).arms} == {1}


# Through the command. -----------------------------------------------------------------------------


def test_three_models_of_which_one_does_not_fit(harness_command, tmp_path):
    words = (
        *("run", "load", "--models", "tiny,tiny-5M,nope", "--smoke", "--max-tokens", "4"),
        *("-o", "num_ctx=256", "--set", "guard.free_bytes=69000000", "--set", "sizes.nope=7B"),
    )
    done = harness_command(*words)
    assert done.status == 4, done.err
    assert "models: 1 passed, 1 failed, 1 skipped" in done.out
    assert "does not fit: needs 71." in done.out and "declared by guard.free_bytes" in done.out
    assert "7B*" in done.out and "'nope' does not exist" in done.out
    assert "--retry-failed" in done.out
    (folder,) = (tmp_path / "runs").iterdir()
    with (folder / "reports" / "scaling_comparison.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    tiny, large, nope = rows["tiny"], rows["tiny-5M"], rows["nope"]
    assert (tiny["outcome"], tiny["parameters"], tiny["parameters_source"]) == (
        "passed", "647488", "server")  # fmt: skip
    assert float(tiny["ttft_ms_median"]) > 0 and tiny["ttft_ms_n"] == "1"
    assert int(tiny["memory_peak_bytes"]) > 0
    assert (large["outcome"], large["ttft_ms_median"], large["ttft_ms_n"]) == ("skipped", "", "")
    assert large["parameters"] == "5114112", "read out of its shape, though it never ran"
    assert (nope["outcome"], nope["parameters_source"]) == ("failed", "declared")
    assert tiny["cost_usd_total"] == "" and tiny["gpu.energy_j_mean"] == ""
    assert "models: 1 passed, 1 failed, 1 skipped" in harness_command("show").out
    again = harness_command(*words, "--skip-existing")
    assert again.status == 4 and "not run again" in again.err and str(folder.name) in again.err
    audited = harness_command("audit", folder, "--json").out
    assert {
        found["code"] for one in json.loads(audited)["audits"] for found in one["findings"]
    } == {"missing-cells"}, "of the model that failed; the tables follow from the records"
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_what_exists_is_what_has_the_same_spec(harness_command, tmp_path):
    words = ("run", "load", "--smoke", "--max-tokens", "4", "--skip-existing")
    assert "not run again" not in harness_command(*words, "--out", "one").err
    done = harness_command(*words, "--out", "one")
    assert done.status == 0 and done.out == "" and "one: finished" in done.err
    plan = harness_command(*words, "--seed", "7", "--dry-run")
    assert "nothing was started" in plan.out
    other = harness_command(*words, "--out", "one", "--seed", "7")
    assert other.status == 2, "another spec, and the folder is taken"
    assert not (tmp_path / "runs").exists()


def test_a_model_that_hangs_is_ended_and_the_others_go_on(harness_command, tmp_path):
    spec = {
        "backend": {"name": "sim", "options": {"ttft": 1, "gap": 0}},
        "scenario": {"name": "load", "options": {"max_tokens": 2}},
        "load": {"requests": 1},
        "iterations": {"warmup": 0},
        "order": "sequential",
        "sweep": {"axes": {"backend": {
            "hangs": {"model": "h", "options": {"faults": [{"kind": "stall_before", "rate": 1}]}},
            "goes": {"model": "g"},
        }}},
    }  # fmt: skip
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = harness_command("run", "spec.json", "--trial-timeout", "6", "--out", "run")
    assert done.status == 4
    assert "models: 1 passed, 1 failed" in done.out
    assert "it took longer than the 6 s" in done.out
    left = [one for one in (tmp_path / "run").rglob("*") if "sim" in one.name]
    assert left == []


def test_one_or_several(harness_command):
    done = harness_command("run", "load", "--model", "a", "--models", "b,c")
    assert done.status == 2 and "one of the two" in done.err
    done = harness_command("run", "--resume", "latest", "--skip-existing")
    assert done.status == 2
