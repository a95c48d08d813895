"""The executors that come with the harness. Public, for those that use one of them elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from harness.protocols import Executor, ExecutorConfig
    from harness.registry import ExecutorRegistry

__all__ = ["harness_register_executors", "local_executor"]


def local_executor(config: ExecutorConfig | None = None) -> Executor:
    """Every job in a fresh process of this machine (Linux, macOS), which ends with this one."""
    from harness.engine.local import LocalExecutor

    return LocalExecutor()


@harness.hookimpl
def harness_register_executors(registry: ExecutorRegistry) -> None:
    registry.add(
        "local",
        local_executor,
        summary="a fresh process on this machine for each trial; the default",
    )
