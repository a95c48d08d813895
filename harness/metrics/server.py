"""The server's own account of a call, in one unit, from whichever dialect it came in.

Ollama             flat, integer ns: load_duration, prompt_eval_duration, eval_count …
llama.cpp server   `timings`, float ms: prompt_n, prompt_ms, predicted_n, predicted_ms, cache_n
hf worker          flat, integer ns: queue_ns, prepare_ns, prefill_ns, decode_ns, and load_ns where
                   a call made it load; prompt_tokens, generated_tokens

What a server left out is None. Ollama leaves out what is exactly 0; it is None here as well, since
a field that is not there cannot be told from one that this server does not have. A figure that is
no plausible number (text, NaN, negative) counts as left out: servers are strangers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.schema import CallRecord

__all__ = [
    "accounted_ms",
    "decode",
    "eval_ms",
    "load_ms",
    "output_tokens",
    "peak_bytes",
    "prefill",
    "prompt_ms",
    "queue_ms",
]


def prompt_ms(record: CallRecord) -> float | None:
    """Time spent on the prompt tokens that were not cached."""
    if (timings := _timings(record)) is not None:
        return _number(timings, "prompt_ms")
    if _is_hf(record):
        return _ms(record.server, "prefill_ns")
    return eval_ms(record)


def eval_ms(record: CallRecord) -> float | None:
    """Ollama's prompt_eval_duration."""
    return _ms(record.server, "prompt_eval_duration")


def load_ms(record: CallRecord) -> float | None:
    """From the request's arrival until the model was ready for it, where the server says."""
    if _is_hf(record):
        return _ms(record.server, "load_ns")
    return _ms(record.server, "load_duration")


def output_tokens(record: CallRecord) -> int | None:
    """Tokens generated, by the server's usage."""
    tokens = record.usage.output_tokens
    return tokens if tokens is not None and 0 <= tokens < 2**63 else None


def accounted_ms(record: CallRecord) -> float | None:
    """All that the server says it did before the first token. llama.cpp's server has its model
    loaded before it listens, and starts its clock when the request gets a slot."""
    prompt, load = prompt_ms(record), load_ms(record)
    if _timings(record) is not None:
        return prompt
    if _is_hf(record):
        prepared = _ms(record.server, "prepare_ns")
        return None if prompt is None or prepared is None else (load or 0.0) + prepared + prompt
    return None if prompt is None or load is None else load + prompt


def decode(record: CallRecord) -> tuple[float, float] | None:
    """(tokens generated, ms from the end of the prompt to the last of them)."""
    if (timings := _timings(record)) is not None:
        return _pair(_number(timings, "predicted_n"), _number(timings, "predicted_ms"))
    if _is_hf(record):
        return _pair(_number(record.server, "generated_tokens"), _ms(record.server, "decode_ns"))
    return _pair(_number(record.server, "eval_count"), _ms(record.server, "eval_duration"))


def prefill(record: CallRecord) -> tuple[float, float] | None:
    """(prompt tokens evaluated, ms). None where cached tokens may be in the count.

    llama.cpp's prompt_n is without those it had cached (they are in cache_n). Ollama's
    prompt_eval_count includes them while its duration does not, so it is used only where the number
    of cached tokens is known to be 0.
    """
    if (timings := _timings(record)) is not None:
        return _pair(_number(timings, "prompt_n"), _number(timings, "prompt_ms"))
    if _is_hf(record):
        return _pair(_number(record.server, "prompt_tokens"), prompt_ms(record))
    if record.usage.cached_tokens != 0:
        return None
    return _pair(_number(record.server, "prompt_eval_count"), prompt_ms(record))


def peak_bytes(record: CallRecord, measure: str) -> float | None:
    """The most memory that the server took for it: `allocated`, `reserved` or `process`."""
    return _number(record.server, f"memory_{measure}_peak_bytes")


def queue_ms(record: CallRecord) -> float | None:
    """From when the server had read the request until it began with it, where it says."""
    return _ms(record.server, "queue_ns")


def _is_hf(record: CallRecord) -> bool:
    return "prefill_ns" in record.server


def _timings(record: CallRecord) -> Mapping[str, Any] | None:
    timings = record.server.get("timings")
    return timings if isinstance(timings, Mapping) else None


def _ms(fields: Mapping[str, Any], name: str) -> float | None:
    duration_ns = _number(fields, name)
    return None if duration_ns is None else duration_ns / 1e6


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # 2⁶³ ns are 292 years: beyond it there is no figure, only an overflow to come.
    return float(value) if 0 <= value < 2**63 and math.isfinite(value) else None


def _pair(count: float | None, duration_ms: float | None) -> tuple[float, float] | None:
    if count is None or duration_ms is None or duration_ms <= 0.0:
        return None
    return count, duration_ms
