"""The executor `ray`, on a real cluster of two nodes, and on one of its own. Ray is in other
processes only."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import msgspec
import psutil
import pytest
from harness_ray import RayOptions, driver, wire
from harness_ray.errors import how_it_went
from harness_ray.executor import RayExecutor
from harness_ray.place import Place
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import Silent, make_plan, run, spec_from
from harness.engine.messages import decode_job
from harness.engine.summary import derive_summary
from harness.errors import MissingExtra, PluginError, SpecError, TrialLostError
from harness.host import Host
from harness.protocols import ExecutorConfig
from harness.schema import CallRecord, IterationRecord, PlacementSpec, TrialRecord
from harness.store import RunWriter, load_run
from harness.testing import ExecutorContract

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
"""Only a failing test waits for it."""


class TheCluster:
    def __init__(self, process: subprocess.Popen[bytes], line: str) -> None:
        self.process = psutil.Process(process.pid)
        self.address, self.head, self.other, pid = line.split()
        self.raylet = psutil.Process(int(pid))

    def places(self, below: psutil.Process | None = None) -> list[psutil.Process]:
        """The processes of our actors."""
        found = []
        for process in (below or self.process).children(recursive=True):
            try:
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Place"):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="hr-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.plugins.ray_cluster", folder],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
            line = process.stdout.readline().decode() if ready else ""
            assert line, "the cluster did not start"
            yield TheCluster(process, line)
        finally:
            process.stdin.close()
            process.wait()
            process.stdout.close()
            process.stderr.close()


def executor(**options) -> RayExecutor:
    return RayExecutor(ExecutorConfig(options=RayOptions(**options)))


class TestRay(ExecutorContract):
    cluster: TheCluster

    @pytest.fixture(autouse=True)
    def _on(self, cluster):
        self.cluster = cluster

    def executor(self):
        return executor(address=self.cluster.address)

    def lose(self, placement):
        assert placement["node"] in (self.cluster.head, self.cluster.other)
        (place,) = self.cluster.places()
        place.kill()
        return True


# ----------------------------------------------------------------------------------- a whole run

SPEC = {
    "backend": {"name": "sim", "options": {"ttft": 1, "gap": 5}},
    "scenario": {"name": "load", "options": {"max_tokens": 8}},
    "iterations": {"warmup": 0, "measured": 1},
    "load": {"requests": 40},  # over a second, after the first of them is known
}


class Folder:
    """A sink that writes a run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, manifest):
        self.writer = RunWriter.create(manifest, out=self.path)

    def append(self, record):
        self.writer.append(record)

    def artifact(self, trial, name, content):
        return self.writer.artifact(trial, name, content)


class Killing(Silent):
    """Calls `kill` while the measured iteration of a trial is under way, until one began anew.
    As the executor of the run it learns where trials are."""

    def __init__(self, spec, kill) -> None:
        self.kill = kill
        self.retried = []
        self.placements: dict[int, dict[str, str]] = {}
        self.inner = make_plan(spec, Host.load()).executor.make(spec.placement)
        self.close = self.inner.close

    async def execute(self, job, placement, deliver):
        self.placements[decode_job(job).trial] = placement
        await self.inner.execute(job, placement, deliver)

    def call_finished(self, record):
        if record.phase == "measured" and not self.retried:
            self.kill(self.placements[record.trial]["node"])

    def trial_retried(self, record):
        self.retried.append(record)


def finished(raw, folder, kill):
    """The run, loaded; and the RetryRecord."""
    spec, sink = spec_from(raw), Folder(folder)
    observer = Killing(spec, kill)
    running = run(spec, Host.load(), sink, observer, executor=observer)
    manifest = asyncio.run(asyncio.wait_for(running, PATIENCE_S)).manifest
    found = load_run(folder)
    summary = derive_summary(manifest, found.records(), sessions=found.sessions)
    sink.writer.finish(manifest.state, summary, ended=manifest.ended)
    (retry,) = observer.retried
    return load_run(folder), retry


def on(cluster, **placement):
    options = {"address": cluster.address, "resources": {"slot": 1}}
    return {**SPEC, "placement": {"executor": "ray", "executor_options": options, **placement}}


def balanced(found, trials):
    """Every trial once, with all of its calls and no other."""
    records = list(found.records())
    ends = {one.trial: one for one in records if isinstance(one, TrialRecord)}
    assert sorted(ends) == list(range(trials))
    assert sum(isinstance(one, TrialRecord) for one in records) == trials
    assert {one.status for one in ends.values()} == {"ok"}
    for trial in ends:
        mine = [one for one in records if one.trial == trial]
        (iteration,) = [
            one for one in mine if isinstance(one, IterationRecord) and one.phase == "measured"
        ]
        calls = [one for one in mine if isinstance(one, CallRecord) and one.phase == "measured"]
        assert len({call.call_id for call in calls}) == len(calls) == iteration.planned_calls
    return ends


