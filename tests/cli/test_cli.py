"""The command line: what it says, what it returns, and that mistakes are one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import BUILTIN
from harness.schema import CallRecord
from harness.store import load_run


def one_line(done):
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    return lines[0]


def test_help_names_every_command_and_shows_examples(harness_command):
    done = harness_command("--help")
    assert done.status == 0
    for name in BUILTIN:
        assert f"\n  {name} " in done.out
    assert "Examples:" in done.out


HEAVY = ("numpy", "scipy", "httpx", "psutil", "xllamacpp", "gguf", "harness.engine.execute")


@pytest.mark.parametrize(
    ("word", "heavy"),
    [("--help", (*HEAVY, "rich", "yaml", "asyncio", "harness.engine")), ("list", HEAVY)],
)
def test_a_look_is_light(word, heavy):
    """What costs time is imported when first used. The time itself is a benchmark's business."""
    code = (
        "import sys, contextlib\n"
        "from harness.cli import cli\n"
        f"cli.main(['{word}'], standalone_mode=False)\n"
        f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_command_has_help(harness_command, name):
    done = harness_command(name, "--help")
    assert done.status == 0
    assert "Usage: " in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["run", "laod"], "harness run load"),
        (["run", "gone.yaml"], "gone.yaml"),
        (["run", "load", "--backend", "olama"], "try: ollama"),
        (["run", "load", "-o", "num_ctxx=1"], "try: num_ctx"),
        (["run", "load", "-o", "novalue"], "not key=value"),
        (["run", "load", "--set", "load.concurency=2"], "try: concurrency"),
        (["run", "load", "--set", "sweep.axes.x=[1]"], "dotted path into backend"),
        (["run", "load", "--set", "placement.cpus=[0-x]"], "$.placement.cpus[0]: '0-x' is no list"),
        (["run", "load", "--set", "instruments=[psutill]"], "try: psutil"),
        (["run", "wrong_backend.yaml", "--backend", "openai"], "$.backend: a mapping is expected"),
        (["run", "wrong_backend.yaml", "-o", "x=1"], "$.backend: a mapping is expected"),
        (["run", "wrong_load.yaml", "--requests", "3"], "$.load: a mapping is expected"),
        (["run", "nameless.yaml", "-o", "max_tokens=3"], "$.scenario: a mapping with a name"),
        (["run", "load", "--rate", "5", "--set", "load.shape=2"], "has no effect on poisson"),
        (["run", "load", "-o", "num_ctx=.inf"], "finite"),
        (["run", "load", "--url", "http://127.0.0.1:1"], "--backend openai"),
        (["run", "single_agent", "--requests", "3"], "takes no load"),
        (["show", "nowhere"], "nowhere"),
        (["export", "nowhere", "--format", "jsonl"], "nowhere"),
        (["export", "nowhere", "--format", "jsonnl"], "jsonl"),
        (["models", "--backend", "openai", "--url", "http://127.0.0.1:1"], "127.0.0.1:1"),
    ],
)
def test_mistakes_are_explained(harness_command, tmp_path, words, says):
    (tmp_path / "wrong_backend.yaml").write_text("backend: foo\nscenario: {name: load}\n")
    (tmp_path / "wrong_load.yaml").write_text("scenario: {name: load}\nload: 3\n")
    (tmp_path / "nameless.yaml").write_text("scenario: {nam: load}\n")
    done = harness_command(*words)
    assert done.status == 2
    assert says in " ".join(done.err.split())
    assert done.out == ""


def test_a_dead_server_is_named_with_what_to_try(harness_command, tmp_path):
    url = "http://127.0.0.1:1"
    done = harness_command("run", "load", "--backend", "ollama", "--model", "m", "--url", url)
    assert done.status == 2
    assert "127.0.0.1:1" in done.err
    assert "try: " in done.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert harness_command("show", folder).status == 0, "the run is there and says it failed"


