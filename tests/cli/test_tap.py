"""`harness tap`, as it is typed: an agent of a shell and curl, measured on its way to a server
whose every send is known."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest
import trustme

from harness.metrics import call_metric
from harness.schema import CallRecord, IterationRecord, TrialRecord
from harness.store import load_run
from tests.sim.servers import relay, sim

HARNESS = [sys.executable, "-m", "harness"]
KEY = "sk-test-0123456789abcdef"

pytestmark = pytest.mark.skipif(
    not shutil.which("curl"), reason="the agent of these tests is made of curl: install it"
)

AGENT = r"""
set -e
plan=$(curl -sN "$OPENAI_BASE_URL/chat/completions" -H 'Content-Type: application/json' \
  -H "Authorization: Bearer $AGENT_KEY" -H 'X-Request-ID: a.0.plan' \
  -d '{"model":"sim","stream":true,"stream_options":{"include_usage":true},"max_tokens":8,
       "messages":[{"role":"user","content":"make a plan"}]}' |
  sed -n 's/.*"delta":{"content":"\([^"]*\)".*/\1/p' | tr -d '\n')
curl -sS "$HARNESS_TAP_URL/api/tags" > /dev/null
curl -sSN "$OLLAMA_HOST/api/chat" -d "{\"model\":\"sim\",\"options\":{\"num_predict\":6},
  \"messages\":[{\"role\":\"user\",\"content\":\"carry out: $plan\"}]}" | tail -n 1
curl -sS "$1/chat/completions" -d '{"model":"sim","max_tokens":4,
  "messages":[{"role":"user","content":"and sum it up"}]}' > answer.json
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("sim") / "log"
    with sim(log, "--ttft", 60, "--gap", 8) as running:
        yield running


