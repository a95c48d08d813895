"""What became of one program's work, and why it does not count where it does not."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from harness.errors import ScenarioError
from harness.schema import ReportedCall
from harness.text import one_line
from harness_agents.judging import judge
from harness_agents.process import Exit
from harness_agents.protocol import AgentMetric, Hello, Job, Rule, Violation
from harness_agents.transcript import Transcript

__all__ = ["Failure", "Outcome", "what_failed"]

_STDERR_SHOWN: Final = 400


class Failure(Struct, frozen=True, kw_only=True):
    """Why an agent's work does not count."""

    agent: str
    rule: Rule | None
    """None: it kept to the rules, and says that it failed."""
    what: str
    stderr: str = ""

    def error(self) -> ScenarioError:
        by = f" (rule `{self.rule}`)" if self.rule else ""
        end = self.stderr[-_STDERR_SHOWN:]
        said = f"; its standard error ends with: {one_line(end, _STDERR_SHOWN)}" if end else ""
        return ScenarioError(
            f"{one_line(self.what, 300)}{by}{said}",
            where=f"agent {one_line(self.agent, 60)}",
            remedy="`harness agent check -- PROGRAM …`" if self.rule else "the call's record",
        )


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one program's work."""

    agent: str
    hello: Hello | None = None
    start_up_ns: int | None = None
    """From before it was started until it was ready."""
    start_ns: int | None = None
    """The barrier's instant that it was given."""
    begin_ns: int | None = None
    end_ns: int | None = None
    """When its work was done, by itself."""
    phases: tuple[tuple[str, int, int], ...] = ()
    """(name, start_ns, end_ns)"""
    calls: tuple[ReportedCall, ...] = ()
    """Also of a program that failed: what it told of."""
    metrics: tuple[AgentMetric, ...] = ()
    data: dict[str, Any] = {}
    extras: tuple[dict[str, Any], ...] = ()
    exit: Exit | None = None
    stderr: str = ""
    failure: Failure | None = None


def what_failed(
    script: Transcript, job: Job, exit_: Exit, *, start_ns: int | None
) -> Violation | str | None:
    """Of a program that was heard to its end: the rule that it broke, or what it says itself. None:
    its work counts. `start_ns`: of the barrier."""
    if script.failed is not None:
        return f"it cannot go on: {one_line(script.failed.message, 200)}"
    if script.result is None:
        if script.broken:
            return script.broken[0]
        return Violation("result", f"it ended without one: {exit_.words}")
    broken = judge(script, job, start_ns=start_ns)
    if broken:
        return broken[0]
    if (script.result.status == "ok") != (exit_.status == 0):
        return Violation("exit", f"{exit_.words} after a result that is {script.result.status}")
    if script.result.status != "ok":
        return _why(script)
    return None


def _why(script: Transcript) -> str:
    """What a program that failed by the rules has to say for itself."""
    for call in script.calls.values():
        if call.end is not None and call.end.error is not None:
            error = call.end.error
            told = f"{call.name} ended as {call.end.status}: {error.code}: {error.message}"
            return f"its work failed: {one_line(told, 240)}"
    return "its work failed, and no call of its says why"
