"""combined_report.md: one iteration, agent by agent. Figures by code, what models wrote fenced."""

from __future__ import annotations

from collections.abc import Sequence

from harness_agents.program import Outcome
from msgspec import Struct

from harness.schema import Effective
from harness.text import fenced, one_line, plain
from harness_multi_agent.figures import AgentFigures, Told
from harness_multi_agent.members import Member

__all__ = ["Work", "combined_report"]

TEXT_CHARS_MAX = 20_000


class Work(Struct, frozen=True, kw_only=True):
    """What one agent did in an iteration."""

    member: Member
    start_ns: int
    end_ns: int
    phases: tuple[tuple[str, int, int], ...] = ()
    """(name, start_ns, end_ns) of its parts."""
    calls: tuple[Told, ...] = ()
    error: str = ""
    """Why it does not count."""
    idle: bool = False
    """It did nothing, because another one failed."""
    outcome: Outcome | None = None
    """Of a program."""

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


def combined_report(
    form: str, phase: str, iteration: int, effective: Effective, works: Sequence[Work]
) -> str:
    """`works` in the order of the spec, at least one."""
    lines = [
        f"# Combined report: {_inline(form)}, {phase} iteration {iteration}",
        "",
        *_server(effective),
        *_together(phase, works),
    ]
    for work in works:
        lines += ["", *_agent(work)]
    if len(works) == 2:
        lines += ["", *_delta(*works)]
    for work in works:
        lines += _texts(work)
    return "\n".join(lines) + "\n"


def _server(effective: Effective) -> list[str]:
    lines = [f"- Model: {_inline(effective.model or 'unknown')}"]
    if effective.simulated:
        lines.append("- **Simulated**: a stub answered. These figures say nothing of any model.")
    if effective.random_weights:
        lines.append("- The model's weights are random: its text is noise, its speed is real.")
    return lines


def _together(phase: str, works: Sequence[Work]) -> list[str]:
    first = min(work.start_ns for work in works)
    wall_s = (max(work.end_ns for work in works) - first) / 1e9
    total_s = sum(work.seconds for work in works)
    if phase == "solo":
        return [
            f"- Agents: {len(works)}, one after another",
            f"- Their times added up: {total_s:.3f} s",
        ]
    balance = f"{total_s / wall_s:.3f}" if wall_s > 0 else "unknown"
    return [
        f"- Agents: {len(works)}, at once",
        f"- Wall time: {wall_s:.3f} s, from the first start to the last end",
        f"- Their times added up: {total_s:.3f} s",
        f"- Load-balance ratio (older reports: concurrency speedup): {balance}",
        "",
        "The speed-up is the time of the same agents one after another, which the solo iteration "
        "of the same number measured, divided by this wall time: see the run's summary.",
    ]


def _agent(work: Work) -> list[str]:
    member, figures = work.member, AgentFigures.of(work.calls)
    program = member.program or " ".join(member.command)
    options = ", ".join(f"{name}={value}" for name, value in member.options.items())
    lines = [
        f"## {_inline(member.label)} (`{member.name}`)",
        "",
        f"- Agent: {_inline(program)}; endpoint {member.endpoint}",
        f"- Its own options: {_inline(options) or 'none; those of the spec'}",
        f"- Time: {work.seconds:.3f} s",
        f"- Throughput, mean of the calls' rates as the server reports them: "
        f"{_figure(figures.throughput_tok_s, 'tok/s')}",
        f"- TTFT, mean, as the agent saw it: {_figure(figures.ttft_ms, 'ms')}",
        "",
        "| stage | status | TTFT, ms | duration, ms | output tokens | eval, tok/s |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for call in work.calls:
        values = (call.ttft_ms, call.e2e_ms, call.output_tokens, call.eval_tok_s)
        shown = " | ".join(_figure(value) for value in values)
        lines.append(f"| {_inline(call.stage)} | {_inline(call.status)} | {shown} |")
    return lines + (["", f"Failed: {_inline(work.error)}"] if work.error else [])


def _delta(first: Work, second: Work) -> list[str]:
    a, b = AgentFigures.of(first.calls), AgentFigures.of(second.calls)
    return [
        f"## Difference, {_inline(second.member.label)} − {_inline(first.member.label)}",
        "",
        f"- Throughput: {_difference(a.throughput_tok_s, b.throughput_tok_s, 'tok/s')} "
        "(positive: the second is faster)",
        f"- TTFT: {_difference(a.ttft_ms, b.ttft_ms, 'ms')} (positive: the second waited longer)",
    ]


def _texts(work: Work) -> list[str]:
    lines: list[str] = []
    for call in work.calls:
        if call.text:
            cut = len(call.text) - TEXT_CHARS_MAX
            text = call.text[:TEXT_CHARS_MAX] + (f"\n[{cut} more characters]" if cut > 0 else "")
            lines += [
                "",
                f"## {_inline(work.member.label)}: {_inline(call.stage)}, text of the model",
                "",
                fenced(plain(text)).rstrip("\n"),
            ]
    return lines


def _inline(text: str) -> str:
    """One line without markup of its own."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#&" else c for c in one_line(text, 200))


def _figure(value: float | None, unit: str = "") -> str:
    if value is None:
        return "unknown"
    shown = str(value) if isinstance(value, int) else f"{value:.2f}"
    return f"{shown} {unit}".rstrip()


def _difference(first: float | None, second: float | None, unit: str) -> str:
    if first is None or second is None:
        return "unknown"
    return f"{second - first:+.2f} {unit}"
