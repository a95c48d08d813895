"""What is left of a call: its CallRecord, from the stamps of the wire and the backend's reading.

`status_of` is the one place where the outcome at the wire and the backend's reading of the stream
become one of the six statuses.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from harness._native.clock import monotonic_ns
from harness.engine.prompts import facts_of
from harness.engine.stamps import ProcessStamps, process_stamps
from harness.money import call_cost
from harness.redaction import Redactor, header_secrets, proxy_secrets, url_without_secrets
from harness.schema import (
    CallError,
    CallRecord,
    ChunkKind,
    Decoded,
    Exchange,
    Instants,
    KeepSpec,
    Phase,
    PriceRecord,
    Request,
    Status,
)
from harness.transport import client_lag, pack_columns

if TYPE_CHECKING:
    from harness._native.recorder import Record as WireRecord

__all__ = [
    "CallPlace",
    "redacted",
    "redactor_for",
    "seal",
    "status_of",
    "unmade",
    "without_text",
]

_IS_JSON: Final = re.compile(rb"(?im)^content-type:[ \t]*application/json[ \t]*(;|\r?$)")
_SAID_BY_SERVER = (
    "error",
    "finish_reason",
    "server",
    "text",
    "reasoning",
    "tool_calls",
    "payloads",
)


NOT_STREAMED: Final = "the response was not streamed"


class CallPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where in the run a call stands."""

    arm: str
    cell: str
    trial: int
    iteration: int
    phase: Phase

    def call_id(self, ordinal: int) -> str:
        return f"{self.trial:04d}.{self.phase[0]}{self.iteration}.{ordinal:05d}"


def status_of(wire: WireRecord, decoded: Decoded) -> tuple[Status, CallError | None]:
    """The status, and the reason where it is not `ok`."""
    outcome = wire.outcome
    detail = CallError(code=outcome, message=wire.detail or _system_says(wire.errno))
    if outcome == "cancelled":
        return "cancelled", detail
    if outcome == "not_sent":
        return "not_sent", detail
    if decoded.error is not None and outcome in ("complete", "eof"):
        return "error", decoded.error
    if isinstance(decoded.end, int) and decoded.error is None:
        return "ok", None  # the stream's own end was seen; what came after it does not matter
    if outcome.startswith("timeout_"):
        code = outcome.replace("_", ".", 1)
        return "timeout", CallError(code=code, message=wire.detail)
    if outcome == "eof":
        message = wire.detail or "the stream ended before its proper end"
        return "truncated", CallError(code="truncated", message=message)
    if outcome != "complete":
        # A backend may know more than the wire: why its own server went away, say.
        return "error", decoded.error or detail
    if wire.http_status is not None and wire.http_status >= 400:
        return "error", CallError(code=f"http.{wire.http_status}", message="")
    if decoded.end is None:
        message = "the response is complete, but nothing in it proves the stream's end"
        return "truncated", CallError(code="truncated", message=message)
    return "ok", None


def _system_says(errno: int) -> str:
    return os.strerror(errno) if errno else ""


def seal(
    wire: WireRecord,
    decoded: Decoded,
    request: Request,
    exchange: Exchange,
    place: CallPlace,
    ordinal: int,
    keep: KeepSpec,
    price: PriceRecord | None = None,
) -> CallRecord:
    """The record of one call: stamps from the wire, meaning from the backend, and what it cost by
    either the provider's word or `price`."""
    prompt = facts_of(request)
    status, error = status_of(wire, decoded)
    columns = pack_columns(wire, decoded.kinds)
    stamps = process_stamps(wire, decoded.stamps_ns)
    if stamps is not None:
        columns = stamps.put_into(columns)
    lag_p50_ns, lag_p99_ns, lag_max_ns = client_lag(wire)
    content = [index for index, kind in enumerate(decoded.kinds) if kind != ChunkKind.EMPTY]
    whole = bool(content) and _came_whole(wire)
    return CallRecord(
        call_id=place.call_id(ordinal),
        arm=place.arm,
        cell=place.cell,
        trial=place.trial,
        iteration=place.iteration,
        phase=place.phase,
        status=status,
        error=error,
        agent=request.agent,
        stage=request.stage,
        instants=_instants(wire, decoded, [] if whole else content, stamps),
        stamp_source=_stamp_source(wire, content, stamps),
        stamps_refused=stamps.refused if stamps is not None else 0,
        realtime_offset_ns=wire.realtime_offset_ns or None,
        clock_stepped=wire.clock_stepped,
        reconnected=wire.reconnected,
        endpoint=url_without_secrets(exchange.url),
        http_status=wire.http_status,
        finish_reason=decoded.finish_reason,
        usage=decoded.usage,
        server=decoded.server,
        chunks=columns
        if keep.chunks
        else msgspec.structs.replace(columns, arrival_ns=b"", lag_ns=b"", size=b"", kind=b""),
        content_chunks=len(content),
        tool_chunks=decoded.kinds.count(ChunkKind.TOOL),
        chunk_tokens=decoded.chunk_tokens,
        comments=wire.comments,
        max_tokens=request.max_tokens,
        prompt_chars=prompt.prompt_chars,
        prompt_digest=prompt.prompt_digest,
        cold_prompt=prompt.cold_prompt,
        request_bytes=len(exchange.body),
        client_lag_p50_ns=lag_p50_ns,
        client_lag_p99_ns=lag_p99_ns,
        client_lag_max_ns=lag_max_ns,
        text=decoded.text,
        reasoning=decoded.reasoning,
        tool_calls=decoded.tool_calls,
        payloads=wire.payloads() if keep.payloads else None,
        no_first_token=NOT_STREAMED if whole else "",
        cost=None if status == "not_sent" else call_cost(decoded.cost_usd, decoded.usage, price),
    )


