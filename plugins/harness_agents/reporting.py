"""What a program told of its calls, as the harness records it."""

from __future__ import annotations

import sys
from array import array
from typing import Any, Final

from harness.schema import CallError, Reported, ReportedCall, Usage
from harness.text import one_line, storable, whole_number, without_surrogates
from harness_agents.protocol import CallMark, Job
from harness_agents.transcript import Call, Transcript

__all__ = ["reported_calls", "usage_of"]

_WORDS_MAX: Final = 300


def reported_calls(script: Transcript, job: Job) -> tuple[ReportedCall, ...]:
    """In the order in which they were first told of. A call that was sent and never ended is an
    error of its program."""
    planned = {name for _, _, name in job.call_names()}
    return tuple(_reported(call, job) for name, call in script.calls.items() if name in planned)


def _reported(call: Call, job: Job) -> ReportedCall:
    end, first, last = call.end, call.first, call.last
    marks = {"first_token_ns": first, "last_token_ns": last}
    unknown = {name: _reason(mark) for name, mark in marks.items() if mark and mark.at_ns is None}
    sent_ns = call.sent.at_ns if call.sent else None
    stage = one_line(call.sent.stage, 100) if call.sent else ""
    if end is None:
        return ReportedCall(
            call=call.name,
            stage=stage,
            reported=Reported(
                status="error",
                sent_ns=sent_ns,
                first_token_ns=first.at_ns if first else None,
                last_token_ns=last.at_ns if last else None,
                unknown=unknown,
            ),
            error=CallError(code="agent", message="the program ended before this call did"),
        )
    server = storable(without_surrogates(end.server))
    return ReportedCall(
        call=call.name,
        stage=stage,
        reported=Reported(
            status=end.status,
            sent_ns=sent_ns,
            first_token_ns=first.at_ns if first else None,
            last_token_ns=last.at_ns if last else None,
            end_ns=end.at_ns,
            content_chunks=end.content_chunks,
            chunk_ns=None if end.chunk_ns is None else _column(end.chunk_ns),
            unknown=unknown,
        ),
        error=_error(call),
        http_status=end.http_status or None,
        usage=usage_of(job.endpoint.dialect, server),
        server=server,
        text=end.text or "",
    )


def _error(call: Call) -> CallError | None:
    end = call.end
    if end is None or end.status == "ok":
        return None
    if end.error is None:
        return CallError(code="agent", message="the program does not say why")
    return CallError(
        code=one_line(end.error.code, 60) or "agent",
        message=one_line(end.error.message, _WORDS_MAX),
    )


def _reason(mark: CallMark) -> str:
    return one_line(mark.reason or "the program does not say", 200)


def _column(stamps: tuple[int, ...]) -> bytes:
    column = array("q", stamps)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def usage_of(dialect: str, server: dict[str, Any]) -> Usage:
    """Token counts in a server's own figures, which came through somebody else's hands."""
    if dialect == "ollama":
        return Usage(
            prompt_tokens=whole_number(server.get("prompt_eval_count")),
            output_tokens=whole_number(server.get("eval_count")),
        )
    usage = _mapping(server.get("usage"))
    return Usage(
        prompt_tokens=whole_number(usage.get("prompt_tokens")),
        output_tokens=whole_number(usage.get("completion_tokens")),
        cached_tokens=whole_number(
            _mapping(usage.get("prompt_tokens_details")).get("cached_tokens")
        ),
        reasoning_tokens=whole_number(
            _mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")
        ),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
