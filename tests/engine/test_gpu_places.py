"""Places on GPUs: one for each that is there, and none of them in two places. The GPUs are made up
(HARNESS_GPU); the processes that see them are real."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from harness.engine.places import check_gpus, places
from harness.errors import SpecError
from harness.schema import IterationRecord, PlacementSpec, TrialRecord
from harness.store import load_run

UUIDS = [f"GPU-5eed{index:04d}-0000-0000-0000-000000000000" for index in range(3)]

FUNCTION = """
import os

import harness


@harness.benchmark(name="seen", iterations=2)
def seen(ctx):
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    ctx.note("visible", visible)
    ctx.note("order", os.environ["CUDA_DEVICE_ORDER"])
    ctx.metric("letters", len(visible), "letters")
"""


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setenv("HARNESS_GPU", "synthetic:devices=3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


def checked(**fields):
    placement = PlacementSpec(**fields)
    check_gpus(placement, "$.placement")
    return places(placement)


def test_each_is_a_place_for_every_gpu(three):
    assert checked(gpus="each", parallel=7) == [{"gpus": uuid} for uuid in UUIDS]
    cpus = ("0", "0", "0")
    assert checked(gpus="each", cpus=cpus)[2] == {"cpus": "0", "gpus": UUIDS[2]}
    with pytest.raises(SpecError, match=r"^\$\.placement\.cpus: 3 GPUs make as many places"):
        checked(gpus="each", cpus=("0",))


def test_each_is_of_those_that_we_may_use_ourselves(three):
    three.setenv("CUDA_VISIBLE_DEVICES", UUIDS[1])
    assert checked(gpus="each") == [{"gpus": UUIDS[1]}]
    three.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SpecError, match=r"^\$\.placement\.gpus: there is no GPU to use here"):
        checked(gpus="each")


@pytest.mark.parametrize("gpu", ["none", "synthetic:devices=0"])
def test_without_one_there_is_no_place(monkeypatch, gpu):
    monkeypatch.setenv("HARNESS_GPU", gpu)
    with pytest.raises(SpecError, match=r"^\$\.placement\.gpus: there is no GPU here"):
        checked(gpus="each")


@pytest.mark.parametrize(
    "gpus",
    [("0", "0"), ("0", UUIDS[0]), ("0,1", "1,2"), (UUIDS[2], UUIDS[2].upper()), ("1", " 1")],
)
def test_the_same_gpu_is_refused_by_whatever_name(three, gpus):
    with pytest.raises(SpecError, match=r"^\$\.placement\.gpus\[1\]: .* are the same GPU"):
        checked(gpus=gpus, parallel=2)
    assert len(checked(gpus=gpus, parallel=2, share_gpus=True)) == 2


@pytest.mark.parametrize("gpus", [("0", "1"), ("0", UUIDS[1]), ("", "-1"), ("0", "")])
def test_others_are_not(three, gpus):
    assert len(checked(gpus=gpus, parallel=2)) == 2


def test_one_that_is_not_there_is_named(three):
    with pytest.raises(SpecError, match=r"^\$\.placement\.gpus\[1\]: .* there is no GPU 7"):
        checked(gpus=("0", "7"), parallel=2)


def test_where_no_driver_tells_names_are_compared_as_they_are(monkeypatch):
    monkeypatch.setenv("HARNESS_GPU", "none")
    assert len(checked(gpus=("0", "GPU-a"), parallel=2)) == 2
    with pytest.raises(SpecError, match="are the same GPU"):
        checked(gpus=("MIG-x", "mig-x"), parallel=2)


def test_trials_have_a_gpu_each_and_never_two_one(three, tmp_path):
    from click.testing import CliRunner

    from harness.cli import cli

    file = tmp_path / "bench.py"
    file.write_text(FUNCTION)
    words = ["run", f"{file}:seen", "--runs", "5", "--set", "placement.gpus=each"]
    done = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    run = load_run(tmp_path / "run")
    records = list(run.records())
    trials = [record for record in records if isinstance(record, TrialRecord)]
    of = {trial.trial: trial.placement["gpus"] for trial in trials}
    assert len(trials) == 5 and set(of.values()) == set(UUIDS)
    for record in records:
        if isinstance(record, IterationRecord):
            assert record.data == {"visible": of[record.trial], "order": "PCI_BUS_ID"}
    for uuid in UUIDS:
        own = sorted((t for t in trials if of[t.trial] == uuid), key=lambda t: t.start_ns)
        assert all(one.end_ns <= other.start_ns for one, other in pairwise(own))
    caveat = next(c for c in run.summary.verdict.caveats if c.code == "parallel-trials")
    assert caveat.severity == "note" and set(caveat.evidence["gpus"]) == set(UUIDS)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["spec"]["placement"]["gpus"]
