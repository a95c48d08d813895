"""Ctrl-C, SIGTERM and SIGHUP, once and twice, wherever they find the command; and broken pipes."""

from __future__ import annotations

import os
import pty
import random
import signal
import socket
import subprocess
import sys

import pytest

from tests.robust.tools import Command, check_run, harness, run_words

SEED = 20261121
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LOAD = ("--requests", 100_000, "--concurrency", 4)
CHOSEN = random.Random(SEED)
POINTS = [
    ("native", signal.SIGINT, CHOSEN.randrange(1, 120)),
    ("native", signal.SIGTERM, CHOSEN.randrange(1, 120)),
    ("portable", signal.SIGINT, CHOSEN.randrange(1, 120)),
    ("portable", signal.SIGHUP, CHOSEN.randrange(1, 120)),
]


@pytest.mark.parametrize(
    ("transport", "number", "at"), POINTS, ids=[f"{t}-{n.name}-{k}" for t, n, k in POINTS]
)
def test_one_signal_keeps_what_there_is(tmp_path, server, transport, number, at):
    folder = tmp_path / "run"
    words = run_words(server.url, folder, *LOAD, "--set", f"transport={transport}")
    with Command(*words, cwd=tmp_path) as command:
        command.records(folder, at)
        command.signal(number)
        done = command.done()
    assert done.status == STATUS[number], done.err
    said = [line for line in done.err.splitlines() if not line.endswith("opening the backend")]
    assert said[0] == "stopping; once more to stop at once"
    summary, calls = check_run(folder, show=transport == "native")
    assert summary.state == "interrupted"
    assert summary.arms[0].planned == 100_000
    assert calls["ok"] >= at - 1
    assert 0 < calls["cancelled"] <= 4, "what was in flight"
    assert set(calls) <= {"ok", "cancelled", "not_sent"}
    assert (folder / "reports" / "comparison_report.md").stat().st_size > 0


def test_a_workflow_is_interrupted_too(tmp_path, server):
    folder = tmp_path / "run"
    words = ["run", "single_agent", "--backend", "openai", "--model", "sim", "--url", server.url]
    words += ["--out", folder, "--runs", 1000, "--max-tokens", 8]
    with Command(*words, cwd=tmp_path) as command:
        command.records(folder, 5)
        command.signal(signal.SIGINT)
        assert command.done().status == 130
    summary, _ = check_run(folder)
    assert summary.state == "interrupted"


def test_a_second_signal_ends_it_at_once(tmp_path, server):
    """Wherever it had got to after the first. Dead by the signal: what a shell calls 130."""
    folder = tmp_path / "run"
    at = CHOSEN.randrange(1, 60)
    words = run_words(server.url, folder, *LOAD)
    with Command(*words, cwd=tmp_path, block="summary") as command:
        command.records(folder, at)
        command.signal(signal.SIGINT)
        command.said("stopping")
        command.signal(signal.SIGINT)
        assert command.done().status == -signal.SIGINT
    summary, calls = check_run(folder)
    assert summary.state == "interrupted"
    assert calls["ok"] >= at - 1


@pytest.mark.parametrize(
    ("place", "number"), [("import", signal.SIGINT), ("environment", signal.SIGTERM)]
)
def test_a_signal_before_anything_was_begun(tmp_path, place, number):
    with Command("run", "load", "--limit", 1, cwd=tmp_path, block=place) as command, command.gate():
        command.signal(number)
        done = command.done()
    assert (done.status, done.err.strip()) == (STATUS[number], "interrupted")
    assert not (tmp_path / "runs").exists()


def test_a_signal_while_we_are_imported(tmp_path):
    """In place of a module that we need: one that blocks when it is imported."""
    (tmp_path / "click.py").write_text(
        "import os, select\n"
        "gate = os.open(os.environ['HARNESS_TEST_BLOCK'][1:], os.O_RDONLY | os.O_NONBLOCK)\n"
        "watch = select.poll()\n"
        "watch.register(gate, 0)\n"
        "while not watch.poll(50): pass\n"
    )
    with Command("list", cwd=tmp_path, block="", path=tmp_path) as command, command.gate():
        command.signal(signal.SIGINT)
        done = command.done()
    assert (done.status, done.err) == (-signal.SIGINT, "")


@pytest.mark.parametrize("place", ["open", "open-and-hold-the-loop"])
def test_signals_while_the_backend_opens(tmp_path, place):
    """Once, if the backend can be interrupted; twice in any case."""
    folder = tmp_path / "run"
    words = ["run", "load", "--backend", "slow_to_open", "--limit", 1, "--out", folder]
    with Command(*words, cwd=tmp_path, block=place) as command, command.gate():
        command.signal(signal.SIGINT)
        command.said("stopping")
        if place != "open":
            command.signal(signal.SIGINT)
        done = command.done()
    assert done.status == (130 if place == "open" else -signal.SIGINT)
    summary, calls = check_run(folder)
    assert (summary.state, dict(calls)) == ("interrupted", {})


