"""A finished stream of the worker's, read.

A line with tokens is content once there is text: what comes before the first text (half a character
may take several tokens) carries nothing that a reader could see, and is counted, but no first
token; what comes later without text is a token that was made like any other, and its gap is one.
The token that ends a reply is none of it. Lines carry the step's own stamp, and how many tokens it
made: `generate` may make several in one step.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from harness.control import NOT_JSON
from harness.schema import CallError, ChunkKind, Decoded, Usage
from harness.text import excerpt, one_line, storable

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["decode"]

_STAMP_MAX: Final = 2**63 - 1
_TOKENS_MAX: Final = 2**32 - 1


class _Line(Struct):
    t: int = 0
    n: int = 0
    text: str = ""
    done: bool = False
    finish_reason: str | None = None
    usage: dict[str, Any] = {}
    server: dict[str, Any] = {}
    error: dict[str, Any] | None = None


_line = msgspec.json.Decoder(_Line)


def decode(record: Record) -> Decoded:
    """Never raises on any bytes; `len(kinds) == len(record)`."""
    status = record.http_status
    if status is not None and status // 100 != 2:
        body = b"\n".join(record.payloads())
        error = CallError(code=f"http.{status}", message=_refusal(body))
        return Decoded(kinds=bytes(len(record)), error=error)
    reader = _Reader()
    last = len(record) - 1
    for index, payload in enumerate(record.payloads()):
        torn = index == last and record.unterminated and record.outcome != "complete"
        reader.read(index, payload, torn)
    return reader.result()


class _Reader:
    """Collects what the lines say."""

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.stamps_ns: list[int] = []
        self.tokens: list[int] = []
        self.text: list[str] = []
        self.error: CallError | None = None
        self.end: int | None = None
        self.last = _Line()

    def read(self, index: int, payload: bytes, torn: bool) -> None:
        try:
            line = _line.decode(payload)
        except NOT_JSON as error:
            if not torn:
                what = f"a line is not what the worker sends: {error}: {excerpt(payload)}"
                self._fail("protocol", what)
            line = _Line()
        self.stamps_ns.append(line.t if 0 <= line.t <= _STAMP_MAX else 0)
        self.tokens.append(line.n if 0 <= line.n <= _TOKENS_MAX else 0)
        self.text.append(line.text)
        seen = bool(line.text) or ChunkKind.ANSWER in self.kinds
        self.kinds.append(ChunkKind.ANSWER if line.n > 0 and seen else ChunkKind.EMPTY)
        if line.error is not None:
            code, message = line.error.get("code"), line.error.get("message")
            self._fail(_word(code) or "stream", one_line(_word(message), 500))
        if line.done and self.end is None:
            self.end, self.last = index, line

    def _fail(self, code: str, message: str) -> None:
        if self.error is None:
            self.error = CallError(code=one_line(code, 60), message=message)

    def result(self) -> Decoded:
        count = len(self.kinds)
        usage = self.last.usage
        return Decoded(
            kinds=bytes(self.kinds),
            text="".join(self.text),
            finish_reason=self.last.finish_reason,
            usage=Usage(
                prompt_tokens=_count(usage.get("prompt_tokens")),
                # The cache of keys and values is a new one for every batch.
                cached_tokens=0 if self.end is not None else None,
                output_tokens=_count(usage.get("output_tokens")),
            ),
            server={k: storable(v) for k, v in self.last.server.items()},
            end=self.end if self.error is None else None,
            chunk_tokens=struct.pack(f"<{count}I", *self.tokens),
            stamps_ns=struct.pack(f"<{count}q", *self.stamps_ns),
            error=self.error,
        )


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if usable else None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _refusal(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body.decode("utf-8", "replace"))
        return one_line(str(found["error"]["message"]), 500)
    except (*NOT_JSON, KeyError, TypeError):
        return excerpt(body)
