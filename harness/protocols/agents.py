"""Programs that do an agent's work."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Agent"]


class Agent(Protocol):
    """A program in any language that does an agent's work by docs/agent-protocol.md."""

    def command(self) -> list[str]:
        """The program and its arguments. BackendError with the command that builds or installs it,
        where it is not there."""

    def about(self) -> dict[str, Any]:
        """What it is made of: language, compiler, library versions, profile, digest of the binary.
        Kept with every result. May be slow the first time."""
