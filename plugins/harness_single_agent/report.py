"""The technical report of one iteration. Every figure in it was made by code, from records and
files; what the model wrote stands in labelled blocks that it cannot close."""

from __future__ import annotations

import datetime

from msgspec import Struct

from harness.schema import CallRecord, Effective
from harness_single_agent.answer import Analysis
from harness_single_agent.figures import CallFigures, throughput_tok_s
from harness_single_agent.grounding import Grounding
from harness_single_agent.ingest import Corpus
from harness_single_agent.summary import DataSummary
from harness_single_agent.text import fenced, inline

__all__ = ["Workflow", "technical_report"]

_CLAIMS_MAX = 200
_NOISE = (
    "> The model has random weights: its text is noise and says nothing about any model's quality. "
    "The times are real."
)
_SIMULATED = "> SIMULATED: the server is a stand-in. No figure here says anything about a model."


class Workflow(Struct, frozen=True, kw_only=True):
    """Everything that the report is a function of."""

    started: datetime.datetime
    arm: str
    effective: Effective
    persona: str | None
    corpus: Corpus
    data_summary: DataSummary
    laps_ms: dict[str, float]
    calls: dict[str, CallRecord]
    analysis: Analysis
    grounding: Grounding


def technical_report(workflow: Workflow) -> str:
    """Markdown, ending in a newline."""
    parts = [
        _header(workflow),
        "## Report (text of the model)",
        "Written by the model. Its figures are not results of this benchmark; the section "
        "Grounding says which of them the data bears out.",
        fenced(workflow.calls["report"].text or "", "text"),
        _summary(workflow),
        _metrics(workflow.calls),
        _items("Key Findings", workflow.analysis.findings),
        _items("Recommendations", workflow.analysis.recommendations),
        _grounding(workflow.grounding),
        _persona(workflow.persona),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(workflow: Workflow) -> str:
    effective = workflow.effective
    server = " ".join(filter(None, (effective.server, effective.server_version))) or "unknown"
    options = ", ".join(f"{key}={value}" for key, value in sorted(effective.options.items()))
    lines = [
        f"# Technical Report: {inline(workflow.arm)}",
        "",
        f"- **Date:** {workflow.started:%Y-%m-%d %H:%M:%S} UTC",
        f"- **Arm:** {inline(workflow.arm)}",
        f"- **Model:** {inline(effective.model or 'unknown')}",
        f"- **Server:** {inline(server)}",
        f"- **Context length:** {_or_unknown(effective.context_length)}",
        f"- **Configuration:** {inline(options) or 'the defaults of the server'}",
    ]
    if effective.random_weights:
        lines += ["", _NOISE]
    if effective.simulated:
        lines += ["", _SIMULATED]
    return "\n".join(lines)


def _summary(workflow: Workflow) -> str:
    laps = " | ".join(f"{name} {ms / 1e3:.2f} s" for name, ms in workflow.laps_ms.items())
    total_s = sum(workflow.laps_ms.values()) / 1e3
    skipped = workflow.corpus.skipped
    cut = workflow.data_summary
    lines = [
        "## Workflow Summary",
        "",
        f"- Files analysed: {len(workflow.corpus.sources)} ({workflow.corpus.size_bytes} bytes)",
        f"- Files not read: {len(skipped)}",
        f"- Execution time: {total_s:.2f} s ({laps})",
    ]
    if cut.is_cut:
        lines.append(
            f"- Cut to fit the context: {cut.lines_left_out} lines of the data summary, "
            f"{cut.files_left_out} of them whole files"
        )
    lines += ["- Data summary, as the model was given it:", "", fenced(cut.text)]
    if skipped:
        listing = "\n".join(f"{file.path}: {file.reason}" for file in skipped)
        lines += ["", "Files that were not read, and why:", "", fenced(listing)]
    return "\n".join(lines)


def _metrics(calls: dict[str, CallRecord]) -> str:
    figures = {stage: CallFigures.of(record) for stage, record in calls.items()}
    rows = [
        ("TTFT (measured), ms", "ttft_ms", "mean"),
        ("Duration (request sent → stream ended), ms", "e2e_ms", "sum"),
        ("Prompt tokens (server)", "prompt_tokens", "sum"),
        ("Output tokens (server)", "output_tokens", "sum"),
        ("Decode rate, client, tok/s", "decode_tok_s", ""),
        ("Decode rate, server, tok/s", "server_decode_tok_s", ""),
        ("Prompt eval (server), ms", "server_prompt_eval_ms", "sum"),
        ("Eval (server), ms", "server_eval_ms", "sum"),
        ("Load (server), ms", "server_load_ms", "sum"),
    ]
    lines = [
        "## Metrics",
        "",
        f"| | {' | '.join(figures)} | both |",
        f"|---|{'---:|' * (len(figures) + 1)}",
    ]
    for title, name, how in rows:
        values = [getattr(call, name) for call in figures.values()]
        cells = " | ".join(map(_figure, values))
        lines.append(f"| {title} | {cells} | {_both(values, how)} |")
    rate = throughput_tok_s(list(calls.values()))
    sources = ", ".join(sorted({record.stamp_source for record in calls.values()}))
    ends = ", ".join(
        f"{stage} {record.finish_reason or 'unknown'}" for stage, record in calls.items()
    )
    lines += [
        "",
        f"- Throughput (output tokens of both calls / first request sent → last stream ended): "
        f"{_figure(rate)} tok/s",
        f"- Stamps: {sources}. Ended by: {inline(ends)}",
    ]
    return "\n".join(lines)


def _items(title: str, items: tuple[str, ...]) -> str:
    if not items:
        return f"## {title}\n\nThe analysis has no such section."
    text = "\n".join(f"- {item}" for item in items)
    return f"## {title}\n\nText of the model, from its analysis:\n\n{fenced(text)}"


def _grounding(grounding: Grounding) -> str:
    share = grounding.wrong_share
    lines = [
        "## Grounding",
        "",
        "Counts, dates, percentages and figures of named columns in the model's two texts, "
        "compared with the data.",
        "",
        f"- Checked: {grounding.checked}; wrong: {grounding.count('wrong')}; "
        f"not to be checked: {grounding.count('unverifiable')}",
        f"- Wrong share: {f'{100 * share:.1f} %' if share is not None else grounding.reason}",
    ]
    if grounding.claims:
        shown = grounding.claims[:_CLAIMS_MAX]
        listing = [
            f"{c.verdict:<12} {c.kind:<10} {c.text:<8} {' '.join(c.said.split())} — {c.why}"
            for c in shown
        ]
        if len(shown) < len(grounding.claims):
            listing.append(f"and {len(grounding.claims) - len(shown)} more")
        lines += ["", fenced("\n".join(listing))]
    return "\n".join(lines)


def _persona(persona: str | None) -> str:
    return "" if persona is None else f"## Persona (sent as system message)\n\n{fenced(persona)}"


def _both(values: list[float | None], how: str) -> str:
    """A rate has no sum and no mean over calls of different length; it stays blank."""
    if not how or any(value is None for value in values):
        return ""
    total = sum(value for value in values if value is not None)
    return _figure(total / len(values) if how == "mean" else total) + f" ({how})"


def _figure(value: float | None) -> str:
    if value is None:
        return "unknown"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else f"{value} tokens"
