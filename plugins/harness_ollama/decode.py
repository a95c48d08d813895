"""A finished NDJSON stream, read.

Strategy: every line is decoded into a few typed fields, and once more, whole, if it is the last
one. The only proof of a proper end is `done: true`: the server ends some failed generations with
neither `done` nor `error`, so the end of the body proves nothing.

A line is not a token: the server drops empty pieces and holds back half characters and possible
stop strings. Token counts come from `eval_count`, tokens per line from log probabilities or not at
all. The figures of the last line are Go `omitempty` fields in nanoseconds: an absent one was zero.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from harness.control import NOT_JSON
from harness.schema import CallError, ChunkKind, Decoded, Usage
from harness.text import excerpt, one_line, storable

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["decode"]

# Text that is kept elsewhere, and the token ids of prompt and reply, which nobody asked for.
_NOT_FIGURES = frozenset(
    {"message", "response", "thinking", "tool_calls", "logprobs", "context", "done"}
)
_GENERATED_NOTHING = {
    "load": "the server loaded the model and generated nothing: the prompt was empty",
    "unload": "the server unloaded the model and generated nothing: the prompt was empty",
}


class _Message(Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Line(Struct):
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    logprobs: list[Any] | None = None
    done: bool | None = None
    error: Any = None


_line_decoder = msgspec.json.Decoder(_Line)


def decode(record: Record) -> Decoded:
    """Never raises on any bytes; `len(kinds) == len(record)`."""
    status = record.http_status
    if status is not None and status // 100 != 2:
        body = b"\n".join(record.payloads())
        error = CallError(code=f"http.{status}", message=_error_message(body))
        return Decoded(kinds=bytes(len(record)), error=error)
    reader = _Reader()
    last = len(record) - 1
    for index, payload in enumerate(record.payloads()):
        cut_off = index == last and record.unterminated and record.outcome != "complete"
        reader.read(index, payload, cut_off)
    return reader.result()


class _Reader:
    """Collects what the lines say."""

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.tool_calls: list[dict[str, Any]] = []
        self.token_counts: list[int] = []
        self.uncounted_content = False
        self.error: CallError | None = None
        self.end: int | None = None
        self.last: dict[str, Any] = {}

    def read(self, index: int, payload: bytes, cut_off: bool) -> None:
        try:
            line = _read_line(payload)
            whole = _whole(payload) if line.done else {}
        except NOT_JSON as error:
            # Half a line at the end of a torn stream is no fault of its own: it is the tear.
            if not cut_off:
                self._fail(
                    "protocol", f"a line is not what Ollama sends: {error}: {excerpt(payload)}"
                )
            self.kinds.append(ChunkKind.EMPTY)
            self.token_counts.append(0)
            return
        kind = self._content(line)
        self.kinds.append(kind)
        self._count_tokens(line, kind)
        if line.error is not None:
            self._fail("stream", _as_text(line.error))
        if line.done and self.end is None:
            self.end = index
            self.last = whole

    def _content(self, line: _Line) -> int:
        message = line.message or _Message()
        kind = ChunkKind.EMPTY
        reasoning = (message.thinking or "") + (line.thinking or "")
        if reasoning:
            self.reasoning.append(reasoning)
            kind = ChunkKind.REASONING
        tool_calls = (message.tool_calls or []) + (line.tool_calls or [])
        if tool_calls:
            self.tool_calls += storable(tool_calls)
            kind = ChunkKind.TOOL
        text = (message.content or "") + (line.response or "")
        if text:
            self.text.append(text)
            kind = ChunkKind.ANSWER
        return kind

    def _count_tokens(self, line: _Line, kind: int) -> None:
        self.token_counts.append(len(line.logprobs or ()))
        if kind != ChunkKind.EMPTY and not line.logprobs:
            self.uncounted_content = True

    def _fail(self, code: str, message: str) -> None:
        if self.error is None:
            self.error = CallError(code=code, message=message)

    def result(self) -> Decoded:
        said = self.last.get("done_reason")
        finish_reason = said if isinstance(said, str) else None
        if finish_reason in _GENERATED_NOTHING:
            self._fail("empty", _GENERATED_NOTHING[finish_reason])
        usage = self._usage()
        return Decoded(
            kinds=bytes(self.kinds),
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=self.tool_calls,
            finish_reason=finish_reason,
            usage=usage,
            server={k: storable(v) for k, v in self.last.items() if k not in _NOT_FIGURES},
            end=self.end if self.error is None else None,
            chunk_tokens=self._tokens_per_chunk(usage.output_tokens),
            error=self.error,
        )

    def _tokens_per_chunk(self, output_tokens: int | None) -> bytes | None:
        """uint32 per line from log probabilities: only if they cover all content and add up."""
        counts = self.token_counts
        if self.uncounted_content or not any(counts) or output_tokens not in (None, sum(counts)):
            return None
        return struct.pack(f"<{len(counts)}I", *counts)

    def _usage(self) -> Usage:
        """Cached tokens are in prompt_eval_count and Ollama does not say how many they are."""
        if self.end is None:
            return Usage()
        return Usage(
            # Some versions count only what the cache did not hold, so that 0 (absent) is no count.
            prompt_tokens=_count(self.last.get("prompt_eval_count")),
            output_tokens=_count(self.last.get("eval_count", 0)),
        )


def _read_line(payload: bytes) -> _Line:
    try:
        return _line_decoder.decode(payload)
    except UnicodeDecodeError:
        return _line_decoder.decode(payload.decode("utf-8", "replace"))


def _whole(payload: bytes) -> dict[str, Any]:
    return msgspec.json.decode(payload.decode("utf-8", "replace"), type=dict[str, Any])


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if usable else None


def _error_message(body: bytes) -> str:
    """What the body of an HTTP error says, or its beginning where it is not Ollama's."""
    try:
        found = msgspec.json.decode(body.decode("utf-8", "replace"))
    except NOT_JSON:
        return excerpt(body)
    if isinstance(found, dict) and found.get("error"):
        return _as_text(found["error"])
    return excerpt(body)


def _as_text(error: Any) -> str:
    if isinstance(error, dict):
        error = error.get("message", error)
    return one_line(error if isinstance(error, str) else repr(storable(error)), 500)
