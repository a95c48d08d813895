"""Open files: raised where that is allowed, refused before the start where it is not, and survived
where nobody could know."""

from __future__ import annotations

import json
import resource
import socket
import subprocess

import pytest

from harness.schema import TrialRecord
from harness.store import load_run
from harness.testing.sim.log import read_log
from tests.robust.tools import HARNESS, PATIENCE_S, check_run, harness, run_words
from tests.sim.servers import chat, sim

TRANSPORTS = ["native", "portable"]


def files(soft, hard):
    return {"limits": [(resource.RLIMIT_NOFILE, (soft, hard))]}


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Answers after a while, so that requests pile up."""
    with sim(tmp_path_factory.mktemp("slow") / "log", "--ttft", "300", "--gap", "1") as running:
        yield running


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_limit_is_raised_where_it_may_be(tmp_path, server, transport):
    folder = tmp_path / "run"
    words = [*run_words(server.url, folder, "--requests", 300, "--concurrency", 150)]
    done = harness(*words, "--set", f"transport={transport}", cwd=tmp_path, **files(64, 400))
    assert done.status == 0, done.err
    assert check_run(folder)[1] == {"ok": 300}


@pytest.mark.parametrize(
    ("load", "field"),
    [
        (["--concurrency", 500, "--requests", 900], "$.load.concurrency"),
        (["--rate", 5, "--requests", 900, "--set", "load.concurrency_max=500"],
         "$.load.concurrency_max"),
    ],
)  # fmt: skip
def test_too_low_a_limit_is_said_before_the_start(tmp_path, server, load, field):
    folder = tmp_path / "run"
    done = harness(*run_words(server.url, folder, *load), cwd=tmp_path, **files(64, 400))
    assert done.status == 2
    assert f"{field}: 500 requests in flight need " in done.line
    assert "and the limit is 400 (try: ulimit -n " in done.line
    need = int(done.line.split("ulimit -n ")[1].rstrip(")"))
    assert 500 < need < 700
    assert not folder.exists(), "nothing was begun"


def test_no_more_is_asked_for_than_can_be_in_flight(tmp_path, server):
    words = run_words(server.url, tmp_path / "run", "--requests", 20, "--concurrency", 5000)
    assert harness(*words, cwd=tmp_path, **files(64, 400)).status == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_open_loop_that_runs_out_of_files(tmp_path, slow, transport):
    """Without a cap nobody can know how many it takes. Those beyond fail, each with the reason;
    the others are not held up; and nobody spins while there is nothing to be had."""
    folder = tmp_path / "run"
    words = run_words(slow.url, folder, "--requests", 200, "--rate", 2000)
    done = harness(
        *words, "--set", f"transport={transport}", cwd=tmp_path, **files(100, 100)
    )  # fmt: skip
    assert done.status == 4, done.err
    summary, calls = check_run(folder)
    assert set(calls) == {"ok", "error"} and sum(calls.values()) == 200
    assert calls["ok"] > 20 and calls["error"] > 50
    records = list(load_run(folder).records())
    errors = {call.error.code: call.error.message for call in records if getattr(call, "error", 0)}
    assert list(errors) == ["connect"]
    assert "Too many open files" in errors["connect"]
    (caveat,) = [c for c in summary.verdict.caveats if c.code == "errors"]
    assert "Too many open files" in caveat.message
    if transport == "native":
        (trial,) = [record for record in records if isinstance(record, TrialRecord)]
        # Each call: submitted, connected, answered in 6 pieces. Spinning would be 10,000 a second.
        assert trial.transport_stats["wakeups"] < 200 * 12


@pytest.mark.parametrize("how", ["others leave", "the limit is raised"])
def test_a_truth_server_that_runs_out_of_files_waits(tmp_path, how):
    """It neither spins nor forgets those who wait: they are let in as others leave, or when there
    is room for a reason that it does not see."""
    process = subprocess.Popen(
        [*HARNESS, "sim", "--until-eof", "--ttft", "500", "--gap", "1", "--log", tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 200)),
    )
    with process:
        url = json.loads(process.stdout.readline())["url"]
        host, port = url.removeprefix("http://").split(":")
        first = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        ask(first)
        others = [socket.create_connection((host, int(port))) for _ in range(60)]
        # While the first answer is being waited for, more are at the door than can be let in.
        assert first.recv(12) == b"HTTP/1.1 200"
        ask(others[-1])
        if how == "others leave":
            for other in [first, *others[:-1]]:
                other.close()
        else:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (200, 200))
        others[-1].settimeout(PATIENCE_S)
        assert others[-1].recv(12) == b"HTTP/1.1 200"
        for other in [first, *others]:
            other.close()
        chat(url, tokens=2)
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    stats = read_log(tmp_path / "log").end["sender"]
    assert stats["connections"] == 0 or stats["requests"] == 3
    # 62 connections, three answers of a few pieces, ten looks a second at the door for 2 s.
    assert stats["wakeups"] < 500


def ask(connection):
    body = b'{"model":"sim","messages":[{"role":"user","content":"x"}]}'
    head = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.sendall(head + body)
