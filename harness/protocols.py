"""What a plugin implements: one Protocol per kind of thing, each with at most six methods.

A plugin registers a *factory* under a name (see hookspecs); the harness calls the factory with a
typed configuration and then only the methods below. None of them runs in the timed window of a
call: requests are turned into bytes before they are due, responses are decoded after they ended.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
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
    ReportedCall,
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
    "AgentCalls",
    "Backend",
    "BackendConfig",
    "BackendFactory",
    "Context",
    "Executor",
    "Exporter",
    "ImportedRow",
    "ImportedRows",
    "Importer",
    "ImporterFactory",
    "Instrument",
    "InstrumentConfig",
    "InstrumentFactory",
    "ListsModels",
    "Observation",
    "Reads",
    "RequestContext",
    "RequestScenario",
    "RunData",
    "ScenarioConfig",
    "ScenarioFactory",
    "Scorer",
    "Stated",
    "Suggests",
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
    passive: bool = False
    """True: other programs make the calls, and the harness looks on. No model need be named, and
    `open` loads none and tries none out."""


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
class Reads(Protocol):
    """A backend that says which responses it can decode: those of other programs' requests, which
    the tap saw go by, are given to it."""

    paths: tuple[str, ...]
    """Ends of request paths, such as `/api/chat`. The request that `decode` is given with them is
    what was read out of the body; its `options` are {"stream": …}, True, False, or None where the
    body says nothing: a response in one piece may be what the program asked for, and no fault."""


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
        the spec asks for one, at `port` of this machine, if one is named. On leaving, calls that the tap still carries end with what they have,
        and all are recorded. SpecError for an endpoint that there is not."""

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
    requests; `endpoints_used`, of how many of the backend's urls it makes use; `agents_used`, a dict of
    path below the scenario's options → name of a registered agent."""

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


# --------------------------------------------------------------- results that others measured


class Stated(Struct, frozen=True, kw_only=True):
    """A figure that a source states, and that its own data contradict."""

    figure: str
    stated: float
    found: float
    """What its data give."""
    place: str = ""
    """Where it is stated: a file, a field of it."""


class ImportedRow(Struct, frozen=True, kw_only=True):
    """One thing that somebody measured: a call, an agent's run, a pair of agents. Becomes one
    iteration."""

    arm: str = "default"
    cell: str = "base"
    launch: tuple[str, ...]
    """Rows alike in arm, cell and this are iterations of one launch."""
    place: int | str
    """Where it stands: the line of a table, a file and a field. For messages and evidence."""
    metrics: tuple[MetricValue, ...]
    """`imported` as the source has them, `derived` what follows from those. None for what is
    unknown."""
    kind: str = ""
    """Where rows of several kinds are in one launch, such as `run` and `call`: a metric is unknown
    only in rows of its own kind."""
    factors: dict[str, Any] = {}
    """Of its cell: factor (a path into the spec, where it is one) → level."""
    options: dict[str, Any] | None = None
    """What its launch was configured with. None: the factors."""
    model: str | None = None
    failed: str = ""
    """Why it failed. Its figures then count for nothing, and it is counted."""
    disagrees: tuple[Stated, ...] = ()
    data: dict[str, Any] = {}
    """What else is worth keeping."""


class ImportedRows(Struct, frozen=True, kw_only=True):
    """What an importer made of a file or folder."""

    name: str
    """Of the run."""
    file: str
    """Name alone: a path tells of the machine."""
    sha256: str
    """Of all that was read."""
    rows: tuple[ImportedRow, ...]
    of: int
    """Rows that were there, those included that were left out."""
    source: str = ""
    """Who measured it, where it was published, under which licence."""
    model: str | None = None
    baseline: str | None = None
    """The arm that the others are compared to. None: that of the first row."""
    started: str | None = None
    """ISO 8601; None: unknown."""
    gaps: tuple[str, ...] = ()
    """What should have been there and is not: a planned run without a result."""
    bounds: dict[str, tuple[float | None, float | None]] = {}
    """Metric → what arithmetic or physics allow. `harness audit` lists the rows beyond."""
    about: dict[str, Any] = {}
    """How it was read: kept with the run."""
    remarks: tuple[str, ...] = ()
    """For `--dry-run`, a line each."""


class Importer(Protocol):
    """Reads somebody's results, so that every command works on them."""

    def read(self, path: Path) -> ImportedRows:
        """Raise StoreError with file and place for what cannot be read, SpecError for a mistake in
        the options. What is unknown is left out, never 0."""


@runtime_checkable
class Suggests(Protocol):
    """An importer that can draft the options that it needs (`harness import … --suggest`)."""

    def suggest(self, path: Path) -> str: ...


ImporterFactory: TypeAlias = Callable[[Any], Importer]
"""Called with an instance of the options Struct that was registered."""


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
    """A program in any language that does an agent's work by docs/agent-protocol.md."""

    def command(self) -> list[str]:
        """The program and its arguments. BackendError with the command that builds or installs it,
        where it is not there."""

    def about(self) -> dict[str, Any]:
        """What it is made of: language, compiler, library versions, profile, digest of the binary.
        Kept with every result. May be slow the first time."""
