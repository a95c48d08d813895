"""What is done: requests under a load, or a piece of work that makes its calls itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from harness.schema import CallRecord, Effective, Exchange, ReportedCall, Request

__all__ = [
    "AgentCalls",
    "Context",
    "RequestContext",
    "RequestScenario",
    "ScenarioConfig",
    "ScenarioFactory",
    "WorkflowScenario",
]


class ScenarioConfig(Struct, frozen=True, kw_only=True):
    """What a scenario factory is given."""

    options: Any
    """An instance of the options Struct that the scenario registered."""
    seed: int
    arm: str
    cell: str


class RequestContext(Protocol):
    """What a request scenario may ask while it makes requests."""

    seed: int
    """Differs between iterations, equal between arms: arms get the same prompts."""
    salt: str
    """Never the same twice: differs between runs, arms, trials and iterations. For the first tokens
    of prompts that no cache may know; say so with `Request.cold`."""
    phase: str
    """`cold`, `warmup`, `measured` or `extra`."""

    def count_tokens(self, text: str) -> int | None:
        """By the tokenizer of the model under test, where a plugin knows it; else None."""


@runtime_checkable
class RequestScenario(Protocol):
    """A seeded generator of requests. The engine drives them natively under the spec's load, and no
    Python of yours runs between them."""

    def requests(self, ctx: RequestContext) -> Iterator[Request]:
        """Endless or finite; the load says how many are taken. Runs ahead of the schedule."""


class AgentCalls(Protocol):
    """One agent within an iteration: where it finds the server, and what becomes of its calls."""

    url: str
    """Scheme, host and port to send requests to: the tap's, or the server's own."""
    tapped: bool

    def prepare(self, request: Request) -> Exchange:
        """The exchange as the backend would make it, addressed to `url`. Raises SpecError."""

    async def call(self, request: Request) -> CallRecord:
        """As Context.call, for an agent that lives in this process; recorded as this agent's."""

    def report(self, call: ReportedCall) -> None:
        """A call that the agent's program made itself. Recorded when the agent is left: with what
        the tap saw of it; without a tap, as it was reported."""

    def span(self, name: str, start_ns: int, end_ns: int) -> None:
        """A part of this agent's work, by whoever's clock readings. `agent` is all of it: exactly
        one of that name is what speed-ups are made of."""

    async def settle(self) -> int:
        """Record now what the tap has seen end; how many calls are recorded by now. For work that
        has no end of its own and reports nothing: else all is recorded when the agent is left."""


class Context(Protocol):
    """What a workflow scenario does its work through."""

    seed: int
    salt: str
    """As for RequestContext."""
    arm: str
    cell: str
    trial: int
    iteration: int
    phase: str
    rng: random.Random
    """Seeded by the spec's seed and the iteration; equal between arms."""
    effective: Effective
    """Of the backend, as read when it was opened."""

    async def call(self, request: Request) -> CallRecord:
        """One model call, measured and recorded. A failed call is a record with its status."""

    def agent(
        self, name: str, *, endpoint: int | None = None, outside: bool = True, port: int = 0
    ) -> AbstractAsyncContextManager[AgentCalls]:
        """For work in which an agent makes calls under its own name, several at a time perhaps.

        `endpoint` is an index into the backend's urls; None: the first, and for calls made in this
        process the backend's own order. `outside`: a program makes the calls; it is given a tap if
        the spec asks for one, at `port` of this machine, if one is named. On leaving, calls that
        the tap still carries end with what they have, and all are recorded. SpecError for an
        endpoint that there is not."""

    def span(self, name: str) -> AbstractContextManager[None]:
        """Time a part of the iteration."""

    def metric(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        better: Literal["lower", "higher", "neither"] = "neither",
    ) -> None:
        """Record a figure of your own for this iteration; `better` is what a comparison needs."""

    def artifact(self, name: str, content: str | bytes) -> None:
        """Leave a file with the run; written after the iteration, outside any span."""

    def note(self, key: str, value: Any) -> None:
        """Data for your own exporters: ends up in IterationRecord.data (msgpack-able)."""


@runtime_checkable
class WorkflowScenario(Protocol):
    """A piece of work that makes its calls itself. setup and teardown run once a trial, execute
    once an iteration. It takes no load.

    A class may also say, as attributes: `planned_calls_per_iteration` (an int), so that calls it
    never came to are counted; `solo = True`, and every measured iteration gets one of phase `solo`
    beside it, before or after in turn, in which `execute` has its agents work one after another;
    `taps = True`, and a spec may ask for the tap; `passive = True`, and backends are told so
    (BackendConfig.passive). And so that mistakes are found before anything starts:
    `request_options`, a dict of path below the scenario's options → backend options of its
    requests; `endpoints_used`, of how many of the backend's urls it makes use; `agents_used`, a
    dict of path below the scenario's options → name of a registered agent."""

    async def setup(self, ctx: Context) -> None:
        """Outside the measurement. Raise ScenarioError on unusable input (an empty corpus)."""

    async def execute(self, ctx: Context) -> None: ...

    async def teardown(self, ctx: Context) -> None: ...


ScenarioFactory: TypeAlias = Callable[[ScenarioConfig], "RequestScenario | WorkflowScenario"]
"""Called when a run is planned, to see which kind it makes, and again for each trial."""
