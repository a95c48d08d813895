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
from harness_single_agent.answer import parse_analysis
from harness_single_agent.caveats import find_caveats
from harness_single_agent.figures import CallFigures, throughput_tok_s
from harness_single_agent.text import clean, cut, fenced, inline
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.metrics import call_metric
from harness.protocols import WorkflowScenario
from harness.schema import IterationRecord, RunSpec, Usage
from tests.plugins.single_agent_context import ScriptedContext, failed, record, scenario

ANALYSIS = """\
## Executive summary
All 6 files were read.

**Key Findings**
- The JSON file (1 files) is small,
  and old.
- There are 5 CSV files.

3. Metrics analysis:
tok_s has a mean of 99.089.

## Recommendations
1. Measure again.
2. Write to <b>us</b>.
"""
REPORT = (
    "# Report\n**Date:** October 26, 2023\n```\nnot closed \x1b[31m\n## Metrics\n- TTFT: 1 ms\n"
)


def run(ctx, **options):
    agent = scenario(**options)

    async def trial():
        await agent.setup(ctx)
        await agent.execute(ctx)
        await agent.teardown(ctx)

    asyncio.run(trial())
    return ctx


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


# ------------------------------------------------------------------------------------- the report


def report_of(ctx):
    (name,) = ctx.artifacts
    assert name == "technical_report.m3.md"
    return ctx.artifacts[name]


def outside_fences(markdown):
    """What a Markdown reader takes for markup: everything but fenced blocks."""
    kept, fence = [], None
    for line in markdown.split("\n"):
        run = re.match(r"`{3,}", line)
        if fence is None:
            kept.append(line)
            fence = run[0] if run else None
        elif run and line.strip() == fence:
            fence = None
    assert fence is None
    return "\n".join(kept)


def test_the_report_has_the_sections_of_its_form(done):
    headings = re.findall(r"^#+ .*$", outside_fences(report_of(done)), re.MULTILINE)
    assert headings == [
        "# Technical Report: baseline",
        "## Report (text of the model)",
        "## Workflow Summary",
        "## Metrics",
        "## Key Findings",
        "## Recommendations",
        "## Grounding",
    ]


def test_every_figure_outside_the_fences_comes_from_code(done):
    text = outside_fences(report_of(done))
    assert "- **Configuration:** temperature=0.4" in text
    assert "- Files analysed: 6 (68866 bytes)" in text
    assert "| TTFT (measured), ms | 100.00 | 100.00 | 100.00 (mean) |" in text
    assert "| Duration (request sent → stream ended), ms | 400.00 | 400.00 | 800.00 (sum) |" in text
    assert "| Output tokens (server) | 21 | 21 | 42 (sum) |" in text
    assert "| Decode rate, client, tok/s | 100.00 | 100.00 |  |" in text
    assert "| Load (server), ms | unknown | unknown |  |" in text
    # 42 tokens from 0 to 900 ms, not the mean of two rates.
    assert "last stream ended): 46.67 tok/s" in text
    assert "- Checked: 5; wrong: 2; not to be checked: 0" in text
    assert "- Wrong share: 40.0 %" in text


def test_the_models_text_stays_inside_its_fence(done):
    whole = report_of(done)
    text = outside_fences(whole)
    assert "October 26, 2023" in whole and "October 26, 2023" not in text
    assert "TTFT: 1 ms" not in text
    assert "<b>" not in text
    assert "\x1b" not in whole
    assert "````text\n# Report" in whole  # longer than the run of three inside


def test_random_weights_are_said_to_be_noise():
    ctx = ScriptedContext("x", "y")
    ctx.effective = msgspec.structs.replace(ctx.effective, random_weights=True)
    assert "text is noise" in report_of(run(ctx))


@given(st.text(), st.text())
def test_no_text_escapes_its_fence(before, inside):
    block = fenced(f"{before}`````{inside}")
    fence = block.split("text\n")[0]
    body = block.split("\n")[1:-1]
    assert block.split("\n")[-1] == fence
    assert all(fence not in line for line in body)
    assert "\x1b" not in block and "\u202e" not in block
    block.encode()


@given(st.text())
def test_inline_text_is_one_line_without_markup(text):
    shown = inline(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[`*_\[\]<>|]", shown.replace("\\\\", ""))


@given(st.text(), st.integers(0, 100))
def test_a_cut_keeps_its_bound_and_counts(text, chars_max):
    shown, left_out = cut(text, chars_max)
    assert len(shown) <= max(chars_max, 0) or not left_out
    assert (left_out == 0) == (shown == text)


def test_line_breaks_of_every_kind_become_newlines():
    assert clean("a\r\nb\rc\u2028d\x85e") == "a\nb\nc\nd\ne"


# ------------------------------------------------------------------------------------ the figures


@pytest.mark.parametrize(
    "server",
    [
        {},
        {"timings": {"prompt_ms": 80.5, "predicted_n": 21, "predicted_ms": 199.5}},
        {"prompt_eval_duration": 80_500_000, "eval_count": 21, "eval_duration": 199_500_000}
        | {"load_duration": 9_000_000},
        {"prompt_eval_duration": "soon", "eval_count": None, "timings": 3},
        {"eval_count": 1, "eval_duration": 50},
    ],
)
def test_figures_agree_with_the_metrics_of_the_harness(server):
    call = record("analysis", "x", server=server)
    figures = CallFigures.of(call)
    twins = {
        "ttft_ms": "ttft_ms",
        "e2e_ms": "e2e_ms",
        "decode_tok_s": "decode_rate_client_tok_s",
        "server_decode_tok_s": "decode_rate_server_tok_s",
        "server_load_ms": "server_load_ms",
        "server_prompt_eval_ms": "server_prompt_ms",
    }
    for own, name in twins.items():
        assert getattr(figures, own) == pytest.approx(call_metric(name).formula(call)), name


def test_throughput_needs_every_stamp_and_count():
    assert throughput_tok_s([]) is None
    assert throughput_tok_s([record("a", "x"), record("b", "y", usage=Usage())]) is None
    assert throughput_tok_s([record("a", "x")]) == pytest.approx(21 / 0.4)


# ------------------------------------------------------------------------------------- the answer


def test_sections_in_every_manner_of_heading():
    analysis = parse_analysis(ANALYSIS)
    assert analysis.sections == 4
    assert analysis.summary == "All 6 files were read."
    assert analysis.findings[1] == "There are 5 CSV files."
    assert analysis.metrics == "tok_s has a mean of 99.089."
    assert analysis.recommendations == ("Measure again.", "Write to <b>us</b>.")


@pytest.mark.parametrize(
    "heading",
    [
        "# Key findings",
        "## 2. Key Findings:",
        "**Key Performance Findings**",
        "**2. Key findings:**",
        "Key findings",
        "KEY FINDINGS:",
        "II. Key findings",
        "### *Key findings* ###",
    ],
)
def test_headings(heading):
    text = f"{heading}\n- one\n- two\n\n## Appendix\n- not a finding\n"
    assert parse_analysis(text).findings == ("one", "two")


def test_seed_001_cannot_happen_again():
    """There, a bold heading became a finding and the whole summary a recommendation."""
    text = "The data should be considered.\n\n**Key Performance Findings**\n\nThey suggest a lot.\n"
    analysis = parse_analysis(text)
    assert analysis.findings == ("They suggest a lot.",)
    assert analysis.recommendations == ()


@given(st.text())
def test_any_text_has_an_analysis(text):
    assert 0 <= parse_analysis(text).sections <= 4


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
