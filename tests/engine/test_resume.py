"""A run that is killed and taken up again, as often as you like, is the run that nobody disturbed.

A kill is what it leaves: a log that ends anywhere, in the midst of a record too, and a manifest
that says `running`. So each session runs to its end here, and then loses what a kill at a random
byte would have kept it from writing; others are interrupted at a random record.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter

import msgspec
import pytest

import harness.engine.execute
from harness.engine import run, spec_from
from harness.engine.resume import Resume
from harness.engine.summary import derive_summary
from harness.errors import BackendError, SpecError, StoreError
from harness.host import Host
from harness.schema import (
    CallRecord,
    Environment,
    IterationRecord,
    Message,
    Request,
    TrialRecord,
)
from harness.store import RunWriter, load_run
from harness.store.folder import RECORDS
from harness.store.log import HEADER
from harness.testing import ScriptedBackend, ScriptedTransport

SEED = 20261122
MIDST = 16
"""Of PLAIN: a record in the midst of its second trial."""
ENVIRONMENT = Environment(harness_version="0", python="3", platform="test", cpu_model="one")

PLAIN = {"arms": {"a": {}, "b": {}}, "trials": 3, "iterations": {"warmup": 1, "measured": 2}}
SWEPT = {
    "arms": {"still": {"swept": False}, "swept": {}},
    "sweep": {"axes": {"backend.options.num_ctx": [1, 2], "load.concurrency": [1, 2]}},
    "trials": 2,
}
STOPPED = {
    "arms": {"still": {"swept": False}, "swept": {}},
    "sweep": {"axes": {"scenario.options.noise": [0.01, 0.2, 2.0]}},
    "stop": {"metric": "ttft_ms", "relative_width_max": 0.1, "trials_max": 12},
    "iterations": {"warmup": 0, "measured": 1},
}
SEARCHED = {
    "arms": {"a": {}, "b": {"scenario": {"options": {"capacity": 11}}}},
    "load": {"requests": 12},
    "slo": {"ttft_ms": 40},
    "search": {
        "path": "load.concurrency", "low": 1, "high": 40, "step": 1.3, "share_min": 0.8,
        "trials_max": 4,
    },
    "iterations": {"warmup": 0, "measured": 1},
}  # fmt: skip
SPECS = {"plain": PLAIN, "swept": SWEPT, "stopped": STOPPED, "searched": SEARCHED}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    num_ctx: int = 4096


class AskingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    noise: float = 0.1
    capacity: int = 7


class Told:
    """Says in its prompt what the answer's timing depends on."""

    def __init__(self, config):
        self.config = config

    def requests(self, ctx):
        options, cell = self.config.options, self.config.cell
        load = int(cell.partition("=")[2]) if cell.startswith("concurrency=") else 0
        slow = load > options.capacity
        for number in range(100):
            told = f"{self.config.arm} {cell} {ctx.seed} {number} {options.noise} {int(slow)}"
            yield Request(messages=(Message(role="user", content=told),))


def answer(exchange):
    """The same prompt takes the same time, whoever asks and when."""
    told = msgspec.json.decode(exchange.body)["messages"][0]["content"]
    *_, noise, slow = told.split()
    draw = random.Random(hashlib.sha256(told.encode()).digest()).gauss(0, float(noise))
    after_ms = 50.0 if slow == "1" else 10.0
    return ScriptedBackend.answer(["a ", "b"], after_ns=int(1e6 * after_ms * max(0.1, 1 + draw)))


@pytest.fixture
def host():
    host = Host()
    host.backends.add("scripted", ScriptedBackend, options=Options)
    host.scenarios.add("told", Told, options=AskingOptions)
    return host


@pytest.fixture(autouse=True)
def _one_machine(monkeypatch):
    """Reading the real one takes longer than these runs."""
    monkeypatch.setattr(harness.engine.execute, "collect_environment", lambda *_: ENVIRONMENT)


class Sink:
    """Into a folder; asks for an interrupt at a record."""

    def __init__(self, folder, interrupt_at=None):
        self.folder = folder
        self.writer = None
        self.task = None
        self.left = interrupt_at

    def begin(self, manifest):
        self.writer = RunWriter.create(manifest, self.folder)

    def resume(self, manifest, session):
        sessions = len(load_run(self.folder).sessions)
        self.writer = RunWriter.reopen(self.folder, manifest, session, sessions)

    def append(self, record):
        self.writer.append(record)
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                asyncio.get_running_loop().call_soon(self.task.cancel)  # as a signal does

    def artifact(self, trial, name, content):
        return self.writer.artifact(trial, name, content)


