"""Who takes part: a form, a number or a list of agents → a Member each, with all that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from harness_agents.options import IN_PROCESS
from msgspec import Struct

from harness_multi_agent.options import AgentOptions, MultiAgentOptions

__all__ = ["COLLECTOR", "INSIGHT", "Member", "members_of"]

COLLECTOR: Final = "collector"
INSIGHT: Final = "insight"
"""What the two agents of a pair are called in all that was ever published of them."""
_LABELS: Final = {
    "baseline_vs_chimera": ("Baseline Collector", "Chimera Insight"),
    "chimera_hetero": ("Chimera Agent A", "Chimera Agent B"),
    "chimera_homo": ("Chimera Agent A", "Chimera Agent B"),
}


class Member(Struct, frozen=True, kw_only=True):
    """One agent of a run."""

    name: str
    label: str
    program: str
    """A registered agent; IN_PROCESS: none; empty: `command`."""
    program_path: str = "agent"
    """Where in the scenario's options it was named."""
    command: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    """Of the backend, for this agent's calls; over those of the spec."""
    options_path: str = ""
    """Where in the scenario's options they were given."""
    persona: str | None = None
    endpoint: int = 0
    """Index into the backend's urls."""

    @property
    def in_process(self) -> bool:
        return self.program == IN_PROCESS


def members_of(options: MultiAgentOptions) -> tuple[Member, ...]:
    """In the order in which they work when alone. At least one."""
    found = tuple(_asked(options))
    each = options.endpoints == "each"
    return tuple(
        Member(
            name=one.name or f"agent{index + 1}",
            label=one.label or one.name or f"Agent {index + 1}",
            program="" if one.command else one.agent or options.agent,
            program_path="agent" if one.agent is None else f"agents[{index}].agent",
            command=one.command,
            options=one.options,
            options_path=path,
            persona=options.persona if one.persona is None else one.persona,
            endpoint=(index if each else 0) if one.endpoint is None else one.endpoint,
        )
        for index, (one, path) in enumerate(found)
    )


def _asked(options: MultiAgentOptions) -> Iterator[tuple[AgentOptions, str]]:
    """Each agent as it was asked for, and the path of its backend options."""
    if options.form is not None:
        own = ("", "chimera") if options.form == "baseline_vs_chimera" else ("chimera", "chimera")
        if options.form == "chimera_hetero" and options.chimera2:
            own = ("chimera", "chimera2")
        names = zip((COLLECTOR, INSIGHT), _LABELS[options.form], own, strict=True)
        for name, label, path in names:
            asked = dict(getattr(options, path)) if path else {}
            yield AgentOptions(name=name, label=label, options=asked), path
    elif isinstance(options.agents, tuple):
        for index, one in enumerate(options.agents):
            yield one, f"agents[{index}].options"
    else:
        for _ in range(options.agents or 2):
            yield AgentOptions(), ""
