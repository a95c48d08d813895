"""A benchmark harness for LLMs and LLM agents whose numbers survive an audit.

Public names are loaded when they are first used, so that `import harness` costs a plugin nothing.

    hookimpl     marks a plugin's hook implementations
    benchmark    marks a function as a scenario
    Host         discovers plugins and holds what they registered
    run          executes a spec
    load_run     opens a run folder
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from harness.callables import benchmark
    from harness.engine import run
    from harness.host import Host
    from harness.store import load_run

__all__ = ["Host", "__version__", "benchmark", "hookimpl", "load_run", "run"]

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("harness")

_LAZY = {
    "Host": "harness.host",
    "benchmark": "harness.callables",
    "load_run": "harness.store",
    "run": "harness.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
