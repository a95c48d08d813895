"""Everything that can be asked of an OpenAI-compatible server.

Servers differ in what they know beyond OpenAI's own fields, and in their defaults. So nothing is
sent that was not asked for: an option that is None is left to the server, and the effective
configuration says so. What has no name here goes into `extra`, which becomes part of every body as
it stands: `extra: {cache_salt: a, thinking_token_budget: 0}`. It is recorded: no secrets there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

__all__ = ["OpenAIOptions"]

# Either the harness's own to set, or they would change what one call is (several answers in one).
_RESERVED: Final = (
    "model",
    "messages",
    "prompt",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "max_tokens",
    "max_completion_tokens",
)

_SECRETS: Final = (
    "access_token",
    "api_key",
    "api_token",
    "apikey",
    "auth_token",
    "authorization",
    "client_secret",
    "password",
    "proxy_authorization",
    "secret",
    "x_api_key",
)


class OpenAIOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the `openai` backend. `None` means: not sent, the server decides."""

    api: Literal["auto", "chat", "completions"] = "auto"
    """auto: messages go to /chat/completions, a bare prompt to /completions, as it stands and
    without the model's template. chat: a bare prompt is sent as a message of the user.
    completions: a single message is sent as a bare prompt."""
    api_key_env: Annotated[str, Meta(pattern="^([A-Z_][A-Z0-9_]*)?$")] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key. Without it, no key is sent."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Newer models of OpenAI's own service refuse the first, most other servers the second."""
    include_usage: bool = True
    """Ask for token counts at the end; dropped where the server refuses to be asked."""
    continuous_usage: Literal["auto"] | bool = "auto"
    """Ask for token counts with each chunk (vLLM, SGLang). auto: where a probe gets them."""
    probe: bool = True
    """Send one small request (2 tokens) when opened: it loads the model and shows what the server
    supports. False: nothing is sent before the first call, and `auto` means no."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    """A request's own seed wins."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    """Log probabilities with each chunk, which also tell how many tokens it holds."""
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] = 1
    """Alternatives per token. 0 would do for OpenAI; llama.cpp then sends nothing at all."""
    obfuscation: bool | None = None
    """OpenAI's own service: false leaves the random padding out of the chunks."""

    # Beyond OpenAI: sent only if set; most servers know them.
    top_k: int | None = None
    min_p: float | None = None
    cache_prompt: bool | None = None
    """llama.cpp: false evaluates each prompt anew."""
    timings: bool = False
    """llama.cpp: its timings with each chunk, not only the last; they tell tokens per chunk."""
    extra: dict[str, Any] = field(default_factory=dict)
    """More fields of the body, as they stand."""

    def __post_init__(self) -> None:
        if self.continuous_usage is True and not self.include_usage:
            raise ValueError("`continuous_usage` needs `include_usage`")
        for name in self.extra:
            if name in _RESERVED:
                raise ValueError(f"`extra` cannot set `{name}`: the harness does")
        for name in _names_in(self.extra):
            if name.lower().replace("-", "_") in _SECRETS:
                raise ValueError(f"`extra` is recorded, so no `{name}` there: see `api_key_env`")


def _names_in(value: Any) -> Iterator[str]:
    """Every key, at any depth."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield str(name)
            yield from _names_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names_in(item)
