"""A disk that is full at every stage of a run, folders that cannot be written, or that go away."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from harness.store import load_run
from harness.testing.sim.log import read_log
from tests.robust.tools import HARNESS, Command, check_run, harness, run_words
from tests.sim.servers import chat

REQUESTS = {"run.json": 4, "records.log": 400, "summary.json": 4, "metrics.json": 4}


@pytest.fixture(scope="module")
def sizes(tmp_path_factory, server):
    """Stage → a size that its file, and none that is written before it, goes beyond."""
    folder = tmp_path_factory.mktemp("sizes") / "run"
    assert harness(*run_words(server.url, folder, "--requests", 4), cwd=folder.parent).status == 0
    found = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    small = max(found["run.json"], found["records.log"])
    assert small < found["summary.json"] < found["metrics.json"], "choose other REQUESTS"
    return {
        "run.json": found["run.json"] // 2,
        "records.log": small + 2000,
        "summary.json": (small + found["summary.json"]) // 2,
        "metrics.json": (found["summary.json"] + found["metrics.json"]) // 2,
    }


def file_size(n_bytes):
    return {"limits": [(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))]}


@pytest.mark.parametrize("stage", REQUESTS)
def test_a_file_that_cannot_grow(tmp_path, server, sizes, stage):
    """The system refuses to write beyond a size: EFBIG, at the stage whose file is the first to
    reach it. ENOSPC takes the same way; see test_a_file_system_that_is_full."""
    folder = tmp_path / "run"
    requests = REQUESTS[stage]
    words = run_words(server.url, folder, "--requests", requests)
    done = harness(*words, cwd=tmp_path, **file_size(sizes[stage]))
    assert done.status == 2
    said = done.err.splitlines()[-1]
    assert said.startswith("error: ") and f"{stage}: " in said, done.err
    assert "File too large" in said and "(try: free space" in said
    if stage == "run.json":
        assert not folder.exists()
        return
    _, calls = check_run(folder)
    kept = load_run(folder).manifest
    if stage == "records.log":
        assert kept.state == "failed" and "File too large" in kept.error
        assert 0 < calls["ok"] < requests
    else:
        assert (kept.state, calls) == ("finished", {"ok": requests})
    assert (folder / "summary.json").exists() == (stage == "metrics.json")
    assert not list(folder.rglob("*.part"))
    assert not list(folder.rglob(".*"))
    if stage == "metrics.json":
        assert "harness export" in said
        assert (folder / "reports" / "calls.csv").exists(), "the others are written"
        assert not (folder / "reports" / "metrics.json").exists(), "half a report is none"


def test_an_artifact_that_does_not_fit(tmp_path, server):
    folder = tmp_path / "run"
    words = ["run", "large_artifact", "--backend", "openai", "--model", "sim", "--url", server.url]
    words += ["--out", folder, "--warmup", 0, "--runs", 3]
    done = harness(*words, cwd=tmp_path, **file_size(100_000))
    assert done.status == 2
    assert "cannot keep the artifact large.bin: File too large" in done.err
    run = load_run(folder)
    assert run.manifest.state == "failed", "and further trials are not tried"
    (iteration,) = [r for r in run.records() if hasattr(r, "artifacts")]
    assert iteration.status == "error" and iteration.error.code == "store"
    assert iteration.metrics[0].value == 42
    assert not [path for path in (folder / "artifacts").rglob("*") if path.is_file()]


def test_a_file_system_that_is_full(tmp_path, server):
    """ENOSPC for real, where this user may mount a small tmpfs in a namespace of his own; where he
    may not, the limit on file sizes stands in for it."""
    small = tmp_path / "small"
    small.mkdir()
    words = [*map(str, run_words(server.url, small / "run", "--requests", 3000))]
    words += ["--concurrency", "16"]
    script = (
        'mount -t tmpfs -o size=256k tmpfs "$0" || exit 99; "$@"; status=$?; '
        'cp -r "$0"/run .; exit $status'
    )
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(small)]
    done = shutil.which("unshare") and subprocess.run(
        [*unshare, *HARNESS, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    if not done or done.returncode == 99 or "unshare" in done.stderr:
        done = harness(*words, cwd=tmp_path, **file_size(200_000))
        shutil.copytree(small / "run", tmp_path / "run")
        assert "File too large" in done.err
    else:
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
    summary, calls = check_run(tmp_path / "run")
    assert summary.state in ("failed", "interrupted")
    assert 0 < calls["ok"] < 3000


# ---------------------------------------------------------------------------------------- folders


def test_a_folder_that_cannot_be_written(tmp_path, server):
    """Root may write anywhere but below a file, and not where the system keeps the names."""
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file" / "run", "/proc/harness-run", tmp_path / ("x" * 300)):
        done = harness(*run_words(server.url, folder, "--requests", 2), cwd=tmp_path)
        assert done.status == 2
        assert str(folder)[:90] in done.line and "--out FOLDER" in done.line
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_folder(tmp_path, server):
    """Without the rights of root, whoever runs the tests."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    # CAP_DAC_OVERRIDE (1) is what lets root write here; PR_CAPBSET_DROP is 24.
    code = (
        "import ctypes, runpy, sys; from harness.store import RunWriter; "
        "ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)());"
        "sys.argv[0] = 'harness'; runpy.run_module('harness', run_name='__main__')"
    )
    words = map(str, run_words(server.url, closed / "run", "--requests", 2))
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert f"{closed / 'run'}: cannot make the run folder: Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("there", ["run", "other"])
def test_a_folder_that_holds_something(tmp_path, server, there):
    folder = tmp_path / "run"
    folder.mkdir()
    name = "run.json" if there == "run" else "thesis.tex"
    (folder / name).write_text("{}")
    done = harness(*run_words(server.url, folder, "--requests", 2), cwd=tmp_path)
    assert done.status == 2
    assert ("already holds a run" if there == "run" else "is not empty") in done.line
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_folder_that_is_deleted_meanwhile(tmp_path, server, interrupt):
    """The log is still open, so nothing that was measured is lost."""
    folder = tmp_path / "run"
    words = run_words(server.url, folder, "--requests", 100_000 if interrupt else 150)
    with Command(*words, cwd=tmp_path, block=None if interrupt else "trial") as command:
        command.records(folder, 20)
        if interrupt:
            shutil.rmtree(folder)
            command.signal(signal.SIGINT)
        else:
            with command.gate():
                shutil.rmtree(folder)
        done = command.done()
    assert done.status == (130 if interrupt else 0), done.err
    assert "was deleted during the run, and was made again" in done.err
    _, calls = check_run(folder)
    assert calls["ok"] >= 20 if interrupt else calls == {"ok": 150}
    assert (folder / "reports" / "calls.csv").exists()


