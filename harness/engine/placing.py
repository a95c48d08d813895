"""Who places the trials: the executor that a spec names, found, its options checked."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from harness.errors import HarnessError, PluginError, SpecError
from harness.executors import local_executor
from harness.host import Host
from harness.options import own_copy
from harness.protocols import Executor, ExecutorConfig, ExecutorFactory
from harness.schema import PlacementSpec

__all__ = ["LOCAL", "ResolvedExecutor", "resolve_executor"]

LOCAL: Final = "local"


class ResolvedExecutor(msgspec.Struct, frozen=True, kw_only=True):
    """Registered, and willing to work with these options."""

    name: str
    factory: ExecutorFactory
    options: Any
    plugin: str = ""

    def make(self, placement: PlacementSpec) -> Executor:
        """One for a run. Raises HarnessError."""
        config = ExecutorConfig(options=own_copy(self.options), placement=placement)
        try:
            return self.factory(config)
        except HarnessError:
            raise
        except Exception as error:  # a stranger's factory
            raise PluginError(
                f"the executor {self.name!r} cannot be made: {type(error).__name__}: {error}",
                where=self.plugin,
            ) from error


def resolve_executor(placement: PlacementSpec, host: Host) -> ResolvedExecutor:
    """That of `placement.executor`. Raises SpecError with the path of the mistake, and what the
    factory refuses: it is made once here, as scenarios and instruments are."""
    name, where = placement.executor, "$.placement.executor"
    if name == LOCAL and LOCAL not in host.executors:  # a host that was put together by hand
        if placement.executor_options:
            raise SpecError("it takes no options", where=f"{where}_options")
        return ResolvedExecutor(name=name, factory=local_executor, options=None)
    entry = host.executors.get(name, where)
    options = entry.decode_options(placement.executor_options, f"{where}_options")
    found = ResolvedExecutor(name=name, factory=entry.factory, options=options, plugin=entry.plugin)
    found.make(placement)
    return found
