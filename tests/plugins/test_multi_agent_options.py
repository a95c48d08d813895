"""multi_agent: who takes part, and what is refused before anything starts."""

from __future__ import annotations

import pytest
from harness_multi_agent import AgentOptions, MultiAgentOptions
from harness_multi_agent.members import members_of

from harness.engine import make_plan, spec_from
from harness.errors import SpecError
from harness.host import Host

HOST = Host.load()
HOT, COLD = {"temperature": 0.9}, {"temperature": 0.1}
TWO_URLS = ["http://127.0.0.1:11434", "http://127.0.0.1:11435"]


def plan(options, **backend):
    raw = {
        "backend": {"name": "ollama", "model": "m", **backend},
        "scenario": {"name": "multi_agent", "options": options},
    }
    return make_plan(spec_from(raw), HOST)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"form": "baseline_vs_chimera", "chimera": HOT}, [{}, HOT]),
        ({"form": "chimera_hetero", "chimera": HOT, "chimera2": COLD}, [HOT, COLD]),
        ({"form": "chimera_hetero", "chimera": HOT}, [HOT, HOT]),
        ({"form": "chimera_homo", "chimera": HOT}, [HOT, HOT]),
    ],
)
def test_a_form_is_a_pair_with_its_options(asked, expected):
    members = members_of(MultiAgentOptions(**asked))
    assert [one.name for one in members] == ["collector", "insight"]
    assert [one.options for one in members] == expected
    assert all(one.in_process for one in members)


def test_the_labels_are_those_of_the_originals():
    pair = members_of(MultiAgentOptions(form="baseline_vs_chimera", chimera=HOT))
    assert [one.label for one in pair] == ["Baseline Collector", "Chimera Insight"]
    pair = members_of(MultiAgentOptions(form="chimera_homo"))
    assert [one.label for one in pair] == ["Chimera Agent A", "Chimera Agent B"]


def test_a_number_is_so_many_equal_agents():
    assert [one.name for one in members_of(MultiAgentOptions())] == ["agent1", "agent2"]
    members = members_of(MultiAgentOptions(agents=3, agent="python", persona="brief"))
    assert [one.name for one in members] == ["agent1", "agent2", "agent3"]
    assert {(one.program, one.persona) for one in members} == {("python", "brief")}


def test_a_list_says_what_differs():
    asked = (
        AgentOptions(name="mine", command=("./mine", "-q"), persona="", endpoint=1),
        AgentOptions(label="The other", options=HOT),
    )
    mine, other = members_of(MultiAgentOptions(agents=asked, agent="python", persona="brief"))
    assert (mine.program, mine.command, mine.persona, mine.endpoint) == (
        "",
        ("./mine", "-q"),
        "",
        1,
    )
    assert (other.name, other.label, other.program) == ("agent2", "The other", "python")
    assert (other.persona, other.endpoint, other.options) == ("brief", 0, HOT)


def test_a_call_that_hangs_is_told_of_before_its_program_is_ended():
    assert MultiAgentOptions(timeout_s=10.0).seconds_per_call() == 5.0
    assert MultiAgentOptions(timeout_s=10.0, call_timeout_s=8.0).seconds_per_call() == 8.0


def test_each_has_an_endpoint_of_its_own():
    members = members_of(MultiAgentOptions(agents=3, endpoints="each"))
    assert [one.endpoint for one in members] == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "chimera"}, "$.scenario.options.form: invalid enum value 'chimera' (try: ch"),
        ({"form": "chimera_homo", "agents": 2}, "`form` is a pair of agents"),
        ({"form": "chimera_homo", "chimera2": HOT}, "`chimera2` has no effect on the form"),
        ({"agents": 2, "chimera": HOT}, "`chimera` has no effect on a run without a form"),
        ({"form": "baseline_vs_chimera"}, "baseline against baseline"),
        ({"semaphore": 0}, "$.scenario.options.semaphore: "),
        ({"agents": 0}, "$.scenario.options.agents: "),
        ({"agents": []}, "1 to 256 agents take part, not 0"),
        ({"agents": [{"name": "a b"}]}, "$.scenario.options.agents[0]: 'a b' cannot name"),
        ({"agents": [{"name": "x"}, {"name": "x"}]}, "two agents are called 'x'"),
        ({"agents": [{"name": "agent2"}, {}]}, "two agents are called 'agent2'"),
        ({"agents": [{"agent": "python", "command": ["x"]}]}, "either `agent` or `command`"),
        ({"timeout_s": 5, "call_timeout_s": 6}, "no call would meet it"),
        ({"agents": [{"tempo": 1}]}, "$.scenario.options.agents[0].tempo: there is no such field"),
        (
            {"form": "chimera_homo", "chimera": {"num_ctxx": 512}},
            "$.scenario.options.chimera.num_ctxx: there is no such field (try: num_ctx)",
        ),
        (
            {"form": "chimera_hetero", "chimera": HOT, "chimera2": {"num_ctx": "big"}},
            "$.scenario.options.chimera2.num_ctx: expected a whole number",
        ),
        (
            {"agents": [{}, {"options": {"top_kk": 1}}]},
            "$.scenario.options.agents[1].options.top_kk: there is no such field (try: top_k)",
        ),
        ({"agent": "pyton"}, "$.scenario.options.agent: there is no agent 'pyton' (try: python)"),
        (
            {"agents": [{}, {"agent": "rust"}]},
            "$.scenario.options.agents[1].agent: there is no agent 'rust'",
        ),
        ({"endpoints": "each"}, "$.backend.url: the scenario makes use of 2 endpoints"),
        ({"agents": [{"endpoint": 3}]}, "makes use of 4 endpoints, and only the backend's own"),
    ],
)
def test_mistakes_are_found_in_the_plan(options, said):
    with pytest.raises(SpecError) as refused:
        plan(options)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_address_that_nobody_uses_is_a_mistake_too():
    with pytest.raises(SpecError, match="makes use of 1 of these 2 endpoints"):
        plan({"agents": 2}, url=TWO_URLS)
    assert plan({"agents": 2, "endpoints": "each"}, url=TWO_URLS).arms


def test_a_mistake_of_one_arm_is_said_of_that_arm():
    raw = {
        "backend": {"name": "ollama", "model": "m"},
        "scenario": {"name": "multi_agent", "options": {"form": "chimera_homo"}},
        "arms": {"one": {}, "two": {"scenario": {"options": {"chimera": {"topk": 1}}}}},
    }
    with pytest.raises(SpecError) as refused:
        make_plan(spec_from(raw), HOST)
    assert str(refused.value).startswith("$.arms.two.scenario.options.chimera.topk: ")
