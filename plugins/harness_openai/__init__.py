"""Backend `openai`: any server that speaks OpenAI's chat/completions over SSE.

options.py    what can be set, and what is passed through
prepare.py    a request as bytes for /chat/completions or /completions
decode.py     a finished SSE stream as text, counts, and proof of its end
plain.py      the chunk that makes up nearly all of a stream, decoded cheaply
counts.py     tokens of the call and of each chunk
tools.py      tool calls, put together from their pieces
errors.py     the shapes that servers give their errors
control.py    models, properties, version, one probe: the traffic that is never timed
identity.py   which server this is, and what it says of itself
secret.py     the API key, and keeping it out of everything
backend.py    the five methods of a backend

`harness_openai.backend.OpenAIBackend` and `OpenAIOptions` are public: other plugins build on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_openai.options import OpenAIOptions

if TYPE_CHECKING:
    from harness.protocols import Backend, BackendConfig
    from harness.registry import BackendRegistry

__all__ = ["OpenAIOptions", "harness_register_backends"]


def _backend(config: BackendConfig) -> Backend:
    from harness_openai.backend import OpenAIBackend

    return OpenAIBackend(config)


@harness.hookimpl
def harness_register_backends(registry: BackendRegistry) -> None:
    registry.add(
        "openai",
        _backend,
        options=OpenAIOptions,
        summary="any OpenAI-compatible server over SSE (default http://127.0.0.1:8080/v1)",
    )
