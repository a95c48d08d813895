"""multi_agent: at once and one after another, through the real engine and a scripted backend."""

from __future__ import annotations

import pytest

from harness.testing import ScriptedBackend, run_scripted

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
            assert collector[1] < insight[0]
        else:
            assert max(collector[0], insight[0]) < min(collector[1], insight[1])


def test_a_semaphore_lets_so_many_work_at_a_time():
    ran = run({"agents": 3, "semaphore": 1})
    (together,) = (one for one in ran.iterations if one.phase == "measured")
    first, second, third = sorted(spans(together).values())
    assert first[1] <= second[0] and second[1] <= third[0]


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
            import json

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
    ran = run(PAIR, answers=[ScriptedBackend.answer(["# Time: 1 s\n", "```\n", "| x |"])])
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
    assert headings == ["# Combined report: chimera\\_hetero, measured iteration 0", "# Time: 1 s"] + [
        "# Time: 1 s"
    ] * 3


def test_an_agent_that_fails_fails_the_iteration_and_the_other_ends_its_work():
    def answer(exchange):
        import json

        broken = json.loads(exchange.body)["agent"] == "insight"
        return ScriptedBackend.answer(["word"])[: 1 if broken else None]

    ran = run(PAIR, answers=[answer])
    for one in ran.iterations:
        assert one.status == "error"
        assert "agent insight: the analysis call ended as " in one.error.message
        assert {*spans(one)} == {"collector"}, "a time that ended with a failure is none"
        assert one.planned_calls == 4
        calls = [c for c in ran.calls if c.phase == one.phase]
        assert len(calls) == 4, "planned and recorded balance"
        assert sum(c.status == "ok" for c in calls) == 2


def test_agents_that_were_to_differ_and_do_not_are_named():
    codes = {}
    for options in (
        {"form": "chimera_hetero", "chimera": {"temperature": 0.9}},
        {"form": "baseline_vs_chimera", "chimera": {"temperature": 0.0}},
        {"form": "chimera_homo", "chimera": {"temperature": 0.9}},
        PAIR,
    ):
        caveats = run(options).data()
        found = [c for c in _caveats(caveats) if c.code == "equal-agents"]
        codes[options["form"], len(options)] = [c.severity for c in found]
    assert codes["chimera_hetero", 2] == ["note"]
    assert codes["chimera_homo", 2] == []
    assert codes["chimera_hetero", 3] == []


def _caveats(data):
    from harness_multi_agent.caveats import find_caveats

    return find_caveats(data)
