"""The work of one agent, the same in every language: a corpus, and the stages of calls made of it.
Public, for plugins.

    work = workload(options, agent="a", seed=ctx.seed, salt=ctx.salt)
    job_for(work, calls, …)              for a program (docs/agent-protocol.md)
    await in_process(work, calls)        for an agent within the harness

The bodies of a job are made by the backend itself, of requests whose prompt is a marker: whatever
it puts into a request is in every agent's, and where the marker comes out is where the prompt
belongs.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from harness.errors import ScenarioError, SpecError
from harness.protocols import AgentCalls
from harness.schema import CallRecord, Exchange, Message, Request
from harness.text import one_line
from harness_agents.ingest import ingest, sha256
from harness_agents.options import WorkloadOptions
from harness_agents.protocol import Corpus, CorpusFile, Dialect, Endpoint, Job, Kind, Stage

__all__ = [
    "InProcess",
    "Step",
    "Workload",
    "WorkloadOptions",
    "corpus_of",
    "filled",
    "in_process",
    "job_for",
    "workload",
]

FILES_MAX: Final = 5000
_SUFFIXES: Final[dict[str, Kind]] = {".csv": "csv", ".json": "json", ".md": "md"}
_DIALECTS: Final[tuple[tuple[str, Dialect], ...]] = (
    ("/api/chat", "ollama"),
    ("/api/generate", "ollama"),
    ("/chat/completions", "openai"),
    ("/completions", "openai"),
)
_PLACES: Final = re.compile(r"\{\{(stream|data_summary|answer:([^{}]*))\}\}")
_MARKER: Final = "the-prompt-belongs-here-7c1f"
_NOT_OURS: Final = frozenset({"content-type", "x-request-id", "content-length", "host"})

_ANALYSIS: Final = """\
You are given an inventory of benchmark files.

{{data_summary}}
Describe in Markdown, in four short sections, what there is: overview, what stands out, what the \
numbers of files, rows and bytes say, and what to look at next. Use only what the inventory says."""

_REPORT: Final = """\
An inventory of benchmark files:

{{data_summary}}
Notes that an analyst made on it:

{{answer:analysis}}

Write a short technical report in Markdown for somebody who has seen neither: summary, data, \
findings, recommendations. Where notes and inventory differ, the inventory is right."""


class Step(Struct, frozen=True, kw_only=True):
    """One stage, for whoever makes its calls."""

    name: str
    request: Request
    """With a prompt in which `filled` puts its places."""
    answer_chars_max: int


class Workload(Struct, frozen=True, kw_only=True):
    """One agent's work in one iteration."""

    agent: str
    seed: int
    corpus: Corpus | None
    steps: tuple[Step, ...]
    streams: int

    @property
    def calls(self) -> int:
        return self.streams * len(self.steps)


def workload(
    options: WorkloadOptions,
    *,
    agent: str,
    seed: int,
    salt: str,
    corpus: Corpus | None,
    persona: str | None = None,
    backend_options: dict[str, Any] | None = None,
) -> Workload:
    """`corpus` is from `corpus_of`: found once a trial, not in every iteration. `persona` wins over
    that of the options; `backend_options` are of this agent's calls alone."""
    persona = options.persona if persona is None else persona
    return Workload(
        agent=agent,
        seed=seed % 2**31,
        corpus=corpus,
        steps=tuple(
            Step(
                name=name,
                request=Request(
                    messages=_messages(prompt, persona, _tag(options, salt, agent, name)),
                    max_tokens=bound,
                    ignore_eos=options.ignore_eos,
                    seed=seed % 2**31,
                    options=dict(backend_options or {}),
                    cold=options.unique_prefix,
                    stage=name,
                    agent=agent,
                ),
                answer_chars_max=options.answer_chars_max,
            )
            for name, prompt, bound in _stages(options)
        ),
        streams=options.streams,
    )


