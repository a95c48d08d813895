"""The agent protocol, version 1, as types: the job that is sent, the events that are read.

docs/agent-protocol.md says what they mean. Events come from somebody else's program: each line is
decoded strictly (types, ranges, nothing missing), what is not asked for is passed over, and what
does not fit is a Violation that names its rule, never an exception of the decoder's.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from harness.control import NOT_JSON
from harness.text import excerpt, one_line

__all__ = [
    "LINE_BYTES_MAX",
    "OUTPUT_BYTES_MAX",
    "VERSION",
    "AgentMetric",
    "Begin",
    "CallEnd",
    "CallMark",
    "CallSent",
    "Clock",
    "Corpus",
    "CorpusFile",
    "Endpoint",
    "Event",
    "Extra",
    "Failed",
    "Hello",
    "Job",
    "PhaseMark",
    "Ready",
    "Result",
    "Rule",
    "Stage",
    "Violation",
    "encode_line",
    "read_event",
    "type_of",
]

VERSION: Final = 1
LINE_BYTES_MAX: Final = 16 * 2**20
OUTPUT_BYTES_MAX: Final = 256 * 2**20

Rule: TypeAlias = Literal[
    "hello",
    "json",
    "event",
    "fields",
    "clock",
    "ready",
    "barrier",
    "phases",
    "calls",
    "stamps",
    "reason",
    "request-id",
    "body",
    "summary",
    "server",
    "chunks",
    "result",
    "exit",
    "failure",
    "version",
    "interrupt",
]
Kind: TypeAlias = Literal["csv", "json", "md"]
Dialect: TypeAlias = Literal["ollama", "openai"]

Instant: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1000)]


class Violation(Struct, frozen=True):
    """A rule that was broken, and by what."""

    rule: Rule
    what: str
    """One line, harmless to print."""


# ------------------------------------------------------------------------------------------ the job


class Endpoint(Struct, frozen=True, kw_only=True):
    url: str
    dialect: Dialect
    headers: tuple[tuple[str, str], ...] = ()


class CorpusFile(Struct, frozen=True, kw_only=True):
    path: str
    kind: Kind


class Corpus(Struct, frozen=True, kw_only=True):
    path: str
    files: tuple[CorpusFile, ...]


class Stage(Struct, frozen=True, kw_only=True):
    name: str
    path: str
    body: dict[str, Any]
    prompt_at: tuple[str | int, ...]
    prompt: str
    answer_chars_max: int
    timeout_s: float


class Job(Struct, frozen=True, kw_only=True, tag="job", tag_field="t"):
    """One piece of work for one program."""

    protocol: int = VERSION
    job_id: str
    agent: str
    model: str
    endpoint: Endpoint
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    corpus: Corpus | None = None
    stages: tuple[Stage, ...]
    streams: int = 1
    chunk_stamps: bool = False
    keep_text: bool = False

    def call_names(self) -> list[tuple[int, str, str]]:
        """(stream, stage, name) of every call, stream by stream."""
        return [
            (stream, stage.name, f"{self.agent}.{stream}.{stage.name}")
            for stream in range(self.streams)
            for stage in self.stages
        ]


# --------------------------------------------------------------------------------------- the events


class Hello(Struct, frozen=True, kw_only=True):
    protocol: int
    name: Name
    version: Name
    language: Name
    runtime: str | None = None
    about: dict[str, Any] = {}


class Clock(Struct, frozen=True, kw_only=True):
    n: int
    at_ns: Instant


class Ready(Struct, frozen=True, kw_only=True):
    pass


class Begin(Struct, frozen=True, kw_only=True):
    at_ns: Instant


class PhaseMark(Struct, frozen=True, kw_only=True):
    """`phase_start` or `phase_end`."""

    t: str
    name: Name
    at_ns: Instant


class CallSent(Struct, frozen=True, kw_only=True):
    call: Name
    stage: Name
    at_ns: Instant


class CallMark(Struct, frozen=True, kw_only=True):
    """`call_first_token` or `call_last_token`."""

    t: str
    call: Name
    at_ns: Instant | None
    reason: str | None = None


class CallFault(Struct, frozen=True, kw_only=True):
    code: str
    message: str = ""


class CallEnd(Struct, frozen=True, kw_only=True):
    call: Name
    at_ns: Instant
    status: Literal["ok", "error", "timeout", "truncated", "cancelled"]
    http_status: Annotated[int, Meta(ge=0, le=999)] | None
    content_chunks: Count
    server: dict[str, Any]
    text: str | None = None
    chunk_ns: tuple[Instant, ...] | None = None
    error: CallFault | None = None


class AgentMetric(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_.]{0,79}$")]
    value: float
    unit: Annotated[str, Meta(max_length=32)]
    better: Literal["lower", "higher", "neither"] = "neither"


class Result(Struct, frozen=True, kw_only=True):
    at_ns: Instant
    status: Literal["ok", "error"]
    metrics: tuple[AgentMetric, ...] = ()
    data: dict[str, Any] = {}


class Failed(Struct, frozen=True, kw_only=True):
    """`error`: instead of a result."""

    message: str


class Extra(Struct, frozen=True):
    """A type that begins with `x_`: the program's own."""

    fields: dict[str, Any]


Event: TypeAlias = (
    Hello
    | Clock
    | Ready
    | Begin
    | PhaseMark
    | CallSent
    | CallMark
    | CallEnd
    | Result
    | Failed
    | Extra
)


class _Head(Struct, frozen=True):
    t: str


_head_decoder = msgspec.json.Decoder(_Head)
_extra_decoder = msgspec.json.Decoder(dict[str, Any])
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(kind)
    for name, kind in (
        ("hello", Hello),
        ("clock", Clock),
        ("ready", Ready),
        ("begin", Begin),
        ("phase_start", PhaseMark),
        ("phase_end", PhaseMark),
        ("call_sent", CallSent),
        ("call_first_token", CallMark),
        ("call_last_token", CallMark),
        ("call_end", CallEnd),
        ("result", Result),
        ("error", Failed),
    )
}


def type_of(line: bytes) -> str | Violation:
    """The event's `t`; cheap, and proof that the line is JSON."""
    try:
        return _head_decoder.decode(line).t
    except NOT_JSON as error:
        said = one_line(str(error), 120)
        return Violation("json", f"not an event: {said}: {excerpt(line)!r}")


def read_event(line: bytes) -> Event | Violation:
    """One line of standard output, without its LF."""
    kind = type_of(line)
    if isinstance(kind, Violation):
        return kind
    try:
        if kind in _DECODERS:
            event: Event = _DECODERS[kind].decode(line)
            return event
        if kind.startswith("x_"):
            return Extra(_extra_decoder.decode(line))
    except NOT_JSON as error:
        rule: Rule = "hello" if kind == "hello" else "fields"
        return Violation(rule, f"{one_line(kind, 40)}: {one_line(str(error), 160)}")
    return Violation("event", f"there is no event {one_line(kind, 60)!r}")


def encode_line(message: Struct | dict[str, Any]) -> bytes:
    return msgspec.json.encode(message) + b"\n"
