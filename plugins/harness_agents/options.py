"""What a run of the scenario `agent` can be asked for, and what any agent's work can be."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

__all__ = ["IN_PROCESS", "AgentOptions", "TappedOptions", "WorkloadOptions"]

Cpu: TypeAlias = Annotated[int, Meta(ge=0)]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0)]

IN_PROCESS: Final = "in_process"


class WorkloadOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent is to do."""

    prompt: str | None = None
    """One call with this prompt, instead of analysis and report. `{{data_summary}}` and
    `{{stream}}` stand for what docs/agent-protocol.md says; without the former, no corpus is
    read."""
    corpus: str | None = None
    """Folder of CSV, JSON and Markdown files, read recursively. Default: the benchmark files that
    ship with the scenario `single_agent`."""

    max_tokens: Positive | None = None
    """Output bound of every call, where a stage is not given its own."""
    analysis_max_tokens: Positive | None = None
    """Default: max_tokens, or else 256."""
    report_max_tokens: Positive | None = None
    """Default: max_tokens, or else 512."""
    ignore_eos: bool = False
    """Ask for exactly the bound, where the server can: every agent then generates equally much."""
    answer_chars_max: Positive = 4000
    """Of the analysis, so many characters are in the prompt of the report."""

    streams: Positive = 1
    """How many times an agent goes through its stages, at once, on as many connections."""
    persona: str | None = None
    """Sent to the model as system message, in every call."""
    unique_prefix: bool = True
    """Begin every prompt with a tag that no other has, so that no prefix cache knows it."""

    timeout_s: Seconds = 600.0
    """Of a program: for one iteration, from its start until its result."""
    call_timeout_s: Seconds | None = None
    """Of a program: for one call, which it then ends as `timeout`. Default: half of `timeout_s`, so
    that a call that hangs is told of as such before the harness ends the program."""

    def __post_init__(self) -> None:
        if self.call_timeout_s is not None and self.call_timeout_s > self.timeout_s:
            raise ValueError("`call_timeout_s` is more than `timeout_s`: no call would meet it")

    def seconds_per_call(self) -> float:
        return self.call_timeout_s or self.timeout_s / 2

    def planned_calls(self) -> int:
        """Of one agent, in one iteration."""
        return self.streams * (1 if self.prompt is not None else 2)


class AgentOptions(WorkloadOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the scenario `agent`."""

    agent: str = "python"
    """A registered agent (`harness agent list`), or `in_process`: the harness does the work."""
    command: tuple[str, ...] = ()
    """A program and its arguments, instead of a registered agent. With `speaks` other than
    `protocol`, `{url}` in an argument is the server's address, and `{out}` a folder."""
    speaks: Literal["protocol", "nothing", "files"] = "protocol"
    """`nothing`: any program; only the tap and its exit status tell of it. `files`: it writes a
    metrics.json of an older form into the folder `{out}`."""
    cpus: tuple[Cpu, ...] = ()
    """CPUs that the program may use, from its birth on. Default: those of the harness."""
    chunk_stamps: bool = False
    """Have the program say when it saw each chunk. Against the backend `sim`, that gives its
    wake-up delay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.command and not self.command[0]:
            raise ValueError("`command` begins with the program")
        if self.speaks != "protocol" and not self.command:
            raise ValueError(f"speaks {self.speaks!r} is of a `command`; registered agents speak")
        if self.streams > 1 and self.speaks != "protocol":
            raise ValueError("`streams` has no effect on a program that takes no job")


class TappedOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is tapped, and for how long."""

    program: tuple[str, ...] = ()
    """With its arguments, in which `{url}` is replaced by the tap's address."""
    name: str = "agent"
    """Of the agent in the records."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Where the tap listens, on 127.0.0.1. 0: any free port."""
    calls: Positive | None = None
    """It is over when so many calls are recorded."""
    root: str = ""
    """Path of the server's own root, where it has one …"""
    base: str = "/v1"
    """… and of its OpenAI API: what follows the tap's address in OPENAI_BASE_URL."""
