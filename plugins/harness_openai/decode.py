"""A finished SSE stream, read.

Strategy: every payload becomes a plain dict, because servers agree on no schema: what is not of the
expected type is passed over, never a failure. A call has its proper end when a finish_reason was
seen and the body is whole; `[DONE]` is no proof (transformers serve never sends it, vLLM sends it
after an error) and its absence none either.

A chunk is not a token. How many tokens a chunk holds is known where the server counts as it goes:
cumulative usage (vLLM, SGLang), cumulative `timings.predicted_n` (llama.cpp), or one entry of log
probabilities per token; in this order, and only if every chunk with content is covered.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.schema import CallError, ChunkKind, Decoded, Usage
from harness_openai.errors import NOT_JSON, as_text, error_in, error_of_body, show, storable
from harness_openai.tools import ToolCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness._native.recorder import Record

__all__ = ["NAMED", "decode"]

NAMED: Final = 0x2000_0000
"""Flag of a record's chunk: the payload is an SSE event name, LF, then the data."""

# Not figures: the content itself, padding, and token ids that could fill a disk.
_NOT_FIGURES = frozenset(
    {"choices", "object", "obfuscation", "prompt_token_ids", "prompt_logprobs", "error"}
)
_CHOICE_CONTENT = frozenset(
    {"index", "delta", "message", "text", "logprobs", "finish_reason", "token_ids"}
)
_FAILED: Final = ("error", "abort")
"""Reasons by which servers say that a generation was given up."""

_json_decoder = msgspec.json.Decoder()


def decode(record: Record, redact: Callable[[str], str]) -> Decoded:
    """Never raises on any bytes; `len(kinds) == len(record)`. Every string in the result has been
    through `redact`."""
    status = record.http_status
    if status is not None and status // 100 != 2:
        raw, message = error_of_body(b"\n".join(record.payloads()))
        return Decoded(
            kinds=bytes(len(record)),
            server=_redacted({"error": storable(raw)} if raw else {}, redact),
            error=CallError(code=f"http.{status}", message=redact(message)),
        )
    reader = _Reader(streamed=not _is_plain_json(record.head))
    last = len(record) - 1
    flags = record.size_flags.tolist()
    for index, payload in enumerate(record.payloads()):
        cut_off = index == last and record.unterminated and record.outcome != "complete"
        if flags[index] & NAMED:
            name, _, data = payload.partition(b"\n")
            reader.read_named(name, data, cut_off)
        else:
            reader.read(payload, cut_off)
    return reader.result(record.outcome == "complete", redact)


class _Reader:
    """Collects what the payloads say, in their order."""

    def __init__(self, *, streamed: bool) -> None:
        self.streamed = streamed
        self.kinds = bytearray()
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.tools = ToolCalls()
        self.finish_reason: str | None = None
        self.error: CallError | None = None
        self.server: dict[str, Any] = {}
        # Per chunk, for _tokens_per_chunk.
        self.usage_totals: list[int | None] = []
        self.timing_totals: list[int | None] = []
        self.logprob_counts: list[int] = []

    def read_named(self, name: bytes, data: bytes, cut_off: bool) -> None:
        if name == b"error":
            raw, message = error_of_body(data)
            self._fail("stream", message, raw)
            self._skip()
        elif name == b"message" or data.lstrip()[:1] == b"{":
            self.read(data, cut_off)
        else:
            self._skip()  # a ping of some kind

    def read(self, payload: bytes, cut_off: bool) -> None:
        if payload.strip() == b"[DONE]":
            self._skip()
            return
        try:
            found = _loads(payload)
        except NOT_JSON as error:
            # Half a payload at the end of a torn stream is no fault of its own: it is the tear.
            if not cut_off:
                self._fail("protocol", f"a payload is not JSON: {error}: {show(payload)}")
            self._skip()
            return
        if not isinstance(found, dict):
            self._fail("protocol", f"a payload is not an object: {show(payload)}")
            self._skip()
            return
        raw = error_in(found)
        if raw is not None:
            self._fail("stream", as_text(raw), raw)
        self._figures(found)
        self._choices(found.get("choices"))

    def _skip(self) -> None:
        self._chunk(ChunkKind.EMPTY, 0, None, None)

    def _chunk(self, kind: int, logprobs: int, usage: int | None, timing: int | None) -> None:
        self.kinds.append(kind)
        self.logprob_counts.append(logprobs)
        self.usage_totals.append(usage)
        self.timing_totals.append(timing)

    def _figures(self, found: dict[str, Any]) -> None:
        """Everything beside the content; of what is sent with every chunk, the last."""
        for name, value in found.items():
            if name not in _NOT_FIGURES and value is not None:
                self.server[name] = value
        self._usage_now = _count(found.get("usage"), "completion_tokens")
        self._timing_now = _count(found.get("timings"), "predicted_n")

    def _choices(self, choices: Any) -> None:
        kind, logprobs = ChunkKind.EMPTY, 0
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                kind = max(kind, self._choice(choice))
                logprobs += _logprob_entries(choice.get("logprobs"))
        self._chunk(kind, logprobs, self._usage_now, self._timing_now)

    def _choice(self, choice: dict[str, Any]) -> int:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            whole = choice.get("message")
            delta = whole if isinstance(whole, dict) else {}
            if delta or not self.streamed:
                self._fail("protocol", "the server answered all at once: it did not stream")
        self._finish(choice)
        return self._content(delta, choice.get("text"))

    def _content(self, delta: dict[str, Any], completion: Any) -> int:
        kind = ChunkKind.EMPTY
        reasoning = _reasoning(delta)
        if reasoning:
            self.reasoning.append(reasoning)
            kind = ChunkKind.REASONING
        if self.tools.add(delta):
            kind = ChunkKind.TOOL
        text = _text(delta.get("content")) + _text(delta.get("refusal")) + _text(completion)
        if text:
            self.text.append(text)
            kind = ChunkKind.ANSWER
        return kind

    def _finish(self, choice: dict[str, Any]) -> None:
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or not reason:
            return
        self.finish_reason = reason
        if reason in _FAILED:
            self._fail("stream", f"the server gave the generation up (finish_reason {reason!r})")
        for name, value in choice.items():  # stop_reason, matched_stop, native_finish_reason …
            if name not in _CHOICE_CONTENT and value is not None:
                self.server[name] = value

    def _fail(self, code: str, message: str, raw: Any = None) -> None:
        """The first error is the call's; the rest follow from it."""
        if self.error is None:
            self.error = CallError(code=code, message=message)
            if raw is not None:
                self.server["error"] = raw

    def result(self, complete: bool, redact: Callable[[str], str]) -> Decoded:
        proven = complete and self.finish_reason is not None and self.error is None
        error = self.error and CallError(code=self.error.code, message=redact(self.error.message))
        return Decoded(
            kinds=bytes(self.kinds),
            text=redact("".join(self.text)),
            reasoning=redact("".join(self.reasoning)),
            tool_calls=_redacted(storable(self.tools.calls()), redact),
            finish_reason=redact(self.finish_reason) if self.finish_reason else None,
            usage=_usage(self.server),
            server=_redacted(storable(self.server), redact),
            end="body" if proven else None,
            chunk_tokens=self._tokens_per_chunk(),
            error=error,
        )

    def _tokens_per_chunk(self) -> bytes | None:
        counts = (
            _differences(self.usage_totals, self.kinds)
            or _differences(self.timing_totals, self.kinds)
            or _covering(self.logprob_counts, self.kinds)
        )
        return struct.pack(f"<{len(counts)}I", *counts) if counts else None


