"""The scenario `single_agent` from ingest to report, over a scripted Context."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace

import harness_single_agent
import msgspec
import pytest
import yaml
from harness_single_agent import SingleAgentOptions
from harness_single_agent.caveats import find_caveats

from harness.errors import ScenarioError
from harness.protocols import WorkflowScenario
from harness.schema import IterationRecord, RunSpec, Usage
from tests.plugins.single_agent_context import (
    ANALYSIS,
    REPORT,
    ScriptedContext,
    failed,
    record,
    report_of,
    run,
    scenario,
)


@pytest.fixture(scope="module")
def done():
    return run(ScriptedContext(ANALYSIS, REPORT))


# ---------------------------------------------------------------------------------- the workflow


def test_two_calls_in_three_spans(done):
    assert isinstance(scenario(), WorkflowScenario)
    assert scenario().planned_calls_per_iteration == 2
    assert done.spans == ["ingest", "analysis", "report"]
    first, second = done.requests
    assert (first.stage, first.max_tokens, first.seed) == ("analysis", 256, 7)
    assert (second.stage, second.max_tokens, second.seed) == ("report", 512, 7)


def test_the_prompts_carry_the_data_and_the_second_one_the_analysis(done):
    first, second = (request.messages[0].content for request in done.requests)
    assert "Total files analysed: 6" in first
    assert "tok_s: min 98.656, mean 99.089, max 101.08" in first
    for heading in ("Executive summary", "Key findings", "Metrics analysis", "Recommendations"):
        assert f"## {heading}" in first
    assert "Total files analysed: 6" in second
    assert "There are 5 CSV files." in second


def test_a_tag_that_never_repeats_opens_every_prompt():
    tags = set()
    for salt in ("run/0/measured/0", "run/1/measured/0"):
        for request in run(ScriptedContext("x", "y", salt=salt)).requests:
            tags.add(re.match(r"\([0-9a-f]{10}\)\n", request.messages[0].content)[0])
    assert len(tags) == 4
    plain = run(ScriptedContext("x", "y"), unique_prefix=False).requests
    assert plain[0].messages[0].content.startswith("You examine")


def test_the_prompts_are_the_same_in_every_arm():
    first, other = (
        run(ScriptedContext("x", "y", arm=arm), unique_prefix=False).requests for arm in "ab"
    )
    assert first == other


def test_a_persona_is_really_sent_and_the_tag_stands_before_it():
    ctx = run(ScriptedContext("x", "y"), persona="You are terse.")
    for request in ctx.requests:
        system, user = request.messages
        assert (system.role, user.role) == ("system", "user")
        assert re.fullmatch(r"\([0-9a-f]{10}\)\nYou are terse\.", system.content)
        assert not user.content.startswith("(")
    assert "## Persona (sent as system message)" in report_of(ctx)


def test_bounds_and_flags_reach_the_requests():
    ctx = run(ScriptedContext("x", "y"), max_tokens=33, report_max_tokens=44, ignore_eos=True)
    assert [(r.max_tokens, r.ignore_eos) for r in ctx.requests] == [(33, True), (44, True)]


def test_metrics_and_notes(done):
    values = {name: value for name, (value, _) in done.metrics.items()}
    laps = [values[name] for name in ("ingest_ms", "analysis_ms", "report_ms")]
    assert values["workflow_s"] == pytest.approx(sum(laps) / 1e3)
    assert (values["files"], values["files_skipped"], values["corpus_cut_lines"]) == (6, 0, 0)
    assert values["corpus_bytes"] == 68_866
    assert values["analysis_sections"] == 4
    # Right: 6 files, 1 JSON file, the mean. Wrong: 5 CSV files, the date.
    assert (values["claims_checked"], values["claims_wrong"]) == (5, 2)
    assert values["grounding_wrong_share"] == 0.4
    assert done.metrics["grounding_wrong_share"][1] == "1"
    assert done.notes["findings"][0] == "The JSON file (1 files) is small, and old."
    assert done.notes["grounding"]["wrong"] == 2
    msgspec.msgpack.encode(done.notes)


def test_noise_has_no_share_and_says_why():
    ctx = run(ScriptedContext("examp totaled ide", ""))
    assert "grounding_wrong_share" not in ctx.metrics
    assert ctx.metrics["claims_checked"] == (0, "claims")
    assert ctx.notes["grounding"]["wrong_share"] is None
    assert ctx.notes["grounding"]["reason"] == "no claims found"
    assert "Wrong share: no claims found" in report_of(ctx)


# -------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("stage", ["analysis", "report"])
def test_a_failed_call_ends_the_iteration_with_its_error(stage):
    answers = [failed("analysis")] if stage == "analysis" else ["fine", failed("report")]
    ctx = ScriptedContext(*answers, "never asked for")
    with pytest.raises(ScenarioError, match=rf"the {stage} call ended as error: http\.500: out of"):
        run(ctx)
    assert len(ctx.requests) == len(answers)
    assert ctx.artifacts == {}
    assert ctx.metrics["files"] == (6, "files")


def test_text_that_is_not_kept_is_a_clear_error():
    with pytest.raises(ScenarioError, match=r"does not keep it.*keep\.text=true"):
        run(ScriptedContext(record("analysis", None)))


def test_an_empty_corpus_is_refused_before_any_call(tmp_path):
    ctx = ScriptedContext()
    with pytest.raises(ScenarioError, match="no file to read"):
        asyncio.run(scenario(corpus=str(tmp_path)).setup(ctx))


def test_a_context_that_cannot_hold_prompt_and_answer_is_refused_before_any_call():
    with pytest.raises(ScenarioError, match=r"512 tokens cannot hold the analysis.*num_ctx of"):
        asyncio.run(scenario().setup(ScriptedContext(context_length=512)))
    with pytest.raises(ScenarioError, match="cannot hold the report prompt"):
        asyncio.run(scenario(analysis_max_tokens=8).setup(ScriptedContext(context_length=768)))


@pytest.mark.parametrize("context_length", [1024, 1400, 2048, 3072])
def test_the_prompts_adapt_to_a_small_context_and_say_so(context_length):
    options = {"max_tokens": 64}
    ctx = run(ScriptedContext("word " * 2000, "y", context_length=context_length), **options)
    for request in ctx.requests:
        (message,) = request.messages
        assert len(message.content) / 1.6 <= context_length - 64
    assert ctx.metrics["corpus_cut_lines"][0] > 0
    assert "more lines]" in ctx.requests[0].messages[0].content
    assert "more characters]" in ctx.requests[1].messages[0].content
    assert ctx.notes["corpus_cut"]["report"]["notes_chars_left_out"] > 0
    assert "Cut to fit the context" in report_of(ctx)


def test_the_report_prompt_goes_by_the_servers_own_count():
    """A vocabulary that needs a token for every character: known after the first call."""
    ctx = ScriptedContext(context_length=5000)
    spelt = 5264
    ctx.answers = [record("analysis", "x", usage=Usage(prompt_tokens=spelt, output_tokens=9)), "y"]
    run(ctx, max_tokens=64)
    first, second = (len(request.messages[0].content) for request in ctx.requests)
    assert second <= 5000 - 64 < first


def test_an_unknown_context_leaves_the_options_bounds():
    ctx = run(ScriptedContext("x", "y", context_length=None), summary_chars_max=900)
    assert ctx.notes["corpus_cut"]["analysis"]["summary_chars"] <= 900
    with pytest.raises(ScenarioError, match="summary_chars_max 100 cannot hold"):
        run(ScriptedContext("x", "y", context_length=None), summary_chars_max=100)


def test_names_and_texts_that_are_no_unicode_do_no_harm(tmp_path):
    (tmp_path / "a.json").write_text('{"\\ud800 key": 1}')
    ctx = run(ScriptedContext("a \ud800 surrogate", "y\ud800"), corpus=str(tmp_path))
    for request in ctx.requests:
        msgspec.json.encode(request)
    report_of(ctx).encode()


# ------------------------------------------------------------------------------ plugin and caveats


def run_data(**cuts):
    spec = SimpleNamespace(scenario=SimpleNamespace(name="single_agent"))
    records = [
        IterationRecord(
            arm=arm,
            cell="",
            trial=0,
            iteration=0,
            phase="measured",
            status="ok",
            start_ns=0,
            end_ns=1,
            planned_calls=2,
            data={"corpus_cut": {"analysis": _cut(*analysis), "report": _cut(*report)}},
        )
        for arm, (analysis, report) in cuts.items()
    ]
    return SimpleNamespace(manifest=SimpleNamespace(spec=spec), records=lambda: records)


def _cut(chars, lines):
    return {"summary_chars": chars, "lines_left_out": lines}


def test_a_whole_corpus_is_no_caveat():
    assert find_caveats(run_data(a=((900, 0), (900, 0)), b=((900, 0), (900, 0)))) is None


def test_a_cut_corpus_is_a_note_and_unequal_ones_are_doubtful():
    (note,) = find_caveats(run_data(a=((900, 0), (700, 2))))
    assert (note.code, note.severity, note.arm) == ("corpus-cut", "note", "a")
    (doubt,) = find_caveats(run_data(a=((900, 0), (9, 0)), b=((500, 7), (9, 0))))
    assert (doubt.severity, doubt.arm) == ("doubtful", None)
    assert doubt.remedy.startswith("-o summary_chars_max=500")


def test_registers_with_a_one_line_summary():
    added = {}
    registry = SimpleNamespace(add=lambda name, factory, **more: added.update({name: more}))
    harness_single_agent.harness_register_scenarios(registry)
    assert added["single_agent"]["options"] is SingleAgentOptions


def test_the_shipped_spec_decodes_strictly_and_its_arms_differ():
    path = Path(harness_single_agent.__file__).parent / "specs" / "demo.yaml"
    spec = msgspec.convert(yaml.safe_load(path.read_text()), RunSpec)
    assert msgspec.convert(spec.scenario.options, SingleAgentOptions).ignore_eos
    assert set(spec.arms) == {"baseline", "chimera"}
    assert spec.arms["baseline"].backend != spec.arms["chimera"].backend
