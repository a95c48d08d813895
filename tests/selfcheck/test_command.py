"""`harness selfcheck` as a person starts it: what it measures, shows, draws, keeps, refuses."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import msgspec
import psutil
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from harness import load_run
from harness.cli.selfcheck import command
from harness.engine.environment import host_digest
from harness.engine.uncertainty import save_selfcheck, stored_selfcheck
from harness.errors import StoreError
from harness.schema import SelfCheckLoad
from harness.selfcheck import Check, Highest
from harness.selfcheck.plot import draw
from harness.selfcheck.table import render_check
from tests.selfcheck.builders import check, figures, found, selfcheck
from tests.sim.servers import RUN, sim

HARNESS = [sys.executable, "-m", "harness"]


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def do(*words, cwd, **environment):
    return subprocess.run(
        [*HARNESS, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


@pytest.mark.quiet
def test_a_real_check_and_a_run_after_it(tmp_path, state):
    """The streams are those of the quick check's least load with a p99."""
    words = ["selfcheck", "--streams", 2, "--streams", 16, "--json", "--plot", "plot.png"]
    done = do(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "starting the truth server",
        "2 streams x 100 tok/s",
        "16 streams x 100 tok/s",
    ]
    made = msgspec.json.decode(done.stdout, type=Check)
    few, many = made.loads
    for load, streams in ((few, 2), (many, 16)):
        one = load.figures
        assert (one.streams, one.rate_tok_s) == (streams, 100.0)
        assert one.calls + load.unnamed + load.unequal <= load.planned
        assert one.calls == load.planned, "on loopback every call comes whole"
        assert 0 <= one.kernel_share <= 1 and 0 <= one.merged_share <= 1
        assert one.first_token_max_ns <= one.chunk_max_ns
        assert load.first_token.min_ns <= one.first_token_p50_ns <= one.first_token_max_ns
        assert one.chunk_p50_ns <= one.client_lag_p50_ns, "a stamp is never after its read"
        assert one.cpu_ns_per_chunk > 0
        assert load.ttft_reported_p50_ns > load.ttft_true_p50_ns > 0
        assert one.held == (not load.slipped)
    assert few.figures.first_token_p99_ns is None and few.withheld["first_token_p99_ns"] == 100
    assert many.figures.calls >= 100 and many.figures.first_token_p99_ns > 0
    assert made.request_rate.steps == () and made.selfcheck.requests_per_s_max is None
    held = [one.figures.streams for one in made.loads if one.figures.held]
    assert made.selfcheck.chunks_per_s_max == (max(held) * 100.0 if held else None)
    assert made.machine.host_digest == host_digest()
    cores = {*made.machine.client_cores, *made.machine.server_cores}
    assert cores <= os.sched_getaffinity(0)
    assert not {*made.machine.client_cores} & {*made.machine.server_cores}

    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert not state.exists(), "a part of a check is not kept"
    save_selfcheck(made.selfcheck, host_digest())

    doctor = json.loads(do("doctor", "--json", cwd=tmp_path).stdout)
    (said,) = [one for one in doctor if one["subject"] == "selfcheck"]
    assert said["state"] == "ok" and "up to 16 streams" in said["text"]

    with sim(tmp_path / "log", "--ttft", "1", "--gap", "1") as server:
        words = ["--backend", "openai", "--model", "sim", "--url", server.url]
        words += ["--requests", "4", "--max-tokens", "3", "--out", tmp_path / "run"]
        ran = subprocess.run(
            [*RUN, "load", *map(str, words)], cwd=tmp_path, capture_output=True, text=True
        )
    assert ran.returncode == 0, ran.stderr
    assert "instrument: first-token stamp error p99" in ran.stdout
    assert "at 16 streams x 100" in ran.stdout and "no-selfcheck" not in ran.stdout
    run = load_run(tmp_path / "run")
    assert run.manifest.environment.selfcheck == made.selfcheck
    shown = do("show", tmp_path / "run", cwd=tmp_path).stdout
    assert "instrument: first-token stamp error p99" in shown
    report = (tmp_path / "run" / "reports" / "comparison_report.md").read_text("utf-8")
    assert "| Own error | first-token stamp error p99" in report