def session(host, spec, folder, *, interrupt_at=None, retry_failed=False, ends=False):
    """One process' worth of a run. Unless it `ends` as a process should, its manifest says
    `running`, and its log may be cut."""
    sink = Sink(folder, interrupt_at)
    earlier = load_run(folder) if folder.exists() else None
    resume = None
    if earlier is not None:
        resume = Resume(run=earlier, begin=sink.resume, retry_failed=retry_failed)

    async def main():
        sink.task = asyncio.ensure_future(
            run(spec, host, sink, open_transport=lambda *_: ScriptedTransport([answer]),
                resume=resume)
        )  # fmt: skip
        return await sink.task

    outcome = asyncio.run(main())
    if ends:
        sink.writer.finish(outcome.manifest.state, None, ended="now")
    sink.writer.close()
    return outcome


def whole(host, spec, folder):
    outcome = session(host, spec, folder)
    run = load_run(folder)
    return derive_summary(outcome.manifest, run.records(), sessions=run.sessions), run


def spec_of(raw, **changes):
    return spec_from(
        {
            "backend": {"name": "scripted"},
            "scenario": {"name": "told"},
            "load": {"requests": 3},
            "isolation": "inline",
            **raw,
            **changes,
        }
    )


def facts(run):
    """What of a record does not depend on when it was made."""
    found = Counter()
    for record in run.records():
        place = (record.arm, record.cell, record.trial, record.status)
        if isinstance(record, CallRecord):
            found[(*place, record.call_id, record.phase, record.prompt_digest)] += 1
        elif isinstance(record, IterationRecord):
            found[(*place, record.iteration, record.phase, record.planned_calls)] += 1
        else:
            found[place] += 1
    return found


def totals(summary):
    return (
        summary.state,
        summary.stopping,
        summary.search,
        [
            (a.arm, a.cell, a.trials, a.iterations, a.calls, a.planned, a.output_tokens, a.skipped,
             [(m.name, m.n, m.mean) for m in a.metrics if m.name == "ttft_ms"])
            for a in summary.arms
        ],
    )  # fmt: skip


@pytest.mark.parametrize("kind", SPECS)
def test_killed_at_random_points_it_ends_as_if_undisturbed(tmp_path, host, kind):
    spec = spec_of(SPECS[kind])
    summary, undisturbed = whole(host, spec, tmp_path / "undisturbed")
    assert not undisturbed.sessions
    expected = facts(undisturbed)
    assert max(expected.values()) == 1
    rng = random.Random(f"{SEED}/{kind}")
    for example in range(3):
        told = f"seed {SEED}/{kind}, example {example}"
        folder = tmp_path / str(example)
        base = 0
        kills = rng.randrange(1, 4)
        for _ in range(kills):
            interrupt_at = rng.choice([None, rng.randrange(1, 30)])
            session(host, spec, folder, interrupt_at=interrupt_at)
            log = folder / RECORDS
            size = log.stat().st_size
            with log.open("r+b") as file:
                if interrupt_at is None:
                    file.truncate(rng.randrange(base, size))
            base = min(log.stat().st_size, size)
        again, resumed = whole(host, spec, folder)
        assert facts(resumed) == expected, told
        assert totals(again) == totals(summary), told
        # One that was killed before it had written that it goes on is none.
        assert again.sessions == 1 + len(resumed.sessions) <= 1 + kills, told
        assert "unbalanced" not in {c.code for c in again.verdict.caveats}, told


