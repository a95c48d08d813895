"""What an executor executes: one trial. Public, for plugins that place trials elsewhere.

An executor (harness.protocols.Executor) takes a job, which is bytes, to wherever it has room, calls
`perform` there, and hands every message of it, bytes again, to the run that it came from.
"""

from __future__ import annotations

from harness.engine.perform import perform

__all__ = ["perform"]