def test_json_is_alone_on_stdout(finished_run):
    folder, printed = finished_run
    summary = json.loads(printed)
    assert summary["arms"][0]["calls"] == {"ok": 8}
    assert summary == json.loads((folder / "summary.json").read_text())


def test_show(harness_command, finished_run):
    folder, printed = finished_run
    assert json.loads(harness_command("show", folder, "--json").out) == json.loads(printed)
    shown = harness_command("show", folder).out
    assert "TTFT" in shown
    assert max(map(len, shown.splitlines()[:-3])) <= 80


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_that_lacks_characters(finished_run, encoding):
    def out(*words):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *words],
            env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    folder = str(finished_run[0])
    assert "TTFT" in out("show", folder).decode(encoding)
    out("list")
    assert json.loads(out("show", folder, "--json").decode()) == json.loads(finished_run[1])


def test_no_line_ends_in_blanks(harness_command, finished_run):
    for words in (["show", finished_run[0]], ["list"]):
        lines = harness_command(*words).out.splitlines()
        assert lines == [line.rstrip() for line in lines]


def test_progress_counts_what_the_result_counts(harness_command):
    words = ["--requests", "3", "--warmup", "2", "--max-tokens", "4", "--json"]
    done = harness_command("run", "load", *words)
    assert json.loads(done.out)["arms"][0]["calls"] == {"ok": 3}
    assert ": ok, 3 calls ok, " in done.err


def test_latest_is_found_below_runs(harness_command, tmp_path):
    done = harness_command("run", "load", "--limit", "1", "--max-tokens", "4")
    assert done.status == 0
    assert harness_command("show", "latest").status == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("load-")


CALL_FIELDS = [
    "call_id",
    "arm",
    "cell",
    "trial",
    "iteration",
    "agent",
    "stage",
    "phase",
    "status",
    "error",
    "due_ns",
    "sent_ns",
    "headers_ns",
    "first_byte_ns",
    "first_chunk_ns",
    "first_token_ns",
    "first_answer_ns",
    "last_token_ns",
    "end_ns",
    "stamp_source",
    "realtime_offset_ns",
    "chunks",
    "content_chunks",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "queue_residual_ms",
    "client_lag_p50_us",
    "client_lag_p99_us",
    "server",
    "effective",
]


