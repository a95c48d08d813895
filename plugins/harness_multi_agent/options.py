"""What a `multi_agent` run can be asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeAlias

from harness_agents.options import IN_PROCESS, WorkloadOptions
from msgspec import Meta, Struct, field

__all__ = ["AgentOptions", "Form", "MultiAgentOptions"]

Form: TypeAlias = Literal["baseline_vs_chimera", "chimera_hetero", "chimera_homo"]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]
NotNegative: TypeAlias = Annotated[int, Meta(ge=0)]

AGENTS_MAX: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_USES: Final[dict[Form | None, tuple[str, ...]]] = {
    "baseline_vs_chimera": ("chimera",),
    "chimera_hetero": ("chimera", "chimera2"),
    "chimera_homo": ("chimera",),
    None: (),
}


class AgentOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent of a list. What is left out is as for all."""

    name: str = ""
    """Letters, digits, `_` and `-`; default: agent1, agent2 …"""
    label: str = ""
    """For people; default: the name."""
    agent: str | None = None
    """A registered agent program, or `in_process`."""
    command: tuple[str, ...] = ()
    """A program that keeps to docs/agent-protocol.md, and its arguments, instead of `agent`."""
    options: dict[str, Any] = {}
    """Of the backend, for this agent's calls."""
    persona: str | None = None
    endpoint: NotNegative | None = None
    """Which of the backend's urls, from 0."""

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} cannot name an agent: 1 to 32 letters, digits, _ and - can"
            )
        if self.command and self.agent is not None:
            raise ValueError("either `agent` or `command` says what the agent is, not both")
        if self.command and not self.command[0]:
            raise ValueError("`command` begins with the program")


class MultiAgentOptions(WorkloadOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the scenario `multi_agent`: who takes part; then what each of them is to do."""

    form: Form | None = None
    """Two agents, collector and insight. `baseline_vs_chimera`: one with the spec's backend options
    and one with `chimera` over them; `chimera_hetero`: one with `chimera`, one with `chimera2`
    (where that is empty, `chimera` too); `chimera_homo`: both with `chimera`."""
    agents: Annotated[int, Meta(ge=1, le=AGENTS_MAX)] | tuple[AgentOptions, ...] | None = None
    """Instead of a form: so many equal agents, or a list of them. Neither: 2."""
    chimera: dict[str, Any] = field(default_factory=dict)
    """Backend options of the form's chimera agents, such as `{num_ctx: 1024, temperature: 0.6}`."""
    chimera2: dict[str, Any] = field(default_factory=dict)
    """Of the second agent of `chimera_hetero`."""
    agent: str = IN_PROCESS
    """What every agent is: `in_process` (the harness makes the calls), or a registered program
    (`harness agent list`). A form's pair and a number of agents are all of this kind."""
    endpoints: Literal["shared", "each"] = "shared"
    """All agents at the backend's first url, or each at its own, in order."""
    semaphore: Positive | None = None
    """How many agents may work at once; 1: one after another, by our own doing. None: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> Iterator[str]:
        if self.form is not None and self.agents is not None:
            yield "`form` is a pair of agents, and `agents` another way to say who takes part"
        for name in ("chimera", "chimera2"):
            if getattr(self, name) and name not in _USES[self.form]:
                users = " and ".join(
                    form for form, names in _USES.items() if form is not None and name in names
                )
                yield f"`{name}` has no effect on {self._called()}; it is of {users}"
        if self.form == "baseline_vs_chimera" and not self.chimera:
            yield (
                "without `chimera` options the pair is baseline against baseline: "
                "chimera.temperature=0.4, say, or form chimera_homo"
            )
        if isinstance(self.agents, tuple):
            yield from _problems_of_list(self.agents)

    def _called(self) -> str:
        return f"the form {self.form}" if self.form is not None else "a run without a form"


def _problems_of_list(agents: tuple[AgentOptions, ...]) -> Iterator[str]:
    if not 1 <= len(agents) <= AGENTS_MAX:
        yield f"1 to {AGENTS_MAX} agents take part, not {len(agents)}"
    names = [one.name or f"agent{index + 1}" for index, one in enumerate(agents)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        yield f"two agents are called {twice!r}"
