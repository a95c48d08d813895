"""What a `load` run can be asked for. Flat, so that every option fits `-o key=value`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from harness_load.lengths import Distribution, check_spread

__all__ = ["PROMPT_TOKENS", "LoadOptions"]

Tokens: TypeAlias = Annotated[int, Meta(ge=1)]
Spread: TypeAlias = Annotated[float, Meta(ge=0)]

PROMPT_TOKENS = 128
"""Default length of a synthetic prompt: long enough that a prefill is seen, short enough that a
default context holds many of them."""


class LoadOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the scenario `load`. Either `prompts` or synthetic prompts, not both."""

    prompts: str | None = None
    """A JSON Lines file: `{"prompt": "…"}` or `{"messages": [{"role": …, "content": …}]}` on each
    line, with an optional `max_tokens` of its own. Used in file order, over and over."""

    prompt_tokens: Tokens | None = None
    """Mean length of a synthetic prompt in tokens, its unique prefix included, the server's chat
    template not. Default: 128. Exact to a word where the model's tokenizer is known; otherwise
    counted at one token a word, and the run says what the server counted instead."""
    prompt_tokens_distribution: Distribution = "constant"
    """How prompt lengths vary around the mean."""
    prompt_tokens_spread: Spread = 0.0
    """In tokens. uniform: half of the width; normal and lognormal: the standard deviation."""

    max_tokens: Tokens = 64
    """Upper bound of the output length (mean of the bounds, where they vary)."""
    max_tokens_distribution: Distribution = "constant"
    """How the output bounds vary around the mean."""
    max_tokens_spread: Spread = 0.0
    """In tokens, as `prompt_tokens_spread`."""
    ignore_eos: bool = False
    """Ask the server to generate exactly the bound, where it can: arms then do equal work."""

    unique_prefix: bool = True
    """Begin each prompt with four words that no other request begins with, so that no server has
    its prefix in a cache. They differ between runs, arms and iterations; what follows them is the
    same in every arm. With messages they open the first one."""
    form: Literal["chat", "prompt"] | None = None
    """`chat`: messages; `prompt`: a bare prompt, which the backend sends as its own options say.
    Default: chat, or as each line of the file is."""
    seed: int | None = None
    """Fixes texts and lengths, so that every iteration repeats them (after its own prefixes).
    Default: they follow the run's seed and differ between iterations."""

    def __post_init__(self) -> None:
        check_spread("max_tokens", self.max_tokens_distribution, self.max_tokens_spread)
        check_spread("prompt_tokens", self.prompt_tokens_distribution, self.prompt_tokens_spread)
        synthetic = self.prompt_tokens is not None or self.prompt_tokens_distribution != "constant"
        if self.prompts is not None and synthetic:
            raise ValueError("prompts come from the file: leave out the prompt_tokens options")

    @property
    def prompt_tokens_mean(self) -> int:
        return PROMPT_TOKENS if self.prompt_tokens is None else self.prompt_tokens
