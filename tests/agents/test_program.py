"""One program and what it may do: whatever happens ends in bounded time as a failure with its rule
and its standard error, and nothing is left running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from harness_agents import hearing as hearing_module
from harness_agents import process as process_module
from harness_agents import program as program_module
from harness_agents.program import Program
from harness_agents.protocol import Endpoint, Job, Stage
from harness_agents.scenario import outcome_note
from harness_agents.team import run_alone, run_team

from harness.errors import BackendError, SpecError

HERE = Path(__file__).parent
ODD = [sys.executable, "-S", "-E", str(HERE / "odd.py")]


def job(agent="a", stages=()):
    return Job(
        job_id="test",
        agent=agent,
        model="m",
        endpoint=Endpoint(url="http://127.0.0.1:9", dialect="ollama"),
        stages=tuple(
            Stage(
                name=name,
                path="/",
                body={},
                prompt_at=("prompt",),
                prompt="",
                answer_chars_max=1,
                timeout_s=1,
            )
            for name in stages
        ),
    )


def odd(how, *, timeout_s=30.0, agent="a", **more):
    return Program([*ODD, how], job(agent), timeout_s=timeout_s, **more)


async def outcome_of(how, **more):
    program = odd(how, **more)
    (outcome,) = await run_team([program])
    return outcome


def failure_of(how, **more):
    outcome = asyncio.run(outcome_of(how, **more))
    assert outcome.failure is not None
    assert f"odd is going to {how}" in outcome.stderr
    return outcome.failure


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    odd_ones = [
        child
        for child in psutil.Process().children(recursive=True)
        if "odd.py" in " ".join(child.cmdline())
    ]
    assert odd_ones == []


def test_a_good_one_is_measured():
    outcome = asyncio.run(outcome_of("be good"))
    assert outcome.failure is None
    assert outcome.hello.name == "odd"
    assert outcome.start_ns <= outcome.begin_ns <= outcome.end_ns
    exit_ = outcome.exit
    assert exit_.status == 0
    assert exit_.cpu_user_ns + exit_.cpu_system_ns > 0
    assert exit_.ctx_switches_voluntary + exit_.ctx_switches_involuntary > 0
    assert 0 < outcome.start_up_ns < 30e9


def test_memory_is_its_own_and_not_ours():
    """A child is a copy of us until it has loaded its program, and the kernel counts that."""
    ours = bytearray(200 * 2**20)
    ours[::4096] = b"x" * len(ours[::4096])
    exit_ = asyncio.run(outcome_of("be good")).exit
    assert 2**20 < exit_.rss_max_bytes < 100 * 2**20 < len(ours)
    assert not exit_.rss_exact


@pytest.mark.parametrize(
    ("how", "rule", "what"),
    [
        ("die early", "ready", "it ended before it was ready: exit status 7"),
        ("greet wrongly", "json", "not an event"),
        ("die", "result", "it ended without one: exit status 5"),
        ("be killed", "result", "it ended without one: killed by SIGKILL"),
        ("speak nonsense", "json", "not an event"),
        ("write a long line", "json", "a line of more than 16 MiB"),
        ("give up", None, "it cannot go on: no such model"),
        ("be silent about a call", "result", "it ended without one: exit status 0"),
    ],
)
def test_what_goes_wrong(how, rule, what):
    failure = failure_of(how)
    assert (failure.rule, failure.agent) == (rule, "a")
    assert what in failure.what


def test_who_cannot_go_on_before_ready_says_why():
    assert "it cannot go on: no licence" in failure_of("refuse late").what


def test_an_error_says_who_which_rule_and_what_was_on_standard_error():
    message = str(failure_of("die").error())
    assert message.startswith("agent a: it ended without one: exit status 5 (rule `result`)")
    assert "it went wrong" in message
    assert "\x1b" not in message


def test_a_flood_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr(hearing_module, "OUTPUT_BYTES_MAX", 4 * 2**20)
    failure = failure_of("flood")
    assert (failure.rule, failure.what) == ("json", "more than 4 MiB of output")


def test_who_never_becomes_ready():
    failure = failure_of("be deaf", ready_s=0.5)
    assert (failure.rule, failure.what) == ("ready", "not ready within 0.5 s")


def test_who_hangs_is_interrupted():
    failure = failure_of("hang", timeout_s=0.2)
    assert (failure.rule, failure.what) == ("result", "there is none within 0.2 s")


def test_who_ignores_that_is_killed(monkeypatch):
    monkeypatch.setattr(process_module, "_GRACE_S", 0.1)
    outcome = asyncio.run(outcome_of("ignore everything", timeout_s=0.2))
    assert outcome.failure.rule == "result"
    assert outcome.exit.status == -signal.SIGKILL


def test_who_lingers_after_the_result(monkeypatch):
    monkeypatch.setattr(program_module, "_AFTER_RESULT_S", 0.1)
    failure = failure_of("linger")
    assert failure.rule == "exit"
    assert "still runs" in failure.what


@pytest.mark.parametrize("how", ["leave a child", "leave a job"])
def test_what_it_leaves_behind_is_ended(how):
    assert asyncio.run(outcome_of(how)).failure is None
    # What it left is no child of ours any more; it may take a moment to die.
    left = [one for one in psutil.process_iter() if how in _command(one)]
    assert psutil.wait_procs(left, timeout=30)[1] == []


def _command(process):
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.cmdline()
    return []


def test_not_all_that_it_says_is_kept():
    note = outcome_note(asyncio.run(outcome_of("say too much")))
    assert note["data"] == {"left_out_bytes": 2**20 + 11}
    *kept, last = note["events"]
    assert 0 < len(kept) < 100
    assert last == {"left_out": 100 - len(kept)}


def test_a_call_that_was_sent_and_never_ended_is_an_error():
    async def run():
        program = Program([*ODD, "be silent about a call"], job(stages=("only",)), timeout_s=30)
        return (await run_team([program]))[0]

    outcome = asyncio.run(run())
    (call,) = outcome.calls
    assert (call.reported.status, call.error.code) == ("error", "agent")
    assert outcome.failure.rule == "result"


def test_cancelling_leaves_nothing_and_keeps_what_was_said():
    async def run():
        program = odd("hang")
        working = asyncio.ensure_future(run_team([program]))
        await _said(program, b'"begin"')
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        return program.outcome

    outcome = asyncio.run(run())
    assert outcome.begin_ns is not None
    assert outcome.failure.rule == "interrupt"
    assert outcome.exit.status == -signal.SIGTERM


async def _said(program, what):
    while not any(what in line for line in program._heard.lines):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_a_program_that_is_not_there():
    async def run():
        await run_team([Program(["/nowhere/agent"], job(), timeout_s=1)])

    with pytest.raises(BackendError, match="/nowhere/agent: cannot be started"):
        asyncio.run(run())


def test_a_word_that_no_command_line_can_hold():
    async def run():
        await run_team([Program(["a\0b"], job(), timeout_s=1)])

    with pytest.raises(BackendError, match="cannot be started: embedded null byte"):
        asyncio.run(run())


def test_it_runs_on_its_cpus_from_birth():
    before = os.sched_getaffinity(0)
    cpu = max(before)
    outcome = asyncio.run(outcome_of("tell where it ran", cpus=(cpu,)))
    assert outcome.data["cpus"] == [cpu]
    assert outcome.data["group"] == outcome.data["pid"]
    assert os.sched_getaffinity(0) == before
    with pytest.raises(SpecError, match="cannot run on CPUs"):
        asyncio.run(outcome_of("tell where it ran", cpus=(9999,)))


def test_all_are_ready_before_any_begins():
    async def run():
        programs = [odd("be good", agent=name) for name in "abc"]
        ready_ns = []
        for program in programs:
            _note_ready(program, ready_ns)
        return ready_ns, await run_team(programs)

    ready_ns, outcomes = asyncio.run(run())
    (start_ns,) = {outcome.start_ns for outcome in outcomes}
    assert len(ready_ns) == 3
    assert max(ready_ns) < start_ns <= min(outcome.begin_ns for outcome in outcomes)
    assert [outcome.agent for outcome in outcomes] == ["a", "b", "c"]


def _note_ready(program, ready_ns):
    prepare = program.prepare

    async def prepared():
        ready = await prepare()
        ready_ns.append(time.monotonic_ns())
        return ready

    program.prepare = prepared


def test_nobody_is_started_where_one_is_not_ready():
    async def run():
        return await run_team([odd("be good", agent="a"), odd("die early", agent="b")])

    good, bad = asyncio.run(run())
    assert good.begin_ns is None
    assert (good.failure.rule, bad.failure.rule) == ("interrupt", "ready")


def test_no_more_at_once_than_asked_for():
    async def run():
        programs = [odd("be good", agent=name) for name in "abc"]
        return await run_team(programs, at_once=1)

    outcomes = asyncio.run(run())
    assert all(outcome.failure is None for outcome in outcomes)
    works = sorted((outcome.begin_ns, outcome.end_ns) for outcome in outcomes)
    assert all(one[1] <= two[0] for one, two in pairwise(works))


def test_alone_they_work_one_after_another():
    async def run():
        return await run_alone([odd("be good", agent="a"), odd("be good", agent="b")])

    one, two = asyncio.run(run())
    assert one.end_ns < two.start_ns


STARTER = """
import asyncio, sys
from harness_agents.warden import warden
from harness_agents.program import Program
from tests.agents.test_program import job, ODD

