"""Keeps every place busy, until the schedule has nothing left or something ends the run.

A trial that was lost, or ended because it took too long, tells of that trial alone: the run goes
on. One whose place was lost, by no doing of its own, begins anew, a few times: a RetryRecord says
that what is recorded of it so far is void, and whoever reads the records leaves that out. What a
trial itself says it failed of ends the run if it is the first of all (a server that is not there, a
model that nobody has), and is recorded of any other; where the run is over several models, of the
first as well, since it tells of one model alone. A sink that takes no more records ends the run in
any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, Literal

from harness import __version__
from harness._native.clock import monotonic_ns
from harness.engine.budget import Budgeted
from harness.engine.cells import sweeps_models
from harness.engine.messages import Job, encode_message
from harness.engine.places import places
from harness.engine.plan import PlannedTrial
from harness.engine.reception import Reception
from harness.engine.schedule import Schedule
from harness.engine.seams import RunSink, Scene
from harness.engine.till import BUDGET
from harness.engine.trial import Trial, uninterrupted
from harness.errors import BudgetError, HarnessError, PlaceLostError, StoreError, TrialLostError
from harness.money import Purse
from harness.protocols import Executor
from harness.schema import CallError, RetryRecord, RunSpec, RunState, TrialRecord

__all__ = ["work"]

log = logging.getLogger("harness.engine")

RETRIES_MAX: Final = 3
"""Of one trial. Whoever loses every place that it gets is no victim of the places any more."""


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
        self._sink = sink
        self._schedule = schedule
        self._asked = asked
        self._digest = scene.plan.digest
        self._executor = executor
        self._free = places(scene.plan.spec.placement)
        self._running: set[asyncio.Task[BaseException | None]] = set()
        self._stopping = False
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
        self._stopping = True
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

    # One trial. -----------------------------------------------------------------------------------

    async def _trial(self, planned: PlannedTrial, place: dict[str, str]) -> BaseException | None:
        """What ends the run, if anything does."""
        scene = self._scene
        scene.seen.trial_started(planned, len(scene.plan.trials))
        reception = await self._attempts(planned, place)
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

    async def _attempts(self, planned: PlannedTrial, place: dict[str, str]) -> Reception:
        """The last one, closed. Raises StoreError as closing it does."""
        isolation: Literal["inline", "process"] = "inline" if self._executor is None else "process"
        lost = 0
        while True:
            reception = Reception(
                planned, self._scene, self._schedule, isolation, dict(place), lost
            )
            error = await self._within_its_time(reception, self._execute(planned, reception))
            if not isinstance(error, PlaceLostError) or reception.record is not None:
                break
            if self._stopping:  # it is as if the interrupt had come first: it runs again
                error = asyncio.CancelledError()
                break
            if reception.is_overdue or lost == RETRIES_MAX:
                break
            lost += 1
            try:
                self._begin_anew(reception.lost_place(error, lost))
            except StoreError as refused:
                error = refused
                break
        reception.close(error)
        return reception

    def _begin_anew(self, retry: RetryRecord) -> None:
        log.warning(
            "trial %d lost its place (%s) and begins anew, %d of %d times",
            *(retry.trial, retry.reason, retry.attempt, RETRIES_MAX),
        )
        self._sink.append(retry)
        self._schedule.see(retry)
        self._scene.seen.trial_retried(retry)

    async def _execute(self, planned: PlannedTrial, reception: Reception) -> None:
        part = self._part(planned)
        if self._executor is None:
            purse = Purse(part) if part is not None else None
            scene = replace(self._scene, sink=reception, purse=purse)
            _, reception.failure = await uninterrupted(Trial(planned, scene))
            return
        job = Job(
            spec=self._asked,
            digest=self._digest,
            version=__version__,
            run_id=self._salt(reception.lost),
            trial=planned.trial,
            log_level=logging.getLogger("harness").getEffectiveLevel(),
            prices=self._scene.prices,
            budget_usd=str(part) if part is not None else None,
        )
        await self._executor.execute(encode_message(job), reception.placement, reception.deliver)

    def _part(self, planned: PlannedTrial) -> Decimal | None:
        """What this attempt may spend; None: there is no budget."""
        if not isinstance(self._schedule, Budgeted):
            return None
        return self._schedule.part(planned.trial, len(self._free))

    def _salt(self, lost: int) -> str:
        """A server may know the prompts of what was cut short."""
        return f"{self._scene.run_id}~{lost}" if lost else self._scene.run_id

    async def _within_its_time(
        self, reception: Reception, execution: Coroutine[Any, Any, None]
    ) -> BaseException | None:
        """What `execution` ended with. An interrupt is passed on to it once, and once more if it
        comes twice."""
        limit_s = self._scene.plan.spec.placement.trial_timeout_s
        running = asyncio.ensure_future(execution)
        try:
            await asyncio.wait([running], timeout=limit_s)
            if not running.done():
                assert limit_s is not None
                reception.overdue(limit_s)
                running.cancel()
                await asyncio.wait([running])
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait([running])
        if running.cancelled():
            return asyncio.CancelledError()
        error = running.exception()
        if error is None or isinstance(error, StoreError | TrialLostError):
            return error
        if self._executor is not None and isinstance(error, HarnessError):
            return error  # no place is to be had, and it says why
        if self._executor is None or not isinstance(error, Exception):
            raise error
        return TrialLostError(f"the executor failed: {type(error).__name__}: {error}")


def _code(why: str) -> str:
    return BUDGET if why.startswith(BUDGET) else "not_needed"


def _state(failure: BaseException) -> RunState:
    return "interrupted" if isinstance(failure, asyncio.CancelledError) else "failed"
