"""What the instruments say, against work whose cost is known by other means.

Every figure is held against another measurement of the same work, never against the clock on the
wall: these tests run on busy machines.
"""

from __future__ import annotations

import json
import marshal
import os
import re
import resource
import socket
import subprocess
import sys
import time

import pytest

from harness.host import Host
from harness.protocols import InstrumentConfig

from .instrument_children import CHILD


def made(name, urls=(), **options):
    entry = Host.load().instruments.get(name)
    config = InstrumentConfig(
        options=entry.decode_options(options, "$"), arm="a", cell="base", trial=0, urls=urls
    )
    return entry.factory(config)


def observe(instrument, work):
    """(figures, what is unknown, artifacts, what `work` returned). `around_s`, among the figures,
    is the wall time from before the start until after the stop."""
    instrument.open()
    try:
        began_s = time.monotonic()
        instrument.start()
        done = work()
        seen = instrument.stop()
        around_s = time.monotonic() - began_s
    finally:
        instrument.close()
    figures = {metric.name: metric.value for metric in seen.metrics} | {"around_s": around_s}
    return figures, seen.unknown, dict(seen.artifacts), done


def burn(cpu_s):
    """Keep a core busy for so much CPU time; the wall and CPU time it took."""
    wall_s, began_s = time.monotonic(), time.process_time()
    while time.process_time() - began_s < cpu_s:
        sum(range(500))
    return time.monotonic() - wall_s, time.process_time() - began_s


# ---- timing


def test_timing_of_a_busy_loop():
    """Held between two measurements of the same work: one within it, and one around it."""
    instrument = made("timing")
    instrument.open()
    wall_s, cpu_s = time.monotonic(), time.process_time()
    instrument.start()
    inner_wall_s, inner_cpu_s = burn(0.2)
    seen = instrument.stop()
    outer_wall_s, outer_cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
    figures = {metric.name.partition(".")[2]: metric.value for metric in seen.metrics}
    assert seen.unknown == {}
    slack_ms = 1.0
    assert inner_wall_s * 1e3 - slack_ms <= figures["wall_ms"] <= outer_wall_s * 1e3 + slack_ms
    spent_ms = figures["cpu_user_ms"] + figures["cpu_system_ms"]
    assert inner_cpu_s * 1e3 - slack_ms <= spent_ms <= outer_cpu_s * 1e3 + slack_ms
    assert 0.5 * inner_cpu_s * 1e3 <= figures["thread_cpu_ms"] <= spent_ms + slack_ms
    assert figures["cpu_share"] == pytest.approx(spent_ms / figures["wall_ms"])
    assert 0 < figures["overhead_us"] < 1e3 * figures["wall_ms"]


def test_timing_counts_how_often_it_waited():
    here, there = socket.socketpair()

    def wait():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        child.communicate(b"\n")
        return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before

    with here, there:
        figures, _, _, waited = observe(made("timing"), wait)
    assert waited > 0
    assert figures["timing.switches_waiting"] >= waited


# ---- psutil


