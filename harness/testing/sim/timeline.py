"""When each part of an answer is due, decided when the request's turn comes."""

from __future__ import annotations

import sys
from itertools import accumulate
from random import Random
from typing import Final

from msgspec import Struct

from harness.testing.sim.asked import Asked
from harness.testing.sim.replay import Pace
from harness.testing.sim.spec import SimSpec

__all__ = ["Timeline", "make_timeline"]

IGNORES_EOS: Final = ("vllm", "sglang", "llamacpp")
MINIMUM: Final = ("vllm", "sglang")


class Timeline(Struct, frozen=True, kw_only=True):
    """Instants in CLOCK_MONOTONIC ns."""

    serial: int
    """Names the request in the log and in the answer."""
    ident: str
    arrived_ns: int
    start_ns: int
    """Its turn came: a slot was free and the model loaded."""
    load_ns: int
    """Spent on loading the model for this request."""
    prompt_ns: int
    """From start to the first content chunk."""
    due_ns: list[int]
    """Of each content chunk."""
    tokens: list[int]
    """In each content chunk."""
    prompt_tokens: int
    cached_tokens: int
    reasoning_chunks: int
    stopped: bool
    """The model ended by itself, not at the bound."""
    realtime_offset_ns: int

    @property
    def output_tokens(self) -> int:
        return sum(self.tokens)

    @property
    def reasoning_tokens(self) -> int:
        return sum(self.tokens[: self.reasoning_chunks])

    @property
    def end_ns(self) -> int:
        """The finish chunk follows the last content at once."""
        return self.due_ns[-1]


def make_timeline(
    spec: SimSpec,
    pace: Pace,
    asked: Asked,
    *,
    serial: int,
    ordinal: int,
    ident: str,
    arrived_ns: int,
    start_ns: int,
    load_ns: int,
    cached_tokens: int,
    realtime_offset_ns: int,
) -> Timeline:
    """`ordinal` numbers the requests for text; with the seed it fixes every draw."""
    random = Random(f"{spec.seed}/{ordinal}")
    prompt_tokens = max(1, len(asked.words))
    prefill_ns = 0
    if spec.prefill_tok_s is not None:
        prefill_ns = round((prompt_tokens - cached_tokens) / spec.prefill_tok_s * 1e9)
    prompt_ns = prefill_ns + pace.ttft_ns(ordinal, random)
    bound = asked.max_tokens or spec.output_tokens
    total = min(bound, _own_end(spec, asked))
    stopped = total < bound
    size = spec.tokens_per_chunk
    reasoning = 0 if asked.think is False else spec.reasoning_tokens
    tokens = [size] * (total // size)
    if total % size:
        tokens.append(total % size)
    gaps = pace.gaps_ns(len(tokens) - 1, ordinal, random)
    due_ns = list(accumulate(gaps, initial=start_ns + prompt_ns))
    return Timeline(
        serial=serial,
        ident=ident,
        arrived_ns=arrived_ns,
        start_ns=start_ns,
        load_ns=load_ns,
        prompt_ns=prompt_ns,
        due_ns=due_ns,
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        reasoning_chunks=min(len(tokens), -(-reasoning // size)),
        stopped=stopped,
        realtime_offset_ns=realtime_offset_ns,
    )


def _own_end(spec: SimSpec, asked: Asked) -> int:
    """Tokens after which the model ends by itself, where the server lets it."""
    end = spec.stop_after or sys.maxsize
    if not asked.api.startswith("ollama"):
        if asked.ignore_eos and spec.dialect in IGNORES_EOS:
            return sys.maxsize
        if spec.dialect in MINIMUM:
            return max(end, asked.min_tokens)
    return end