def _stages(options: WorkloadOptions) -> list[tuple[str, str, int]]:
    if options.prompt is not None:
        return [("prompt", options.prompt, options.max_tokens or 256)]
    analysis = options.analysis_max_tokens or options.max_tokens or 256
    report = options.report_max_tokens or options.max_tokens or 512
    return [("analysis", _ANALYSIS, analysis), ("report", _REPORT, report)]


def _tag(options: WorkloadOptions, salt: str, agent: str, stage: str) -> str:
    if not options.unique_prefix:
        return ""
    return blake2b(f"{salt}/{agent}/{stage}".encode(), digest_size=5).hexdigest()


def _messages(prompt: str, persona: str | None, tag: str) -> tuple[Message, ...]:
    """The tag opens each of them: a cache goes by the first words, whoever speaks them."""
    if tag:
        prompt = f"({tag} {{{{stream}}}})\n{prompt}"
    user = Message(role="user", content=prompt)
    if not persona:
        return (user,)
    return Message(role="system", content=f"({tag})\n{persona}" if tag else persona), user


# --------------------------------------------------------------------------------------- the corpus


def corpus_of(options: WorkloadOptions) -> Corpus | None:
    """The files, in the order in which every agent reads them; None where no prompt speaks of them.
    None of them is opened. Raises ScenarioError for a folder with nothing in it to read."""
    if options.prompt is not None and "{{data_summary}}" not in options.prompt:
        return None
    folder = _shipped() if options.corpus is None else Path(options.corpus).expanduser()
    found = sorted(_files(folder)) if folder.is_dir() else []
    if not found or len(found) > FILES_MAX:
        what = f"more than {FILES_MAX} files" if found else "no CSV, JSON or Markdown file in it"
        raise ScenarioError(
            what if folder.is_dir() else "there is no such folder",
            where=one_line(str(folder)),
            remedy="corpus=FOLDER, or leave it out for the files that ship with the project",
        )
    files = (CorpusFile(path=path, kind=_SUFFIXES[Path(path).suffix.lower()]) for path in found)
    return Corpus(path=str(folder.resolve()), files=tuple(files))


def _files(folder: Path) -> list[str]:
    found: list[str] = []
    for place, _, names in os.walk(folder):  # links to folders are not followed
        below = Path(place).relative_to(folder)
        for name in names:
            path = (below / name).as_posix()
            if Path(name).suffix.lower() in _SUFFIXES and path.isprintable():
                found.append(path)
        if len(found) > FILES_MAX:
            break
    return found


def _shipped() -> Path:
    spec = importlib.util.find_spec("harness_single_agent")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).with_name("corpus")


# ------------------------------------------------------------------------------------ for a program


def job_for(
    work: Workload,
    calls: AgentCalls,
    *,
    job_id: str,
    model: str,
    timeout_s: float,
    options: dict[str, Any] | None = None,
    chunk_stamps: bool = False,
    keep_text: bool = True,
) -> Job:
    """Raises SpecError where the backend's requests are of no dialect that agents speak."""
    stages, endpoints = [], []
    for step in work.steps:
        marked = _with_prompt(step.request, _MARKER)
        exchange = calls.prepare(marked)
        endpoint, path = _endpoint(calls.url, exchange)
        body, prompt_at = _body(exchange)
        endpoints.append(endpoint)
        stages.append(
            Stage(
                name=step.name,
                path=path,
                body=body,
                prompt_at=prompt_at,
                prompt=_prompt(step.request),
                answer_chars_max=step.answer_chars_max,
                timeout_s=timeout_s,
            )
        )
    return Job(
        job_id=job_id,
        agent=work.agent,
        model=model,
        endpoint=endpoints[0],
        options=options or {},
        seed=work.seed,
        corpus=work.corpus,
        stages=tuple(stages),
        streams=work.streams,
        chunk_stamps=chunk_stamps,
        keep_text=keep_text,
    )


