"""Calls that somebody else made: what the tap saw of one, or its program's word, as a CallRecord.

A tapped call is sealed exactly as our own client's, by the same code and the same decoders; what
differs is said in the record: whose stamps they are, how long the tap had each chunk, and what the
program itself reports. A call of which there is only the report has the program's instants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args
from urllib.parse import parse_qsl, urlsplit

import msgspec

from harness._native.clock import monotonic_ns
from harness.engine.asked import request_of
from harness.engine.sealing import CallPlace, redacted, redactor_for, seal
from harness.redaction import Redactor, url_without_secrets
from harness.schema import (
    CallError,
    CallRecord,
    ChunkColumns,
    ChunkKind,
    Decoded,
    Exchange,
    Instants,
    KeepSpec,
    PriceRecord,
    Reported,
    ReportedCall,
    Request,
    Status,
    TapTimes,
)
from harness.text import one_line
from harness.transport.tap import Tapped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness._native.recorder import Record as WireRecord

__all__ = ["Headers", "asked_by", "exchange_of", "seal_reported", "seal_tapped"]

NEVER_SENT_NS: Final = 2**32 - 1
"""`lag_ns` of a chunk that did not get through to the agent."""

_NO_SECRET: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "pragma",
        "priority",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
_NO_SECRET_BEGINS: Final = ("accept", "sec-fetch-", "sec-ch-", "x-stainless-")

Headers = tuple[tuple[str, str], ...]


# What went through the tap. -----------------------------------------------------------------------


def asked_by(tapped: Tapped, agent: str, stage: str) -> Request:
    """What the decoder and the record need to know of the request."""
    return request_of(tapped.body, agent=agent, stage=stage)


def exchange_of(tapped: Tapped, upstream: str) -> Exchange:
    """As if we had sent it to `upstream` ourselves; of its headers, those that may hold secrets."""
    split = urlsplit(tapped.path)
    query = parse_qsl(split.query)
    hidden = tuple((f"query {name}", value) for name, value in query)
    headers = tuple((name, value) for name, value in tapped.headers if _may_be_secret(name))
    return Exchange(
        url=upstream + split.path,
        method=tapped.method,
        headers=headers + hidden,
        body=tapped.body,
    )


def _may_be_secret(name: str) -> bool:
    name = name.lower()
    return name not in _NO_SECRET and not name.startswith(_NO_SECRET_BEGINS)


def seal_tapped(
    tapped: Tapped,
    decoded: Decoded,
    request: Request,
    exchange: Exchange,
    place: CallPlace,
    ordinal: int,
    keep: KeepSpec,
    told: ReportedCall | None = None,
    headers: Headers = (),
    price: PriceRecord | None = None,
) -> CallRecord:
    """The record of one exchange. `headers` are further ones whose values must not be in it;
    `price` is that of the model that the program asked for."""
    wire = tapped.record
    # What passed through the tap has the tap's stamps, whatever else the server says of it.
    decoded = msgspec.structs.replace(decoded, stamps_ns=None)
    sealed = seal(wire, decoded, request, exchange, place, ordinal, keep, price)
    if sealed.status == "cancelled" and decoded.error is None and isinstance(decoded.end, int):
        # The program had what it wanted, and left before the body's own end.
        sealed = msgspec.structs.replace(sealed, status="ok", error=None)
    record = msgspec.structs.replace(
        sealed,
        stamp_source="tap" if sealed.stamp_source == "kernel" else "user",
        client_lag_p50_ns=None,
        client_lag_p99_ns=None,
        client_lag_max_ns=None,
        tap=tap_times(tapped, decoded, sealed),
    )
    redactor = redactor_for(exchange.headers + headers)
    said = _told(told.reported, redactor, keep.chunks) if told is not None else None
    return msgspec.structs.replace(redacted(record, redactor), reported=said)


def tap_times(tapped: Tapped, decoded: Decoded, sealed: CallRecord) -> TapTimes:
    """When each thing was sent on, and how long chunks were with the tap."""
    import numpy as np

    wire = tapped.record
    content = [i for i, kind in enumerate(decoded.kinds) if kind != ChunkKind.EMPTY]
    if sealed.no_first_token:
        content = []
    arrival, lag = wire.arrival_ns, wire.lag_ns

    def sent_on(index: int | None) -> int | None:
        if index is None or int(lag[index]) >= NEVER_SENT_NS:
            return None
        return int(arrival[index]) + int(lag[index])

    delays = _delays(wire)
    quantiles: list[int | None] = [None, None, None]
    if delays is not None and len(delays):
        quantiles = [round(float(x)) for x in np.quantile(delays, (0.5, 0.99, 1.0))]
    end = decoded.end if isinstance(decoded.end, int) else None
    return TapTimes(
        request_ns=tapped.request_ns,
        first_token_ns=sent_on(content[0] if content else None),
        last_token_ns=sent_on(content[-1] if content else None),
        end_ns=sent_on(end) if end is not None else tapped.end_sent_ns,
        delay_p50_ns=quantiles[0],
        delay_p99_ns=quantiles[1],
        delay_max_ns=quantiles[2],
    )


def _delays(wire: WireRecord) -> NDArray[np.uint32] | None:
    """Of each read that went on: chunks that share the read of a later one are left out."""
    from harness._native.recorder import FLAG_UPPER_BOUND

    lag = wire.lag_ns
    known = (wire.size_flags & FLAG_UPPER_BOUND == 0) & (lag < NEVER_SENT_NS)
    return lag[known] if len(lag) else None


# What only its program tells of. ------------------------------------------------------------------


def seal_reported(
    told: ReportedCall,
    place: CallPlace,
    ordinal: int,
    keep: KeepSpec,
    *,
    agent: str,
    endpoint: str,
    max_tokens: int | None = None,
    headers: Headers = (),
) -> CallRecord:
    """A record with the program's instants. What it says of itself is not checked here, but for
    one thing: `ok` takes an instant of sending and one of the end."""
    said = told.reported
    status, error = _status(told)
    known = [at for at in (said.sent_ns, said.last_token_ns, said.end_ns) if at is not None]
    stamps = said.chunk_ns or b""
    count = len(stamps) // 8
    if len(stamps) % 8:
        stamps, count = b"", 0
    reason = told.server.get("finish_reason", told.server.get("done_reason"))
    content = count or max(0, said.content_chunks or 0)
    record = CallRecord(
        call_id=place.call_id(ordinal),
        arm=place.arm,
        cell=place.cell,
        trial=place.trial,
        iteration=place.iteration,
        phase=place.phase,
        status=status,
        error=error,
        agent=agent,
        stage=told.stage,
        instants=Instants(
            due_ns=min(known, default=monotonic_ns()),
            sent_ns=said.sent_ns,
            first_token_ns=said.first_token_ns,
            last_token_ns=said.last_token_ns,
            end_ns=said.end_ns if status == "ok" else None,
            closed_ns=max(known, default=None),
        ),
        stamp_source="agent",
        endpoint=url_without_secrets(endpoint),
        http_status=told.http_status,
        finish_reason=reason if isinstance(reason, str) else None,
        usage=told.usage,
        server=told.server,
        chunks=ChunkColumns(count=count, arrival_ns=stamps, kind=bytes((ChunkKind.ANSWER,)) * count)
        if keep.chunks
        else ChunkColumns(count=count),
        content_chunks=content,
        max_tokens=max_tokens,
        text=told.text,
    )
    redactor = redactor_for(headers)
    clean = _told(said, redactor, False)  # the chunks are the record's own already
    return msgspec.structs.replace(
        redacted(record, redactor),
        reported=clean,
        no_first_token=_why_none(clean) if said.first_token_ns is None and content else "",
    )


def _status(told: ReportedCall) -> tuple[Status, CallError | None]:
    said = told.reported
    if said.status == "ok":
        if said.sent_ns is not None and said.end_ns is not None:
            return "ok", None
        message = "reported as ok, without the instant of sending or of the end"
        return "error", CallError(code="report", message=message)
    error = told.error or CallError(code="agent", message="the agent gave no reason")
    status: Any = said.status
    if status in get_args(Status):
        return status, error
    unknown = f"the agent ended it as {one_line(said.status, 60)!r}: {error.message}"
    return "error", CallError(code="report", message=unknown)


def _told(said: Reported, redactor: Redactor, chunks: bool) -> Reported:
    """Without what must not be kept, and what is not to be."""
    stamps = said.chunk_ns if chunks else None
    clean: Reported = redactor.value(msgspec.structs.replace(said, chunk_ns=None))
    return msgspec.structs.replace(clean, chunk_ns=stamps)


def _why_none(said: Reported) -> str:
    told = said.unknown.get("first_token_ns") or said.unknown.get("first_token")
    return one_line(told, 300) if told else "the agent did not say when"
