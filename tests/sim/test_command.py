"""`harness sim` as a process: how it starts, what it refuses, how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest

from harness.testing.sim.log import read_log
from tests.sim.servers import SIM, chat, sim


def start(*words, cwd):
    return subprocess.Popen(
        [*SIM, *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it_cleanly(tmp_path, number):
    process = start("--ttft", "1", "--gap", "1", cwd=tmp_path)
    ready = json.loads(process.stdout.readline())
    assert ready["pid"] == process.pid and ready["url"].startswith("http://127.0.0.1:")
    chat(ready["url"], tokens=3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "" and "Traceback" not in err
    log = read_log(tmp_path / ready["log"])
    assert log.end["punctuality"]["sends"] == 4
    assert log.requests[1]["ended"] == "finished"


def test_streams_under_way_are_broken_off(tmp_path):
    with sim(tmp_path / "log", "--ttft", "0", "--gap", "3600000") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            body = b'{"model":"sim","messages":[{"role":"user","content":"x"}]}'
            head = b"POST /api/chat HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(head + body)
            assert client.recv(10) == b"HTTP/1.1 2"
            log = server.stop()
    (request,) = log.requests.values()
    assert request["ended"] == "open"
    assert len(log.rows) == 1, "and what was sent is in the log"


def test_killed_it_leaves_a_log_that_can_be_read(tmp_path):
    process = start("--ttft", "1", "--gap", "1", cwd=tmp_path)
    ready = json.loads(process.stdout.readline())
    chat(ready["url"])
    folder = tmp_path / ready["log"]
    while not (folder / "sends.bin").stat().st_size:  # until its next flush
        os.sched_yield()
    process.kill()
    process.communicate(timeout=60)
    log = read_log(folder)
    assert log.end is None and len(log.rows) and log.server["pid"] == process.pid


def test_the_spec_file(tmp_path):
    spec = tmp_path / "sim.yaml"
    spec.write_text("ttft: {law: uniform, low_ms: 1, high_ms: 2}\ngap: 1\nmodel: toy\nslots: 3\n")
    with sim(tmp_path / "log", spec, "--slots", "2", "--set", "output_tokens=5") as server:
        log = server.stop()
    assert log.server["spec"] == {
        "ttft": {"law": "uniform", "low_ms": 1.0, "high_ms": 2.0},
        "gap": {"law": "constant", "ms": 1.0},
        "model": "toy",
        "slots": 2,
        "output_tokens": 5,
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--ttft", "soon"], "$.ttft"),
        (["--ttft", "replay:x"], "no run 'x'"),
        (["--set", "load=replay:x"], "$.load"),
        (["--fault", "explode:1"], "no fault"),
        (["--set", "slot=3"], "slots"),
        (["--set", "slots"], "--set"),
        (["--fault", "reset_mid:0.6", "--fault", "no_end:0.6"], "add up to 1.2 (try: "),
        (["--host", "192.0.2.1"], "cannot listen: this is no address of this machine (try: --host"),
        (["--host", "gone.test"], "cannot listen: this name cannot be resolved (try: --host"),
        (["--host", "a..b"], "cannot listen: this name cannot be resolved (try: --host"),
        (["gone.yaml"], "gone.yaml: cannot be read: No such file or directory (try: "),
        (["--log", "/dev/null/x"], "cannot make the log: Not a directory (try: --log"),
        (["--join", "nowhere"], "nowhere"),
        (["--join", "x", "--fault", "no_end:1"], "--join: --fault has no effect"),
        (["--join", "x", "--port", "0"], "--join: --port has no effect"),
        (["--join", "x", "sim.yaml"], "--join: SPEC has no effect"),
        (["--json"], "--json: only --join prints figures (try: "),
        (["--replay", "x", "--ttft", "5"], "--ttft: --replay sets ttft already"),
        (["--gap", "5", "--set", "gap=6"], "--set gap: --gap sets gap already"),
    ],
)
def test_mistakes_are_one_line(tmp_path, words, says):
    done = subprocess.run(
        [*SIM, *words], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert says in done.stderr


def test_it_says_whether_real_time_priority_was_granted(tmp_path):
    process = start("--realtime", "--log", "log", cwd=tmp_path)
    ready = json.loads(process.stdout.readline())
    process.terminate()
    _, err = process.communicate(timeout=60)
    log = read_log(tmp_path / "log")
    assert isinstance(ready["realtime"], bool)
    assert log.server["realtime"] is ready["realtime"]
    assert log.end["sender"]["realtime"] == ready["realtime"]
    assert ("real-time priority was refused" in err) is not ready["realtime"]
    with sim(tmp_path / "without") as server:
        assert server.stop().server["realtime"] is None


def test_a_port_in_use_and_a_log_that_exists(tmp_path):
    with sim(tmp_path / "log") as server:
        port = server.url.rpartition(":")[2]
        for words in (["--port", port], ["--log", tmp_path / "log"]):
            done = subprocess.run(
                [*SIM, *map(str, words)], cwd=tmp_path, capture_output=True, text=True
            )
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_equal_seeds_are_equal_over_the_wire(tmp_path):
    def offsets(name):
        words = ["--ttft", "lognormal:3,1", "--gap", "gamma:1,0.5", "--seed", "7"]
        with sim(tmp_path / name, *words) as server:
            for _ in range(4):
                chat(server.url, tokens=5)
            log = server.stop()
        return [
            (log.rows["due_ns"][log.rows["serial"] == serial] - request["arrived_ns"]).tolist()
            for serial, request in sorted(log.requests.items())
        ]

    assert offsets("one") == offsets("other")


def test_no_descriptor_is_left_behind(tmp_path):
    with sim(tmp_path / "log", "--ttft", "0", "--gap", "0") as server:
        chat(server.url)
        before = len(os.listdir(f"/proc/{server.pid}/fd"))  # noqa: PTH208
        for _ in range(50):
            chat(server.url)
        assert len(os.listdir(f"/proc/{server.pid}/fd")) <= before + 1  # noqa: PTH208