@lru_cache(maxsize=64)
def redactor_for(headers: tuple[tuple[str, str], ...]) -> Redactor:
    """Whatever a backend puts into its headers, and what the proxy is told."""
    return Redactor(header_secrets(headers) | proxy_secrets())


def redacted(record: CallRecord, redactor: Redactor) -> CallRecord:
    """A server may say back what it was told."""
    if not redactor:
        return record
    said = {name: redactor.value(getattr(record, name)) for name in _SAID_BY_SERVER}
    return msgspec.structs.replace(record, **said)


def without_text(record: CallRecord) -> CallRecord:
    """For the log, where the spec says not to keep text. The scenario still gets to read it."""
    return msgspec.structs.replace(record, text=None, reasoning=None, tool_calls=[])


def _instants(
    wire: WireRecord, decoded: Decoded, content: list[int], stamps: ProcessStamps | None
) -> Instants:
    arrival = wire.arrival_ns if stamps is None else stamps.arrival_ns
    answer = next((i for i in content if decoded.kinds[i] != ChunkKind.REASONING), None)

    def at(index: int | None) -> int | None:
        return None if index is None else int(arrival[index])

    return Instants(
        due_ns=wire.due_ns,
        connected_ns=wire.connected_ns,
        sent_ns=wire.sent_ns,
        headers_ns=wire.headers_ns,
        first_byte_ns=wire.first_byte_ns,
        first_chunk_ns=at(0 if len(wire) else None),
        first_token_ns=at(content[0] if content else None),
        first_answer_ns=at(answer),
        last_token_ns=at(content[-1] if content else None),
        end_ns=wire.body_end_ns if decoded.end == "body" else at(decoded.end),
        closed_ns=wire.closed_ns,
    )


def _came_whole(wire: WireRecord) -> bool:
    """One JSON document: its content is all there at once, and none of it came first."""
    return len(wire) == 1 and _IS_JSON.search(wire.head) is not None


def _stamp_source(
    wire: WireRecord, content: list[int], stamps: ProcessStamps | None
) -> Literal["kernel", "user", "in_process"]:
    """Of the first token; without one, of the first chunk."""
    from harness._native.recorder import FLAG_USER_STAMP

    if not len(wire):
        return "user"
    first = content[0] if content else 0
    if stamps is not None and (stamps.believed[first] or stamps.bounded[first]):
        return "in_process"
    flags = int(wire.size_flags[first])
    return "user" if flags & FLAG_USER_STAMP else "kernel"


def unmade(
    place: CallPlace,
    ordinal: int,
    status: Literal["cancelled", "not_sent"],
    error: CallError,
    request: Request | None = None,
    due_ns: int | None = None,
) -> CallRecord:
    """For a call of which nothing was received, or nothing is known."""
    now_ns = monotonic_ns()
    return CallRecord(
        call_id=place.call_id(ordinal),
        arm=place.arm,
        cell=place.cell,
        trial=place.trial,
        iteration=place.iteration,
        phase=place.phase,
        status=status,
        error=error,
        agent=request.agent if request else "",
        stage=request.stage if request else "",
        instants=Instants(due_ns=due_ns or now_ns, closed_ns=now_ns),
        max_tokens=request.max_tokens if request else None,
    )