def test_a_worker_that_is_killed_costs_nothing_but_time(cluster, tmp_path):
    """kill -9 in the middle of the first trial: it is made again, and counted once."""
    killed = []

    def kill(node):
        if not killed:
            (place,) = cluster.places()
            place.kill()
            killed.append(node)

    found, retry = finished({**on(cluster), "trials": 2}, tmp_path / "run", kill)
    ends = balanced(found, 2)
    assert (retry.trial, retry.attempt, retry.placement["node"]) == (0, 1, killed[0])
    assert "worker" in retry.reason
    assert [ends[trial].lost for trial in (0, 1)] == [1, 0]
    codes = {caveat.code: caveat.severity for caveat in found.summary.verdict.caveats}
    assert codes["place-lost"] == "note"
    assert not {"unbalanced", "incomplete", "failures", "errors"} & set(codes)
    assert found.summary.arms[0].calls == {"ok": 80}


def test_a_node_that_is_gone_is_done_without(cluster, tmp_path):
    """Two trials at once, so that each node has one; all that is of the second one is killed. The
    last test of the cluster: it has one node after this."""

    def kill(node):
        if node == cluster.other and cluster.raylet.is_running():
            for process in (cluster.raylet, *cluster.raylet.children(recursive=True)):
                process.kill()

    found, retry = finished({**on(cluster, parallel=2), "trials": 2}, tmp_path / "run", kill)
    ends = balanced(found, 2)
    assert retry.placement["node"] == cluster.other
    assert ends[retry.trial].placement["node"] == cluster.head
    assert ends[retry.trial].lost == 1


def test_by_the_command_with_a_cluster_of_its_own(tmp_path):
    """As a user has it; and nothing of it is left."""
    command = [
        *(sys.executable, "-m", "harness", "run", "load", "--backend", "sim"),
        *("--executor", "ray", "--runs", "2", "--requests", "3", "--max-tokens", "4"),
        *("--set", "placement.parallel=2", "--out", str(tmp_path / "run")),
    ]
    env = {**os.environ, "TMPDIR": str(tmp_path)} if len(str(tmp_path)) < 40 else None
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    ours = psutil.Process(process.pid)
    seen: set[psutil.Process] = set()
    while process.poll() is None:
        try:
            seen |= set(ours.children(recursive=True))
        except psutil.NoSuchProcess:
            break
        select.select([], [], [], 0.2)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "raylet" not in out + err and "Traceback" not in err
    found = load_run(tmp_path / "run")
    balanced(found, 2)
    assert any(True for _ in seen)
    _, alive = psutil.wait_procs(seen, timeout=0)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


# ------------------------------------------------------------------------------------- refusals


