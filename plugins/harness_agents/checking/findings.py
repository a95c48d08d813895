"""What the sessions find out: which rules were come to, and what broke them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

from msgspec import Struct, field

from harness.text import one_line
from harness_agents.judging import judge
from harness_agents.program import Program
from harness_agents.protocol import Rule, Violation
from harness_agents.team import run_team
from harness_agents.transcript import Transcript

__all__ = ["RULES", "Checked", "Findings", "hear_out"]

RULES: Final[tuple[Rule, ...]] = get_args(Rule)
Status = Literal["kept", "broken", "not reached"]
_EVIDENCE_MAX: Final = 5
_STDERR_SHOWN: Final = 160


class Checked(Struct, frozen=True, kw_only=True):
    """One rule, judged."""

    rule: Rule
    status: Status
    evidence: tuple[str, ...] = ()
    """What broke it, harmless to print; a few of them."""


class Findings(Struct):
    """What the sessions found out."""

    broken: dict[Rule, list[str]] = field(default_factory=dict)
    reached: set[Rule] = field(default_factory=set)

    def add(self, session: str, violations: Sequence[Violation]) -> None:
        for violation in violations:
            line = f"{session}: {violation.what}"
            self.broken.setdefault(violation.rule, []).append(one_line(line, 300))

    def result(self) -> list[Checked]:
        return [
            Checked(
                rule=rule,
                status="broken"
                if rule in self.broken
                else ("kept" if rule in self.reached else "not reached"),
                evidence=tuple(self.broken.get(rule, ())[:_EVIDENCE_MAX]),
            )
            for rule in RULES
        ]


async def hear_out(program: Program, found: Findings, session: str) -> Transcript | None:
    """Work, and all that can be judged by its words. None: it did not come so far."""
    (outcome,) = await run_team([program])
    script = program.script
    if outcome.hello is not None:
        found.reached.add("hello")
    if script is None or outcome.start_ns is None or program.failed is not None:
        assert program.failed is not None
        found.reached.add(program.failed.rule)
        end = one_line(outcome.stderr[-_STDERR_SHOWN:], _STDERR_SHOWN)
        said = f"; its standard error ends with: {end}" if end else ""
        broken = [Violation(program.failed.rule, program.failed.what + said)]
        if script is not None:
            broken += [one for one in script.broken if one.rule != program.failed.rule]
        found.add(session, broken)
        return None
    found.reached |= {"json", "event", "fields", "clock", "ready"}
    if not script.unreadable:
        found.reached |= {"barrier", "phases", "calls", "stamps", "reason", "chunks", "result"}
    broken = judge(script, program.job, start_ns=outcome.start_ns)
    if script.failed is not None:
        what = f"it gave up: {one_line(script.failed.message, 200)}"
        broken.append(Violation("result", what))
    found.add(session, broken)
    return None if script.unreadable else script