class Child:
    """A process that does as it is told, and says what that cost by its own account."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self.ask("listen")

    def ask(self, what, *words):
        self.process.stdin.write(json.dumps([what, *words]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def child():
    one = Child()
    yield one
    one.end()


def test_psutil_sees_what_a_child_burns(child):
    def work():
        began_s = time.monotonic()
        cpu_s = child.ask("burn", 0.5)
        return cpu_s, time.monotonic() - began_s

    figures, unknown, _, (cpu_s, wall_s) = observe(made("psutil", uss=True), work)
    assert cpu_s >= 0.5
    # Ticks of 10 ms, and what we and the sampling thread used ourselves. The instrument's own wall
    # time lies between the two that we know.
    share = figures["psutil.cpu_percent"] / 100
    ours_s = figures["psutil.sampling_cpu_ms"] / 1e3
    assert share * figures["around_s"] >= cpu_s - 0.05
    assert share * wall_s <= 1.1 * (cpu_s + ours_s) + 0.1
    assert figures["psutil.processes_max"] >= 2
    assert figures["psutil.system_cpu_percent"] >= 0.5 * figures["psutil.cpu_percent"]
    assert figures["psutil.samples"] >= 1
    assert figures["psutil.uss_bytes"] > 2**20
    assert unknown["psutil.server_*"] == "the backend has no server"


def test_psutil_sees_what_children_burned_that_are_gone():
    """Each is shorter than an interval: no sample meets it, and its time counts all the same."""
    code = "import time\nwhile time.process_time() < 0.15: sum(range(500))"

    def work():
        began_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(2):
            subprocess.run([sys.executable, "-S", "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return cpu_s, time.monotonic() - began_s

    figures, _, _, (cpu_s, wall_s) = observe(made("psutil", interval_ms=60_000), work)
    assert cpu_s >= 0.3
    share = figures["psutil.cpu_percent"] / 100
    assert share * figures["around_s"] >= cpu_s - 0.06
    assert share * wall_s <= 1.1 * cpu_s + 0.15


def test_psutil_sees_memory_that_a_child_touches(child):
    size = 64 * 2**20
    instrument = made("psutil", interval_ms=10)
    before, _, _, _ = observe(instrument, lambda: child.ask("burn", 0.02))
    after, _, artifacts, _ = observe(
        made("psutil", interval_ms=10), lambda: child.ask("hold", size)
    )
    grown = after["psutil.rss_max_bytes"] - before["psutil.rss_max_bytes"]
    assert size <= grown + 2**20
    assert grown <= 1.3 * size
    assert after["psutil.own_rss_max_bytes"] < after["psutil.rss_max_bytes"] - size
    lines = artifacts["samples.csv"].splitlines()
    assert lines[0].startswith("at_ms,system_available_bytes,rss_bytes,threads,processes,own_")
    assert len(lines) == after["psutil.samples"] + 2  # the head, and the reading at the end
    rss = [int(line.split(",")[2]) for line in lines[1:]]
    assert max(rss) == after["psutil.rss_max_bytes"]


def test_psutil_sees_bytes_that_a_child_reads_and_writes(child, tmp_path):
    size = 8 * 2**20
    path = tmp_path / "written"
    wrote, unknown, _, _ = observe(made("psutil"), lambda: child.ask("write", str(path), size))
    if "psutil.written_bytes" in unknown:
        pytest.skip("this kernel counts no I/O: CONFIG_TASK_IO_ACCOUNTING, or ptrace rights")
    assert size <= wrote["psutil.written_bytes"] <= size + 2**20
    assert wrote["psutil.read_bytes"] < 2**20, "what the samples read is not what was measured"
    read, _, _, _ = observe(made("psutil"), lambda: child.ask("read", str(path)))
    assert size <= read["psutil.read_bytes"] <= size + 2**20
    assert read["psutil.written_bytes"] < 2**20


def test_psutil_sees_bytes_on_the_loopback_interface():
    size = 4 * 2**20
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()

    def work():
        for _ in range(size // 2**16):
            one.sendall(bytes(2**16))
            left = 2**16
            while left:
                left -= len(other.recv(left))

    with one, other:
        figures, _, _, _ = observe(made("psutil"), work)
    assert figures["psutil.system_net_lo_sent_bytes"] >= size
    assert figures["psutil.system_net_lo_recv_bytes"] >= size


def test_psutil_finds_a_server_by_its_address(child):
    url = f"http://127.0.0.1:{child.port}/v1"
    instrument = made("psutil", urls=(url,))
    figures, unknown, artifacts, _ = observe(instrument, lambda: child.ask("burn", 0.3))
    assert "psutil.server_*" not in unknown
    assert figures["psutil.server_processes_max"] == 1
    assert figures["psutil.server_cpu_percent"] > 0
    assert figures["psutil.server_rss_max_bytes"] < figures["psutil.rss_max_bytes"]
    assert "server_rss_bytes" in artifacts["samples.csv"].splitlines()[0]


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ((), "the backend has no server"),
        (("http://192.0.2.1:80/",), "its address is no loopback one"),
        (("http://127.0.0.1:1/",), "no process was found listening"),
    ],
)
def test_psutil_says_why_there_are_no_figures_of_a_server(urls, said):
    _, unknown, _, _ = observe(made("psutil", urls=urls), lambda: None)
    assert said in unknown["psutil.server_*"]
    assert "shorter than ten ticks" in unknown["psutil.cpu_percent"]


def test_psutil_does_not_take_us_for_the_server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        urls = (f"http://localhost:{listening.getsockname()[1]}/",)
        _, unknown, _, _ = observe(made("psutil", urls=urls), lambda: None)
    assert "a part of this very process" in unknown["psutil.server_*"]


# ---- profilers


def called_often():
    return sum(len(str(number)) for number in range(3_000))


def test_cprofile_counts_every_call():
    figures, _, artifacts, _ = observe(made("cprofile", top=5), called_often)
    assert figures["cprofile.calls"] >= 3_000
    stats = marshal.loads(artifacts["profile.pstats"])
    (calls,) = [row[0] for key, row in stats.items() if key[2] == "<genexpr>"]
    assert calls == 3_001
    table = artifacts["profile.txt"]
    assert "cumulative" in table
    assert os.sep + "tests" not in table, "folders of ours are nobody's business"


def test_the_sampler_finds_where_the_time_goes():
    figures, _, artifacts, _ = observe(made("sampler", interval_ms=2), lambda: burn(0.3))
    lines = artifacts["stacks.collapsed.txt"].splitlines()
    assert all(re.fullmatch(r".+ [1-9]\d*", line) for line in lines)
    in_burn = sum(int(line.rpartition(" ")[2]) for line in lines if "burn (" in line)
    of_all = sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith("MainThread;"))
    assert of_all == figures["sampler.samples"] > 3
    assert in_burn >= 0.5 * of_all


def test_py_spy_says_what_is_missing(monkeypatch):
    from harness.errors import MissingExtra

    monkeypatch.setattr("shutil.which", lambda *a, **k: None)
    with pytest.raises(MissingExtra, match="pyspy"):
        made("pyspy")
