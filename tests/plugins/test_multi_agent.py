"""multi_agent: at once and one after another, through the real engine and a scripted backend."""

from __future__ import annotations

import asyncio
import json

import pytest
from harness_agents.team import run_team
from harness_multi_agent.caveats import find_caveats
from msgspec.structs import replace

from harness.testing import ScriptedBackend, run_scripted

HOSTILE = "\x1b]0;owned\x07\x1b[31m| x |\u202egnp"
PAIR = {"form": "chimera_hetero", "chimera": {"temperature": 0.9}, "chimera2": {"temperature": 0.1}}


def run(options, *, measured=1, answers=None, **more):
    raw = {
        "scenario": {"name": "multi_agent", "options": options},
        "iterations": {"warmup": 0, "measured": measured},
        **more,
    }
    ran = run_scripted(raw, answers=answers)
    assert ran.error is None, ran.error
    return ran


def spans(iteration, name="agent"):
    found = {s.agent: (s.start_ns, s.end_ns) for s in iteration.spans if s.name == name}
    assert all(start < end for start, end in found.values())
    return found


def test_every_measured_iteration_has_its_solo_one():
    ran = run(PAIR, measured=2)
    phases = [(one.phase, one.iteration) for one in ran.iterations]
    assert sorted(phases) == [("measured", 0), ("measured", 1), ("solo", 0), ("solo", 1)]
    assert all(one.status == "ok" for one in ran.iterations), ran.iterations
    assert all(one.planned_calls == 4 for one in ran.iterations)
    assert len(ran.calls) == 16
    for one in ran.iterations:
        assert {*spans(one)} == {"collector", "insight"}
        assert {s.name for s in one.spans} == {"agent", "ingest", "analysis", "report"}
    summary = ran.data().summary
    metrics = {one.name: one for one in summary.arms[0].metrics}
    assert metrics["speedup"].n == 2
    assert metrics["slowdown.insight"].n == 2


def test_alone_they_work_one_after_another_and_together_at_once():
    for one in run(PAIR).iterations:
        collector, insight = spans(one)["collector"], spans(one)["insight"]
        if one.phase == "solo":
            assert collector[1] < insight[0] or insight[1] < collector[0]
        else:
            assert max(collector[0], insight[0]) < min(collector[1], insight[1])


def test_a_semaphore_lets_so_many_work_at_a_time():
    ran = run({"agents": 3, "semaphore": 1})
    (together,) = (one for one in ran.iterations if one.phase == "measured")
    first, second, third = sorted(spans(together).values())
    assert first[1] <= second[0] and second[1] <= third[0]


def test_whose_turn_it_is_does_not_wait_for_the_program_before_it_to_exit():
    begun = asyncio.Event()

    class Slow:
        """Its work is done at once; it is gone when the other has begun."""

        def __init__(self, last):
            self.last = last

        async def prepare(self):
            return True

        async def work(self, at_ns, done=None):
            if self.last:
                begun.set()
            else:
                done()
                await begun.wait()
            return self.last

    async def both():
        async with asyncio.timeout(30):
            return await run_team([Slow(False), Slow(True)], at_once=1)

    assert asyncio.run(both()) == [False, True]


def test_a_semaphore_is_named_where_it_held_agents_back():
    (caveat,) = find_caveats(run({"agents": 3, "semaphore": 2}).data())
    assert (caveat.code, caveat.severity) == ("held-back", "note")
    assert caveat.evidence == {"semaphore": 2, "agents": 3}
    assert not find_caveats(run({"agents": 2, "semaphore": 2}).data())


def test_both_arms_do_the_same_work():
    ran = run(PAIR)
    asked = {}
    for call in ran.calls:
        asked.setdefault((call.agent, call.stage), {})[call.phase] = call
    assert len(asked) == 4
    for of in asked.values():
        assert of["solo"].prompt_chars == of["measured"].prompt_chars
        assert of["solo"].max_tokens == of["measured"].max_tokens
        assert of["solo"].prompt_digest != of["measured"].prompt_digest, "no cache may know it"


def test_each_agent_has_its_own_options():
    class Remembering:
        def __init__(self):
            self.asked = []

        def __call__(self, exchange):
            body = json.loads(exchange.body)
            self.asked.append((body["agent"], body["stage"], body["options"], body["messages"]))
            return ScriptedBackend.answer([f"{body['agent']} says {body['stage']}"])

    remembering = Remembering()
    run({**PAIR, "persona": "Be brief."}, answers=[remembering])
    for agent, stage, options, messages in remembering.asked:
        assert options == PAIR["chimera" if agent == "collector" else "chimera2"]
        assert messages[0]["role"] == "system" and "Be brief." in messages[0]["content"]
        if stage == "report":
            assert f"{agent} says analysis" in messages[1]["content"]
        else:
            assert "files read: " in messages[1]["content"]


