"""Backend `sim`: a truth server of one's own for each trial (docs/sim.md).

options.py   what the server is to do, and what it is asked
backend.py   the `ollama` or `openai` backend on top of servers that we start and end
child.py     the server's process
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_sim.options import SimOptions

if TYPE_CHECKING:
    from harness.protocols import Backend, BackendConfig
    from harness.registry import BackendRegistry

__all__ = ["SimOptions", "harness_register_backends"]


def _backend(config: BackendConfig) -> Backend:
    from harness_sim.backend import make_backend

    return make_backend(config)


@harness.hookimpl
def harness_register_backends(registry: BackendRegistry) -> None:
    registry.add(
        "sim",
        _backend,
        options=SimOptions,
        summary="`harness sim`, started for each trial: known times, to check results against",
    )