def test_nothing_is_kept_unless_wanted(tmp_path, state):
    done = do("selfcheck", "--streams", 1, "--no-save", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not state.exists() and "next: harness selfcheck" in done.stdout
    assert max(map(cell_len, done.stdout.splitlines())) <= 80
    doctor = json.loads(do("doctor", "--json", cwd=tmp_path).stdout)
    (said,) = [one for one in doctor if one["subject"] == "selfcheck"]
    assert (said["state"], said["remedy"]) == ("note", "harness selfcheck")


def told(*words, made=None):
    """The command, with a check that nobody made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.selfcheck.check", lambda *_: made or check())
        return CliRunner().invoke(command, [*words])


def test_what_is_kept_and_what_comes_next(state, tmp_path):
    build, host = check().selfcheck.native_digest, check().machine.host_digest
    part = told("--streams", "1")
    assert "not kept for later runs: with --streams" in part.stdout and not state.exists()
    assert "next: harness selfcheck, to have it in every run" in part.stdout
    quick = told()
    assert f"kept for later runs: {state}" in quick.stdout
    assert quick.stdout.endswith("next: harness selfcheck --full --plot selfcheck.png\n")
    assert stored_selfcheck(host, build)[0] == check().selfcheck
    drawn = told("--plot", str(tmp_path / "a.png"))
    assert drawn.stdout.endswith("next: harness selfcheck --full\n")
    full = check(selfcheck=selfcheck(mode="full"))
    assert "next: harness run load" in told("--full", made=full).stdout
    again = told()
    assert "not kept: the full check of 2026-11-21 with this build stays" in again.stdout
    assert stored_selfcheck(host, build)[0].mode == "full"
    assert "to have it in every run" in told("--no-save").stdout


def test_a_plot_that_fails_takes_nothing_with_it(state, tmp_path, monkeypatch):
    def refuse(*_):
        raise StoreError("cannot write: no space left on device")

    monkeypatch.setattr("harness.selfcheck.plot.draw", refuse)
    for words, shown in ((), "1 x 100"), (("--json",), '"selfcheck"'):
        done = told("--plot", str(tmp_path / "a.png"), *words)
        assert shown in done.stdout and "no space left" in str(done.exception)
        assert state.exists()


def test_where_it_cannot_be_kept_the_figures_are_shown_all_the_same(tmp_path, state):
    state.write_text("a file in its place")
    done = told()
    assert "1 x 100" in done.stdout and "next:" not in done.stdout
    assert "cannot be kept" in str(done.exception) and f"{state} is a file" in str(done.exception)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_it_takes_its_servers_with_it(tmp_path, state, number, status):
    process = subprocess.Popen(
        [*HARNESS, "selfcheck", "--full", "--streams", "1"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # what SIGKILL leaves behind
    )
    for line in process.stderr:
        if line.startswith("1 stream"):
            break
    servers = psutil.Process(process.pid).children()
    assert len(servers) == 2
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status and out == "" and "Traceback" not in err
    _, alive = psutil.wait_procs(servers, timeout=60)
    assert alive == []
    assert not state.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["loop", "transport", "driving", "closing"])
def test_a_signal_is_answered_without_a_traceback(tmp_path, state, number, moment):
    """At the moments at which an exception from a handler would come up in a place of its own."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, moment, str(int(number))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 128 + number, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1] == "interrupted" and "Traceback" not in done.stderr
    assert not [line for line in lines if "never retrieved" in line or "rror" in line]
    assert not state.exists() and done.stdout == ""


INTERRUPTED = """
import asyncio, os, sys
import harness.selfcheck.drive as drive
from harness.transport.native import NativeTransport

moment, number = sys.argv[1], int(sys.argv[2])
sys.argv = ["harness", "selfcheck", "--streams", "1"]

sent = []

def signalled():
    if not sent:
        sent.append(number)
        os.kill(os.getpid(), number)

class Slow(NativeTransport):
    def __init__(self, *args, **more):
        if moment == "transport":
            signalled()
        super().__init__(*args, **more)

    async def close(self):
        if moment == "closing":
            signalled()
        await super().close()

drive._native = lambda kind, urls: Slow(urls)
run = drive.asyncio.run
if moment == "loop":
    def run_late(main):
        signalled()
        return run(main)
    drive.asyncio.run = run_late
if moment == "driving":
    append = drive._Watch.append
    def append_late(self, record):
        signalled()
        append(self, record)
    drive._Watch.append = append_late
from harness.cli import main
main()
"""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--plot", "check.pdf"], "neither .png nor .svg"),
        (["--plot", "nowhere/check.png"], "no such folder"),
        (["--streams", "0"], "streams"),
        (["--mode", "slow"], "slow"),
        (["--full", "--mode", "quick"], "at odds"),
        (["--plot", "/proc/check.png"], "cannot write"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(tmp_path, words, says):
    done = do("selfcheck", *words, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr and "starting" not in done.stderr


def test_without_the_backend_it_says_so(tmp_path):
    done = do("selfcheck", cwd=tmp_path, HARNESS_DISABLE_PLUGINS="openai")
    assert done.returncode == 2 and "'openai', which is not there" in done.stderr


def test_too_few_files_leave_loads_out(tmp_path, state):
    words = "selfcheck --streams 1 --streams 500 --json --no-save"
    limited = ["sh", "-c", f'ulimit -n 600 && exec "$0" -m harness {words}', sys.executable]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = msgspec.json.decode(done.stdout, type=Check)
    assert [load.figures.streams for load in made.loads] == [1]
    assert made.left_out == ("500 streams x 100 tok/s",)
    assert "500 streams x 100 tok/s" in " ".join(rendered(made).split())
    limited[2] = limited[2].replace("--streams 1 ", "")
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "ulimit -n" in done.stderr


def test_other_systems_are_told(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    done = CliRunner().invoke(command, [])
    assert "needs Linux, and this is darwin" in str(done.exception)
    check_, why = stored_selfcheck("a", "b")
    assert check_ is None and "Linux" in why


# ------------------------------------------------------------------------------------ how it looks


def rendered(made, width=80):
    out = io.StringIO()
    render_check(made, Console(width=width, file=out))
    return out.getvalue()


def test_the_sentences():
    text = " ".join(rendered(check()).split())
    assert "off by 1.1 µs in the median, and by no more than 13 µs in 99 of 100" in text
    assert "0.13% of the 10 ms between two tokens: it moves no figure" in text
    assert "read chunks up to 531 µs late" in text
    assert "6,400 chunks per second in paced streams, the most that was tried" in text
    assert "load average at the start: 0.1" in text
    assert "The steps that were tried: 1,000, 2,000 requests per second." in text
    assert "1,000 requests per second; not 2,000: client: too late." in text
    assert "— a p99 needs n = 100" not in text, "said only where one is withheld"


def test_the_sentences_of_a_poor_check():
    made = check(
        found(figures(16, first_token_p99_ns=3e6, kernel_share=0.5)),
        found(figures(64, held=False), slipped=("server: late",), unnamed=3),
        found(figures(4, rate_tok_s=None, held=None), withheld={"first_token_p99_ns": 100}),
        machine=msgspec.structs.replace(
            check().machine, realtime=False, load_average=3.0, server_cores=(1,)
        ),
        chunk_rate=Highest(),
        request_rate=Highest(),
    )
    text = " ".join(rendered(made).split())
    assert "3 ms in 99 of 100" in text and "30% of the 10 ms" in text
    assert "50.0% of the first-token stamps are user-space ones" in text
    assert "64 streams: not held, so read its row with care. server: late." in text
    assert "no real-time priority" in text and "Other programs were busy" in text
    assert "3 calls are not in the server's log" in text
    assert "read together by design" in text and " %" not in text
    assert "4 flat out" in text and "— a p99 needs n = 100" in text


def test_an_unknown_priority_is_no_missing_one():
    made = check(machine=msgspec.structs.replace(check().machine, realtime=None))
    text = " ".join(rendered(made).split())
    assert "not known whether the server had real-time priority" in text
    assert "had no real-time" not in text


EVERY_NS = [name for name in SelfCheckLoad.__struct_fields__ if "_ns" in name]


@given(
    st.lists(st.floats(-1e9, 1e11), min_size=len(EVERY_NS), max_size=len(EVERY_NS)),
    st.integers(1, 10_000),
    st.integers(0, 99_999),
    st.sampled_from([100.0, None]),
)
@settings(max_examples=40)
def test_it_fits_80_columns_whatever_it_found(values, streams, calls, rate):
    times = dict(zip(EVERY_NS, values, strict=True))
    one = figures(streams, calls=calls, rate_tok_s=rate, **times)
    text = rendered(check(found(one), found(figures(1))))
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_plot(tmp_path):
    loads = [figures(n, first_token_p99_ns=None if n < 16 else 9e3) for n in (1, 16, 64)]
    made = check(*map(found, loads), found(figures(32, rate_tok_s=None, held=None)))
    draw(made, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text("utf-8")
    for word in ("harness selfcheck, quick, 2026-11-21", "build 0123456789abcdef", "A processor"):
        assert word in text
    assert "n = 384 calls" in text and "µs, log scale" in text
    draw(made, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_the_plot_of_little_and_of_odd(tmp_path):
    early = figures(8, first_token_p50_ns=-3_000.0, held=False)
    for name, made in (
        ("early", check(found(early))),
        ("flat", check(found(figures(8, rate_tok_s=None, held=None)))),
        ("none", check(found(figures()), selfcheck=selfcheck(loads=()))),
    ):
        draw(made, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(StoreError, match="cannot write"):
        draw(check(), tmp_path / "no" / "folder.png")
