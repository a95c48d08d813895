"""Backend `llamacpp`: llama.cpp embedded, so that there is always a real engine to measure.

options.py     what can be set, by the names that other backends use too
backend.py     the `openai` backend on top of a server that we start and end
process.py     the parent's end of that server
server.py      the server: python -m harness_llamacpp.server
models.py      what a model name means, and where files are kept
tiny.py        a model with random weights, written in a second
vocabulary.py  its tokens
counting.py    token counts by the tokenizer of the model that is served
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_llamacpp.options import LlamaCppOptions

if TYPE_CHECKING:
    from harness.protocols import Backend, BackendConfig
    from harness.registry import BackendRegistry

__all__ = ["LlamaCppOptions", "harness_count_tokens", "harness_register_backends"]


def _backend(config: BackendConfig) -> Backend:
    from harness_llamacpp.backend import LlamaCppBackend

    return LlamaCppBackend(config)


@harness.hookimpl
def harness_register_backends(registry: BackendRegistry) -> None:
    registry.add(
        "llamacpp",
        _backend,
        options=LlamaCppOptions,
        summary="llama.cpp, embedded: a .gguf file, or `tiny` (random weights); needs no server",
    )


@harness.hookimpl
def harness_count_tokens(model: str, text: str) -> int | None:
    """Exact while the model is served by this plugin; not known before and after."""
    from harness_llamacpp import counting

    return counting.count(model, text)
