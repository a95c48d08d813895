"""The report of `single_agent`: its text, its figures, and what it reads out of an answer."""

from __future__ import annotations

import re

import msgspec
import pytest
from harness_single_agent.answer import parse_analysis
from harness_single_agent.figures import CallFigures, throughput_tok_s
from harness_single_agent.text import clean, cut, fenced, inline
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics import call_metric
from harness.schema import Usage
from tests.plugins.single_agent_context import (
    ANALYSIS,
    REPORT,
    ScriptedContext,
    record,
    report_of,
    run,
)


@pytest.fixture(scope="module")
def done():
    return run(ScriptedContext(ANALYSIS, REPORT))


# ------------------------------------------------------------------------------------- the report


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