def test_a_name_that_is_too_long_to_exist(tmp_path):
    done = harness("show", "x" * 300, cwd=tmp_path)
    assert done.status == 2
    assert done.line.startswith("error: ")


@pytest.mark.parametrize("tokens", [4, 400])
def test_a_log_of_the_truth_server_that_cannot_grow(tmp_path, tokens):
    """requests.jsonl reaches the size first where answers are short, sends.bin where they are
    long; either keeps whole rows up to there."""
    words = ["sim", "--log", "log", "--ttft", "0", "--gap", "0"]
    with Command(*words, cwd=tmp_path, **file_size(8192)) as command:
        url = json.loads(command.process.stdout.readline())["url"]
        with contextlib.suppress(httpx.HTTPError):
            while True:
                chat(url, tokens=tokens)
        done = command.done()
    full = "sends.bin" if tokens == 400 else "requests.jsonl"
    says = f"error: log/{full}: cannot write the log: File too large (try: free space, or --log"
    assert done.status == 2 and done.line.startswith(says), done.err
    log = read_log(tmp_path / "log")
    assert log.end is None and len(log.rows) and log.server["boot"]


def test_standard_output_that_is_full(tmp_path, server):
    """The run is there all the same."""
    folder = tmp_path / "run"
    with Path("/dev/full").open("w") as full:
        words = run_words(server.url, folder, "--requests", 4)
        done = harness(*words, cwd=tmp_path, stdout=full)
    assert done.status == 2
    assert done.err.splitlines()[-1] == "error: standard output: No space left on device"
    check_run(folder)


def test_an_export_onto_a_full_disk(tmp_path, server):
    folder = tmp_path / "run"
    assert harness(*run_words(server.url, folder, "--requests", 4), cwd=tmp_path).status == 0
    out = tmp_path / "out.jsonl"
    words = ["export", folder, "--format", "jsonl", "--out", out]
    done = harness(*words, cwd=tmp_path, **file_size(100))
    assert (done.status, done.line) == (2, f"error: {out}: File too large")