def test_no_cluster_there():
    async def main():
        one = executor(address="127.0.0.1:1")
        try:
            await one.execute(b"", {}, lambda message: None)
        finally:
            await one.close()

    with pytest.raises(PluginError, match=r"nobody answers at 127\.0\.0\.1:1"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("placement", "where"),
    [
        ({"executor_options": {"cpu": 1}}, r"\$\.placement\.executor_options"),
        ({"executor_options": {"address": "10.0.0.5"}}, r"executor_options\.address"),
        ({"executor_options": {"cpus": -1}}, r"executor_options\.cpus"),
        ({"executor_options": {"gpus": 0.5}}, r"executor_options\.gpus"),
        ({"executor_options": {"gpus": 1.5}, "share_gpus": True}, r"executor_options\.gpus"),
        ({"executor_options": {"resources": {"far": 0}}}, r"resources\.far"),
        ({"executor_options": {"resources": {"CPU": 2}}}, r"resources\.CPU"),
        ({"executor_options": {"pass_env": ["NOT_SET_HERE"]}}, r"pass_env\[0\]"),
        (
            {"executor_options": {"runtime_env": {"env_vars": {"OPENAI_API_KEY": "x"}}}},
            r"env_vars\.OPENAI_API_KEY",
        ),
        ({"gpus": ["0"]}, r"\$\.placement\.gpus"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_the_plan(placement, where):
    spec = spec_from({**SPEC, "placement": {"executor": "ray", **placement}})
    with pytest.raises(SpecError, match=where):
        make_plan(spec, Host.load())


def test_without_ray_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"chimera-harness\[ray\]"):
        RayExecutor(ExecutorConfig(options=RayOptions(), placement=PlacementSpec()))


def test_what_ray_says_in_one_line():
    class ActorDiedError(Exception):
        pass

    died = ActorDiedError(
        "The actor died unexpectedly before finishing this task.\n\tclass_name: Place\nThe actor "
        "is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit "
        "detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common"
        " causes include: (1) the process was killed by the OOM killer due to high memory usage"
    )
    how, what, _ = how_it_went(died, "ab12")
    assert how == "place_lost"
    assert what == (
        "the Ray worker on node ab12 is gone: Worker unexpectedly exits with a connection error "
        "code 2"
    )
    assert how_it_went(ActorDiedError("… Worker exit type: NODE_OUT_OF_MEMORY …"), "a")[0] == "lost"
    gone = ActorDiedError("The actor died because its node has died. Node Id: 12")
    assert how_it_went(gone, "ab") == ("place_lost", "node ab of the cluster is gone", "")
    absent = ActorDiedError("… ModuleNotFoundError: No module named 'harness_ray'")
    assert how_it_went(absent, "")[0] == "refused"
    assert how_it_went(ValueError("Resource quantities >1 …"), "")[0] == "refused"


def test_a_driver_that_died_leaves_nothing_behind(monkeypatch):
    class Driver:
        is_gone = closed = False

        async def close(self):
            self.closed = True

    started = []

    async def start(options):
        assert all(one.closed for one in started), "before there is another"
        started.append(Driver())
        return started[-1]

    async def main():
        monkeypatch.setattr("harness_ray.executor._Driver.start", start)
        ours = executor()
        first = await ours._connected()
        assert await ours._connected() is first and not first.closed
        first.is_gone = True
        assert await ours._connected() is started[1]
        await ours.close()

    asyncio.run(main())
    assert [one.closed for one in started] == [True, True]


@pytest.mark.parametrize("then", [None, wire.Kill(1), wire.Interrupt(1)])
def test_the_run_hears_how_each_trial_ended(monkeypatch, then):
    """Without Ray, which refuses: also where the trial is ended before anything of it has begun."""
    said = []

    def refuse():
        raise ValueError("it takes no such thing")

    async def main():
        actor = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=refuse))
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(remote=lambda _: actor))
        ours = driver._Driver(wire.Open(RayOptions(), "", {}), SimpleNamespace(write=said.append))
        ours.obey(wire.Execute(1, b""))
        if then is not None:
            ours.obey(then)
        await ours.end() if then else await asyncio.wait([*ours._tasks.values()])

    asyncio.run(main())
    over = [wire.decode_reply(frame[wire.LENGTH.size :]) for frame in said]
    how = ("killed", "") if then else ("refused", "Ray takes no such trial: it takes no such thing")
    assert [(one.number, one.how, one.what) for one in over] == [(1, *how)]


# ------------------------------------------------------------------------ the cluster's end, alone


@given(st.lists(st.one_of(st.binary(max_size=9), st.sampled_from(("take", "lose an answer")))))
def test_messages_come_once_and_in_order_whatever_is_lost(steps):
    """Without Ray: an answer that does not arrive is asked for again, by number."""

    async def main():
        place, home, said = Place(), [], []
        for step in steps:
            if isinstance(step, bytes):
                place._keep(step)
                said.append(step)
            elif len(said) > len(home):
                at, messages, how = await place.take(len(home))
                assert (at, how) == (len(home), None)
                if step == "take":
                    home += messages
        place._how = ("done", "")
        place._ended.set()
        how = None
        while how is None:
            at, messages, how = await place.take(len(home))
            home += messages
        assert (home, how) == (said, ("done", ""))
        assert await place.take(len(home)) == (len(home), [], ("done", ""))

    with patch("harness_ray.place.EASE_S", 0), patch("harness_ray.place.BATCH_BYTES", 12):
        asyncio.run(main())


def test_what_nobody_takes_has_a_bound(monkeypatch):
    monkeypatch.setattr("harness_ray.place.WAITING_BYTES_MAX", 10)

    async def main():
        place = Place()
        place._keep(b"123456")
        with pytest.raises(TrialLostError, match="were not taken"):
            place._keep(b"123456")

    asyncio.run(main())


def test_values_of_pass_env_are_not_in_the_spec(monkeypatch):
    """Values go by way of the driver, never into the spec."""
    monkeypatch.setenv("A_KEY_FOR_TESTS", "s3cret")
    spec = spec_from(
        {
            **SPEC,
            "placement": {
                "executor": "ray",
                "executor_options": {"pass_env": ["A_KEY_FOR_TESTS"]},
            },
        }
    )
    assert b"s3cret" not in msgspec.json.encode(make_plan(spec, Host.load()).spec)
