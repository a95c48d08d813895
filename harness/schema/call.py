"""One model call as it was measured.

Instants are int64 nanoseconds of CLOCK_MONOTONIC on this machine. What is unknown is None.
Metrics are not stored: harness.metrics derives them from these records.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, field

from harness.schema.money import Cost

__all__ = [
    "CallError",
    "CallRecord",
    "ChunkColumns",
    "ChunkKind",
    "Decoded",
    "Instants",
    "Phase",
    "Reported",
    "ReportedCall",
    "StampSource",
    "Status",
    "TapTimes",
    "Usage",
]

Status: TypeAlias = Literal["ok", "error", "timeout", "truncated", "cancelled", "not_sent"]
"""Every planned call ends in exactly one of these."""

Phase: TypeAlias = Literal["cold", "warmup", "measured", "extra", "solo"]
"""What an iteration is for. Only `measured` ones are in the figures of an arm; `cold` ones have
figures of their own; `extra` ones run under an instrument that slows them down; a `solo` one does
the work of the measured iteration of the same number, its agents one after another."""

StampSource: TypeAlias = Literal["kernel", "user", "in_process", "agent", "tap"]


class ChunkKind:
    """What a chunk carries: the values of `ChunkColumns.kind` and `Decoded.kinds`.

    A chunk with several kinds of content takes the highest number: answer over reasoning.
    """

    EMPTY: Final = 0
    """Role chunk, empty delta, usage, end marker."""
    REASONING: Final = 1
    TOOL: Final = 2
    ANSWER: Final = 3


class Instants(Struct, frozen=True, kw_only=True):
    """The instants of a call (MEASURING.md, first table)."""

    due_ns: int
    connected_ns: int | None = None
    """When a new connection stood; None where one was reused."""
    sent_ns: int | None = None
    headers_ns: int | None = None
    first_byte_ns: int | None = None
    first_chunk_ns: int | None = None
    first_token_ns: int | None = None
    first_answer_ns: int | None = None
    last_token_ns: int | None = None
    end_ns: int | None = None
    """The stream's proper end. None when it had none: the call is then not `ok`."""
    closed_ns: int | None = None
    """When we were done with the call, whatever its status."""


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts, as the server reported them."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


class CallError(Struct, frozen=True, kw_only=True):
    """Why a call is not `ok`."""

    code: str
    """`connect`, `http.404`, `stream`, `timeout.first_byte`, `reset`, `protocol`, `truncated` …"""
    message: str = ""


