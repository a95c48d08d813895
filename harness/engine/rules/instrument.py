"""Is the error of the measuring itself known."""

from __future__ import annotations

from collections.abc import Iterator

from harness.engine.rules.view import RunView
from harness.schema import Caveat

__all__ = ["no_selfcheck"]


def no_selfcheck(view: RunView) -> Iterator[Caveat]:
    """The run looked for a self-check and found none. Older runs did not look, and say nothing."""
    unknown = view.manifest.environment.selfcheck_unknown
    if unknown is None:
        return
    reason, _, _ = unknown.rpartition(": harness selfcheck")
    yield Caveat(
        code="no-selfcheck",
        severity="note",
        message=f"the instrument's own error is not known here: {reason or unknown}",
        evidence={"selfcheck_unknown": unknown},
        remedy="harness selfcheck",
    )