@pytest.mark.parametrize(("place", "times"), [("summary", 1), ("summary", 2), ("report", 2)])
def test_signals_while_results_are_written(tmp_path, server, place, times):
    """Once: they are finished all the same. Twice: at once, and they can be derived again."""
    folder = tmp_path / "run"
    words = run_words(server.url, folder, "--requests", 3)
    with Command(*words, cwd=tmp_path, block=place) as command:
        with command.gate():
            command.signal(signal.SIGINT)
            command.said("the summary is being written")
            if times == 2:
                command.signal(signal.SIGINT)
                command.process.wait(60)
        done = command.done()
    assert done.status == (130 if times == 1 else -signal.SIGINT)
    summary, calls = check_run(folder)
    assert calls == {"ok": 3}
    whole = times == 1 or place != "summary"
    assert summary.state == ("finished" if whole else "interrupted")
    assert times == 2 or not list(folder.rglob("*.part"))


def test_a_slow_resolver_does_not_hold_up_an_interrupt(tmp_path):
    folder = tmp_path / "run"
    words = run_words("http://slow.test:1", folder, "--requests", 1)
    with Command(*words, cwd=tmp_path, block="dns") as command, command.gate():
        command.signal(signal.SIGINT)
        assert command.done().status == 130
    assert check_run(folder)[0].state == "interrupted"


def test_nor_that_of_another_command(tmp_path):
    words = ["models", "--backend", "openai", "--url", "http://slow.test:1"]
    with Command(*words, cwd=tmp_path, block="dns") as command, command.gate():
        command.signal(signal.SIGINT)
        assert command.done().status == 130


def test_an_address_that_does_not_answer_does_not_hold_up_an_interrupt(tmp_path):
    """A listener whose backlog is full: the system waits for an answer to its SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            words = run_words(f"http://127.0.0.1:{port}", tmp_path / "run", "--requests", 1)
            with Command(*words, cwd=tmp_path) as command:
                command.until(lambda: waits_for_syn(port))
                command.signal(signal.SIGINT)
                assert command.done().status == 130
    assert check_run(tmp_path / "run")[0].state == "interrupted"


def waits_for_syn(port):
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        return any(f":{port:04X} 02 " in line for line in table)


@pytest.mark.parametrize("times", [1, 2])
def test_the_terminal_is_left_as_it_was(tmp_path, server, times):
    """The live line is gone and the cursor is back, also after the second signal."""
    folder = tmp_path / "run"
    ours, theirs = pty.openpty()
    words = run_words(server.url, folder, *LOAD)
    block = "summary" if times == 2 else None
    with Command(*words, cwd=tmp_path, block=block, stderr=theirs) as command:
        os.close(theirs)
        shown = b""
        while b"\x1b[?25l" not in shown:
            shown += os.read(ours, 4096)
        command.records(folder, 5)
        for _ in range(times):
            command.signal(signal.SIGINT)
            while times == 2 and b"stopping" not in shown:
                shown += os.read(ours, 4096)
        assert command.done().status == (130 if times == 1 else -signal.SIGINT)
    shown += rest_of(ours)
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert shown.rindex(b"\x1b[2K") < shown.rindex(b"stopping"), "nothing is drawn after it"
    assert b"Traceback" not in shown


def rest_of(descriptor):
    found = b""
    try:
        while part := os.read(descriptor, 65536):
            found += part
    except OSError:  # EIO: the other side is closed
        pass
    os.close(descriptor)
    return found


def test_a_terminal_that_is_closed_hangs_up_cleanly(tmp_path, server):
    folder = tmp_path / "run"
    ours, theirs = pty.openpty()
    words = run_words(server.url, folder, *LOAD)
    with Command(*words, cwd=tmp_path, stderr=theirs) as command:
        os.close(theirs)
        command.records(folder, 5)
        os.close(ours)
        command.signal(signal.SIGHUP)  # what the kernel sends to the session of that terminal
        assert command.done().status == 129
    assert check_run(folder)[0].state == "interrupted"


# ----------------------------------------------------------------------------------- broken pipes


@pytest.fixture(scope="module")
def a_run(tmp_path_factory, server):
    folder = tmp_path_factory.mktemp("done") / "run"
    done = harness(*run_words(server.url, folder, "--requests", 4), cwd=folder.parent)
    assert done.status == 0, done.err
    return folder


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("words", [["show"], ["export", "--format", "chunks"]], ids=" ".join)
def test_a_reader_who_has_read_enough(tmp_path, a_run, words):
    with closed_pipe() as pipe:
        done = harness(words[0], a_run, *words[1:], cwd=tmp_path, stdout=pipe)
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("words", [["list"], ["--help"]], ids=" ".join)
def test_other_commands_into_a_closed_pipe(tmp_path, words):
    with closed_pipe() as pipe:
        done = harness(*words, cwd=tmp_path, stdout=pipe)
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_run_that_nobody_listens_to_is_a_run(tmp_path, server, stream):
    folder = tmp_path / "run"
    with closed_pipe() as pipe:
        words = run_words(server.url, folder, "--requests", 3)
        done = harness(*words, cwd=tmp_path, **{stream: pipe})
    assert done.status == 0
    assert check_run(folder)[1] == {"ok": 3}
    assert (folder / "reports" / "metrics.json").exists()


def test_head_in_a_shell(tmp_path, a_run):
    """As a person types it."""
    command = f'"{sys.executable}" -m harness export {a_run} --format chunks | head -1'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
