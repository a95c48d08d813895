"""Everything that can be asked of the embedded engine, by the names that other backends use too.

The first part is sent with every call and may differ between calls; the second is fixed when the
server starts. What llama.cpp calls otherwise is translated in one place each: `server_arguments`
for the second part, `sampling` for the first.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

__all__ = [
    "SAMPLING",
    "SERVER",
    "LlamaCppOptions",
    "default_threads",
    "sampling",
    "server_arguments",
]

MAX_PARALLEL: Final = 256
"""llama.cpp keeps no more sequences than that in one context."""


class LlamaCppOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the `llamacpp` backend. The defaults are those of llama.cpp, but for what is said
    below; all are sent, so that two versions of the engine are asked for the same."""

    api: Literal["chat", "completions"] = "chat"
    """Which of the OpenAI routes is used for a request that has messages; a bare prompt always
    goes to `completions`, without a template."""

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
    cache_prompt: bool = False
    """True lets a slot keep the prefix it shares with its last prompt (llama.cpp's default). Off,
    so that prompts are cold and the prefill rate means something."""

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


SAMPLING: Final = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "cache_prompt")
"""Sent in every request's body, under these very names."""

SERVER: Final = ("num_ctx", "parallel", "num_gpu", "num_thread", "num_batch", "flash_attn")
"""Given to the server when it starts."""


def sampling(options: LlamaCppOptions) -> dict[str, Any]:
    """What goes into each request's body."""
    return {name: getattr(options, name) for name in SAMPLING}


def server_arguments(options: LlamaCppOptions) -> list[str]:
    """The command-line arguments of harness_llamacpp.server."""
    words: list[str] = []
    for name in SERVER:
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return [*words, "--cache-prompt"] if options.cache_prompt else words


def default_threads() -> int:
    """Physical cores less one, at least one: llama.cpp spins while it computes, and a client that
    has to share its core would report the engine's appetite as latency."""
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        physical = min(physical, len(os.sched_getaffinity(0)))
    return max(1, physical - 1)
