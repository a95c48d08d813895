"""Everything that can be asked of the embedded engine, by the names that other backends use too.

The first part is sent with every call and may differ between calls (`call_options`); the second is
fixed when the server starts (`server_arguments`). Requests themselves are made by the `openai`
backend, in whose options `for_requests` says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from harness.errors import SpecError
from harness.options import merged

if TYPE_CHECKING:
    from harness_openai.options import OpenAIOptions

__all__ = [
    "MAX_PARALLEL",
    "SERVER",
    "LlamaCppOptions",
    "call_options",
    "for_requests",
    "server_arguments",
]

MAX_PARALLEL: Final = 256
"""llama.cpp keeps no more sequences than that in one context."""


class LlamaCppOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the `llamacpp` backend. The defaults are those of llama.cpp, but for what is said
    below; all are sent, so that two versions of the engine are asked for the same."""

    api: Literal["auto", "chat", "completions"] = "auto"
    """auto: messages are a chat; a bare prompt is completed as it stands, without the model's
    template. chat: a bare prompt is sent as a message of the user. completions: a single message is
    sent as a bare prompt."""
    timings: bool = False
    """The engine's timings with each chunk, not only the last: they tell tokens per chunk."""
    probe: bool = True
    """Send one small request (2 tokens) when opened, so that nothing is done for the first time in
    the first call that is measured."""

    # Sampling: a call's own options win.
    temperature: Annotated[float, Meta(ge=0)] = 0.8
    top_k: Annotated[int, Meta(ge=0)] = 40
    """0: all tokens."""
    top_p: Annotated[float, Meta(ge=0, le=1)] = 0.95
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.05
    repeat_penalty: Annotated[float, Meta(ge=0)] = 1.0
    """1.0: none."""
    seed: int | None = None
    """Default: the run's seed. A request's own seed wins over both."""
    stop: tuple[str, ...] = ()
    cache_prompt: bool = False
    """True lets a slot keep the prefix it shares with its last prompt (llama.cpp's default). Off,
    so that prompts are cold and the prefill rate means something."""
    extra: dict[str, Any] = field(default_factory=dict)
    """More fields of the body, as they stand (`dry_multiplier`, `n_probs`, …)."""

    # Fixed when the server starts.
    num_ctx: Annotated[int, Meta(ge=1)] = 8192
    """Tokens of context *per slot*, as Ollama means it; llama.cpp is given num_ctx × parallel,
    rounds it up to 256 a slot, and cuts it to what the model was trained for. The effective value
    is read back."""
    parallel: Annotated[int, Meta(ge=1, le=MAX_PARALLEL)] = 4
    """Slots, that is requests computed at once; more than that wait in the server, and their wait
    shows in TTFT. The backend cannot see the load's concurrency: set this to it, or above."""
    num_gpu: Annotated[int, Meta(ge=-1)] = -1
    """Layers on the GPU; −1: as many as fit, 0: none. The CPU wheel has no use for it."""
    num_thread: Annotated[int, Meta(ge=0)] = 0
    """Threads that compute; 0: the physical cores we may use less one, which the client keeps."""
    num_batch: Annotated[int, Meta(ge=1)] = 2048
    """Tokens of prompt computed in one step, over all slots."""
    flash_attn: Literal["auto", "on", "off"] = "auto"
    load_timeout_s: Annotated[float, Meta(gt=0)] = 600.0
    """How long the server may take to load the model."""


SERVER: Final = ("num_ctx", "parallel", "num_gpu", "num_thread", "num_batch", "flash_attn")
"""Given to the server when it starts."""

_FIXED: Final = (*SERVER, "probe", "load_timeout_s")


def call_options(options: LlamaCppOptions, changes: Mapping[str, Any]) -> LlamaCppOptions:
    """`options` with one call's own changes. SpecError for a name or value that is wrong, and for
    what cannot change while the server runs."""
    for name, value in changes.items():
        if name in _FIXED and value != getattr(options, name):
            raise SpecError(
                f"{name!r} is fixed when the server starts",
                where=f"request.options.{name}",
                remedy=f"-o {name}={value}, or an arm of its own",
            )
    return merged(options, changes, backend="llamacpp", otherwise="put it under `extra`")


def for_requests(options: LlamaCppOptions, run_seed: int) -> OpenAIOptions:
    """What the `openai` backend has to know to make our requests. SpecError for an `extra` that it
    refuses."""
    from harness_openai import OpenAIOptions

    try:
        return OpenAIOptions(**_for_openai(options, run_seed))
    except ValueError as error:
        raise SpecError(str(error), where="$.backend.options.extra") from None


def _for_openai(options: LlamaCppOptions, run_seed: int) -> dict[str, Any]:
    return {
        "api": options.api,
        "api_key_env": "",  # the server is ours: no key leaves the environment
        "continuous_usage": False,
        "probe": options.probe,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "min_p": options.min_p,
        "seed": run_seed if options.seed is None else options.seed,
        "stop": options.stop,
        "cache_prompt": options.cache_prompt,
        "timings": options.timings,
        "extra": {"repeat_penalty": options.repeat_penalty, **options.extra},
    }


def server_arguments(options: LlamaCppOptions) -> list[str]:
    """The command-line arguments of harness_llamacpp.server."""
    words: list[str] = []
    for name in SERVER:
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return [*words, "--cache-prompt"] if options.cache_prompt else words
