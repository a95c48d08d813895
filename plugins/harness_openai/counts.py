"""How many tokens: of the call, and of each chunk where the server tells.

A chunk is not a token. How many tokens a chunk holds is known where the server counts as it goes:
cumulative usage (vLLM, SGLang), cumulative `timings.predicted_n` (llama.cpp), or one entry of log
probabilities per token. A count is believed only if it covers every chunk with content and adds up
to the call's own: llama.cpp sends log probabilities of one token with a chunk that holds two
(the first was half a character), which only the sum gives away.
"""

from __future__ import annotations

import struct
from typing import Any

from harness.schema import ChunkKind, Usage

__all__ = ["TokenCounts", "count", "logprob_entries", "usage_of"]


class TokenCounts:
    """What the chunks said, by their index; most say nothing."""

    def __init__(self) -> None:
        self._usage: dict[int, int] = {}
        self._timings: dict[int, int] = {}
        self._logprobs: dict[int, int] = {}

    def add(self, index: int, usage: int | None, timings: int | None, logprobs: int = 0) -> None:
        """Running totals by usage and by timings; entries of log probabilities."""
        if usage is not None:
            self._usage[index] = usage
        if timings is not None:
            self._timings[index] = timings
        if logprobs:
            self._logprobs[index] = logprobs

    def packed(self, kinds: bytearray, output_tokens: int | None) -> bytes | None:
        """uint32 per chunk, or None where no count can be believed. The order is of preference;
        a sum that cannot be checked, in a call without usage, passes."""
        for counts in (
            _differences(self._usage, kinds),
            _differences(self._timings, kinds),
            _covering(self._logprobs, kinds),
        ):
            if counts and output_tokens in (None, sum(counts)):
                return struct.pack(f"<{len(counts)}I", *counts)
        return None


def _differences(totals: dict[int, int], kinds: bytearray) -> list[int] | None:
    counts, before = _covering(totals, kinds), 0
    if counts is None:
        return None
    for index, total in totals.items():  # in the order of the chunks
        if not 0 <= total - before < 2**32:
            return None
        counts[index], before = total - before, total
    return counts if before else None


def _covering(said: dict[int, int], kinds: bytearray) -> list[int] | None:
    """A number for each chunk, 0 where it said none; None if one with content said none."""
    content = (index for index, kind in enumerate(kinds) if kind != ChunkKind.EMPTY)
    if not said or any(index not in said for index in content):
        return None
    return [said.get(index, 0) for index in range(len(kinds))]


def logprob_entries(logprobs: Any) -> int:
    """One entry a token: chat has `content` (and `refusal`), completions has `tokens`."""
    if not isinstance(logprobs, dict):
        return 0
    lists = (logprobs.get(name) for name in ("content", "refusal", "tokens"))
    return sum(len(entries) for entries in lists if isinstance(entries, list))


def usage_of(server: dict[str, Any]) -> Usage:
    """From `usage`; where a llama.cpp server sent none, from its `timings`."""
    usage, timings = server.get("usage"), server.get("timings")
    if not isinstance(usage, dict):
        cached, evaluated = count(timings, "cache_n"), count(timings, "prompt_n")
        known = cached is not None and evaluated is not None
        return Usage(
            prompt_tokens=(cached or 0) + (evaluated or 0) if known else None,
            cached_tokens=cached,
            output_tokens=count(timings, "predicted_n"),
        )
    return Usage(
        prompt_tokens=count(usage, "prompt_tokens"),
        cached_tokens=_first(
            count(usage.get("prompt_tokens_details"), "cached_tokens"),
            count(usage, "prompt_cache_hit_tokens"),  # DeepSeek
            count(timings, "cache_n"),
        ),
        output_tokens=count(usage, "completion_tokens"),
        reasoning_tokens=_first(
            count(usage.get("completion_tokens_details"), "reasoning_tokens"),
            count(usage, "reasoning_tokens"),  # SGLang
        ),
    )


def count(holder: Any, name: str) -> int | None:
    """`holder[name]` if it is a number of things."""
    value = holder.get(name) if isinstance(holder, dict) else None
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
    return value if usable else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
