"""`harness agent check`: does a program keep to docs/agent-protocol.md? Rule by rule.

Five kinds of session, each a process of its own against a small server that keeps what it is sent:
good      one stream, a corpus, two stages: everything must go well, and be told as it was
answers   every stream of vectors/streams.json at once, in one dialect: read as it should be?
nowhere   nobody listens: a call that fails is told of as failed
version   a protocol that nobody knows is refused
interrupt SIGTERM in the middle of a call

A rule that no session came to is neither kept nor broken: what comes before it has to be mended.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct, field

from harness.text import one_line
from harness_agents.answers import reader_for
from harness_agents.ingest import ingest, sha256
from harness_agents.program import Program
from harness_agents.protocol import (
    Corpus,
    CorpusFile,
    Dialect,
    Endpoint,
    Job,
    Kind,
    Rule,
    Stage,
    Violation,
)
from harness_agents.python_agent import filled, put
from harness_agents.recording import Given, RecordingServer, Seen, pieces, serving
from harness_agents.team import run_team
from harness_agents.transcript import Transcript, judge

__all__ = ["RULES", "Checked", "check"]

RULES: Final[tuple[Rule, ...]] = get_args(Rule)
Status = Literal["kept", "broken", "not reached"]

_VECTORS: Final = Path(__file__).parent / "vectors"
_EVIDENCE_MAX: Final = 5
_STDERR_SHOWN: Final = 160
_PAUSE_S: Final = 0.005
_PIECE_BYTES: Final = 7
_UNKNOWN_PROTOCOL: Final = 999
_CORPUS: Final = {
    "tables/a.csv": b"a,b\r\n1,2\r\n\r\n3,4",
    "gr\u00f6\u00dfe.json": '{"a": [1, "x", null], "\u00e4": {}}'.encode(),
    "notes.md": b"# One\n\n#two\n #no\n",
    "half.json": b'{"a": ',
}
_LISTED: Final[tuple[tuple[str, Kind], ...]] = (
    ("tables/a.csv", "csv"),
    ("gr\u00f6\u00dfe.json", "json"),
    ("gone.md", "md"),
    ("half.json", "json"),
    ("notes.md", "md"),
)


class Checked(Struct, frozen=True, kw_only=True):
    """One rule, judged."""

    rule: Rule
    status: Status
    evidence: tuple[str, ...] = ()
    """What broke it, harmless to print; a few of them."""


class _Findings(Struct):
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


async def check(
    command: Sequence[str], *, timeout_s: float = 30.0, answers: bool = True
) -> list[Checked]:
    """Every rule, in the order of the page. Without `answers`, the many streams are left out.
    Raises BackendError where there is no such program."""
    found = _Findings()
    with tempfile.TemporaryDirectory(prefix="harness-check-") as folder:
        corpus = _lay_out(Path(folder))
        await _good(command, corpus, timeout_s, found)
    for dialect in get_args(Dialect) if answers else ():
        await _answers(command, dialect, timeout_s, found)
    await _nowhere(command, timeout_s, found)
    await _version(command, timeout_s, found)
    await _interrupt(command, timeout_s, found)
    return found.result()


# --------------------------------------------------------------------------------------------- good


async def _good(command: Sequence[str], corpus: Corpus, timeout_s: float, found: _Findings) -> None:
    cases = {case["name"]: case for case in _vectors("ollama")}
    given = {"analysis": cases["empty pieces"], "report": cases["thinking in generate"]}

    def answer(seen: Seen) -> Given:
        stage = seen.name.rpartition(".")[2]
        number = len(server.seen) - 1
        case = given.get(stage) or list(given.values())[min(number, 1)]
        return Given(dialect="ollama", pieces=_lines(case), pause_s=_PAUSE_S)

    async with serving(answer) as server:
        job = _job(server.url, "ollama", tuple(given), corpus=corpus)
        program = Program(command, job, timeout_s=timeout_s)
        script = await _run(program, found, "good")
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
        found.add("good", _judge_answers(script, job, [given[s.name] for s in job.stages]))
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
    summary = _summary(job.corpus)
    texts: dict[str, str] = {}
    for number, stage in enumerate(job.stages):
        seen = named.get(names[number]) or _at(server.seen, number)
        if seen is not None:
            wanted = put(stage.body, list(stage.prompt_at), _prompt(stage, summary, texts))
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
        content = _content_pieces(case)
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
    wanted = sha256(_summary(corpus))
    if told == wanted:
        return []
    shown = one_line(str(told), 80) if told is not None else "missing"
    return [Violation("summary", f"summary_sha256 is {shown}, not {wanted}")]


# ------------------------------------------------------------------------------------------ answers


async def _answers(
    command: Sequence[str], dialect: Dialect, timeout_s: float, found: _Findings
) -> None:
    """A stream for each case; some of them end as errors, and so does the result."""
    cases = _vectors(dialect)

    def answer(seen: Seen) -> Given:
        parts = seen.name.split(".")
        number = int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else 0
        body = _body(cases[min(number, len(cases) - 1)])
        return Given(dialect=dialect, pieces=pieces(body, _PIECE_BYTES))

    session = f"answers ({dialect})"
    async with serving(answer) as server:
        job = _job(server.url, dialect, ("only",), streams=len(cases))
        program = Program(command, job, timeout_s=timeout_s)
        script = await _run(program, found, session)
        if script is None or any(not seen.name for seen in server.seen):
            return  # without names nobody knows which answer was whose
        found.add(session, _judge_answers(script, job, cases))
        exit_ = program.outcome.exit if program.outcome else None
        if script.result is not None and exit_ is not None and exit_.status == 0:
            found.add(session, [Violation("exit", "exit status 0, though calls failed")])


def _judge_answers(script: Transcript, job: Job, cases: list[dict[str, Any]]) -> list[Violation]:
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


# --------------------------------------------------------------------------------------- what fails


async def _nowhere(command: Sequence[str], timeout_s: float, found: _Findings) -> None:
    with socket.socket() as taken:  # bound and not listening: connecting is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        program = Program(command, _job(url, "ollama", ("only",)), timeout_s=timeout_s)
        script = await _run(program, found, "nowhere")
    if script is None:
        return
    found.reached.add("failure")
    ends = [call.end for call in script.calls.values() if call.end is not None]
    if not ends or any(end.status != "error" for end in ends):
        told = ", ".join(end.status for end in ends) or "nothing"
        what = f"of a server that is not there, the call ends as {told}, not as error"
        found.add("nowhere", [Violation("failure", what)])
    elif script.result is not None and script.result.status != "error":
        found.add("nowhere", [Violation("failure", "the result is ok, though the call failed")])
    elif program.outcome and program.outcome.exit and program.outcome.exit.status == 0:
        found.add("nowhere", [Violation("failure", "exit status 0, though the call failed")])


async def _version(command: Sequence[str], timeout_s: float, found: _Findings) -> None:
    job = _job("http://127.0.0.1:9", "ollama", ("only",))
    job = msgspec.structs.replace(job, protocol=_UNKNOWN_PROTOCOL)
    program = Program(command, job, timeout_s=timeout_s, ready_s=timeout_s)
    await program.prepare()
    outcome = await program.abandon()
    script, exit_ = program.script, outcome.exit
    found.reached.add("version")
    if script is None or script.failed is None:
        what = f"protocol {_UNKNOWN_PROTOCOL} is not refused with an error"
        found.add("version", [Violation("version", what)])
    elif exit_ is not None and (exit_.status == 0 or program.stopped):
        how = "it had to be ended" if program.stopped else exit_.words
        found.add("version", [Violation("version", f"{how}, after an error")])


async def _interrupt(command: Sequence[str], timeout_s: float, found: _Findings) -> None:
    begun = _lines(_vectors("ollama")[0])[:1]
    async with serving(lambda seen: Given(dialect="ollama", pieces=begun, hold=True)) as server:
        program = Program(command, _job(server.url, "ollama", ("only",)), timeout_s=timeout_s)
        working = asyncio.ensure_future(run_team([program]))
        asked = asyncio.ensure_future(server.first.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not server.first.is_set():
            await working
            return
        took_s = await program.interrupt()
        program.kill()
        await working
        found.reached.add("interrupt")
        if took_s is None:
            found.add("interrupt", [Violation("interrupt", "it still runs 2 s after SIGTERM")])


# ------------------------------------------------------------------------------------------- common


async def _run(program: Program, found: _Findings, session: str) -> Transcript | None:
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


def _job(
    url: str,
    dialect: Dialect,
    stages: tuple[str, ...],
    *,
    corpus: Corpus | None = None,
    streams: int = 1,
) -> Job:
    return Job(
        job_id="check",
        agent="a",
        model="check",
        endpoint=Endpoint(url=url, dialect=dialect, headers=(("X-Check", "yes"),)),
        seed=7,
        corpus=corpus,
        stages=tuple(
            Stage(
                name=name,
                **_request_of(dialect, index),
                prompt=_PROMPTS[min(index, 1)] if corpus else "stream {{stream}}",
                answer_chars_max=3,
                timeout_s=20.0,
            )
            for index, name in enumerate(stages)
        ),
        streams=streams,
        chunk_stamps=True,
        keep_text=True,
    )


def _request_of(dialect: Dialect, index: int) -> dict[str, Any]:
    """Stages differ in where they go and where the prompt belongs."""
    body = {"model": "check", "stream": True, "seed": 2**31 - 1, "system": "Be brief. \u00e4\u20ac"}
    if index:
        return {"path": "/api/generate", "body": body | {"prompt": ""}, "prompt_at": ("prompt",)}
    messages = [{"role": "user", "content": "\u00fc"}, {"role": "user", "content": ""}]
    return {
        "path": "/api/chat" if dialect == "ollama" else "/v1/chat/completions",
        "body": body | {"messages": messages},
        "prompt_at": ("messages", 1, "content"),
    }


_PROMPTS: Final = (
    "{{stream}}: {{data_summary}}{{answer:nobody}} \u00fc\u2028 \U0001d11e",
    "{{data_summary}} and {{answer:analysis}}, {{stream}}",
)


def _prompt(stage: Stage, summary: str, texts: dict[str, str]) -> str:
    return filled(msgspec.to_builtins(stage), 0, summary, texts)


def _summary(corpus: Corpus | None) -> str:
    if corpus is None:
        return ""
    return ingest(corpus.path, [(file.path, file.kind) for file in corpus.files]).summary


def _lay_out(folder: Path) -> Corpus:
    for name, content in _CORPUS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    files = [CorpusFile(path=path, kind=kind) for path, kind in _LISTED]
    return Corpus(path=str(folder), files=tuple(files))


def _vectors(dialect: str) -> list[dict[str, Any]]:
    cases = msgspec.json.decode((_VECTORS / "streams.json").read_bytes())
    return [case for case in cases if case["dialect"] == dialect]


def _body(case: dict[str, Any]) -> bytes:
    if "body_base64" in case:
        return msgspec.convert(case["body_base64"], bytes)
    return str(case["body"]).encode()


def _lines(case: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(_body(case).splitlines(keepends=True))


def _content_pieces(case: dict[str, Any]) -> list[int]:
    reader = reader_for(case["dialect"])
    return [index for index, line in enumerate(_lines(case)) if reader.read(line)]


def _known(server: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in server.items() if value is not None}


def _at(seen: list[Seen], number: int) -> Seen | None:
    return seen[number] if number < len(seen) else None
