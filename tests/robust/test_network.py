"""Names without an address, addresses that refuse, servers that restart or never come back."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from harness.schema import TrialRecord
from harness.store import load_run
from tests.robust.tools import Command, check_run, harness, run_words
from tests.sim.servers import sim

TRANSPORTS = ["native", "portable"]
FAST = ("--ttft", "2", "--gap", "1")
SLOW = ("--ttft", "uniform:150,400", "--gap", "1", "--seed", "1")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_name_that_does_not_resolve(tmp_path):
    done = harness(*run_words("http://gone.test:1", tmp_path / "run"), cwd=tmp_path)
    assert done.status == 2
    said = done.err.splitlines()[-1]
    assert said.startswith("error: http://gone.test:1/v1: no server can be reached: ")
    assert "name or service not known" in said and "(try: " in said
    assert load_run(tmp_path / "run").summary.state == "failed"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_name_with_several_addresses(tmp_path, server, transport):
    """The first refuses; the one that answers is found, and kept to."""
    port = server.url.rsplit(":", 1)[1]
    folder = tmp_path / "run"
    words = run_words(f"http://several.test:{port}", folder, "--requests", 12, "--concurrency", 3)
    done = harness(*words, "--set", f"transport={transport}", cwd=tmp_path)
    assert done.status == 0, done.err
    assert check_run(folder)[1] == {"ok": 12}


def test_nobody_listens(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    done = harness(*run_words(url, tmp_path / "run"), cwd=tmp_path)
    assert done.status == 2
    said = done.err.splitlines()[-1]
    assert url in said and "connection refused" in said and "(try: " in said


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_restarts(tmp_path, transport):
    """Killed and started again on its port, while the client stands still, so that neither machine
    nor chance decides what it meets: streams that were cut off, connections that are dead, and a
    server that answers again."""
    folder = tmp_path / "run"
    port = free_port()
    with sim(tmp_path / "one", *SLOW, "--port", port) as first:
        words = run_words(first.url, folder, "--requests", 40, "--concurrency", 8)
        with Command(*words, "--set", f"transport={transport}", cwd=tmp_path) as command:
            command.records(folder, 8)
            command.stand_still()
            first.process.kill()
            first.process.wait()
            with sim(tmp_path / "two", *SLOW, "--port", port):
                command.signal(signal.SIGCONT)
                done = command.done()
    assert done.status == 4, done.err
    summary, calls = check_run(folder)
    assert summary.state == "finished"
    broken = calls["error"] + calls["truncated"]
    assert 1 <= broken <= 8, calls
    assert calls["ok"] == 40 - broken
    assert "errors" in {caveat.code for caveat in summary.verdict.caveats}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("how", ["killed", "silent"])
def test_a_server_that_does_not_come_back(tmp_path, transport, how):
    """The rest of the calls fail, and the run comes to its end: at once where it is refused, after
    the timeouts where nobody answers."""
    folder = tmp_path / "run"
    with sim(tmp_path / "log", *SLOW) as server:
        requests = 400 if how == "killed" else 16
        words = run_words(server.url, folder, "--requests", requests, "--concurrency", 8)
        for name in ("connect_s", "first_byte_s", "between_payloads_s"):
            words += ["--set", f"timeouts.{name}=0.7"]
        with Command(*words, "--set", f"transport={transport}", cwd=tmp_path) as command:
            command.records(folder, 1)
            os.kill(server.pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            done = command.done()
            if how == "silent":
                os.kill(server.pid, signal.SIGCONT)
    assert done.status == 4, done.err
    summary, calls = check_run(folder)
    assert summary.state == "finished"
    assert sum(calls.values()) == requests and 1 <= calls["ok"] <= 16
    if how == "killed":
        assert set(calls) <= {"ok", "error", "truncated"}
        assert "Connection refused" in str(summary.verdict.caveats)
    else:
        assert set(calls) == {"ok", "timeout"}


def test_a_server_that_goes_away_between_trials(tmp_path):
    """Later trials fail, each with the reason; what the first one measured is kept."""
    folder = tmp_path / "run"
    with sim(tmp_path / "log", *FAST) as server:
        words = run_words(server.url, folder, "--requests", 4, "--runs", 3)
        with Command(*words, cwd=tmp_path, block="trial") as command:
            with command.gate():
                server.process.kill()
                server.process.wait()
                (tmp_path / "gate").unlink()  # it blocks once
                (tmp_path / "gate").write_bytes(b"")
            done = command.done()
    assert done.status == 0, done.err
    summary, calls = check_run(folder)
    assert calls == {"ok": 4}
    trials = [r for r in load_run(folder).records() if isinstance(r, TrialRecord)]
    assert [trial.status for trial in trials] == ["ok", "error", "error"]
    assert "refused" in trials[1].error.message
    assert summary.verdict.state == "doubtful"
    assert "failures" in {caveat.code for caveat in summary.verdict.caveats}


def test_the_embedded_server_that_is_killed(tmp_path):
    """The engine crashes in mid-run: its calls say what it died of, and nothing hangs."""
    import psutil

    folder = tmp_path / "run"
    words = ["run", "load", "--requests", 3000, "--concurrency", 4, "--max-tokens", 8]
    with Command(*words, "--out", folder, cwd=tmp_path) as command:
        command.records(folder, 10)
        for child in psutil.Process(command.pid).children():
            child.kill()
        done = command.done()
    assert done.status == 4, done.err
    summary, calls = check_run(folder)
    assert summary.state == "finished" and sum(calls.values()) == 3000
    assert "killed by SIGKILL" in str(summary.verdict.caveats)


def test_something_listens_that_is_no_server(tmp_path):
    """It resets every connection: one line, before anything is measured."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=slam, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = harness(*run_words(url, tmp_path / "run"), cwd=tmp_path)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert done.status == 2
    assert url in done.err and "(try: " in done.err


def slam(listener):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
