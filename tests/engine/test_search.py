"""The search for the highest load: decisions from records alone."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.engine import make_plan, spec_from
from harness.engine.cells import find_cells
from harness.engine.schedule import make_schedule
from harness.engine.search import SearchRule, contradictions, level_of_look, what_was_offered
from harness.engine.summary import derive_summary
from harness.errors import SpecError
from harness.host import Host
from harness.schema import CallError, OpenLoad, Probe, SearchResult, TrialRecord, ValiditySpec
from harness.testing import ScriptedBackend
from tests.store import builders
from tests.store.builders import MS

REQUESTS = 40


def spec(**search):
    options = {"low": 10, "high": 160, "step": 2, "share_min": 0.9, "trials_max": 3, **search}
    return spec_from(
        {
            "backend": {"name": "scripted"},
            "scenario": {"name": "asking"},
            "arms": {"a": {}, "b": {}},
            "load": {"rate_per_s": 1, "arrival": "constant", "requests": REQUESTS},
            "slo": {"ttft_ms": 100},
            "search": options,
            "isolation": "inline",
        }
    )


class Nothing:
    def __init__(self, config):
        pass

    def requests(self, ctx):
        return iter(())


@pytest.fixture
def host():
    host = Host()
    host.backends.add("scripted", ScriptedBackend)
    host.scenarios.add("asking", Nothing)
    return host


def calls(planned, *, good=REQUESTS, late_ms=1.0, of=REQUESTS):
    """As many as the load has, on time unless said otherwise; `good` of them meet the SLO."""
    rate = float(planned.cell.partition("=")[2])
    return [
        builders.call(
            arm=planned.arm.name,
            cell=planned.cell,
            trial=planned.trial,
            ordinal=index,
            sent_ms=1000 + 1000 * index / rate,
            ttft_ms=50 if index < good else 150,
            tokens=1,
        )
        for index in range(of)
    ]


def late(made, by_ms):
    return [
        msgspec.structs.replace(
            call,
            instants=msgspec.structs.replace(
                call.instants, due_ns=call.instants.sent_ns - int(by_ms * MS)
            ),
        )
        for call in made
    ]


def records(planned, made):
    arm, cell, trial = planned.arm.name, planned.cell, planned.trial
    return [*made, builders.iteration(made), builders.trial(arm, trial, cell=cell)]


def searched(asked, host, answer):
    """Drives the schedule as `run` does; answer(planned) → calls. All records, and the plan."""
    plan = make_plan(asked, host)
    schedule = make_schedule(plan)
    log, order = [], []
    while True:
        for planned, why in schedule.skipped():
            record = TrialRecord(
                arm=planned.arm.name, cell=planned.cell, trial=planned.trial, status="skipped",
                start_ns=1, end_ns=1, error=CallError(code="not_needed", message=why),
            )  # fmt: skip
            log.append(record)
            schedule.see(record)
        planned = schedule.next()
        if planned is None:
            break
        order.append((planned.arm.name, planned.cell))
        for record in records(planned, answer(planned)):
            log.append(record)
            schedule.see(record)
    manifest = builders.manifest(
        spec=plan.spec,
        plan=tuple((t.arm.name, t.cell, t.trial) for t in plan.trials),
        cells=plan.cells,
        state="finished",
    )
    return derive_summary(manifest, log), log, order


def rate(planned):
    return float(planned.cell.partition("=")[2])


def test_bisection_brackets_each_arms_capacity(host):
    capacity = {"a": 30, "b": 1000}
    summary, log, order = searched(
        spec(),
        host,
        lambda p: calls(p, good=REQUESTS if rate(p) <= capacity[p.arm.name] else 5),
    )
    a, b = summary.search
    assert (a.highest, a.next_higher) == (20, 40)
    assert (b.highest, b.next_higher) == (160, None)
    assert [(p.load, p.decision) for p in a.probes] == [(10, "meets"), (20, "meets"), (40, "fails")]
    assert {arm for arm, _ in order[:2]} == {arm for arm, _ in order[2:4]} == {"a", "b"}
    ended = {record.trial for record in log if isinstance(record, TrialRecord)}
    assert len(ended) == 2 * 5 * 3, "every planned trial has one end"
    codes = {c.code: c.message for c in summary.verdict.caveats if c.arm == "b"}
    assert "160, meets the SLO: the limit lies higher" in codes["search"]
    assert not {c.code for c in summary.verdict.caveats} & {"unbalanced", "empty-workload"}
    assert {(arm.arm, arm.cell) for arm in summary.arms} == set(order)


def test_trials_are_added_until_the_share_lies_on_one_side(host):
    """36 of 40 may be a share of 0.9 or not."""
    summary, _, order = searched(spec(high=20, trials_max=5), host, lambda p: calls(p, good=37))
    (low, *_) = summary.search[0].probes
    assert (low.decision, low.trials, low.requests) == ("undecided", 5, 200)
    assert low.share_low < 0.9 < low.share_high
    assert summary.search[0].highest is None
    assert order.count(("a", "rate_per_s=10")) == 5
    (caveat, *_) = [c for c in summary.verdict.caveats if c.code == "search"]
    assert caveat.severity == "note"


def test_a_load_that_the_client_could_not_offer_says_nothing_of_the_server(host):
    summary, _, order = searched(
        spec(), host, lambda p: late(calls(p), 30) if rate(p) >= 40 else calls(p)
    )
    a = summary.search[0]
    assert (a.highest, a.next_higher) == (20, 40)
    invalid = next(p for p in a.probes if p.load == 40)
    assert (invalid.decision, invalid.requests, invalid.share_low) == ("invalid", 0, None)
    assert invalid.because.startswith("the client was the limit: 40 of 40 requests went out more")
    assert order.count(("a", "rate_per_s=40")) == 2, "the first might have been a hiccup"
    caveat = next(c for c in summary.verdict.caveats if c.code == "search" and c.arm == "a")
    assert caveat.severity == "doubtful"
    assert "server's limit may lie higher" in caveat.message


def test_one_hiccup_is_left_out(host):
    seen = set()

    def answer(planned):
        place = planned.arm.name, planned.cell
        first = place not in seen
        seen.add(place)
        return late(calls(planned), 30) if first else calls(planned)

    summary, _, _ = searched(spec(), host, answer)
    assert [one.highest for one in summary.search] == [160, 160]
    assert summary.search[0].probes[-1].requests == 2 * REQUESTS
    assert "left out: 40 of 40 requests" in summary.search[0].probes[-1].because


def offered(made, cap=None):
    load = OpenLoad(rate_per_s=10, requests=REQUESTS, concurrency_max=cap)
    return what_was_offered(made, load, ValiditySpec())


def in_turn(count, *, takes_ms, due_every_ms):
    """One connection: each waits for the one before it."""
    made, free = [], 0.0
    for index in range(count):
        due = index * due_every_ms
        sent = max(due, free)
        free = sent + takes_ms
        call = builders.call(ordinal=index, sent_ms=1000 + sent, ttft_ms=takes_ms, tokens=0)
        instants = msgspec.structs.replace(
            call.instants, due_ns=int((1000 + due) * MS), closed_ns=int((1000 + free) * MS)
        )
        made.append(msgspec.structs.replace(call, instants=instants))
    return made


def test_who_waited_behind_the_cap_waited_for_the_server():
    made = in_turn(40, takes_ms=20, due_every_ms=10)
    assert offered(made, cap=1)[0] == "server"
    assert offered(made, cap=2)[0] == "client", "the second connection was free"
    assert offered(made)[0] == "client"
    assert offered(in_turn(40, takes_ms=5, due_every_ms=10), cap=1) == (None, "")


@pytest.mark.parametrize("number", ["EMFILE", "EADDRNOTAVAIL"])
def test_what_this_machine_refused_is_no_failure_of_the_server(number):
    import errno

    text = os.strerror(getattr(errno, number))
    error = CallError(code="connect", message=text)
    made = [*in_turn(5, takes_ms=5, due_every_ms=10), builders.failed(code="connect")]
    assert offered(made)[0] is None
    made[-1] = msgspec.structs.replace(made[-1], error=error)
    assert offered(made) == ("client", f"1 requests could not be made: {text}")
    unsent = msgspec.structs.replace(made[-1], status="not_sent", error=None)
    assert offered([*made[:-1], unsent])[0] == "client"


def test_loads_that_contradict_each_other_are_named(host):
    def probe(load, decision):
        return Probe(cell="", load=load, trials=1, requests=1, good=1, decision=decision)

    probes = (probe(10, "fails"), probe(20, "meets"), probe(40, "undecided"))
    result = SearchResult(arm="a", path="load.rate_per_s", share_min=0.9, probes=probes)
    assert contradictions(result) == [(10, 20)]
    assert not contradictions(msgspec.structs.replace(result, probes=probes[1:]))


def test_a_search_that_could_show_nothing_is_refused(host):
    with pytest.raises(SpecError, match=r"takes 477, all of them good.*load\.requests: 159") as no:
        make_plan(spec(share_min=0.99), host)
    assert no.value.where == "$.search"
    share = (0.025 / 3) ** (1 / (3 * REQUESTS))  # three looks share the 5 %
    make_plan(spec(share_min=share - 1e-9), host)


def test_the_same_records_give_the_same_search_in_whatever_order_they_came(host):
    asked = spec()
    summary, log, _ = searched(asked, host, lambda p: calls(p, good=38 if rate(p) < 50 else 9))
    plan = make_plan(asked, host)
    entries = [(t.arm.name, t.cell, t.trial) for t in plan.trials]
    rule = SearchRule(plan.spec, find_cells(plan.spec), entries)
    by_arm = sorted(log, key=lambda record: record.arm)
    for record in by_arm:
        rule.see(record)
    assert rule.results() == summary.search
    assert all(rule.current(arm) is None for arm in ("a", "b"))


def test_what_happens_beyond_the_limit_is_no_doubt_about_the_run(host):
    """The server refuses most requests at loads that it cannot take: that is the finding."""

    def answer(planned):
        made = calls(planned)
        if rate(planned) < 40:
            return made
        refused = [builders.failed(arm=c.arm, trial=c.trial, ordinal=i, sent_ms=1000 + i)
                   for i, c in enumerate(made[5:], start=5)]  # fmt: skip
        return made[:5] + [msgspec.structs.replace(c, cell=planned.cell) for c in refused]

    summary, _, _ = searched(spec(), host, answer)
    assert [one.highest for one in summary.search] == [20, 20]
    errors = [c for c in summary.verdict.caveats if c.code == "errors"]
    assert {c.severity for c in errors} == {"note"}
    assert summary.verdict.state == "valid", summary.verdict


def benchmark():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "search.py"
    found = importlib.util.spec_from_file_location("search_benchmark", path)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def test_looking_several_times_is_corrected_for():
    """The simulation that says so, with fewer rounds: 5 trials at most, at the very bound."""
    assert (level_of_look(1), level_of_look(5)) == (pytest.approx(0.95), pytest.approx(0.99))
    found = benchmark().simulate(0.9, 400, 5, rounds=20_000, seed=7)
    assert found["plain: meets, just below"] > 0.05
    assert found["used: meets, just below"] < 0.025
    assert found["used: fails, at"] < 0.025


def test_the_benchmark_simulates_the_rule_that_is_used(host):
    search = benchmark()
    good = np.random.default_rng(4).binomial(REQUESTS, 0.93, (6, 5))
    decided, taken = search.decided(good, REQUESTS, 0.9, level_of_look(5))
    for row, decision, trials in zip(good, decided, taken, strict=True):
        drawn = {}

        def answer(planned, row=row, drawn=drawn):
            left = drawn.setdefault((planned.arm.name, planned.cell), list(map(int, row)))
            return calls(planned, good=left.pop(0))

        summary, _, _ = searched(spec(high=20, trials_max=5), host, answer)
        probe = summary.search[0].probes[0]
        words = {1: "meets", -1: "fails", 0: "undecided"}
        assert (probe.decision, probe.trials) == (words[int(decision)], trials)
