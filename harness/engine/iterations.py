"""The iterations of one trial, of either kind of scenario: cold starts, warm-up, measured ones.

Each ends in exactly one IterationRecord, whatever becomes of it, and its calls balance with the
number that it says were planned. Two exceptions to the second, both said in the record: an
interrupted iteration has no records for the calls it never came to, and neither has one that a
refused request ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from harness._native.clock import monotonic_ns
from harness.engine import load as load_driver
from harness.engine.calls import INTERRUPTED, Caller
from harness.engine.instruments import Instruments
from harness.engine.plan import PlannedTrial, seed_for
from harness.engine.sealing import CallPlace, unmade
from harness.engine.seams import Launch, Scene
from harness.engine.token_checks import CallSample, check_tokens
from harness.engine.workflow import WorkflowContext
from harness.errors import HarnessError, StoreError
from harness.hostload import Reading, host_load, read_host
from harness.protocols import RequestScenario, WorkflowScenario
from harness.redaction import Redactor
from harness.schema import (
    Account,
    Artifact,
    CallError,
    CallRecord,
    HostLoad,
    IterationRecord,
    Load,
    Phase,
)

__all__ = ["Iterations"]

log = logging.getLogger("harness.engine")


class Iterations:
    """Executes a scenario as often as the spec says."""

    def __init__(
        self,
        planned: PlannedTrial,
        scene: Scene,
        launch: Launch,
        caller: Caller,
        deliver: Callable[[CallRecord], None],
    ) -> None:
        self._planned = planned
        self._scene = scene
        self._spec = scene.plan.spec
        self._launch = launch
        self._caller = caller
        self._deliver = deliver
        self._host_before: Reading | None = None
        self._instruments = Instruments(scene.plan.instruments)

    async def run(self) -> None:
        """Raises what ends the trial: CancelledError, or the scenario's own refusal."""
        seed = self._seed("setup", 0)
        arm = self._planned.arm
        scenario = arm.scenario.factory(arm.scenario_config(seed))
        try:
            if isinstance(scenario, WorkflowScenario):
                await self._workflow(scenario)
            else:
                await self._requests(scenario)
        finally:
            self._instruments.close()

    # Request scenarios. ------------------------------------------------------------------------

    async def _requests(self, scenario: RequestScenario) -> None:
        load = self._planned.arm.load
        assert load is not None, "make_plan gives every request scenario a load"
        for phase, iteration in self._order(solo=False):
            shape = load_driver.shape_for(load, phase)
            self._scene.seen.iteration_started(self._planned, phase, shape.requests)
            await self._drive(scenario, shape, self._place(phase, iteration))
            self._caller.till.check()

    async def _drive(self, scenario: RequestScenario, shape: Load, place: CallPlace) -> None:
        seed = self._seed(place.phase, place.iteration)
        context = _RequestContext(self, place, seed)
        record = await self._begun(place, shape.requests)
        sample = self._sample(place)
        try:
            requests = scenario.requests(context)
            planned = await load_driver.drive(requests, shape, self._caller, place, seed)
        except asyncio.CancelledError:
            self._end(record, "cancelled", INTERRUPTED)
            raise
        except Exception as error:
            self._end(record, "error", CallError(code="scenario", message=str(error)[:500]))
            raise
        if self._caller.ended:
            self._end(record, "cancelled", INTERRUPTED)
            raise asyncio.CancelledError
        end_ns = monotonic_ns()
        self._instruments.stop()
        host = self._host_load()  # before we use the machine ourselves
        accounts, interrupted = await self._accounts()
        ended = msgspec.structs.replace(
            record,
            planned_calls=planned,
            host=host,
            token_checks=check_tokens(sample, self.count_tokens),
            accounts=accounts,
        )
        self._end(ended, "ok", None, end_ns)
        if interrupted:
            raise asyncio.CancelledError

    # Workflow scenarios. -----------------------------------------------------------------------

    async def _workflow(self, scenario: WorkflowScenario) -> None:
        prepared = self._context("measured", 0)
        await scenario.setup(prepared)
        try:
            for phase, iteration in self._order(solo=self._planned.arm.is_solo):
                await asyncio.sleep(0)  # a scenario that never waits must not hold up an interrupt
                if self._caller.ended:
                    raise asyncio.CancelledError
                declared = getattr(scenario, "planned_calls_per_iteration", None)
                self._scene.seen.iteration_started(self._planned, phase, declared)
                await self._execute(scenario, phase, iteration, declared or 0)
                self._caller.till.check()
        finally:
            await scenario.teardown(prepared)

    async def _execute(
        self, scenario: WorkflowScenario, phase: Phase, iteration: int, declared: int
    ) -> None:
        """One iteration. A scenario that raises has failed this iteration, not the trial."""
        place = self._place(phase, iteration)
        begun = await self._begun(place, 0)
        context = self._context(phase, iteration)
        sample = self._sample(place)
        status: Literal["ok", "error", "cancelled"] = "error"
        error: CallError | None = None
        interrupted = False
        try:
            await scenario.execute(context)
            status = "ok"
        except HarnessError as failure:
            error = CallError(code="scenario", message=str(failure))
        except asyncio.CancelledError:
            status, error = "cancelled", INTERRUPTED
            raise
        except Exception as failure:  # a stranger's scenario
            log.debug("scenario raised", exc_info=True)
            error = CallError(code="plugin", message=f"{type(failure).__name__}: {failure}"[:500])
        finally:
            if self._caller.ended:
                status, error = "cancelled", INTERRUPTED
            end_ns = monotonic_ns()
            self._instruments.stop()
            host = self._host_load()  # before we use the machine ourselves
            accounts, interrupted = await self._accounts() if status == "ok" else ((), False)
            planned = max(context.calls, declared)
            redactor = context.redactor()
            error = redactor.value(error)
            artifacts, refused = self._artifacts(context, redactor)
            if refused is not None:
                status, error = "error", CallError(code="store", message=str(refused)[:500])
            noted = msgspec.structs.replace(
                begun,
                planned_calls=planned,
                spans=redactor.value(tuple(context.spans)),
                metrics=redactor.value(tuple(context.metrics)),
                artifacts=artifacts,
                data=redactor.value(context.data),
                host=host,
                token_checks=check_tokens(sample, self.count_tokens) if status == "ok" else (),
                accounts=accounts,
            )
            self._end(noted, status, error, end_ns)
            if refused is not None:
                raise refused
        if status == "cancelled" or interrupted:
            raise asyncio.CancelledError
        for ordinal in range(context.calls, planned):
            # A failed iteration never came to these; a good one made fewer than it declared.
            reason = error or CallError(code="not_needed", message="the scenario did not make it")
            self._deliver(unmade(place, ordinal, "not_sent", reason))

    def _artifacts(
        self, context: WorkflowContext, redactor: Redactor
    ) -> tuple[tuple[Artifact, ...], StoreError | None]:
        """Those that could be kept, and why the next one could not."""
        kept: list[Artifact] = []
        for name, content in context.artifacts:
            try:
                path = self._scene.sink.artifact(context.trial, name, redactor.value(content))
            except StoreError as error:
                return tuple(kept), error
            kept.append(Artifact(name=name, path=path))
        return tuple(kept), None

    # ------------------------------------------------------------------------------------------

    def _order(self, *, solo: bool) -> Iterator[tuple[Phase, int]]:
        counts, planned = self._spec.iterations, self._planned
        yield from (("cold", i) for i in range(counts.cold))
        self._instruments.open(planned.arm.name, planned.cell, planned.trial, self._caller.urls)
        yield from (("warmup", i) for i in range(counts.warmup))
        for i in range(counts.measured):
            pair: list[Phase] = ["solo", "measured"] if solo else ["measured"]
            # In turn: what drifts while a trial runs must not be taken for the agents' doing.
            if (planned.block + i) % 2:
                pair.reverse()
            yield from ((phase, i) for phase in pair)
        yield from (("extra", i) for i in range(self._instruments.extra()))

    def _seed(self, phase: str, iteration: int) -> int:
        # A solo iteration does the work of the measured one of its number.
        of = "measured" if phase == "solo" else phase
        return seed_for(self._spec, self._planned.block, of, iteration)

    def salt(self, phase: str, iteration: int) -> str:
        """See RequestContext.salt."""
        return f"{self._scene.run_id}/{self._planned.trial}/{phase}/{iteration}"

    def count_tokens(self, text: str) -> int | None:
        model = self._launch.effective.model or self._planned.arm.backend_config.model or ""
        return self._scene.host.count_tokens(model, text)

    def _sample(self, place: CallPlace) -> CallSample:
        """Of the calls of an iteration that is measured; of any other it stays empty."""
        sample = CallSample()
        self._caller.watch(sample if place.phase == "measured" else None)
        return sample

    async def _accounts(self) -> tuple[tuple[Account, ...], bool]:
        """What the service says of the calls, and whether we were cancelled while asking: what was
        measured by then has its record all the same."""
        try:
            return await self._caller.reconcile(), False
        except asyncio.CancelledError:
            return (), True

    def _place(self, phase: Phase, iteration: int) -> CallPlace:
        return CallPlace(
            arm=self._planned.arm.name,
            cell=self._planned.cell,
            trial=self._planned.trial,
            iteration=iteration,
            phase=phase,
        )

    def _context(self, phase: Phase, iteration: int) -> WorkflowContext:
        return WorkflowContext(
            self._caller,
            self._place(phase, iteration),
            seed=self._seed(phase, iteration),
            salt=self.salt(phase, iteration),
            effective=self._launch.effective,
        )

    def _host_load(self) -> HostLoad | None:
        """What the machine did since the iteration began; None where nothing is measured."""
        return host_load(self._host_before, read_host()) if self._host_before else None

    async def _begun(self, place: CallPlace, planned: int) -> IterationRecord:
        self._host_before = read_host() if place.phase in ("measured", "solo") else None
        self._instruments.start(place.phase, place.iteration)
        now_ns = monotonic_ns()
        record = IterationRecord(
            arm=place.arm,
            cell=place.cell,
            trial=place.trial,
            iteration=place.iteration,
            phase=place.phase,
            status="ok",
            start_ns=now_ns,
            end_ns=now_ns,
            planned_calls=planned,
        )
        return await self._chilled(record) if place.phase == "cold" else record

    async def _chilled(self, record: IterationRecord) -> IterationRecord:
        """Cold from here on. Where that cannot be had the trial ends, and no call was planned."""
        none = msgspec.structs.replace(record, planned_calls=0)
        try:
            await self._launch.chill()
        except asyncio.CancelledError:
            self._end(none, "cancelled", INTERRUPTED)
            raise
        except Exception as error:
            self._end(none, "error", CallError(code="cold", message=str(error)[:500]))
            raise
        return msgspec.structs.replace(record, ready_ns=monotonic_ns())

    def _end(
        self,
        record: IterationRecord,
        status: Literal["ok", "error", "cancelled"],
        error: CallError | None,
        end_ns: int | None = None,
    ) -> None:
        ended = msgspec.structs.replace(
            record,
            status=status,
            error=error,
            end_ns=monotonic_ns() if end_ns is None else end_ns,
        )
        self._scene.sink.append(self._instruments.finish(ended, self._scene.sink.artifact))


class _RequestContext:
    """See harness.protocols.RequestContext, which this implements."""

    def __init__(self, iterations: Iterations, place: CallPlace, seed: int) -> None:
        self.seed = seed
        self.salt = iterations.salt(place.phase, place.iteration)
        self.phase: str = place.phase
        self.count_tokens = iterations.count_tokens