def _endpoint(url: str, exchange: Exchange) -> tuple[Endpoint, str]:
    """Where requests go, and the path of this one below it."""
    parts = urlsplit(exchange.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    dialect = next((one for end, one in _DIALECTS if parts.path.endswith(end)), None)
    if dialect is None or exchange.method != "POST":
        raise SpecError(
            f"agent programs speak as to Ollama or OpenAI; this backend's requests go to "
            f"{one_line(parts.path, 80)}",
            where="$.backend",
            remedy="backend ollama, openai or sim",
        )
    origin = urlsplit(url)
    headers = tuple(
        (name, value) for name, value in exchange.headers if name.lower() not in _NOT_OURS
    )
    there = f"{origin.scheme}://{origin.netloc}"
    return Endpoint(url=there, dialect=dialect, headers=headers), path


def _body(exchange: Exchange) -> tuple[dict[str, Any], tuple[str | int, ...]]:
    body = msgspec.json.decode(exchange.body)
    places = list(_places(body, ()))
    if len(places) != 1:
        raise SpecError(
            "the backend does not send the prompt as it is, so that no agent can put it in",
            where="$.backend",
            remedy="another backend, or api: chat",
        )
    return body, places[0]


def _places(value: Any, at: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    """Where the marker is."""
    if value == _MARKER:
        return [at]
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [place for key, item in inner for place in _places(item, (*at, key))]


# ----------------------------------------------------------------------------------- in the harness


class InProcess(Struct, frozen=True, kw_only=True):
    """What an agent within the harness did."""

    begin_ns: int
    end_ns: int
    phases: tuple[tuple[str, int, int], ...]
    calls: tuple[CallRecord, ...]
    summary_sha256: str | None
    failed: CallRecord | None
    """The first call that was not `ok`, if any."""


async def in_process(work: Workload, calls: AgentCalls) -> InProcess:
    """The same work, its calls made by the harness itself. Raises ScenarioError where the spec does
    not keep texts, which a later stage would need."""
    begin_ns = time.monotonic_ns()
    phases: list[tuple[str, int, int]] = []
    summary = ""
    if work.corpus is not None:
        listed = [(file.path, file.kind) for file in work.corpus.files]
        found = await asyncio.to_thread(ingest, work.corpus.path, listed)
        summary = found.summary
        phases.append(("ingest", begin_ns, time.monotonic_ns()))
    streams = range(work.streams)
    done = await asyncio.gather(*(_stream(work, n, summary, calls, phases) for n in streams))
    records = tuple(record for stream in done for record in stream)
    return InProcess(
        begin_ns=begin_ns,
        end_ns=time.monotonic_ns(),
        phases=tuple(phases),
        calls=records,
        summary_sha256=sha256(summary) if work.corpus else None,
        failed=next((record for record in records if record.status != "ok"), None),
    )


async def _stream(
    work: Workload,
    number: int,
    summary: str,
    calls: AgentCalls,
    phases: list[tuple[str, int, int]],
) -> list[CallRecord]:
    texts: dict[str, str] = {}
    records: list[CallRecord] = []
    for step in work.steps:
        start_ns = time.monotonic_ns()
        record = await calls.call(filled(step, number, summary, texts))
        records.append(record)
        if work.streams == 1:
            phases.append((step.name, start_ns, time.monotonic_ns()))
        if record.status != "ok":
            break
        if record.text is None:
            raise ScenarioError(
                "works with the text of its calls, and the spec does not keep it",
                where="agent",
                remedy="--set keep.text=true",
            )
        texts[step.name] = record.text
    return records


def filled(step: Step, number: int, summary: str, texts: dict[str, str]) -> Request:
    """The request of one stream, its places filled in one go: what a model wrote is not looked at
    again."""

    def value(found: re.Match[str]) -> str:
        name, answer = found[1], found[2]
        if name == "stream":
            return str(number)
        if name == "data_summary":
            return summary
        return texts[answer][: step.answer_chars_max] if answer in texts else found[0]

    return _with_prompt(step.request, _PLACES.sub(value, _prompt(step.request)))


def _prompt(request: Request) -> str:
    return request.messages[-1].content


def _with_prompt(request: Request, prompt: str) -> Request:
    last = msgspec.structs.replace(request.messages[-1], content=prompt)
    return msgspec.structs.replace(request, messages=(*request.messages[:-1], last))