def test_the_older_figures_are_there_where_the_server_tells():
    ran = run(PAIR)
    measured = next(one for one in ran.iterations if one.phase == "measured")
    names = {one.name for one in measured.metrics}
    assert {"collector_ttft_ms", "insight_ttft_ms", "ttft_delta_ms"} <= names
    assert "throughput_delta_tok_s" not in names, "this server reports no rate"
    waits = {one.name: one.value for one in measured.metrics}
    difference = waits["insight_ttft_ms"] - waits["collector_ttft_ms"]
    assert waits["ttft_delta_ms"] == pytest.approx(difference)


def test_the_report_of_an_iteration_has_its_figures_and_fences_the_text():
    ran = run(PAIR, answers=[ScriptedBackend.answer(["# Time: 1 s\n", "```\n", HOSTILE])])
    reports = {path.rpartition("/")[2]: text for path, text in ran.artifacts.items()}
    assert {*reports} == {"combined_report.m0.md", "combined_report.s0.md"}
    together, alone = reports["combined_report.m0.md"], reports["combined_report.s0.md"]
    assert "## Chimera Agent A (`collector`)" in together
    assert "- Its own options: temperature=0.9" in together
    assert "Load-balance ratio (older reports: concurrency speedup)" in together
    assert "one after another" in alone and "Load-balance" not in alone
    headings = [line for line in together.split("\n") if line.startswith("# ")]
    inside = together.partition("text of the model")[2]
    assert "````" in inside, "a fence that the text cannot close"
    title, *rest = headings
    assert title == "# Combined report: chimera\\_hetero, measured iteration 0"
    assert rest == ["# Time: 1 s"] * 4, "the model's, within its fences"
    assert "- **Simulated**" in together
    assert not any(c in together for c in "\x1b\x07\u202e")


def test_an_agent_that_fails_fails_the_iteration_and_the_other_ends_its_work():
    def answer(exchange):
        broken = json.loads(exchange.body)["agent"] == "insight"
        return ScriptedBackend.answer(["word"])[: 1 if broken else None]

    ran = run(PAIR, answers=[answer])
    for one in ran.iterations:
        assert one.status == "error"
        assert "agent insight: its analysis call ended as " in one.error.message
        calls = [c for c in ran.calls if c.phase == one.phase]
        assert one.planned_calls == len(calls) == 4, "planned and recorded balance"
        worked = sum(c.status == "ok" for c in calls)
        if one.phase == "measured":
            assert worked == 2
        assert "insight" not in spans(one), "a time that ended with a failure is none"
        assert len(spans(one)) == worked / 2


def test_agents_that_were_to_differ_and_do_not_are_named():
    hot = {"temperature": 0.9}
    for options, expected in (
        ({"form": "chimera_hetero", "chimera": hot}, ["note"]),
        ({"form": "chimera_homo", "chimera": hot}, []),
        ({"form": "baseline_vs_chimera", "chimera": hot}, []),
        (PAIR, []),
    ):
        assert [c.severity for c in find_caveats(run(options).data())] == expected, options


def test_a_chimera_that_asks_for_what_the_baseline_has_anyway_is_doubtful():
    ran = run({"form": "baseline_vs_chimera", "chimera": {"temperature": 0.9}})
    (trial,) = ran.trials
    sent = replace(trial.effective, options={"temperature": 0.9, "num_ctx": 4096})
    ran.records[ran.records.index(trial)] = replace(trial, effective=sent)
    (caveat,) = find_caveats(ran.data())
    assert (caveat.code, caveat.severity) == ("equal-agents", "doubtful")
    assert caveat.evidence["options"] == {"collector": {}, "insight": {"temperature": 0.9}}


def test_who_is_first_alone_is_drawn_by_the_seed():
    """The same in every arm of a block; not always the same agent."""
    first = {}
    ran = run({"agents": 2}, measured=8, arms={"one": {}, "two": {}})
    for one in ran.iterations:
        if one.phase == "solo":
            found = min(spans(one).items(), key=lambda item: item[1])[0]
            first.setdefault(one.arm, {})[one.iteration] = found
    assert first["one"] == first["two"]
    assert {*first["one"].values()} == {"agent1", "agent2"}
