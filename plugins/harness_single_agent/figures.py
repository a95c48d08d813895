"""The figures of a call, from its record alone. What is not known is None, and is printed as such.

TTFT              first chunk with content − last byte of the request sent (measured here)
duration          proper end of the stream − request sent (measured here)
decode rate       (output tokens − 1) / (last content chunk − first), from this side; the server's
                  own rate, tokens / eval duration, stands beside it and is never mixed with it
prompt eval, eval, load    durations as the server states them: Ollama's *_duration (ns), or
                  llama.cpp's timings (ms). They are not parts of a TTFT measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from harness.schema import CallRecord

__all__ = ["CallFigures", "throughput_tok_s"]


class CallFigures(Struct, frozen=True, kw_only=True):
    """One call."""

    ttft_ms: float | None
    e2e_ms: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    decode_tok_s: float | None
    server_decode_tok_s: float | None
    server_prompt_eval_ms: float | None
    server_eval_ms: float | None
    server_load_ms: float | None

    @classmethod
    def of(cls, record: CallRecord) -> CallFigures:
        at, usage = record.instants, record.usage
        decoding_ms = _between_ms(at.first_token_ns, at.last_token_ns)
        prompt_ms, eval_tokens, eval_ms, load_ms = _server(record.server)
        return cls(
            ttft_ms=_between_ms(at.sent_ns, at.first_token_ns),
            e2e_ms=_between_ms(at.sent_ns, at.end_ns),
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            decode_tok_s=_rate((usage.output_tokens or 0) - 1, decoding_ms),
            # The first token comes with the prompt: one alone has a duration of about 0, no rate.
            server_decode_tok_s=_rate(eval_tokens, eval_ms) if (eval_tokens or 0) > 1 else None,
            server_prompt_eval_ms=prompt_ms,
            server_eval_ms=eval_ms,
            server_load_ms=load_ms,
        )


def throughput_tok_s(records: list[CallRecord]) -> float | None:
    """All output tokens / the time from the first request sent to the last stream ended."""
    starts, ends, tokens = [], [], 0
    for record in records:
        at, generated = record.instants, record.usage.output_tokens
        if at.sent_ns is None or at.end_ns is None or generated is None:
            return None
        starts.append(at.sent_ns)
        ends.append(at.end_ns)
        tokens += generated
    return _rate(tokens, _between_ms(min(starts), max(ends))) if records else None


def _server(
    said: Mapping[str, Any],
) -> tuple[float | None, float | None, float | None, float | None]:
    """prompt eval ms, eval tokens, eval ms, load ms."""
    timings = said.get("timings")
    if isinstance(timings, Mapping):
        names = ("prompt_ms", "predicted_n", "predicted_ms")
        prompt_ms, tokens, eval_ms = (_number(timings.get(name)) for name in names)
        return prompt_ms, tokens, eval_ms, None
    durations = ("prompt_eval_duration", "eval_duration", "load_duration")
    in_ns = (_number(said.get(name)) for name in durations)
    prompt_ms, eval_ms, load_ms = (None if ns is None else ns / 1e6 for ns in in_ns)
    return prompt_ms, _number(said.get("eval_count")), eval_ms, load_ms


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 2**63 else None


def _between_ms(start_ns: int | None, end_ns: int | None) -> float | None:
    if start_ns is None or end_ns is None or end_ns < start_ns:
        return None
    return (end_ns - start_ns) / 1e6


def _rate(tokens: float | None, duration_ms: float | None) -> float | None:
    """Tokens per second; None for one token, or for no time at all."""
    if not tokens or tokens < 1 or not duration_ms:
        return None
    return 1e3 * tokens / duration_ms
