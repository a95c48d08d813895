"""A finished SSE stream, read.

Strategy: a plain piece of text is decoded into strict types (plain.py), which is cheap and what
nearly every chunk is. Anything else becomes a dict, because servers agree on no schema: what is not
of the expected type is passed over, never a failure.

A call has its proper end when a finish_reason was seen and the body is whole. `[DONE]` is no proof
(transformers serve never sends it, vLLM sends it after an error) and its absence none either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.control import NOT_JSON
from harness.schema import CallError, ChunkKind, Decoded
from harness.text import excerpt, storable
from harness_openai.counts import TokenCounts, count, logprob_entries, usage_of
from harness_openai.errors import as_text, error_in, error_of_body
from harness_openai.plain import PlainChunk, as_plain
from harness_openai.secret import redacted
from harness_openai.tools import ToolCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness._native.recorder import Record

__all__ = ["NAMED", "decode"]

NAMED: Final = 0x2000_0000
"""Flag of a record's chunk: the payload is an SSE event name, LF, then the data."""

# Not figures: the content itself, padding, and token ids that could fill a disk.
_NOT_FIGURES: Final = frozenset(
    {"choices", "object", "obfuscation", "prompt_token_ids", "prompt_logprobs", "error"}
)
_CHOICE_CONTENT: Final = frozenset(
    {"index", "delta", "message", "text", "logprobs", "finish_reason", "token_ids"}
)
_FAILED: Final = ("error", "abort")
"""Reasons by which servers say that a generation was given up."""

_json_decoder = msgspec.json.Decoder()


def decode(
    record: Record, redact: Callable[[str], str], *, whole: bool = False, others: bool = False
) -> Decoded:
    """Never raises on any bytes; `len(kinds) == len(record)`. Every string in the result has been
    through `redact`. `whole`: an answer all at once was asked for, and is none of its faults.
    `others`: another program asked, which may leave once it has `[DONE]`."""
    status = record.http_status
    if status is not None and status // 100 != 2:
        raw, message = error_of_body(b"\n".join(record.payloads()))
        return Decoded(
            kinds=bytes(len(record)),
            server=redacted({"error": storable(raw)} if raw else {}, redact),
            error=CallError(code=f"http.{status}", message=redact(message)),
        )
    complete = record.outcome == "complete"
    reader = _Reader(streamed=not _is_plain_json(record.head), whole=whole)
    torn = len(record) - 1 if record.unterminated and not complete else None
    flags = record.size_flags.tolist()
    for index, payload in enumerate(record.payloads()):
        if flags[index] & NAMED:
            name, _, data = payload.partition(b"\n")
            reader.read_named(name, data, cut_off=index == torn)
        else:
            reader.read(payload, cut_off=index == torn)
    decoded = reader.result(complete, redact)
    if others and record.outcome == "cancelled" and reader.is_done and decoded.error is None:
        decoded.end = reader.done_at
    return decoded