def _loads(payload: bytes) -> Any:
    try:
        return _json_decoder.decode(payload)
    except UnicodeDecodeError:
        return _json_decoder.decode(payload.decode("utf-8", "replace"))


def _text(value: Any) -> str:
    """A string, or a list of parts of which those of type text count (Mistral)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(p.get("text")) for p in value if isinstance(p, dict))
    return ""


def _reasoning(delta: dict[str, Any]) -> str:
    """`reasoning` (vLLM, Ollama, OpenRouter) or `reasoning_content` (llama.cpp, SGLang, DeepSeek);
    some versions send the same piece under both names."""
    found = _text(delta.get("reasoning")) or _text(delta.get("reasoning_content"))
    return found or _text(delta.get("reasoning_details"))


def _logprob_entries(logprobs: Any) -> int:
    """One entry a token: chat has `content` (and `refusal`), completions has `tokens`."""
    if not isinstance(logprobs, dict):
        return 0
    lists = (logprobs.get(name) for name in ("content", "refusal", "tokens"))
    return sum(len(entries) for entries in lists if isinstance(entries, list))


def _differences(totals: list[int | None], kinds: bytearray) -> list[int] | None:
    """Tokens per chunk from running totals; None unless each content chunk has one."""
    counts, before = [], 0
    for total, kind in zip(totals, kinds, strict=True):
        if total is None:
            if kind != ChunkKind.EMPTY:
                return None
            counts.append(0)
            continue
        if not 0 <= total - before < 2**32:
            return None
        counts.append(total - before)
        before = total
    return counts if before else None


def _covering(counts: list[int], kinds: bytearray) -> list[int] | None:
    known = all(count or kind == ChunkKind.EMPTY for count, kind in zip(counts, kinds, strict=True))
    return counts if known and any(counts) else None


def _usage(server: dict[str, Any]) -> Usage:
    """From `usage`; where a llama.cpp server sent none, from its `timings`."""
    usage, timings = server.get("usage"), server.get("timings")
    if not isinstance(usage, dict):
        cached, evaluated = _count(timings, "cache_n"), _count(timings, "prompt_n")
        known = cached is not None and evaluated is not None
        return Usage(
            prompt_tokens=(cached or 0) + (evaluated or 0) if known else None,
            cached_tokens=cached,
            output_tokens=_count(timings, "predicted_n"),
        )
    cached_tokens = _first(
        _count(usage.get("prompt_tokens_details"), "cached_tokens"),
        _count(usage, "prompt_cache_hit_tokens"),
        _count(timings, "cache_n"),
    )
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=cached_tokens,
        output_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_first(
            _count(usage.get("completion_tokens_details"), "reasoning_tokens"),
            _count(usage, "reasoning_tokens"),
        ),
    )


def _count(holder: Any, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
    return value if usable else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _is_plain_json(head: bytes) -> bool:
    """Whether Content-Type says that the body is one JSON document."""
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip() == b"content-type":
            return value.strip().startswith(b"application/json")
    return False


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    return value
