"""Backend `ollama`: the native API of an Ollama server.

options.py   what can be set, with Ollama's own defaults
prepare.py   a request as bytes for /api/chat or /api/generate
decode.py    a finished NDJSON stream as text, counts, and proof of its end
readback.py  which options the loaded model runs with, beside those asked for
footprint.py the memory that a model takes, as it is foreseen and as /api/ps tells it
control.py   version, tags, ps, show, load, unload: the traffic that is never timed
backend.py   the five methods of a backend
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_ollama.options import OllamaOptions

if TYPE_CHECKING:
    from harness.protocols import Backend, BackendConfig
    from harness.registry import BackendRegistry

__all__ = ["OllamaOptions", "harness_register_backends"]


def _backend(config: BackendConfig) -> Backend:
    from harness_ollama.backend import OllamaBackend

    return OllamaBackend(config)


@harness.hookimpl
def harness_register_backends(registry: BackendRegistry) -> None:
    registry.add(
        "ollama",
        _backend,
        options=OllamaOptions,
        summary="Ollama's native /api/chat and /api/generate (default http://127.0.0.1:11434)",
    )