def tap(folder, *words, **more):
    done = subprocess.run(
        [*HARNESS, "tap", *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "AGENT_KEY": KEY, **more},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def records(folder, kind):
    return [one for one in load_run(folder).records() if isinstance(one, kind)]


def test_an_agent_of_a_shell_and_curl(server, tmp_path):
    done = tap(tmp_path, server.url, "--out", "run", "--", "sh", "-c", AGENT, "agent", "{base_url}")
    assert done.returncode == 0, done.stderr
    url = re.search(r"the tap is open: (http://127\.0\.0\.1:\d+) → (\S+)", done.stderr)
    assert url[2] == server.url
    assert f"OPENAI_BASE_URL={url[1]}/v1\n" in done.stderr
    assert f"OLLAMA_HOST={url[1]}\n" in done.stderr
    assert '"done":true' in done.stdout  # what the program writes is passed on
    cost = "through the tap: it held chunks for"
    assert cost in " ".join(done.stdout.split())
    page = (tmp_path / "run" / "reports" / "comparison_report.md").read_text("utf-8")
    assert "it held chunks for" in page
    plan, work, whole = records(tmp_path / "run", CallRecord)
    assert {call.status for call in (plan, work, whole)} == {"ok"}
    assert [call.stamp_source for call in (plan, work, whole)] == ["tap"] * 3
    assert [call.usage.output_tokens for call in (plan, work, whole)] == [8, 6, 4]
    assert [call.max_tokens for call in (plan, work, whole)] == [8, 6, 4]
    assert (plan.arm, plan.agent) == ("tapped", "agent")
    assert plan.endpoint == f"{server.url}/v1/chat/completions"
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert whole.text == answer["choices"][0]["message"]["content"]
    assert whole.no_first_token == "the response was not streamed"
    assert call_metric("ttft_ms").formula(whole) is None
    for call in (plan, work):  # the server sends no sooner, and the tap stamps no earlier
        assert call_metric("ttft_ms").formula(call) >= 60
        assert call.tap.first_token_ns >= call.instants.first_token_ns
        assert call_metric("tap_delay_p50_us").formula(call) > 0
    (trial,) = records(tmp_path / "run", TrialRecord)
    assert trial.transport_stats["tap_passed_on"] == 1
    assert trial.effective.simulated
    assert trial.effective.options == {}
    (iteration,) = records(tmp_path / "run", IterationRecord)
    assert [(span.name, span.agent) for span in iteration.spans] == [("agent", "agent")]
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    audit = subprocess.run([*HARNESS, "audit", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert "every figure follows from the records" in audit.stdout


def test_a_program_that_fails_fails_the_run(server, tmp_path):
    done = tap(
        tmp_path, server.url, "--out", "run", "--",
        "sh", "-c", "echo this went wrong: $AGENT_KEY >&2; exit 7",
    )  # fmt: skip
    assert done.returncode == 4
    (iteration,) = records(tmp_path / "run", IterationRecord)
    assert iteration.status == "error"
    assert "sh ended with status 7: this went wrong: [$AGENT_KEY]" in iteration.error.message
    (kept,) = (tmp_path / "run" / "artifacts").rglob("*stderr*")
    assert kept.read_text() == "this went wrong: [$AGENT_KEY]\n"


def test_a_program_that_asks_elsewhere(server, tmp_path):
    done = tap(tmp_path, server.url, "--out", "run", "--", "true")
    assert done.returncode == 4
    (iteration,) = records(tmp_path / "run", IterationRecord)
    assert "no model call went through the tap" in iteration.error.message


@contextlib.contextmanager
def standing(folder, *words):
    """`harness tap` without a program: (process, its base URL)."""
    process = subprocess.Popen(
        [*HARNESS, "tap", *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "point an agent" in line:
                break
        base = re.search(r"OPENAI_BASE_URL=(\S+)", "".join(seen))
        assert base, "".join(seen)
        yield process, base[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def ask(base, *words, text="hello", path="/chat/completions"):
    body = {"model": "sim", "stream": True, "max_tokens": 3}
    body["messages"] = [{"role": "user", "content": text}]
    return subprocess.run(
        ["curl", "-sSN", base + path, "-d", json.dumps(body), *words],
        capture_output=True,
        timeout=60,
    )


def test_ctrl_c_is_its_proper_end(server, tmp_path):
    words = (f"{server.url}/v1", "--backend", "openai", "--out", "run", "--json")
    with standing(tmp_path, *words) as (process, base):
        # Hostile: whatever a client may put into its headers goes on, or is refused, and no more.
        assert b"[DONE]" in ask(base, "-H", "X-Request-ID: ../\\%0d%0a{}", "-H", "X-E: ü").stdout
        assert ask(base, "-H", "X-Odd: \x1b[31m").returncode == 0
        ask(base, "-H", "Transfer-Encoding: chunked", "-H", "Content-Length: 1")
        with raw(base) as one:
            one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: \x00\r\n\x01: x\r\n\r\n")
            one.recv(4096)
        with raw(base) as one:
            one.sendall(b"\xff" * 5000 + b"\r\n\r\n")
            one.recv(4096)
        assert b"[DONE]" in ask(base, text="again").stdout
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["state"] == "finished"
    ok = [call for call in records(tmp_path / "run", CallRecord) if call.status == "ok"]
    assert len(ok) >= 2
    assert "interrupt" not in err


def raw(base):
    host, port = re.fullmatch(r"http://(.+):(\d+)/v1", base).groups()
    one = socket.create_connection((host, int(port)), timeout=30)
    return contextlib.closing(one)


def test_so_many_calls(server, tmp_path):
    words = (server.url, "--calls", 2, "--out", "run", "--name", "mine")
    with standing(tmp_path, *words) as (process, base):
        asking = [threading.Thread(target=ask, args=(base,)) for _ in range(2)]
        for one in asking:
            one.start()
        process.communicate(timeout=60)
        for one in asking:
            one.join()
    assert process.returncode == 0
    calls = records(tmp_path / "run", CallRecord)
    assert [(call.agent, call.status) for call in calls] == [("mine", "ok")] * 2


def test_a_server_behind_tls(server, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    program = (
        'curl -sSN "$OPENAI_BASE_URL/chat/completions" -d \'{"model":"sim","stream":true,'
        '"max_tokens":3,"messages":[{"role":"user","content":"x"}]}\' > /dev/null'
    )
    with relay(server.url, context) as port:
        done = tap(
            tmp_path, f"https://127.0.0.1:{port}/v1", "--out", "run", "--", "sh", "-c", program,
            SSL_CERT_FILE=str(tmp_path / "authority.pem"),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (call,) = records(tmp_path / "run", CallRecord)
    assert (call.status, call.stamp_source, call.content_chunks) == ("ok", "user", 3)
    assert call.tap.delay_p50_ns is not None


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("http://127.0.0.1:9",), 2, "no server can be reached: connection refused"),
        (("http://key@127.0.0.1:9",), 2, "takes no credentials"),
        (("http://127.0.0.1:9", "--", "no-such-program"), 2, "no program 'no-such-program'"),
        (("http://127.0.0.1:9", "--backend", "olama"), 2, "ollama"),
    ],
)
def test_mistakes(tmp_path, words, status, said):
    done = tap(tmp_path, *words)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_recorded_makes_no_run(server, tmp_path):
    port = server.url.rpartition(":")[2]
    taken = tap(tmp_path, server.url, "--port", port, "--", "true")
    assert taken.returncode == 2
    assert taken.stderr.startswith(f"error: --port: cannot listen on 127.0.0.1:{port}: ")
    assert "(try: another port, " in taken.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        dead = tap(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}", "--", "true")
    assert dead.returncode == 2
    assert "(try: start it, or the address of a running one)" in dead.stderr
    assert not (tmp_path / "runs").exists()
