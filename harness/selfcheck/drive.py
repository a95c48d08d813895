"""One load, driven as a run drives it: the engine, the `openai` backend, the native transport.

Not the bare transport: its chunks would be cheaper than those of any run, and decoding, which goes
on while other streams still come, is what a run's reactor has to share its core with. Only the
record log is left out; records stay in memory.
"""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness import hookimpl
from harness.engine import Outcome, run
from harness.engine.plan import Plan, PlannedTrial
from harness.errors import BackendError, HarnessError
from harness.host import Host
from harness.protocols import RequestContext, ScenarioConfig, Transport
from harness.schema import (
    BackendSpec,
    CallRecord,
    IterationRecord,
    KeepSpec,
    Manifest,
    Message,
    Record,
    Request,
    RetryRecord,
    RunSpec,
    ScenarioSpec,
    TimeoutsSpec,
    TrialRecord,
)
from harness.schema import Load as LoadShape

if TYPE_CHECKING:
    from harness.registry import Registry

__all__ = ["AnswerWith", "Driven", "drive", "prepare_host"]

AnswerWith = Callable[[Callable[[], object] | None], object]
"""Says what the first signal is to do; None: to raise, wherever it comes."""

BACKEND: Final = "openai"
SCENARIO: Final = "selfcheck"
TIMEOUTS: Final = TimeoutsSpec(
    connect_s=10.0, first_byte_s=30.0, between_payloads_s=30.0, total_s=120.0
)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the scenario."""

    tokens: int
    prompt_words: int = 1


class Driven(Struct, kw_only=True):
    """What came of one load, warm-up left out."""

    manifest: Manifest
    calls: list[CallRecord]
    iterations: list[IterationRecord]
    trials: list[TrialRecord]
    cpu_ns: int
    """Of this process, from the first request's making to the last record."""
    wall_ns: int
    """The same, by the clock."""


def prepare_host(host: Host) -> None:
    """Adds the scenario of the check. Raises HarnessError where the backend is missing."""
    if BACKEND not in host.backends:
        raise HarnessError(
            f"the check is made through the backend {BACKEND!r}, which is not there",
            remedy="harness doctor",
        )
    if SCENARIO not in host.scenarios:
        module: Any = types.ModuleType(SCENARIO)
        module.harness_register_scenarios = harness_register_scenarios
        host.add(SCENARIO, module)


@hookimpl
def harness_register_scenarios(registry: Registry[Any]) -> None:
    registry.add(SCENARIO, _Same, options=Options)


class _Same:
    """Equal requests without end. The warm-up opens the connections, with a token each."""

    def __init__(self, config: ScenarioConfig) -> None:
        self._options: Options = config.options

    def requests(self, ctx: RequestContext) -> Iterator[Request]:
        warm = ctx.phase == "warmup"
        words = 1 if warm else self._options.prompt_words
        request = Request(
            messages=(Message(role="user", content=" ".join(["word"] * words)),),
            max_tokens=1 if warm else self._options.tokens,
        )
        while True:
            yield request


def drive(
    host: Host,
    url: str,
    shape: LoadShape,
    options: Options,
    answer_with: AnswerWith = lambda _: None,
) -> Driven:
    """Raises BackendError where no trial came about, KeyboardInterrupt where it was interrupted."""
    spec = RunSpec(
        backend=BackendSpec(
            name=BACKEND,
            model="sim",
            url=url,
            # Nothing of the user's goes to this server, and nothing but the load.
            options={"api_key_env": "", "probe": False},
        ),
        scenario=ScenarioSpec(
            name=SCENARIO,
            options={"tokens": options.tokens, "prompt_words": options.prompt_words},
        ),
        load=shape,
        keep=KeepSpec(text=False),
        timeouts=TIMEOUTS,
        transport="native",
    )
    watch = _Watch()
    outcome = _until_signal(run(spec, host, watch, watch, open_transport=_native), answer_with)
    if outcome is None or outcome.manifest.state == "interrupted":
        raise KeyboardInterrupt
    if outcome.error is not None:
        if isinstance(outcome.error, HarnessError):
            raise outcome.error
        raise BackendError(f"the check's own load failed: {outcome.error}", where=url)
    return Driven(
        manifest=outcome.manifest,
        calls=watch.calls,
        iterations=watch.iterations,
        trials=watch.trials,
        cpu_ns=watch.last_cpu_ns - watch.first_cpu_ns,
        wall_ns=watch.last_ns - watch.first_ns,
    )


def _until_signal(running: Coroutine[Any, Any, Outcome], answer_with: AnswerWith) -> Outcome | None:
    """None: a signal came, and it was cancelled. An exception that the handler raised would come up
    inside whatever the loop does at that moment, in some other task or in a callback."""
    came = False
    cancel: Callable[[], object] | None = None

    def answer() -> None:
        nonlocal came
        came = True
        if cancel is not None:
            cancel()

    async def main() -> Outcome:
        nonlocal cancel
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(running)
        cancel = partial(loop.call_soon_threadsafe, task.cancel)
        if came:  # before there was something to cancel
            task.cancel()
        try:
            return await task
        finally:
            cancel = None

    answer_with(answer)
    try:
        return asyncio.run(main())
    except (asyncio.CancelledError, HarnessError):
        if not came:
            raise
        return None
    finally:
        answer_with(None)


def _native(kind: str, urls: list[str]) -> Transport:
    """Whatever proxies the environment names: the server is ours, on loopback."""
    from harness.transport.native import NativeTransport

    return NativeTransport(urls)


class _Watch:
    """Sink and observer in one: keeps what is measured, and when."""

    def __init__(self) -> None:
        self.calls: list[CallRecord] = []
        self.iterations: list[IterationRecord] = []
        self.trials: list[TrialRecord] = []
        self.first_cpu_ns = self.last_cpu_ns = time.process_time_ns()
        self.first_ns = self.last_ns = time.monotonic_ns()

    def begin(self, manifest: Manifest) -> None: ...

    def append(self, record: Record | RetryRecord) -> None:
        assert not isinstance(record, RetryRecord), "nothing is placed elsewhere here"
        if isinstance(record, TrialRecord):
            self.trials.append(record)
        elif record.phase != "measured":
            return
        elif isinstance(record, CallRecord):
            self.calls.append(record)
        else:
            self.iterations.append(record)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        return name

    def run_started(self, plan: Plan) -> None: ...

    def recorded_before(self, record: Record) -> None: ...

    def iteration_finished(self, record: IterationRecord) -> None: ...

    def trial_started(self, planned: PlannedTrial, total: int) -> None: ...

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        # The warm-up's start is overwritten by the measured iteration's.
        self.first_cpu_ns, self.first_ns = time.process_time_ns(), time.monotonic_ns()

    def call_finished(self, record: CallRecord) -> None:
        self.last_cpu_ns, self.last_ns = time.process_time_ns(), time.monotonic_ns()

    def trial_finished(self, record: TrialRecord) -> None: ...

    def trial_retried(self, record: RetryRecord) -> None: ...