class Reported(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a program said of a call that it made itself (docs/agent-protocol.md). Instants are its
    own, of CLOCK_MONOTONIC; None: it does not know, or could not."""

    status: str
    sent_ns: int | None = None
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    end_ns: int | None = None
    content_chunks: int | None = None
    chunk_ns: bytes | None = None
    """int64, little-endian: when it saw each content chunk, where it was asked to say so."""
    unknown: dict[str, str] = {}
    """Instant → why it has none: a reader that accumulates sees no first token."""


class ReportedCall(Struct, frozen=True, kw_only=True):
    """One call as the program that made it tells of it, whole."""

    call: str
    """Its name among the program's calls; the request carried it as X-Request-ID."""
    reported: Reported
    stage: str = ""
    error: CallError | None = None
    http_status: int | None = None
    usage: Usage = Usage()
    server: dict[str, Any] = field(default_factory=dict)
    text: str = ""


class TapTimes(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call through the tap has beside its instants, which are those at the tap's upstream
    side: `sent_ns` is when the tap handed the request on. `ChunkColumns.lag_ns` is, of such a call,
    how long each chunk was with the tap: from its arrival until right before it was sent on."""

    request_ns: int
    """The last byte of the request arrived from the agent (a kernel stamp where there is one)."""
    first_token_ns: int | None = None
    """Right before the first chunk with content was sent on to the agent …"""
    last_token_ns: int | None = None
    end_ns: int | None = None
    delay_p50_ns: int | None = None
    """… and how long chunks were with the tap."""
    delay_p99_ns: int | None = None
    delay_max_ns: int | None = None


class ChunkColumns(Struct, frozen=True, kw_only=True):
    """One entry per chunk, little-endian columns, so that a million chunks stay 17 MB.

    `numpy.frombuffer(chunks.arrival_ns, "<i8")`, and so on.
    """

    count: int
    arrival_ns: bytes = b""
    """int64: the best stamp there is of the read that completed the chunk."""
    lag_ns: bytes = b""
    """uint32: user-space stamp − arrival, of the same read (saturates at 2³²−1)."""
    size: bytes = b""
    """uint32: payload bytes; bits 29–31 hold the flags of harness._native.recorder."""
    kind: bytes = b""
    """uint8: ChunkKind."""


class Decoded(Struct, kw_only=True):
    """What a backend reads out of a finished response. Made by `Backend.decode`."""

    kinds: bytes = b""
    """One ChunkKind per chunk of the record; its length must equal the record's."""
    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage = Usage()
    server: dict[str, Any] = field(default_factory=dict)
    """Every figure that the server reported, under its own names, in its own units."""
    end: int | Literal["body"] | None = None
    """Proof of the proper end: the index of the chunk that ends the stream, `body` where the end
    of the body ends it, None where there is no proof (the call is `truncated`)."""
    chunk_tokens: bytes | None = None
    """uint32 per chunk: tokens in it, where the server tells (logprobs, cumulative usage)."""
    stamps_ns: bytes | None = None
    """int64 per chunk: when it was made, by CLOCK_MONOTONIC of this machine, where the server is a
    process of ours that tells; 0 where it does not. The call's instants are then these (stamp
    source `in_process`), and `lag_ns` of a chunk is the time from there until we had read it."""
    cost_usd: str | None = None
    """What the provider says that the call cost: a decimal."""
    error: CallError | None = None


class CallRecord(Struct, frozen=True, kw_only=True, tag="call", tag_field="t", omit_defaults=True):
    """One planned call and how it ended."""

    call_id: str
    """Unique within the run: trial.phase+iteration.ordinal, such as `0003.m1.00012`."""
    arm: str
    cell: str
    trial: int
    iteration: int
    phase: Phase
    status: Status
    instants: Instants
    agent: str = ""
    stage: str = ""
    error: CallError | None = None
    stamp_source: StampSource = "user"
    """`kernel` only if the first-token stamp (or, without one, every stamp) is the kernel's; `tap`:
    the same, received by the tap; `agent`: as the program reported that made the call;
    `in_process`: by the process that runs the model, at the step that made the token."""
    stamps_refused: int = 0
    """Stamps that the process told which runs the model, and that cannot be so: before the request
    was sent, after we had read the chunk, or after the next one. The wire's are used for them."""
    realtime_offset_ns: int | None = None
    """CLOCK_REALTIME − CLOCK_MONOTONIC while the call ran."""
    clock_stepped: bool = False
    reconnected: bool = False
    """A kept-alive connection turned out dead, and the request was sent again on a new one."""
    endpoint: str = ""
    http_status: int | None = None
    finish_reason: str | None = None
    usage: Usage = Usage()
    server: dict[str, Any] = field(default_factory=dict)
    chunks: ChunkColumns = ChunkColumns(count=0)
    content_chunks: int = 0
    tool_chunks: int = 0
    """Of these: pieces of tool calls, of the server's own making."""
    chunk_tokens: bytes | None = None
    comments: int = 0
    max_tokens: int | None = None
    prompt_chars: int | None = None
    """Characters of all messages, or of the prompt."""
    prompt_digest: str | None = None
    """Of the messages or the prompt: equal for equal prompts."""
    cold_prompt: bool = False
    """The request said that no cache may know its prompt."""
    request_bytes: int | None = None
    client_lag_p50_ns: int | None = None
    client_lag_p99_ns: int | None = None
    client_lag_max_ns: int | None = None
    text: str | None = None
    """None where the spec says not to keep it."""
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    payloads: list[bytes] | None = None
    reported: Reported | None = None
    """Calls of agent programs: what the program itself says."""
    tap: TapTimes | None = None
    """Calls that went through the tap."""
    no_first_token: str = ""
    """Why there is no first token though there is content: the response was not streamed, or its
    reader accumulates."""
    cost: Cost | None = None
    """None: unknown, which is not free."""
    attempts: int = 1
    """Times that it was sent. More than 1: the backend's server had refused it for a while (429,
    503), and its times are no sample of anything: no latency is derived from them."""
    earlier: tuple[CallError, ...] = ()
    """Why each of the earlier attempts failed."""