def test_what_was_cut_short_stays_in_the_log_and_out_of_the_figures(tmp_path, host):
    spec = spec_of(PLAIN)
    session(host, spec, tmp_path / "run", interrupt_at=MIDST)
    cut = list(load_run(tmp_path / "run").records())
    (lost,) = [r.trial for r in cut if isinstance(r, TrialRecord) and r.status == "cancelled"]
    summary, run = whole(host, spec, tmp_path / "run")
    (one,) = run.sessions
    assert one.superseded == (lost,)
    assert set(one.stands) == {r.trial for r in cut} - {lost}
    assert one.environment is None
    ends = [r for r in run.records() if isinstance(r, TrialRecord) and r.trial == lost]
    assert [end.status for end in ends] == ["ok"]
    data = (tmp_path / "run" / RECORDS).read_bytes()
    assert data.startswith(HEADER)
    assert data.count(b"cancelled") >= 1, "the log is append-only"
    (caveat,) = [c for c in summary.verdict.caveats if c.code == "resumed"]
    assert caveat.severity == "note"


def test_the_wall_time_is_that_of_the_sessions(tmp_path, host):
    spec = spec_of(PLAIN)
    session(host, spec, tmp_path / "run", interrupt_at=MIDST)
    summary, run = whole(host, spec, tmp_path / "run")
    shifted = []
    (one,) = run.sessions
    for record in run.records():  # as if the machine had been started anew, long after
        if isinstance(record, TrialRecord) and record.trial not in one.stands:
            changes = {"start_ns": record.start_ns + 10**15, "end_ns": record.end_ns + 10**15}
            record = msgspec.structs.replace(record, **changes)
        if isinstance(record, TrialRecord):
            shifted.append(record)
    wall_s = derive_summary(run.manifest, shifted, sessions=run.sessions).wall_s
    assert wall_s < 1000
    assert derive_summary(run.manifest, shifted).wall_s > 900_000
    assert summary.wall_s is not None


def test_a_changed_spec_is_refused_by_its_first_fields(tmp_path, host):
    session(host, spec_of(PLAIN), tmp_path / "run", interrupt_at=MIDST)
    with pytest.raises(SpecError) as refused:
        session(host, spec_of(PLAIN, seed=3, trials=4), tmp_path / "run")
    assert "$.seed: 0 → 3; $.trials: 3 → 4" in str(refused.value)
    with pytest.raises(SpecError, match=r"\$\.arms\.b\.backend.*num_ctx"):
        arms = {"a": {}, "b": {"backend": {"options": {"num_ctx": 2}}}}
        session(host, spec_of(PLAIN, arms=arms), tmp_path / "run")
    assert not load_run(tmp_path / "run").sessions, "nothing was written"


def test_the_same_spec_written_otherwise_is_accepted(tmp_path, host):
    session(host, spec_of(PLAIN), tmp_path / "run", interrupt_at=MIDST)
    other = {"arms": {"b": {"notes": ""}, "a": {"swept": True}}, "order": "interleaved"}
    _, run = whole(host, spec_of(PLAIN, **other), tmp_path / "run")
    _, undisturbed = whole(host, spec_of(PLAIN), tmp_path / "undisturbed")
    assert facts(run) == facts(undisturbed)


def test_a_spec_changed_in_the_folder_is_refused(tmp_path, host, monkeypatch):
    here = msgspec.structs.replace(ENVIRONMENT, harness_version=harness.__version__)
    monkeypatch.setattr(harness.engine.execute, "collect_environment", lambda *_: here)
    session(host, spec_of(PLAIN), tmp_path / "run", interrupt_at=MIDST)
    path = tmp_path / "run" / "run.json"
    path.write_text(path.read_text().replace('"trials": 3', '"trials": 2'))
    with pytest.raises(StoreError, match="not the one that it was made with"):
        session(host, spec_of(PLAIN, trials=2), tmp_path / "run")


def test_failed_trials_run_again_when_asked_to(tmp_path, host, monkeypatch):
    spec = spec_of(PLAIN)
    opened = []

    async def second_fails(self):
        opened.append(self)
        if len(opened) == 2:
            raise BrokenServerError("no")

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedBackend, "open", second_fails)
        session(host, spec, tmp_path / "run")
    ends = {r.status for r in load_run(tmp_path / "run").records() if isinstance(r, TrialRecord)}
    assert ends == {"ok", "error"}
    _, same = whole(host, spec, tmp_path / "run")
    assert same.sessions[-1].superseded == ()
    session(host, spec, tmp_path / "run", retry_failed=True)
    _, undisturbed = whole(host, spec, tmp_path / "undisturbed")
    assert facts(load_run(tmp_path / "run")) == facts(undisturbed)


class BrokenServerError(Exception):
    """A stranger's."""


