"""What places trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from harness.schema import PlacementSpec

__all__ = ["Executor", "ExecutorConfig", "ExecutorFactory"]


class ExecutorConfig(Struct, frozen=True, kw_only=True):
    """What an executor factory is given, in the process of the run."""

    options: Any = None
    """An instance of the options Struct that the executor registered."""
    placement: PlacementSpec = PlacementSpec()
    """As the spec has it. No more than its `parallel` jobs are ever under way at a time; its `cpus`
    and `gpus` come with each job."""


class Executor(Protocol):
    """Places trials: in this process, in fresh ones, on other machines. One object serves one run.

    A job is bytes that the engine made; `harness.jobs.perform` executes it anywhere where the same
    plugins are installed. What comes of it is a stream of messages, bytes too, each to be handed to
    `deliver` once, in order, on the event loop's thread. Several jobs may be under way at a time.
    harness.testing.ExecutorContract is a suite of tests for all of this.
    """

    async def execute(
        self, job: bytes, placement: dict[str, str], deliver: Callable[[bytes], None]
    ) -> None:
        """Run one job to its end. Raise TrialLostError if its process was lost before that (it ran
        out of memory, say), PlaceLostError if the worker or machine was, by no doing of the job's:
        the job is then executed again, and what it has delivered is void. Raise what `deliver`
        raises, and any other HarnessError where no place is to be had at all. Cancelled: have the
        job interrupted, so that its calls end with what they have; wait for what it still delivers,
        a bounded time, and leave nothing running. Cancelled again: at once.

        `placement` says on which `cpus` and `gpus` it is to run; add what you know of the place,
        before anything is delivered: the trial's record has it. `harness.jobs.here`, called there,
        gives what comparisons ask for."""

    async def close(self) -> None:
        """Leave nothing running."""


ExecutorFactory: TypeAlias = Callable[[ExecutorConfig], Executor]
"""Called when a run is planned, wherever that is, and again for each run. Must be quick and start
nothing; a HarnessError that it raises (a package that is not installed) refuses the run."""
