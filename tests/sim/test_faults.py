"""Every fault, in every dialect, over both transports, through the real command.

One run per dialect and transport: each line of its prompt file names the fault that its request is
to meet, and all are in flight at once, so that what happens to one is seen not to touch the others.
HARNESS_UPDATE_DOCS=1 writes the table in docs/sim.md anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import load_run
from harness.schema import CallRecord
from harness.testing.sim import FAULTS
from tests.sim.servers import RUN, sim

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sim.md"
MARKS = ("<!-- fault matrix -->", "<!-- /fault matrix -->")

TOGETHER = tuple(kind for kind in FAULTS if kind != "refuse")
CLEAN = "none"
DIALECTS = ("ollama_api", "openai", "vllm", "sglang", "llamacpp", "transformers", "ollama")
DIALECTS += ("openrouter", "deepseek")
TRANSPORTS = ("native", "portable")
TOKENS = 8

# What a call must end as. Where a dialect differs, that is what the real server does to its client.
EXPECTED = {
    CLEAN: "ok",
    "refuse": "error",
    "reset_before": "error",
    "reset_mid": "error",
    "stall_before": "timeout",
    "stall_mid": "timeout",
    "trickle": "ok",
    "truncated_chunk": "truncated",
    "close_mid": "truncated",
    "no_end": "truncated",
    "error_mid": "error",
    "http_400": "error",
    "http_429": "error",
    "http_500": "error",
    "http_503": "error",
    "http_status": "error",
    "cache_hit": "ok",
    "malformed_json": "error",
    "long_line": "ok",
    "invalid_utf8": "ok",
    "line_separators": "ok",
    "empty_chunks": "ok",
    "comments_only": "timeout",
    "wrong_usage": "ok",
    "duplicate_done": "ok",
    "hostile_text": "ok",
}
# Ollama's /v1 loses the error of a broken generation: the stream just ends.
DIFFERS = {("error_mid", "ollama"): "truncated"}

# msgspec looks into a Struct when it first meets it, and must not be disturbed by another thread.
LOADING = threading.Lock()

TIMEOUTS = {"first_byte_s": 3, "between_payloads_s": 2, "total_s": 60}


def run_against(url, dialect, transport, folder, kinds, concurrency=None):
    prompts = folder / "prompts.jsonl"
    lines = [{"prompt": f"a prompt that asks for [{kind}]"} for kind in kinds]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["load", "--url", url, "--model", "sim", "--out", folder / "run", "--json"]
    words += ["--backend", "ollama" if dialect == "ollama_api" else "openai"]
    words += ["--requests", len(kinds), "--concurrency", concurrency or len(kinds), "--warmup", 0]
    words += ["--max-tokens", TOKENS, "-o", f"prompts={prompts}", "--set", f"transport={transport}"]
    for name, value in TIMEOUTS.items():
        words += ["--set", f"timeouts.{name}={value}"]
    done = subprocess.run(
        [*RUN, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 4), done.stderr
    with LOADING:
        calls = [r for r in load_run(folder / "run").records() if isinstance(r, CallRecord)]
    assert len(calls) == len(kinds), "every planned call has its record"
    calls.sort(key=lambda call: call.call_id)
    return dict(zip(kinds, calls, strict=True))


def one_dialect(root, dialect):
    """{transport: {fault: call}} and the log."""
    folder = root / dialect
    folder.mkdir()
    words = ["--ttft", "30", "--gap", "2", "--set", "comments=2"]
    if dialect != "ollama_api":
        words += ["--dialect", dialect]
    for kind in TOGETHER:
        words += ["--fault", f"{kind}~[{kind}]"]
    found = {}
    with sim(folder / "log", *words) as server:
        for transport in TRANSPORTS:
            work = folder / transport
            work.mkdir()
            found[transport] = run_against(server.url, dialect, transport, work, (CLEAN, *TOGETHER))
        log = server.stop()
    return found, log


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    root = tmp_path_factory.mktemp("matrix")
    with ThreadPoolExecutor(6) as pool:
        done = pool.map(lambda dialect: one_dialect(root, dialect), DIALECTS)
        return dict(zip(DIALECTS, done, strict=True))


def expected(fault, dialect):
    return DIFFERS.get((fault, dialect), EXPECTED[fault])


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_call_ends_as_it_must(matrix, dialect, transport):
    calls = matrix[dialect][0][transport]
    wrong = {
        fault: (call.status, call.error)
        for fault, call in calls.items()
        if call.status != expected(fault, dialect)
    }
    assert wrong == {}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_log_knows_every_request_and_its_fault(matrix, dialect):
    found, log = matrix[dialect]
    asked = [line for line in log.requests.values() if line["ordinal"] is not None]
    assert [line["ordinal"] for line in sorted(asked, key=lambda r: r["serial"])] == list(
        range(1, len(asked) + 1)
    )
    for kind in TOGETHER:
        met = [line for line in asked if line["fault"] == kind]
        # A client may try a reset connection again; nobody else may meet the fault.
        assert len(met) >= len(found), kind
        if kind != "reset_before":
            assert len(met) == len(found), kind


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_fault_does_not_touch_is_whole(matrix, dialect):
    for calls in matrix[dialect][0].values():
        clean = calls[CLEAN].text
        assert len(clean.split()) == TOKENS
        for kind in ("trickle", "empty_chunks", "duplicate_done", "wrong_usage"):
            assert len(calls[kind].text.split()) == TOKENS, kind
        assert "\u2028" in calls["line_separators"].text
        assert len(calls["long_line"].text) > 10_000_000
        assert "<script>" in calls["hostile_text"].text
        assert "�" in calls["invalid_utf8"].text
        assert calls["wrong_usage"].usage.output_tokens == 2 * TOKENS + 7
        assert calls["reset_mid"].content_chunks == TOKENS // 2
        assert calls["comments_only"].comments > 0


def test_hostile_text_is_not_taken_for_protocol(matrix):
    """The `data: [DONE]` within the text of a chunk ends nothing."""
    for dialect in DIALECTS:
        for calls in matrix[dialect][0].values():
            assert "data: [DONE]" in calls["hostile_text"].text


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_refused_connections(tmp_path, transport):
    """The first request is reset; from then on nothing listens for as long as the run lasts."""
    spec = tmp_path / "sim.json"
    fault = {"kind": "refuse", "match": "prompt", "for_ms": 600_000}
    spec.write_text(json.dumps({"ttft": 1, "gap": 1, "faults": [fault]}))
    with sim(tmp_path / "log", spec) as server:
        kinds = ("first", "second", "third")
        calls = run_against(server.url, "ollama_api", transport, tmp_path, kinds, concurrency=1)
        log = server.stop()
    assert [call.status for call in calls.values()] == ["error"] * 3
    assert [call.error.code for call in calls.values()][1:] == ["connect", "connect"]
    assert len([line for line in log.requests.values() if line["fault"] == "refuse"]) == 1


def table(matrix):
    lines = ["| fault | native | portable | error codes |", "|---|---|---|---|"]
    for fault in EXPECTED:
        if fault == "refuse":
            lines.append("| `refuse` | error | error | `connect`, `reset` |")
            continue
        cells, codes = [], set()
        for transport in TRANSPORTS:
            calls = {dialect: matrix[dialect][0][transport][fault] for dialect in DIALECTS}
            codes |= {call.error.code for call in calls.values() if call.error}
            odd = [
                f"{dialect}: {call.status}"
                for dialect, call in calls.items()
                if call.status != EXPECTED[fault]
            ]
            cells.append(EXPECTED[fault] + (f" ({', '.join(odd)})" if odd else ""))
        shown = ", ".join(f"`{code}`" for code in sorted(codes))
        name = fault if fault == CLEAN else f"`{fault}`"
        lines.append(f"| {name} | {' | '.join(cells)} | {shown} |")
    return "\n".join(lines)


def test_the_page_shows_the_matrix(matrix):
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    new = f"{before}{MARKS[0]}\n{table(matrix)}\n{MARKS[1]}{after}"
    if os.environ.get("HARNESS_UPDATE_DOCS") == "1":
        PAGE.write_text(new, "utf-8")
    assert page == new or os.environ.get("HARNESS_UPDATE_DOCS") == "1"
