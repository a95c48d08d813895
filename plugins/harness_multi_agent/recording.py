"""What an iteration of several agents leaves behind: spans, figures, notes, a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness_agents.process import Exit
from harness_agents.scenario import outcome_note

from harness.protocols import AgentCalls, Context
from harness.text import one_line
from harness_multi_agent.figures import AgentFigures
from harness_multi_agent.members import Member
from harness_multi_agent.report import Work, combined_report

__all__ = ["record_spans", "record_work"]


def record_spans(work: Work, calls: AgentCalls) -> None:
    """`agent` only of work that counts: a time that ended with a failure is no time of the work."""
    for name, start_ns, end_ns in work.phases:
        if work.start_ns <= start_ns <= end_ns:
            calls.span(name, start_ns, end_ns)
    if not work.error:
        calls.span("agent", work.start_ns, work.end_ns)


def record_work(ctx: Context, form: str, members: Sequence[Member], works: Sequence[Work]) -> None:
    """`works` may be fewer than members, where one failed."""
    ctx.note("form", form)
    told = {work.member.name: work for work in works}
    ctx.note("agents", {one.name: _noted(one, told.get(one.name)) for one in members})
    good = [work for work in works if not work.error]
    for work in good:
        _record_figures(ctx, work)
    if len(good) == len(members) == 2:
        _record_deltas(ctx, *(AgentFigures.of(work.calls) for work in good))
    tag = f"{ctx.phase[0]}{ctx.iteration}"
    if works:
        report = combined_report(form, ctx.phase, ctx.iteration, ctx.effective, works)
        ctx.artifact(f"combined_report.{tag}.md", report)
    for work in works:
        outcome = work.outcome
        if work.error and outcome is not None and outcome.stderr:
            ctx.artifact(f"{work.member.name}.{tag}.stderr.txt", outcome.stderr)


def _noted(member: Member, work: Work | None) -> dict[str, Any]:
    noted: dict[str, Any] = {
        "label": one_line(member.label, 100),
        "agent": member.program or " ".join(one_line(word, 200) for word in member.command),
        "endpoint": member.endpoint,
        "options": member.options,
    }
    if work is not None and work.outcome is not None:
        noted["program"] = outcome_note(work.outcome)
    return noted


def _record_figures(ctx: Context, work: Work) -> None:
    name, figures = work.member.name, AgentFigures.of(work.calls)
    if figures.throughput_tok_s is not None:
        rate = figures.throughput_tok_s
        ctx.metric(f"{name}_throughput_tok_s", rate, "tok/s", better="higher")
    if figures.ttft_ms is not None:
        ctx.metric(f"{name}_ttft_ms", figures.ttft_ms, "ms", better="lower")
    outcome = work.outcome
    if outcome is None:
        return
    if outcome.start_up_ns is not None:
        ctx.metric(f"{name}_start_up_ms", outcome.start_up_ns / 1e6, "ms", better="lower")
    if outcome.exit is not None:
        _record_exit(ctx, name, outcome.exit)
    for one in outcome.metrics:
        ctx.metric(f"{name}.{one.name}", one.value, one.unit, better=one.better)


def _record_exit(ctx: Context, name: str, exit_: Exit) -> None:
    """What the program used, from its start to its end."""
    cpu_ms = (exit_.cpu_user_ns + exit_.cpu_system_ns) / 1e6
    switches = exit_.ctx_switches_voluntary + exit_.ctx_switches_involuntary
    ctx.metric(f"{name}_cpu_ms", cpu_ms, "ms", better="lower")
    ctx.metric(f"{name}_ctx_switches", switches, "switches", better="lower")
    if exit_.rss_max_bytes is not None:
        ctx.metric(f"{name}_rss_max_bytes", exit_.rss_max_bytes, "B", better="lower")


def _record_deltas(ctx: Context, first: AgentFigures, second: AgentFigures) -> None:
    """Second − first: candidate − baseline."""
    for stem, unit in (("throughput", "tok_s"), ("ttft", "ms")):
        one, other = (getattr(of, f"{stem}_{unit}") for of in (first, second))
        if one is not None and other is not None:
            ctx.metric(f"{stem}_delta_{unit}", other - one, unit.replace("_", "/"))
