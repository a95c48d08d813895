"""The load scenario against a real llama.cpp server in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.real_model, pytest.mark.quiet]


@pytest.fixture(scope="module")
def llama_url():
    """The embedded server, started as a person would start it, with a slot per stream."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness_llamacpp.server"),
            *("--model", "tiny", "--port", "0", "--parallel", "64"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.stdin.close()  # it serves until its standard input closes
        process.wait(timeout=30)
        process.stdout.close()


@pytest.mark.parametrize("transport", ["native", "portable"])
def test_640_requests_at_64(llama_url, tmp_path, transport):
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "harness", "run", "load", "--backend", "openai"),
        *("--url", llama_url, "--concurrency", "64", "--requests", "640"),
        *("--max-tokens", "64", "--set", f"transport={transport}", "--out", str(out), "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    (arm,) = summary["arms"]
    assert arm["calls"] == {"ok": 640}
    assert arm["planned"] == 640
    lines = subprocess.run(
        [sys.executable, "-m", "harness", "export", str(out), "--format", "jsonl"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.splitlines()
    rows = [row for row in map(json.loads, lines) if row["phase"] == "measured"]
    assert len({row["call_id"] for row in rows}) == 640
    for row in rows:
        assert row["output_tokens"] == row["server"]["usage"]["completion_tokens"] <= 64
        assert row["ttft_ms"] >= row["server"]["timings"]["prompt_ms"]
        assert row["due_ns"] <= row["sent_ns"] <= row["first_token_ns"] <= row["end_ns"]
    # Never more in flight than asked for.
    edges = sorted([(row["sent_ns"], 1) for row in rows] + [(row["end_ns"], -1) for row in rows])
    flying = highest = 0
    for _, step in edges:
        flying += step
        highest = max(highest, flying)
    assert 32 < highest <= 64
