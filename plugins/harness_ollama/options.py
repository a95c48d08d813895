"""Everything that can be asked of Ollama, by Ollama's own names and with Ollama's own defaults.

The whole set is sent with every call. Ollama fills a gap from the model's Modelfile, then from
built-in defaults that changed between versions, and one of them (num_ctx) depends on how much VRAM
the machine has: what is not stated is not comparable. It also ignores a misspelt name in silence,
so names are checked here.

There is no `ignore_eos`: Ollama cannot be told to go on after the end token. A request that asks
for it gets what `num_predict` allows and no more; compare output token counts before durations.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct

__all__ = [
    "LOAD_OPTIONS",
    "SAMPLING_OPTIONS",
    "OllamaOptions",
    "model_options",
]

NotNegative: TypeAlias = Annotated[int, Meta(ge=0)]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]


class OllamaOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the `ollama` backend. `None` means: not sent, the server decides."""

    api: Literal["chat", "generate"] = "chat"
    """generate sends its last line late: it first tokenises prompt and reply for `context`."""
    raw: bool = False
    """generate only: no template is applied to the prompt."""
    think: bool | Literal["low", "medium", "high", "max"] = False
    """Always sent: left out, the server turns thinking on for every model that can."""
    keep_alive: int | float | str = "5m"
    """How long the model stays loaded after a call: seconds, `"5m"`, negative for ever."""
    format: str | dict[str, Any] | None = None
    """`"json"` or a JSON schema; a request's own format wins."""
    truncate: bool | None = None
    """False: a prompt that does not fit is an error instead of being cut."""
    shift: bool | None = None
    """False: stop at the end of the context instead of dropping its beginning."""
    logprobs: bool = False
    """Log probabilities with each chunk, which also tell how many tokens it holds."""
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] = 0

    # Sampling: may differ from call to call.
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    """1.0 since Ollama 0.32.10, 1.1 before."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    num_keep: int = 4
    seed: int = -1
    """−1: random. A request's own seed wins."""
    num_predict: int = -1
    """−1: until the model stops, at most 10 × num_ctx. A request's own max_tokens wins."""
    stop: tuple[str, ...] = ()

    # Load time: a call that differs from the one before makes the server load the model again.
    num_ctx: Positive = 4096
    """Ollama's own default is 4096, 32768 or 262144, by the machine's VRAM. There is none that is
    the same everywhere; this is the one that every machine can hold."""
    num_batch: Positive = 512
    num_gpu: int = -1
    """Layers on the GPU; −1: as many as fit, 0: none."""
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: NotNegative = 0
    """0: the server decides."""
    draft_num_predict: int | None = None
    """Tokens guessed ahead where the model has a draft; the server's default is then 4."""

    def __post_init__(self) -> None:
        if self.raw and self.api != "generate":
            raise ValueError("`raw` needs `api=generate`: a chat always goes through the template")


SAMPLING_OPTIONS: Final = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "num_keep",
    "seed",
    "num_predict",
    "stop",
)
LOAD_OPTIONS: Final = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
)
_SENT_AS_OPTIONS: Final = SAMPLING_OPTIONS + LOAD_OPTIONS


def model_options(options: OllamaOptions) -> dict[str, Any]:
    """The `options` object of a request: all of them, except those left to the server."""
    found = {name: getattr(options, name) for name in _SENT_AS_OPTIONS}
    return {name: value for name, value in found.items() if value is not None}
