"""What is evaluated of a prompt: what fits into the context, and is not in the cache.

A prompt that does not fit is cut without a word, or refused.

Ollama cuts: the first `num_keep` tokens stay, and of the rest as many of the last ones as fill half
of what is left of `num_ctx` (4,096 and 4 leave 2,050; older versions filled the whole). Only the
count of prompt tokens tells. With `truncate: false` it refuses. Its /v1 cuts as its own API does.
The other servers refuse with 400, except `transformers serve`, which knows no bound.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from harness.testing.sim.asked import Asked, NotUnderstood
from harness.testing.sim.spec import SimSpec

__all__ = ["PromptCache", "fit"]

CACHED_PROMPTS: Final = 64

_REFUSES: Final = ("openai", "vllm", "sglang", "llamacpp", "openrouter", "deepseek")


def fit(spec: SimSpec, asked: Asked) -> None:
    """Leave `asked` the words that the server would evaluate. Raises NotUnderstood."""
    native = asked.api.startswith("ollama")
    limit = min((native and asked.num_ctx) or spec.context_length, spec.context_length)
    if len(asked.words) <= limit:
        return
    if native or spec.dialect == "ollama":
        if not asked.truncate:
            raise NotUnderstood("the input length exceeds the context length")
        keep = min(asked.num_keep, limit // 2)
        last = (limit - keep) // 2
        asked.words = [*asked.words[:keep], *asked.words[len(asked.words) - last :]]
    elif spec.dialect in _REFUSES:
        raise NotUnderstood(
            f"the prompt has {len(asked.words)} tokens; this model's maximum context length is "
            f"{limit} tokens"
        )


class PromptCache:
    """The latest prompts, word by word."""

    def __init__(self) -> None:
        self._prompts: deque[list[str]] = deque(maxlen=CACHED_PROMPTS)

    def cached(self, asked: Asked) -> int:
        """Words that the prompt, which is kept, shares with the beginning of an earlier one. One is
        always left to evaluate: without it there is nothing to continue from."""
        longest = 0
        if asked.cache_prompt:
            for earlier in self._prompts:
                longest = max(longest, _shared(earlier, asked.words))
        self._prompts.append(asked.words)
        return min(longest, max(0, len(asked.words) - 1))


def _shared(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
