"""What we start ends with us, also when we are killed outright, and while it is still loading."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from harness.lifeline import guarded
from tests.robust.tools import HARNESS, PATIENCE_S, Command, check_run, ended, harness, watched

# Stands in for the engine: says that it loads, and keeps the interpreter lock for ever.
HOLDS_THE_LOCK = """
import ctypes, os

class Server:
    def __init__(self, params):
        open(os.environ["HARNESS_TEST_LOADING"], "w").close()
        ctypes.PyDLL(None).pause()

class Any:
    def __getattr__(self, name):
        made = Any()
        object.__setattr__(self, name, made)
        return made

class CommonParams(Any): ...

llama_flash_attn_type = Any()
"""


def the_child(pid):
    """The embedded server."""
    found = psutil.Process(pid).children()
    return next(child.pid for child in found if "harness_llamacpp" in " ".join(child.cmdline()))


@pytest.mark.real_model
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_the_embedded_server_dies_with_us(tmp_path, number):
    folder = tmp_path / "run"
    words = ["run", "load", "--requests", 100_000, "--max-tokens", 8, "--out", folder]
    with Command(*words, cwd=tmp_path) as command:
        command.records(folder, 3)
        with watched(the_child(command.pid)) as server:
            command.signal(number)
            status = command.done().status
            assert ended(server), "the server outlived us"
    assert status == (143 if number == signal.SIGTERM else -number)
    assert check_run(folder)[0].state == "interrupted"


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT once", "SIGINT twice"])
def test_it_dies_with_us_while_it_loads(tmp_path, monkeypatch, how):
    """An engine that loads lets no Python run, so nothing in the server could look at a pipe."""
    (tmp_path / "xllamacpp.py").write_text(HOLDS_THE_LOCK)
    loading = tmp_path / "loading"
    monkeypatch.setenv("HARNESS_TEST_LOADING", str(loading))
    words = ["run", "load", "--limit", 1, "--out", tmp_path / "run"]
    with Command(*words, cwd=tmp_path, path=tmp_path) as command:
        command.until(loading.exists)
        with watched(the_child(command.pid)) as server:
            if how == "SIGKILL":
                command.signal(signal.SIGKILL)
            else:
                command.signal(signal.SIGINT)
                command.said("stopping")
            if how == "SIGINT twice":
                command.signal(signal.SIGINT)
            status = command.done().status
            assert ended(server), "the server outlived us"
    # The second Ctrl-C may come after the first has had its way.
    assert status in {"SIGKILL": (-9,), "SIGINT once": (130,), "SIGINT twice": (-2, 130)}[how]
    check_run(tmp_path / "run")


SIM_PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.pid, flush=True)
if sys.argv[1] == "ready":
    child.stdout.readline()
    print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["starting", "ready"])
def test_the_truth_server_dies_with_who_started_it(tmp_path, state):
    words = [*HARNESS, "sim", "--until-eof", "--log", tmp_path / "log"]
    parent = subprocess.Popen(
        [sys.executable, "-c", SIM_PARENT, state, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent, watched(int(parent.stdout.readline())) as server:
        if state == "ready":
            parent.stdout.readline()
        parent.kill()
        assert ended(server)


GUARD_PARENT = """
import subprocess, sys
from harness.lifeline import guarded
# A shell whose child has left its session, and prints who it is.
script = "setsid sh -c 'echo $$; exec sleep 1000' & wait"
guard = subprocess.Popen(guarded(["sh", "-c", script]), stdin=subprocess.PIPE)
print(guard.pid, flush=True)
if sys.argv[1] == "closes the pipe":
    sys.stdin.readline()
    guard.stdin.close()
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["is killed", "closes the pipe"])
def test_grandchildren_die_too(how):
    """Of a program that knows nothing of us: `guarded` stands between."""
    parent = subprocess.Popen(
        [sys.executable, "-c", GUARD_PARENT, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = sorted(int(parent.stdout.readline()) for _ in range(2))
    with parent, watched(pids[0]) as guard, watched(pids[1]) as grandchild:
        if how == "is killed":
            parent.kill()
        else:
            parent.stdin.write("\n")
            parent.stdin.flush()
        assert ended(grandchild) and ended(guard)
        parent.kill()


ORPHANED_EARLY = """
import os, subprocess, sys
from harness import lifeline
parent, start = os.getppid(), subprocess.Popen
def orphaned(*args, **more):
    child = start(*args, **more)
    while os.getppid() == parent:
        pass
    return child
subprocess.Popen = orphaned
script = "setsid sh -c 'echo $$; exec sleep 1000' & wait"
sys.exit(lifeline._guard(parent, ["sh", "-c", script]))
"""
STARTS = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
sys.stdin.read()
"""


def test_grandchildren_die_too_when_we_are_killed_as_the_program_starts():
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTS, ORPHANED_EARLY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent, watched(int(parent.stdout.readline())) as grandchild:
        parent.kill()
        assert ended(grandchild)


SPARES_ONE = """
import psutil, subprocess
from harness import lifeline
spared, other = (subprocess.Popen(["sleep", "1000"]) for _ in range(2))
kill = psutil.Process.kill
def refused(process):
    if process.pid == spared.pid:
        raise psutil.AccessDenied(process.pid)
    kill(process)
psutil.Process.kill = refused
lifeline._kill_all()
print(psutil.pid_exists(spared.pid), psutil.pid_exists(other.pid))
spared.kill()
"""


def test_who_may_not_be_killed_does_not_keep_the_guard():
    """As root runs a program of a user's: here it is the test that refuses."""
    done = subprocess.run(
        [sys.executable, "-c", SPARES_ONE], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.stdout == "True False\n", done.stderr


@pytest.mark.parametrize(
    ("script", "status"), [("exit 7", 7), ("kill -TERM $$", 143), ("sleep 1000 & exit 0", 0)]
)
def test_a_guard_exits_as_its_program_does(script, status):
    """And leaves nothing behind that the program has left behind."""
    guard = subprocess.Popen(guarded(["sh", "-c", script]), stdin=subprocess.PIPE)
    assert guard.wait(PATIENCE_S) == status
    guard.stdin.close()


def test_a_guard_can_be_asked_to_end():
    guard = subprocess.Popen(
        guarded(["sh", "-c", "echo ready; exec sleep 1000"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with guard:
        guard.stdout.readline()
        guard.terminate()
        assert guard.wait(PATIENCE_S) == 137, "the program was killed"


def test_a_program_that_is_not_there():
    done = subprocess.run(
        guarded(["no-such-program"]), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 127
    assert done.stderr == "error: no-such-program: No such file or directory\n"


# ----------------------------------------------------------------------------------- port in use


def test_a_port_in_use_is_named_by_the_truth_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = harness("sim", "--port", port, cwd=tmp_path)
    assert done.status == 2
    assert done.line == (
        f"error: 127.0.0.1:{port}: cannot listen: address already in use "
        "(try: --port 0 takes any that is free)"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.real_model
def test_a_port_in_use_is_named_by_the_embedded_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "harness_llamacpp.server",
                "--model",
                "tiny",
                "--port",
                str(port),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    assert done.returncode == 3
    assert "error: " in done.stderr and str(port) in done.stderr
    assert "Traceback" not in done.stderr
