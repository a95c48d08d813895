"""Keeps every place busy, until the schedule has nothing left or something ends the run.

A trial that was lost, or ended because it took too long, tells of that trial alone: the run goes
on. What a trial itself says it failed of ends the run if it is the first of all (a server that is
not there, a model that nobody has), and is recorded of any other; where the run is over several
models, of the first as well, since it tells of one model alone. A sink that takes no more records
ends the run in any case.
"""

from __future__ import annotations

import asyncio

from harness._native.clock import monotonic_ns
from harness.engine.attempts import Attempts
from harness.engine.cells import sweeps_models
from harness.engine.places import places
from harness.engine.plan import PlannedTrial
from harness.engine.schedule import Schedule
from harness.engine.seams import RunSink, Scene
from harness.engine.till import BUDGET
from harness.errors import BudgetError, StoreError, TrialLostError
from harness.protocols import Executor
from harness.schema import CallError, RunSpec, RunState, TrialRecord

__all__ = ["work"]


async def work(
    scene: Scene, sink: RunSink, schedule: Schedule, asked: RunSpec, executor: Executor | None
) -> tuple[RunState, BaseException | None]:
    """How the run ended, and what ended it. Without an executor, trials are executed in this
    process. Raises StoreError, if the sink takes no record at all.

    asked   the spec as it was before defaults were filled in
    """
    try:
        return await _Crew(scene, sink, schedule, asked, executor).work()
    finally:
        if executor is not None:
            await executor.close()


class _Crew:
    def __init__(
        self,
        scene: Scene,
        sink: RunSink,
        schedule: Schedule,
        asked: RunSpec,
        executor: Executor | None,
    ) -> None:
        self._scene = scene
        self._schedule = schedule
        self._free = places(scene.plan.spec.placement)
        self._attempts = Attempts(scene, sink, schedule, asked, executor, self._free)
        self._running: set[asyncio.Task[BaseException | None]] = set()
        self._over_models = sweeps_models(scene.plan.cells)
        self._first: int | None = None
        """Of this session: of a resumed run it need not be trial 0."""

    async def work(self) -> tuple[RunState, BaseException | None]:
        try:
            while self._start():
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                self._running -= done
                failure = next(filter(None, [task.result() for task in done]), None)
                if failure is not None:
                    return _state(failure), failure
        except asyncio.CancelledError as interrupt:
            refused = await self._stop()
            return ("failed", refused) if refused is not None else ("interrupted", interrupt)
        finally:
            await self._stop()
        return "finished", None

    def _start(self) -> bool:
        """Whether anything is under way, after every free place was offered to the schedule."""
        self._note_skipped()
        while self._free and (planned := self._schedule.next()) is not None:
            self._first = planned.trial if self._first is None else self._first
            task = asyncio.ensure_future(self._trial(planned, self._free.pop(0)))
            self._running.add(task)
        self._note_skipped()
        return bool(self._running)

    async def _stop(self) -> BaseException | None:
        """Interrupt what is under way, and wait for what it still has to say. The sink's refusal,
        if it takes no more."""
        self._attempts.is_over = True
        running, self._running = self._running, set()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        ended = [task.exception() or task.result() for task in running if not task.cancelled()]
        return next((error for error in ended if isinstance(error, StoreError)), None)

    def _note_skipped(self) -> None:
        for planned, why in self._schedule.skipped():
            now_ns = monotonic_ns()
            record = TrialRecord(
                arm=planned.arm.name,
                cell=planned.cell,
                trial=planned.trial,
                status="skipped",
                start_ns=now_ns,
                end_ns=now_ns,
                error=CallError(code=_code(why), message=why),
            )
            self._scene.sink.append(record)
            self._schedule.see(record)
            self._scene.seen.trial_finished(record)

    async def _trial(self, planned: PlannedTrial, place: dict[str, str]) -> BaseException | None:
        """What ends the run, if anything does."""
        scene = self._scene
        scene.seen.trial_started(planned, len(scene.plan.trials))
        reception = await self._attempts.make(planned, place)
        self._free.append(place)
        assert reception.record is not None
        scene.seen.trial_finished(reception.record)
        scene.host.trial_finished(reception.record)
        failure = reception.failure
        if isinstance(failure, StoreError):
            return failure
        if reception.is_overdue or isinstance(failure, TrialLostError | BudgetError):
            return None
        first = planned.trial == self._first and not self._over_models
        return failure if first or isinstance(failure, asyncio.CancelledError) else None


def _code(why: str) -> str:
    return BUDGET if why.startswith(BUDGET) else "not_needed"


def _state(failure: BaseException) -> RunState:
    return "interrupted" if isinstance(failure, asyncio.CancelledError) else "failed"
