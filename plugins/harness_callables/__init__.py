"""What plain functions need beside themselves: a backend for runs that call no model, and the
digest of their source in the run's environment.

backend.py   `none`: no server; a call is refused
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from harness.protocols import Backend, BackendConfig
    from harness.registry import BackendRegistry
    from harness.schema import RunSpec


def make_none(config: BackendConfig) -> Backend:
    from harness_callables.backend import NoBackend

    return NoBackend(config)


@harness.hookimpl
def harness_register_backends(registry: BackendRegistry) -> None:
    registry.add("none", make_none, summary="no server: for scenarios that make no model calls")


@harness.hookimpl
def harness_collect_environment(spec: RunSpec) -> dict[str, Any] | None:
    """Function → sha256 of the file that it is in: what a name alone does not say."""
    from harness.references import is_reference, source_digest

    asked = [spec.scenario.name, *(arm.scenario.get("name") for arm in spec.arms.values())]
    axes = spec.sweep.axes if spec.sweep is not None else {}
    for path, levels in axes.items():
        values = list(levels.values() if isinstance(levels, dict) else levels)
        if path == "scenario.name":
            asked += values
        elif path == "scenario":
            asked += [value.get("name") for value in values if isinstance(value, dict)]
    named = dict.fromkeys(name for name in asked if isinstance(name, str))
    return {name: source_digest(name) for name in named if is_reference(name)} or None