async def main():
    program = Program([*ODD, "ignore everything"], job(), timeout_s=600)
    assert await program.prepare()
    if sys.argv[1] == "alone":  # the one that watches is killed, and another program is started
        warden._process.kill()
        warden._process.wait()
        other = Program([*ODD, "hang"], job(), timeout_s=600)
        assert await other.prepare()
    working = asyncio.ensure_future(program.work(0))
    while not any(b"begin" in line for line in program._heard.lines):
        await asyncio.sleep(0.01)
    print(program._process.pid, flush=True)
    await working

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["watched", "alone"])
def test_it_dies_with_us_however_we_die(how):
    root = HERE.parents[1]
    ours = subprocess.Popen(
        [sys.executable, "-c", STARTER, how],
        stdout=subprocess.PIPE,
        cwd=root,
        start_new_session=True,
    )
    with ours:
        pid = int(ours.stdout.readline())
        program = psutil.Process(pid)
        ours.kill()
    psutil.wait_procs([program], timeout=30)
    assert not program.is_running() or program.status() == psutil.STATUS_ZOMBIE


def test_events_of_its_own_are_kept():
    async def run():
        command = [sys.executable, "-S", "-E", str(HERE / "wrong.py")]
        (outcome,) = await run_team([Program(command, job(), timeout_s=30)])
        return outcome

    outcome = asyncio.run(run())
    assert outcome.failure is None
    assert json.loads(json.dumps(outcome.extras)) == [{"t": "x_mood", "good": True}]