class _Reader:
    """Collects what the payloads say, in their order."""

    def __init__(self, *, streamed: bool, whole: bool) -> None:
        self._streamed = streamed
        self._whole = whole
        self._kinds = bytearray()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tools = ToolCalls()
        self._tokens = TokenCounts()
        self._finish_reason: str | None = None
        self._error: CallError | None = None
        self._server: dict[str, Any] = {}
        self._last_plain: bytes | None = None
        self.done_at: int | None = None

    @property
    def is_done(self) -> bool:
        return self.done_at is not None and self._finish_reason is not None

    def read_named(self, name: bytes, data: bytes, *, cut_off: bool) -> None:
        if name == b"error":
            raw, message = error_of_body(data)
            self._fail("stream", message, raw)
            self._add_empty()
        elif name == b"message" or data.lstrip()[:1] == b"{":
            self.read(data, cut_off=cut_off)
        else:
            self._add_empty()  # a ping of some kind

    def read(self, payload: bytes, *, cut_off: bool) -> None:
        # The first chunk goes the general way, for what servers say once: id, model, fingerprint.
        plain = as_plain(payload) if self._streamed and self._kinds else None
        if plain is not None:
            self._add_plain(plain)
            self._last_plain = payload
        elif payload.strip() == b"[DONE]":
            self.done_at = len(self._kinds)
            self._add_empty()
        else:
            self._catch_up()
            self._add_any(payload, cut_off)

    def result(self, complete: bool, redact: Callable[[str], str]) -> Decoded:
        self._catch_up()
        proven = complete and self._finish_reason is not None and self._error is None
        error = self._error
        if error is not None:
            error = CallError(code=error.code, message=redact(error.message))
        usage = usage_of(self._server)
        return Decoded(
            kinds=bytes(self._kinds),
            text=redact("".join(self._text)),
            reasoning=redact("".join(self._reasoning)),
            tool_calls=redacted(storable(self._tools.calls()), redact),
            finish_reason=redact(self._finish_reason) if self._finish_reason else None,
            usage=usage,
            server=redacted(storable(self._server), redact),
            end="body" if proven else None,
            chunk_tokens=self._tokens.packed(self._kinds, usage.output_tokens),
            error=error,
        )

    # Chunk by chunk ---------------------------------------------------------------------------

    def _add_plain(self, chunk: PlainChunk) -> None:
        choice = chunk.choices[0]
        delta = choice.delta
        kind = ChunkKind.EMPTY
        if reasoning := delta.reasoning or delta.reasoning_content:
            self._reasoning.append(reasoning)
            kind = ChunkKind.REASONING
        if text := (delta.content or "") + (choice.text or ""):
            self._text.append(text)
            kind = ChunkKind.ANSWER
        usage, timings = chunk.usage, chunk.timings
        if usage or timings:
            usage_total = usage.completion_tokens if usage else None
            timings_total = timings.predicted_n if timings else None
            self._tokens.add(len(self._kinds), usage_total, timings_total)
        self._kinds.append(kind)

    def _add_any(self, payload: bytes, cut_off: bool) -> None:
        try:
            found = _loads(payload)
        except NOT_JSON as error:
            # Half a payload at the end of a torn stream is no fault of its own: it is the tear.
            if not cut_off:
                self._fail("protocol", f"a payload is not JSON: {error}: {excerpt(payload)}")
            self._add_empty()
            return
        if not isinstance(found, dict):
            self._fail("protocol", f"a payload is not an object: {excerpt(payload)}")
            self._add_empty()
            return
        raw = error_in(found)
        if raw is not None:
            self._fail("stream", as_text(raw), raw)
        self._keep_figures(found)
        self._add_choices(found)

    def _add_empty(self) -> None:
        self._kinds.append(ChunkKind.EMPTY)

    def _add_choices(self, found: dict[str, Any]) -> None:
        choices = found.get("choices")
        kind, logprobs = ChunkKind.EMPTY, 0
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                kind = max(kind, self._read_choice(choice))
                logprobs += logprob_entries(choice.get("logprobs"))
        self._tokens.add(
            len(self._kinds),
            count(found.get("usage"), "completion_tokens"),
            count(found.get("timings"), "predicted_n"),
            logprobs,
        )
        self._kinds.append(kind)

    def _read_choice(self, choice: dict[str, Any]) -> int:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            whole = choice.get("message")
            delta = whole if isinstance(whole, dict) else {}
            if (delta or not self._streamed) and not self._whole:
                self._fail("protocol", "the server answered all at once: it did not stream")
        self._note_finish(choice)
        kind = ChunkKind.EMPTY
        if reasoning := _reasoning(delta):
            self._reasoning.append(reasoning)
            kind = ChunkKind.REASONING
        if self._tools.add(delta):
            kind = ChunkKind.TOOL
        text = _string(delta.get("content")) + _string(delta.get("refusal"))
        if text := text + _string(choice.get("text")):
            self._text.append(text)
            kind = ChunkKind.ANSWER
        return kind

    def _note_finish(self, choice: dict[str, Any]) -> None:
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or not reason:
            return
        self._finish_reason = reason
        if reason in _FAILED:
            self._fail("stream", f"the server gave the generation up (finish_reason {reason!r})")
        for name, value in choice.items():  # stop_reason, matched_stop, native_finish_reason …
            if name not in _CHOICE_CONTENT and value is not None:
                self._server[name] = value

    # Beside the content -----------------------------------------------------------------------

    def _keep_figures(self, found: dict[str, Any]) -> None:
        """Of what is sent with every chunk, the last stays."""
        for name, value in found.items():
            if name not in _NOT_FIGURES and value is not None:
                self._server[name] = value

    def _catch_up(self) -> None:
        """The figures of the latest plain chunk, before those that came after it."""
        payload, self._last_plain = self._last_plain, None
        if payload is None:
            return
        try:
            self._keep_figures(_loads(payload))
        except NOT_JSON as error:  # a number out of range, where only the general way looks
            self._fail("protocol", f"a payload is not JSON: {error}: {excerpt(payload)}")

    def _fail(self, code: str, message: str, raw: Any = None) -> None:
        """The first error is the call's; the rest follow from it."""
        if self._error is None:
            self._error = CallError(code=code, message=message)
            if raw is not None:
                self._server["error"] = raw


def _loads(payload: bytes) -> Any:
    try:
        return _json_decoder.decode(payload)
    except UnicodeDecodeError:
        return _json_decoder.decode(payload.decode("utf-8", "replace"))


def _string(value: Any) -> str:
    """A string, or a list of parts of which those with text count (Mistral)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_string(p.get("text")) for p in value if isinstance(p, dict))
    return ""


def _reasoning(delta: dict[str, Any]) -> str:
    """`reasoning` (vLLM, Ollama, OpenRouter) or `reasoning_content` (llama.cpp, SGLang, DeepSeek);
    some versions send the same piece under both names."""
    found = _string(delta.get("reasoning")) or _string(delta.get("reasoning_content"))
    return found or _string(delta.get("reasoning_details"))


def _is_plain_json(head: bytes) -> bool:
    """Whether Content-Type says that the body is one JSON document."""
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip() == b"content-type":
            return value.strip().startswith(b"application/json")
    return False
