"""`harness plot`, of a real run of the embedded engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.plot import command
from harness.errors import HarnessError


@pytest.fixture
def run(finished_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    return folder


def told(*words):
    done = CliRunner().invoke(command, [*map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_it_draws_what_fits_into_the_run(run, harness_command):
    done = harness_command("plot", run)
    assert done.status == 0, done.err
    paths = [Path(line) for line in done.out.splitlines()]
    assert {path.parent for path in paths} == {run / "reports" / "plots"}
    names = {path.name for path in paths}
    assert {"arms.png", "ttft-ecdf.png", "latency-over-time.png", "timeline.png"} <= names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert b"SIMULATED" not in (run / "summary.json").read_bytes()


def test_the_list_says_what_fits_and_why_others_do_not(run):
    out = told(run, "--list").stdout
    assert "heatmap: a sweep over two axes\n  no: this run has no sweep" in out
    assert "  arms: Headline figures; mean with its 95 % interval" in out
    assert not (run / "reports" / "plots").exists()


@pytest.mark.parametrize(
    ("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_one_figure_into_a_file(run, tmp_path, suffix, start):
    out = tmp_path / f"figure.{suffix}"
    done = told(run, "--kind", "arms", "--metric", "e2e_ms", "--out", out)
    assert done.stdout == f"{out}\n"
    assert out.read_bytes().startswith(start)


def test_a_folder_and_a_format(run, tmp_path):
    done = told(run, "--kind", "timeline", "--out", tmp_path / "new" / "folder", "--format", "svg")
    assert done.stdout.splitlines() == [str(tmp_path / "new" / "folder" / "timeline.svg")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--kind", "heatmap"], "heatmap: this run has no sweep"),
        (["--kind", "heatmpa"], r"no kind 'heatmpa' \(try: heatmap\)"),
        (["--metric", "tpt_ms"], r"no metric 'tpt_ms' in this run \(try: tpot_ms\)"),
        (["--arm", "nobody"], r"no arm 'nobody' in this run \(try: one of: default\)"),
        (["--out", "all.png"], "one file cannot take"),
        (["--kind", "arms", "--out", "a.png", "--format", "svg"], "no .svg file"),
        (["--kind", "arms", "--out", "/proc/nowhere"], "cannot make the folder"),
        (["--kind", "arms", "--out", "/proc/a.png"], "cannot write"),
    ],
)
def test_refusals_are_one_line(run, words, says):
    with pytest.raises(HarnessError, match=says):
        told(run, *words)
    assert not (run / "reports" / "plots").exists()
