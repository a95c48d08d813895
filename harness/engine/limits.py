"""Open files: what a run needs, and what the system lets us have.

Every request in flight holds a socket. The soft limit (often 1024) is there for programs that use
select(); we do not, and raise it as far as we may and need. What is then still too little is
refused before the run starts: in its middle it would show as calls that fail, for a reason of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.errors import SpecError
from harness.schema import ClosedLoad, Load, OpenLoad
from harness.transport.files import RESERVE, open_files

if TYPE_CHECKING:
    from harness.engine.plan import Plan

__all__ = ["provide_files", "raise_file_limit"]

SPARE: Final = RESERVE + 32
"""Beside requests: what the transport leaves to others, and what is opened before the transport
looks (a child server's pipes, event loop, reactor, log)."""
WORKFLOW_CALLS: Final = 256
"""How many calls a workflow makes at a time is for it to decide; the limit is raised this far."""


def provide_files(plan: Plan) -> None:
    """Raise the soft limit to what `plan` may use. Raises SpecError if it cannot do without more
    than the system allows; an open loop without a cap can (who knows how many it will need), and
    calls that find no file left then fail."""
    others = open_files() + SPARE
    # Beside those in flight, connections that are kept to each endpoint of several.
    most = max(_most_calls(arm.load) * (len(arm.backend_config.urls) or 1) for arm in plan.arms)
    have = raise_file_limit(others + most)
    load = max((arm.load for arm in plan.arms), key=_sure_calls)
    need = others + _sure_calls(load)
    if have is not None and have < need:
        cap = isinstance(load, OpenLoad)
        raise SpecError(
            f"{_sure_calls(load)} requests in flight need {need} open files, and the limit is "
            f"{have}",
            where="$.load.concurrency_max" if cap else "$.load.concurrency",
            remedy=f"ulimit -n {need}",
        )


def raise_file_limit(wanted: int | None = None) -> int | None:
    """Raise the soft limit to `wanted` (None: as far as it goes) if it is lower; what it is then.
    None where there is no such limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    goal = hard if wanted is None else wanted
    if hard != resource.RLIM_INFINITY:
        goal = min(goal, hard)
    if goal > soft or goal == resource.RLIM_INFINITY:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
        except (OSError, ValueError):  # macOS has a bound of its own below an unlimited hard limit
            return soft
    return None if goal == resource.RLIM_INFINITY else max(goal, soft)


def _most_calls(load: Load | None) -> int:
    if isinstance(load, OpenLoad):
        return load.concurrency_max or load.requests
    return load.concurrency if isinstance(load, ClosedLoad) else WORKFLOW_CALLS


def _sure_calls(load: Load | None) -> int:
    """What the load cannot be offered without."""
    if isinstance(load, ClosedLoad):
        return min(load.concurrency, load.requests)
    return min(load.concurrency_max or 0, load.requests) if isinstance(load, OpenLoad) else 1
