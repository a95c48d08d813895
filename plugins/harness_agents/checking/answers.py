"""Every stream of vectors/streams.json at once, in one dialect: read as it should be?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from harness.text import one_line
from harness_agents.checking.findings import Findings, hear_out
from harness_agents.checking.jobs import body_of, job_of, vectors
from harness_agents.program import Program
from harness_agents.protocol import Dialect, Job, Violation
from harness_agents.recording import Given, Seen, pieces, serving
from harness_agents.transcript import Transcript

__all__ = ["check_answers", "judge_answers"]

_PIECE_BYTES: Final = 7


async def check_answers(
    command: Sequence[str], dialect: Dialect, timeout_s: float, found: Findings
) -> None:
    """A stream for each case; some of them end as errors, and so does the result."""
    cases = vectors(dialect)

    def answer(seen: Seen) -> Given:
        parts = seen.name.split(".")
        number = int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else 0
        body = body_of(cases[min(number, len(cases) - 1)])
        return Given(dialect=dialect, pieces=pieces(body, _PIECE_BYTES))

    session = f"answers ({dialect})"
    async with serving(answer) as server:
        job = job_of(server.url, dialect, ("only",), streams=len(cases))
        program = Program(command, job, timeout_s=timeout_s)
        script = await hear_out(program, found, session)
        if script is None or any(not seen.name for seen in server.seen):
            return  # without names nobody knows which answer was whose
        found.add(session, judge_answers(script, job, cases))
        exit_ = program.outcome.exit if program.outcome else None
        if script.result is not None and exit_ is not None and exit_.status == 0:
            found.add(session, [Violation("exit", "exit status 0, though calls failed")])


def judge_answers(script: Transcript, job: Job, cases: list[dict[str, Any]]) -> list[Violation]:
    """Call by call, in the order of the job: what was told against what was sent."""
    broken = []
    for (_, _, name), case in zip(job.call_names(), cases, strict=True):
        end = script.calls[name].end if name in script.calls else None
        if end is None:
            continue
        wanted = "error" if case["error"] else "ok" if case["ended"] else "truncated"
        told: dict[str, Any] = {
            "status": (end.status, wanted),
            "content_chunks": (end.content_chunks, case["content_chunks"]),
            "text": (case["text"] if end.text is None else end.text, case["text"]),
        }
        if case["error"] is None:
            told["server"] = (_known(end.server), _known(case["server"]))
        for what, (had, should) in told.items():
            if had != should:
                shown = f"{one_line(repr(had), 80)}, not {one_line(repr(should), 80)}"
                broken.append(Violation("server", f"{case['name']!r}: {what} is {shown}"))
                break
    return broken


def _known(server: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in server.items() if value is not None}
