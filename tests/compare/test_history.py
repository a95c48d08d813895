"""Histories: runs in order of time, steps with what changed there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from msgspec.structs import replace

from harness.cli.history import sparkline
from harness.compare.history import history
from harness.engine.summary import derive_summary
from harness.errors import SpecError
from harness.schema import ArmSpec, MetricValue
from harness.store import RunWriter, load_run
from tests.store import builders


def run_at(root, number, level, *, version="1.0", kernel="6.1", state="ok", digest="d"):
    """A run of one arm whose figure `x` is around `level`, made on day `number`."""
    manifest = builders.manifest(
        ("only",),
        run_id=f"{number:08x}",
        started=f"2026-01-{number + 1:02d}T10:00:00.000+00:00",
        spec=builders.spec(arms={"only": ArmSpec()}),
        spec_digest=digest,
        environment=replace(builders.manifest().environment, kernel=kernel),
    )
    records = []
    for trial in (0, 1):
        call = builders.call(arm="only", trial=trial)
        if state == "invalid":
            call = builders.failed(arm="only", trial=trial)
        x = MetricValue(name="x", value=level + trial, unit="ms", better="lower")
        effective = replace(builders.trial().effective, server_version=version)
        records += [
            call,
            builders.iteration([call], metrics=(x,)),
            builders.trial("only", trial, effective=effective),
        ]
    with RunWriter.create(manifest, root / f"run{number:02d}") as writer:
        for record in records:
            writer.append(record)
        done = replace(manifest, state="finished")
        writer.finish("finished", derive_summary(done, records), ended=manifest.started)
    return root / f"run{number:02d}"


LEVELS = [100, 102, 101, 100, 103, 101, 120, 121, 119, 122, 120, 121]


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    root = tmp_path_factory.mktemp("history")
    for number, level in enumerate(LEVELS):
        run_at(root, number, level, version="1.0" if number < 6 else "1.1")
    return root


def loaded(root):
    return [load_run(path) for path in sorted(root.iterdir(), reverse=True)]


def test_a_step_and_what_changed_there(stepped):
    (found,) = history(loaded(stepped), "x")
    assert [point.value for point in found.points] == [level + 0.5 for level in LEVELS]
    (step,) = found.steps
    assert (step.at, step.n) == (6, (6, 6))
    assert found.points[6].step == step
    assert found.points[6].changed == {"server_version": ["1.0", "1.1"]}
    assert [point.changed for point in found.points if point is not found.points[6]] == [{}] * 11
    assert (found.runs, found.needs, found.better) == (12, None, "lower")


def test_few_runs_say_how_many_it_takes(tmp_path):
    for number in range(4):
        run_at(tmp_path, number, 100 + number)
    (found,) = history(loaded(tmp_path), "x")
    assert (found.needs, found.steps) == (11, ())


def test_invalid_runs_are_shown_and_left_out(tmp_path):
    for number in range(3):
        run_at(
            tmp_path, number, 100, state="invalid" if number == 1 else "ok", kernel=f"6.{number}"
        )
    (found,) = history(loaded(tmp_path), "x")
    assert found.runs == 2
    assert found.points[1].left_out == "the run is invalid"
    assert found.points[2].changed == {"kernel": ["6.0", "6.2"]}, "against the last one that counts"


def test_series_are_of_one_spec_unless_asked_by_name(tmp_path):
    for number in range(4):
        run_at(tmp_path, number, 100, digest="old" if number < 2 else "new")
    assert [len(one.points) for one in history(loaded(tmp_path), "x")] == [2, 2]
    (found,) = history(loaded(tmp_path), "x", by="name")
    assert found.points[2].changed == {"spec": ["old", "new"]}


def test_mistakes(stepped):
    with pytest.raises(SpecError, match="try: ttft_ms"):
        history(loaded(stepped), "ttft")
    with pytest.raises(SpecError, match=r"nobody/\*.*only/base"):
        history(loaded(stepped), "x", arm="nobody")


def test_sparklines():
    assert sparkline([1, 2, 3, 8]) == "▁▂▃█"
    assert sparkline([5, 5]) == "▁▁"


def harness(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_the_command(stepped):
    done = harness("history", stepped, "--metric", "x", cwd=stepped)
    assert done.returncode == 0, done.stderr
    assert "server_version changed here: 1.0 → 1.1" in done.stdout
    assert "worse" in done.stdout
    assert "1 step in 12 runs" in done.stdout
    done = harness("history", stepped, "--metric", "x", "--fail-on-step", "--json", cwd=stepped)
    assert done.returncode == 1
    assert json.loads(done.stdout)["histories"][0]["points"][6]["step"]["at"] == 6
    # Cleared up again: a step for the better is no failure.
    done = harness(
        "history", *sorted(stepped.iterdir())[:6], "--metric", "x", "--fail-on-step", cwd=stepped
    )
    assert done.returncode == 0
    assert "no step can be shown of fewer than 11" in done.stdout


def test_no_runs(tmp_path):
    done = harness("history", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
