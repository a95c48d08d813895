"""A prompt that does not fit into the context: cut without a word, or refused.

Ollama cuts: the first `num_keep` tokens stay, and of the rest as many of the last ones as fill half
of what is left of `num_ctx` (4,096 and 4 leave 2,050; older versions filled the whole). Only the
count of prompt tokens tells. With `truncate: false` it refuses. Its /v1 cuts as its own API does.
The other servers refuse with 400, except `transformers serve`, which knows no bound.
"""

from __future__ import annotations

from typing import Final

from harness.testing.sim.asked import Asked, NotUnderstood
from harness.testing.sim.spec import SimSpec

__all__ = ["fit"]

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
