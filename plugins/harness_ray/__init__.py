"""Executor `ray`: trials on a Ray cluster, or on one that is started for the run.

options.py    what can be set
executor.py   the run's end: starts the driver, takes what comes of the trials
driver.py     a process of its own, which alone imports ray: it asks for places, and carries
              messages between them and the run
place.py      the cluster's end: an actor for each trial, in which our local executor works
errors.py     what Ray says when something is gone, in one line
wire.py       what goes between the run and the driver
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_ray.options import RayOptions

if TYPE_CHECKING:
    from harness.protocols import Executor, ExecutorConfig
    from harness.registry import ExecutorRegistry

__all__ = ["RayOptions", "harness_register_executors"]


def _executor(config: ExecutorConfig) -> Executor:
    from harness_ray.executor import RayExecutor

    return RayExecutor(config)


@harness.hookimpl
def harness_register_executors(registry: ExecutorRegistry) -> None:
    registry.add(
        "ray",
        _executor,
        options=RayOptions,
        summary="a fresh process for each trial, wherever a Ray cluster has room (extra `ray`)",
    )