def test_another_machine_makes_it_doubtful(tmp_path, host, monkeypatch):
    spec = spec_of(PLAIN)
    session(host, spec, tmp_path / "run", interrupt_at=MIDST)
    other = msgspec.structs.replace(ENVIRONMENT, cpu_model="two", load_average=(1.0, 1.0, 1.0))
    monkeypatch.setattr(harness.engine.execute, "collect_environment", lambda *_: other)
    summary, run = whole(host, spec, tmp_path / "run")
    assert run.sessions[0].environment == other
    (caveat,) = [c for c in summary.verdict.caveats if c.code == "resumed"]
    assert caveat.severity == "doubtful"
    assert caveat.evidence["changed"] == {"cpu_model": ["one", "two"]}


def test_another_server_makes_it_doubtful(tmp_path, host, monkeypatch):
    spec = spec_of(PLAIN)
    session(host, spec, tmp_path / "run", interrupt_at=MIDST)

    async def newer(self):
        return msgspec.structs.replace(self.effective_, server_version="2")

    monkeypatch.setattr(ScriptedBackend, "effective", newer)
    summary, _ = whole(host, spec, tmp_path / "run")
    (caveat,) = [c for c in summary.verdict.caveats if c.code == "resumed"]
    assert "server of " in caveat.message
    assert "scripted, then scripted 2" in caveat.message


def test_a_resumed_run_shows_nothing_that_was_derived_before(tmp_path, host):
    spec = spec_of(PLAIN)
    session(host, spec, tmp_path / "run", interrupt_at=MIDST)
    folder = tmp_path / "run"
    (folder / "summary.json").write_text("{}")
    (folder / "reports").mkdir()
    (folder / "reports" / "calls.csv").write_text("of before")
    seen = []

    class Watching(Sink):
        def append(self, record):
            run = load_run(folder)
            seen.append((run.manifest.state, run.summary.state))
            super().append(record)

    earlier = load_run(folder)
    sink = Watching(folder)
    resume = Resume(run=earlier, begin=sink.resume)
    asyncio.run(
        run(spec, host, sink, open_transport=lambda *_: ScriptedTransport([answer]), resume=resume)
    )
    assert set(seen) == {("running", "running")}
    assert not (folder / "summary.json").exists()
    assert not list((folder / "reports").iterdir())
    with pytest.raises(StoreError, match="still being written"):
        RunWriter.reopen(folder, earlier.manifest, earlier.sessions, 0)
    sink.writer.close()


def test_a_failure_of_the_first_trial_ends_a_session_and_is_made_good_by_the_next(
    tmp_path, host, monkeypatch
):
    """No server: of the run itself, and of a run that goes on."""
    spec = spec_of(PLAIN)

    async def gone(self):
        raise BackendError("connection refused")

    for interrupt_at in (MIDST, None):
        with monkeypatch.context() as patch:
            patch.setattr(ScriptedBackend, "open", gone)
            outcome = session(host, spec, tmp_path / "run", ends=True)
        assert outcome.manifest.state == "failed"
        assert "connection refused" in str(outcome.error)
        assert load_run(tmp_path / "run").manifest.state == "failed"
        session(host, spec, tmp_path / "run", interrupt_at=interrupt_at)
    _, undisturbed = whole(host, spec, tmp_path / "undisturbed")
    assert facts(load_run(tmp_path / "run")) == facts(undisturbed)


def test_it_is_made_good_as_well_where_others_were_under_way(tmp_path, host, monkeypatch):
    """Their ends lie behind that of the one that failed."""
    spec = spec_of(PLAIN, placement={"parallel": 3})
    opened = []

    async def one_fails_and_one_with_it(self):
        opened.append(self)
        if len(opened) < 3:
            raise BackendError("connection refused")
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedBackend, "open", one_fails_and_one_with_it)
        session(host, spec, tmp_path / "run", ends=True)
    ends = [r.status for r in load_run(tmp_path / "run").records() if isinstance(r, TrialRecord)]
    assert sorted(ends) == ["cancelled", "error", "error"]
    session(host, spec, tmp_path / "run")
    _, undisturbed = whole(host, spec, tmp_path / "undisturbed")
    assert facts(load_run(tmp_path / "run")) == facts(undisturbed)
