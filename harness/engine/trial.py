"""One trial: open the backend, warm up, measure, close. It ends in exactly one TrialRecord."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import msgspec

from harness._native.clock import monotonic_ns
from harness.engine import load as load_driver
from harness.engine.calls import Caller, CallPlace
from harness.engine.plan import Plan, PlannedTrial, seed_for
from harness.engine.workflow import WorkflowContext
from harness.errors import HarnessError, PluginError
from harness.host import Host
from harness.protocols import Backend, RequestScenario, Transport, WorkflowScenario
from harness.schema import (
    Artifact,
    CallError,
    CallRecord,
    Effective,
    IterationRecord,
    Record,
    TrialRecord,
)

__all__ = ["Observer", "Scene", "Sink", "TransportFactory", "run_trial"]

log = logging.getLogger("harness.engine")

Phase = Literal["warmup", "measured"]


class Sink(Protocol):
    """Where records go, one by one, as they are made."""

    def append(self, record: Record) -> None: ...

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        """Returns the path, relative to the run folder."""


class Observer(Protocol):
    """Whoever wants to show progress. Called between measurements, never inside one."""

    def trial_started(self, planned: PlannedTrial, total: int) -> None: ...

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None: ...

    def call_finished(self, record: CallRecord) -> None: ...

    def trial_finished(self, record: TrialRecord) -> None: ...


TransportFactory: TypeAlias = Callable[
    [Literal["auto", "native", "portable"], list[str]], Transport
]


@dataclass(frozen=True)
class Scene:
    """What every trial of a run shares."""

    plan: Plan
    run_id: str
    host: Host
    sink: Sink
    seen: Observer
    open_transport: TransportFactory


class _Trial:
    """The state that the phases of one trial share."""

    def __init__(self, planned: PlannedTrial, scene: Scene) -> None:
        self.planned = planned
        self.scene = scene
        self.plan = scene.plan
        self.sink = scene.sink
        self.seen = scene.seen
        self.backend: Backend | None = None
        self.transport: Transport | None = None
        self.effective = Effective()
        self.start_ns = monotonic_ns()

    async def run(self) -> None:
        spec = self.plan.spec
        arm = self.planned.arm
        self.backend = backend = arm.backend.factory(arm.backend_config)
        await backend.open()
        self.effective = await backend.effective()
        self.transport = self.scene.open_transport(spec.transport, list(backend.urls))
        await self.transport.open()
        caller = Caller(backend, self.transport, spec.timeouts, spec.keep, self._deliver)
        config = self.planned.arm.scenario_config(self._seed("setup", 0), self.planned.cell)
        scenario = self.planned.arm.scenario.factory(config)
        if isinstance(scenario, WorkflowScenario):
            await self._workflow(scenario, caller)
        else:
            await self._requests(scenario, caller)

    async def close(self) -> None:
        """Each part closes even if another one fails to."""
        try:
            if self.transport is not None:
                await self.transport.close()
        finally:
            if self.backend is not None:
                await self.backend.close()

    def record(
        self, status: Literal["ok", "error", "cancelled"], error: CallError | None
    ) -> TrialRecord:
        transport = self.transport
        return TrialRecord(
            arm=self.planned.arm.name,
            cell=self.planned.cell,
            trial=self.planned.trial,
            status=status,
            start_ns=self.start_ns,
            end_ns=monotonic_ns(),
            effective=self.effective,
            transport=transport.name if transport else "",
            transport_stats=transport.stats() if transport else {},
            error=error,
        )

    # ------------------------------------------------------------------------------------------

    async def _requests(self, scenario: RequestScenario, caller: Caller) -> None:
        for phase, iteration in self._iterations():
            shape = self.plan.spec.load
            assert shape is not None, "make_plan gives every request scenario a load"
            if phase == "warmup":
                shape = load_driver.shortened(shape)
            place = self._place(phase, iteration)
            seed = self._seed(phase, iteration)
            context = _RequestContext(self, place, seed)
            self.seen.iteration_started(self.planned, phase, shape.requests)
            start_ns = monotonic_ns()
            planned = await load_driver.drive(
                scenario.requests(context), shape, caller, place, seed
            )
            self.sink.append(self._iteration(place, start_ns, planned))

    async def _workflow(self, scenario: WorkflowScenario, caller: Caller) -> None:
        prepared = self._context(caller, "measured", 0)
        await scenario.setup(prepared)
        try:
            for phase, iteration in self._iterations():
                context = self._context(caller, phase, iteration)
                declared: int | None = getattr(scenario, "planned_calls_per_iteration", None)
                self.seen.iteration_started(self.planned, phase, declared)
                await self._execute(scenario, context, self._place(phase, iteration), declared)
        finally:
            await scenario.teardown(prepared)

    async def _execute(
        self,
        scenario: WorkflowScenario,
        context: WorkflowContext,
        place: CallPlace,
        declared: int | None,
    ) -> None:
        """One iteration. A scenario that raises has failed this iteration, not the trial."""
        error: CallError | None = None
        status: Literal["ok", "error", "cancelled"] = "ok"
        start_ns = monotonic_ns()
        try:
            await scenario.execute(context)
        except HarnessError as failure:
            status, error = "error", CallError(code="scenario", message=str(failure))
        except asyncio.CancelledError:
            status, error = "cancelled", CallError(code="cancelled", message="interrupted")
            raise
        except Exception as failure:  # a stranger's scenario
            log.debug("scenario raised", exc_info=True)
            message = f"{type(failure).__name__}: {failure}"
            status, error = "error", CallError(code="plugin", message=message[:500])
        finally:
            end_ns = monotonic_ns()
            artifacts = self._write_artifacts(context)
            planned = max(context.calls, declared or 0)
            self.sink.append(
                msgspec.structs.replace(
                    self._iteration(place, start_ns, planned, end_ns),
                    status=status,
                    error=error,
                    spans=tuple(context.spans),
                    metrics=tuple(context.metrics),
                    artifacts=artifacts,
                    data=context.data,
                )
            )
        if error is not None:
            self._not_made(context, place, planned, error)

    def _not_made(
        self, context: WorkflowContext, place: CallPlace, planned: int, error: CallError
    ) -> None:
        """Calls that a failed iteration never came to: `not_sent`, so that the counts balance."""
        from harness.schema import Instants

        for ordinal in range(context.calls, planned):
            now_ns = monotonic_ns()
            self._deliver(
                CallRecord(
                    call_id=place.call_id(ordinal),
                    arm=place.arm,
                    cell=place.cell,
                    trial=place.trial,
                    iteration=place.iteration,
                    phase=place.phase,
                    status="not_sent",
                    error=error,
                    instants=Instants(due_ns=now_ns, closed_ns=now_ns),
                )
            )

    def _write_artifacts(self, context: WorkflowContext) -> tuple[Artifact, ...]:
        return tuple(
            Artifact(name=name, path=self.sink.artifact(context.trial, name, content))
            for name, content in context.artifacts
        )

    # ------------------------------------------------------------------------------------------

    def _iterations(self) -> list[tuple[Phase, int]]:
        counts = self.plan.spec.iterations
        warmup: list[tuple[Phase, int]] = [("warmup", i) for i in range(counts.warmup)]
        return warmup + [("measured", i) for i in range(counts.measured)]

    def _seed(self, phase: str, iteration: int) -> int:
        return seed_for(self.plan.spec, self.planned.block, phase, iteration)

    def salt(self, phase: str, iteration: int) -> str:
        return f"{self.scene.run_id}/{self.planned.trial}/{phase}/{iteration}"

    def _place(self, phase: Phase, iteration: int) -> CallPlace:
        return CallPlace(
            arm=self.planned.arm.name,
            cell=self.planned.cell,
            trial=self.planned.trial,
            iteration=iteration,
            phase=phase,
        )

    def _context(self, caller: Caller, phase: Phase, iteration: int) -> WorkflowContext:
        return WorkflowContext(
            caller,
            self._place(phase, iteration),
            seed=self._seed(phase, iteration),
            salt=self.salt(phase, iteration),
            effective=self.effective,
        )

    def _iteration(
        self, place: CallPlace, start_ns: int, planned: int, end_ns: int | None = None
    ) -> IterationRecord:
        return IterationRecord(
            arm=place.arm,
            cell=place.cell,
            trial=place.trial,
            iteration=place.iteration,
            phase=place.phase,
            status="ok",
            start_ns=start_ns,
            end_ns=monotonic_ns() if end_ns is None else end_ns,
            planned_calls=planned,
        )

    def _deliver(self, record: CallRecord) -> None:
        self.sink.append(record)
        self.seen.call_finished(record)


class _RequestContext:
    """See harness.protocols.RequestContext, which this implements."""

    def __init__(self, trial: _Trial, place: CallPlace, seed: int) -> None:
        self.seed = seed
        self.salt = trial.salt(place.phase, place.iteration)
        self.phase: str = place.phase
        self._host = trial.scene.host
        self._model = trial.effective.model or trial.planned.arm.backend_config.model or ""

    def count_tokens(self, text: str) -> int | None:
        return self._host.count_tokens(self._model, text)


async def run_trial(
    planned: PlannedTrial, scene: Scene
) -> tuple[TrialRecord, BaseException | None]:
    """The record of the trial, already appended, and the error that ended it, if one did."""
    trial = _Trial(planned, scene)
    failure: BaseException | None = None
    status: Literal["ok", "error", "cancelled"] = "ok"
    try:
        await trial.run()
    except HarnessError as error:
        status, failure = "error", error
    except asyncio.CancelledError as error:
        status, failure = "cancelled", error
    except Exception as error:  # a stranger's backend or scenario
        log.debug("trial %d raised", planned.trial, exc_info=True)
        failure = PluginError(
            f"{type(error).__name__}: {error}",
            where=f"trial {planned.trial}",
            remedy="--log-level debug shows where",
        )
        status = "error"
    error_text = str(failure) or "interrupted" if failure else ""
    reason = CallError(code=status, message=error_text) if failure else None
    record = trial.record(status, reason)
    try:
        # The record holds the transport's counts, so it is made before the transport closes.
        await _close(trial)
    finally:
        scene.sink.append(record)
        scene.seen.trial_finished(record)
    return record, failure


async def _close(trial: _Trial) -> None:
    """A second interrupt must not leave a child server behind: closing is shielded."""
    closing = asyncio.ensure_future(trial.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await closing
        raise
