"""What a plugin implements: one Protocol per kind of thing, each with at most six methods.

A plugin registers a *factory* under a name (see hookspecs); the harness calls the factory with a
typed configuration and then only the methods below. None of them runs in the timed window of a
call: requests are turned into bytes before they are due, responses are decoded after they ended.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from harness.schema import (
    CallRecord,
    Decoded,
    Effective,
    Exchange,
    Manifest,
    MetricValue,
    ModelInfo,
    Request,
    SessionRecord,
    Summary,
    TimeoutsSpec,
)
from harness.schema.iteration import Record as LogRecord

if TYPE_CHECKING:
    from harness._native.recorder import Record as WireRecord

__all__ = [
    "Agent",
    "Backend",
    "BackendConfig",
    "BackendFactory",
    "Context",
    "Executor",
    "Exporter",
    "Instrument",
    "InstrumentConfig",
    "InstrumentFactory",
    "ListsModels",
    "Observation",
    "RequestContext",
    "RequestScenario",
    "RunData",
    "ScenarioConfig",
    "ScenarioFactory",
    "Scorer",
    "Transport",
    "Unloads",
    "WorkflowScenario",
]


# ---------------------------------------------------------------------------------------- backends


class BackendConfig(Struct, frozen=True, kw_only=True):
    """What a backend factory is given."""

    model: str | None
    urls: tuple[str, ...]
    """Empty: the backend's own default."""
    options: Any
    """An instance of the options Struct that the backend registered."""
    timeouts: TimeoutsSpec
    seed: int


@runtime_checkable
class Backend(Protocol):
    """One model, on one server or several equal ones. Speaks one dialect; knows no scenario.

    The order of calls is: open, effective, (prepare, decode) many times, effective, close. `close`
    is called after a failed `open` too. Control traffic (version, tags, preload) belongs in open
    and effective, with whatever HTTP client you like; it is never timed.
    """

    urls: tuple[str, ...]
    """Where the model is served; final once `open` has returned. Decides which transport serves."""

    async def open(self) -> None:
        """Make the model ready to answer at once: reach the server, check that the model exists,
        load it. Raise BackendError saying what, where, and the next command to try."""

    async def effective(self) -> Effective:
        """What the server says it runs, read back now; unknown fields are None, with a reason.
        Asked again when all is measured: what changed since then is a doubt about the trial."""

    def prepare(self, request: Request) -> Exchange:
        """The exchange for one request, complete. Must be pure and cheap; may rotate endpoints.
        Raise SpecError for an option that this server does not know."""

    def decode(self, request: Request, record: WireRecord) -> Decoded:
        """Read a finished response. Called for every outcome at the wire, also for a torn stream
        and for HTTP errors; must not raise on any bytes. `len(kinds) == len(record)`."""

    async def close(self) -> None:
        """Leave nothing running that open started. Called exactly once."""


@runtime_checkable
class ListsModels(Protocol):
    """A backend that can say what it offers (`harness models`). Called without open."""

    async def models(self) -> list[ModelInfo]: ...


@runtime_checkable
class Unloads(Protocol):
    """A backend that can drop the model from memory, and confirm it."""

    async def unload(self) -> None:
        """Return once the model is really gone; BackendError if that cannot be confirmed."""


BackendFactory: TypeAlias = Callable[[BackendConfig], Backend]


# --------------------------------------------------------------------------------------- transport


class Transport(Protocol):
    """Carries exchanges. `harness.transport.open_transport` makes one; backends never see it."""

    name: str
    """`native` or `portable`."""

    async def open(self) -> None: ...

    def lane(self, limit: int) -> int:
        """A queue with at most `limit` exchanges in flight; 0: no limit. Lane 0 always exists."""

    def send(
        self, exchange: Exchange, timeouts: TimeoutsSpec, *, lane: int = 0, due_ns: int = 0
    ) -> Awaitable[WireRecord]:
        """Queue one exchange now; the result is its sealed record, never an exception but
        CancelledError. Cancelling the awaitable ends the call as `cancelled`."""

    def stats(self) -> dict[str, int]: ...

    async def close(self) -> None: ...


# --------------------------------------------------------------------------------------- scenarios


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
    """`warmup` or `measured`."""

    def count_tokens(self, text: str) -> int | None:
        """By the tokenizer of the model under test, where a plugin knows it; else None."""


