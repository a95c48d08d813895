"""Backend `openrouter`: many models of many providers behind one address (docs/openrouter.md).

options.py    what can be set
routing.py    which provider is to serve, and what the body says of it
catalog.py    what the service lists: the model, its endpoints, prices, the key
control.py    asking for that, and for accounts
decode.py     what this service's responses have beside OpenAI's
refusals.py   errors, with what to do about each; when to try again
accounts.py   /generation beside what the response said
caveats.py    runs that no provider was pinned for, or that others served
backend.py    the `openai` backend with all of it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_openrouter.options import OpenRouterOptions

if TYPE_CHECKING:
    from harness.protocols import Backend, BackendConfig, RunData
    from harness.registry import BackendRegistry
    from harness.schema import Caveat

__all__ = ["OpenRouterOptions", "harness_find_caveats", "harness_register_backends"]


def _backend(config: BackendConfig) -> Backend:
    from harness_openrouter.backend import OpenRouterBackend

    return OpenRouterBackend(config)


@harness.hookimpl
def harness_register_backends(registry: BackendRegistry) -> None:
    registry.add(
        "openrouter",
        _backend,
        options=OpenRouterOptions,
        summary="models of many providers at openrouter.ai, one provider pinned (costs money)",
    )


@harness.hookimpl
def harness_find_caveats(result: RunData) -> list[Caveat] | None:
    from harness_openrouter.caveats import find_caveats

    return find_caveats(result)