def test_export_jsonl(harness_command, finished_run):
    done = harness_command("export", finished_run[0], "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    measured = [row for row in rows if row["phase"] == "measured"]
    assert len(measured) == 8
    for row in measured:
        assert set(CALL_FIELDS) <= set(row)
        assert row["status"] == "ok"
        assert row["error"] is None
        assert row["due_ns"] <= row["sent_ns"] <= row["first_token_ns"] <= row["end_ns"]
        assert row["output_tokens"] == row["server"]["usage"]["completion_tokens"] == 8
        # The server's own prompt time is inside what we saw of it.
        assert row["ttft_ms"] >= row["server"]["timings"]["prompt_ms"]
        assert row["effective"]["model"]
        if sys.platform.startswith("linux"):
            assert row["stamp_source"] == "kernel"


def test_export_chunks(harness_command, finished_run):
    done = harness_command("export", finished_run[0], "--format", "chunks")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert set(rows[0]) >= {"call_id", "index", "arrival_ns", "user_ns", "upper_bound", "bytes"}
    assert all(row["arrival_ns"] <= row["user_ns"] for row in rows)


@pytest.mark.parametrize("name", ["csv", "metrics.json", "comparison_report.md"])
def test_other_exports(harness_command, finished_run, tmp_path, name):
    out = tmp_path / "exported"
    done = harness_command("export", finished_run[0], "--format", name, "--out", out)
    assert done.status == 0
    assert out.stat().st_size > 0
    assert (finished_run[0] / "reports").is_dir()


def test_an_open_loop_spec_can_be_shortened(harness_command, tmp_path):
    spec = tmp_path / "open.yaml"
    spec.write_text("scenario: {name: load, options: {max_tokens: 4}}\nload: {rate_per_s: 50}\n")
    done = harness_command("run", spec, "--requests", "3", "--json")
    assert done.status == 0, done.err
    summary = json.loads(done.out)
    assert summary["arms"][0]["planned"] == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full; run it on Linux")
@pytest.mark.parametrize(
    "words",
    [
        *(["show", "RUN"], ["show", "RUN", "--json"], ["export", "RUN", "--format", "chunks"]),
        *(["list"], ["--help"], ["sim", "--log", "LOG"]),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(finished_run, tmp_path, words, unbuffered):
    places = {"RUN": str(finished_run[0]), "LOG": str(tmp_path / "log")}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harness", *(places.get(word, word) for word in words)],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error(finished_run):
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "export", str(finished_run[0]), "--format", "chunks"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=60)


def test_a_damaged_log_is_named_and_can_be_salvaged(harness_command, finished_run, tmp_path):
    shutil.copytree(finished_run[0], tmp_path / "run")
    log = tmp_path / "run" / "records.log"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0xFF
    log.write_bytes(content)
    shown = harness_command("show", "run")
    assert shown.status == 0
    assert "--salvage" in shown.err
    refused = harness_command("export", "run", "--format", "jsonl")
    assert refused.status == 2
    assert "corrupt at byte" in refused.err
    saved = harness_command("export", "run", "--format", "jsonl", "--salvage")
    assert saved.status == 0
    assert 0 < len(saved.out.splitlines()) < 10
    summary = json.loads(harness_command("show", "run", "--salvage", "--json").out)
    assert summary["verdict"]["state"] == "invalid"


def test_a_run_folder_is_never_overwritten(harness_command, finished_run):
    done = harness_command("run", "load", "--limit", "1", "--out", finished_run[0])
    assert done.status == 2
    assert str(finished_run[0]) in done.err


def test_list_and_doctor_and_models(harness_command):
    listed = json.loads(harness_command("list", "--json").out)
    assert {"load", "single_agent"} <= {entry["name"] for entry in listed["scenarios"]}
    assert all(e["summary"] for kind in ("backends", "scenarios") for e in listed[kind])
    done = harness_command("doctor")
    assert done.status == 0, done.out
    assert "python" in done.out
    models = json.loads(harness_command("models", "--json").out)
    assert "tiny" in {model["name"] for model in models}


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals; run it on Linux or macOS")
def test_an_interrupt_leaves_a_loadable_run(harness_command, tmp_path):
    """Ctrl-C while calls are in flight: exit 130, and what was recorded is there."""
    folder = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "harness", "run", "load", "--out", str(folder)),
        *("--requests", "100000", "--concurrency", "4", "--max-tokens", "64"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = next(iter_records_file(folder, process))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert log.stat().st_size > 0
    summary = json.loads(harness_command("show", folder, "--json").out)
    assert summary["state"] == "interrupted"
    (arm,) = summary["arms"]
    assert arm["planned"] == 100_000
    rows = [
        json.loads(line)
        for line in harness_command("export", folder, "--format", "jsonl").out.splitlines()
    ]
    calls = [r for r in load_run(folder).records() if isinstance(r, CallRecord)]
    ended = [call for call in calls if call.status == "cancelled"]
    assert 0 < len(ended) <= 4, "what was in flight"
    # One whose kept connection the server had closed may have been on its way a second time.
    assert all(call.instants.sent_ns or call.reconnected for call in ended)
    assert {row["status"] for row in rows} == {"ok", "cancelled", "not_sent"}
    assert summary["arms"][0]["calls"]["ok"] > 0


def iter_records_file(folder, process):
    """Yields the record log once it has grown past a few calls."""
    while process.poll() is None:
        for path in folder.glob("records*"):
            if path.stat().st_size > 20_000:
                yield path
                return
    raise AssertionError(process.communicate()[1])