@runtime_checkable
class RequestScenario(Protocol):
    """A seeded generator of requests. The engine drives them natively under the spec's load, and no
    Python of yours runs between them."""

    def requests(self, ctx: RequestContext) -> Iterator[Request]:
        """Endless or finite; the load says how many are taken. Runs ahead of the schedule."""


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
    once an iteration. It takes no load."""

    async def setup(self, ctx: Context) -> None:
        """Outside the measurement. Raise ScenarioError on unusable input (an empty corpus)."""

    async def execute(self, ctx: Context) -> None: ...

    async def teardown(self, ctx: Context) -> None: ...


ScenarioFactory: TypeAlias = Callable[[ScenarioConfig], "RequestScenario | WorkflowScenario"]
"""Called when a run is planned, to see which kind it makes, and again for each trial."""


# ------------------------------------------------------------------------ what comes after a run


class RunData(Protocol):
    """A loaded run: manifest, summary, and its records as they were written."""

    manifest: Manifest
    summary: Summary
    sessions: tuple[SessionRecord, ...]
    """Empty, unless the run was resumed."""

    def records(self) -> Iterable[LogRecord]:
        """In the order of the log; can be iterated more than once."""


class Exporter(Protocol):
    """Writes one view of a run as bytes: a function of the run and nothing else."""

    def __call__(self, run: RunData, out: BinaryIO) -> None: ...


# --------------------------------------------------------------------------------- instruments


class InstrumentConfig(Struct, frozen=True, kw_only=True):
    """What an instrument factory is given, in the process that executes the trial."""

    options: Any
    """An instance of the options Struct that the instrument registered."""
    arm: str
    cell: str
    trial: int
    urls: tuple[str, ...]
    """Of the backend, once it is open: where a local server's process is to be found."""


class Observation(Struct, frozen=True, kw_only=True):
    """What an instrument saw of one iteration."""

    metrics: tuple[MetricValue, ...] = ()
    """Names begin with the instrument's: `psutil.rss_max_bytes`. Unknown ones are left out …"""
    unknown: dict[str, str] = {}
    """… and named here, with the reason."""
    artifacts: tuple[tuple[str, str | bytes], ...] = ()
    """(file name, content); a profile, a series of samples."""


@runtime_checkable
class Instrument(Protocol):
    """Observes measured iterations from outside: CPU, memory, energy. One object serves one trial.

    The order of calls is: open, (start, stop) for each iteration, close; `close` also where `open`
    failed. What raises loses that instrument's figures, with the reason in the record; the
    iteration goes on. start and stop bracket the iteration as tightly as the order in the spec
    allows: the first instrument there is the innermost.
    """

    perturbing: bool
    """True: it slows down what it observes (a profiler). It then sees one `extra` iteration per
    trial, after the measured ones, whose figures count for nothing else."""

    def open(self) -> None:
        """Once per trial, when the backend is open. May be slow."""

    def start(self) -> None:
        """Must be quick."""

    def stop(self) -> Observation:
        """Must be quick to stop observing; what takes time comes after that."""

    def close(self) -> None: ...


InstrumentFactory: TypeAlias = Callable[[InstrumentConfig], Instrument]
"""Called when a run is planned (without urls), to see whether the instrument perturbs, and again
for each trial. Must be quick; a HarnessError that it raises in the plan refuses the run."""


# --------------------------------------------------------------------------------- executors


class Executor(Protocol):
    """Places trials: in this process, in fresh ones, on other machines. One object serves one run.

    A job is bytes that the engine made; `harness.jobs.perform` executes it anywhere where the same
    plugins are installed. What comes of it is a stream of messages, bytes too, each to be handed to
    `deliver` once, in order, on the event loop's thread. Several jobs may be under way at a time.
    harness.testing.ExecutorContract is a suite of tests for all of this.
    """

    async def execute(
        self, job: bytes, placement: dict[str, str], deliver: Callable[[bytes], None]
    ) -> None:
        """Run one job to its end. Raise TrialLostError if its process or machine was lost before
        that, and what `deliver` raises. Cancelled: have the job interrupted, so that its calls end
        with what they have; wait for what it still delivers, a bounded time, and leave nothing
        running. Cancelled again: at once.

        `placement` says on which `cpus` and `gpus` it is to run; add what you know of the place,
        such as the `node`: the trial's record has it."""

    async def close(self) -> None:
        """Leave nothing running."""


# --------------------------------------------- registered and listed today, driven by later work


class Scorer(Protocol):
    """Grades a text against a reference."""

    def score(self, text: str, reference: Any) -> float: ...


class Agent(Protocol):
    """A program that makes model calls by itself, in any language."""

    def command(self, job: dict[str, Any]) -> list[str]: ...
