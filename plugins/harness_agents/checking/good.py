"""A session in which everything must go well, and be told as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from harness.text import one_line
from harness_agents.checking.answers import judge_answers
from harness_agents.checking.findings import Findings, hear_out
from harness_agents.checking.jobs import (
    content_pieces,
    job_of,
    lines_of,
    prompt_of,
    summary_of,
    vectors,
)
from harness_agents.ingest import sha256
from harness_agents.program import Program
from harness_agents.protocol import Corpus, Endpoint, Job, Rule, Stage, Violation
from harness_agents.python_agent import put
from harness_agents.recording import Given, RecordingServer, Seen, serving
from harness_agents.transcript import Transcript

__all__ = ["check_good"]

_PAUSE_S: Final = 0.005


async def check_good(
    command: Sequence[str], corpus: Corpus, timeout_s: float, found: Findings
) -> None:
    cases = {case["name"]: case for case in vectors("ollama")}
    given = {"analysis": cases["empty pieces"], "report": cases["thinking in generate"]}

    def answer(seen: Seen) -> Given:
        stage = seen.name.rpartition(".")[2]
        number = len(server.seen) - 1
        case = given.get(stage) or list(given.values())[min(number, 1)]
        return Given(dialect="ollama", pieces=lines_of(case), pause_s=_PAUSE_S)

    async with serving(answer) as server:
        job = job_of(server.url, "ollama", tuple(given), corpus=corpus)
        program = Program(command, job, timeout_s=timeout_s)
        script = await hear_out(program, found, "good")
        if script is None:
            return
        reached: set[Rule] = {"request-id", "body", "summary", "server", "exit"}
        found.reached |= reached
        exit_ = program.outcome.exit if program.outcome else None
        if script.result is not None and exit_ is not None:
            if script.result.status != "ok":
                found.add("good", [Violation("result", "it is not ok, though every call can be")])
            if (script.result.status == "ok") != (exit_.status == 0) or program.stopped:
                by = "it had to be ended" if program.stopped else exit_.words
                what = f"{by}, after a result that is {script.result.status}"
                found.add("good", [Violation("exit", what)])
        start_ns = program.outcome.start_ns if program.outcome else None
        found.add("good", _judge_requests(server, job, given, script, start_ns or 0))
        found.add("good", _judge_times(server, script, given))
        found.add("good", judge_answers(script, job, [given[s.name] for s in job.stages]))
        found.add("good", _judge_summary(script, corpus))


def _judge_requests(
    server: RecordingServer,
    job: Job,
    given: dict[str, Any],
    script: Transcript,
    start_ns: int,
) -> list[Violation]:
    """What came over the wire: names, headers, bodies, and not too early."""
    broken = []
    named = {seen.name: seen for seen in server.seen}
    names = [name for _, _, name in job.call_names()]
    told = [name for name in names if name in script.calls]
    if len(server.seen) != len(script.calls):
        many = f"the server got {len(server.seen)} requests of {len(script.calls)} calls"
        broken.append(Violation("calls", many))
    for name in told:
        if name not in named:
            broken.append(Violation("request-id", f"the server saw no X-Request-ID: {name}"))
    summary = summary_of(job.corpus)
    texts: dict[str, str] = {}
    for number, stage in enumerate(job.stages):
        seen = named.get(names[number]) or _at(server.seen, number)
        if seen is not None:
            wanted = put(stage.body, list(stage.prompt_at), prompt_of(stage, summary, texts))
            broken += _judge_request(seen, stage, wanted, job.endpoint)
            if seen.arrived_ns < start_ns:
                broken.append(Violation("barrier", f"{names[number]} came before the start"))
        texts[stage.name] = given[stage.name]["text"]
    return broken


def _judge_request(
    seen: Seen, stage: Stage, wanted: dict[str, Any], endpoint: Endpoint
) -> list[Violation]:
    where = f"the request of {stage.name}"
    if seen.path != stage.path:
        return [Violation("body", f"{where} went to {one_line(seen.path, 80)}, not {stage.path}")]
    headers = dict(seen.headers)
    for name, value in (*endpoint.headers, ("Content-Type", "application/json")):
        had = headers.get(name.lower(), "")
        if had != value and not had.startswith(f"{value};"):
            return [Violation("body", f"{where} has no header {name}: {value}")]
    try:
        body = json.loads(seen.body)
    except ValueError:
        return [Violation("body", f"{where} is not JSON")]
    if body == wanted:
        return []
    return [Violation("body", f"{where}: {_difference(wanted, body)}")]


def _difference(wanted: Any, had: Any, at: str = "$") -> str:
    if isinstance(wanted, dict) and isinstance(had, dict):
        for key in {**wanted, **had}:
            if key not in had:
                return f"{at}.{key} is missing"
            if key not in wanted:
                return f"{at}.{key} is too much"
            if wanted[key] != had[key]:
                return _difference(wanted[key], had[key], f"{at}.{key}")
    if isinstance(wanted, list) and isinstance(had, list) and len(wanted) == len(had):
        for index, (one, two) in enumerate(zip(wanted, had, strict=True)):
            if one != two:
                return _difference(one, two, f"{at}[{index}]")
    return f"{at} is {one_line(repr(had), 100)}, not {one_line(repr(wanted), 100)}"


def _judge_times(
    server: RecordingServer, script: Transcript, given: dict[str, Any]
) -> list[Violation]:
    """Nobody sees a token before it was sent, or sends after it has arrived."""
    broken = []
    for seen in server.seen:
        call = script.calls.get(seen.name)
        case = given.get(seen.name.rpartition(".")[2])
        if call is None or case is None or call.sent is None:
            continue
        if call.sent.at_ns > seen.arrived_ns:
            broken.append(Violation("stamps", f"{seen.name}: call_sent is after its arrival"))
        content = content_pieces(case)
        for mark, index in ((call.first, content[0]), (call.last, content[-1])):
            if mark is None or mark.at_ns is None or index >= len(seen.sent_ns):
                continue
            early_ms = (seen.sent_ns[index] - mark.at_ns) / 1e6
            if early_ms > 0:
                what = f"{seen.name}: {mark.t} is {early_ms:.3f} ms before that token was sent"
                broken.append(Violation("stamps", what))
    return broken


def _judge_summary(script: Transcript, corpus: Corpus) -> list[Violation]:
    if script.result is None:
        return []
    told = script.result.data.get("summary_sha256")
    wanted = sha256(summary_of(corpus))
    if told == wanted:
        return []
    shown = one_line(str(told), 80) if told is not None else "missing"
    return [Violation("summary", f"summary_sha256 is {shown}, not {wanted}")]


def _at(seen: list[Seen], number: int) -> Seen | None:
    return seen[number] if number < len(seen) else None
