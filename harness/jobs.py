"""What an executor executes: one trial. Public, for plugins that place trials elsewhere.

An executor (harness.protocols.Executor) takes a job, which is bytes, to wherever it has room, calls
`perform` there, and hands every message of it, bytes again, to the run that it came from. `here`,
called there, says what kind of machine that is: it belongs into the trial's `placement`.
"""

from __future__ import annotations

from harness.engine.perform import perform
from harness.engine.whereabouts import here

__all__ = ["here", "perform"]
