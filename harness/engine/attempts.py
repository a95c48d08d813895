"""One trial from its first attempt to its last, wherever it is executed.

An attempt whose place was lost, by no doing of its own, is begun anew, a few times: a RetryRecord
says that what is recorded of the trial so far is void, and whoever reads the records leaves that
out. Everything else that an attempt ends with is how the trial ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sized
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, Literal

from harness import __version__
from harness.engine.budget import Budgeted
from harness.engine.messages import Job, encode_message
from harness.engine.plan import PlannedTrial
from harness.engine.reception import Reception
from harness.engine.schedule import Schedule
from harness.engine.seams import RunSink, Scene
from harness.engine.trial import Trial, uninterrupted
from harness.errors import HarnessError, PlaceLostError, StoreError, TrialLostError
from harness.money import Purse
from harness.protocols import Executor
from harness.schema import RetryRecord, RunSpec

__all__ = ["RETRIES_MAX", "Attempts"]

log = logging.getLogger("harness.engine")

RETRIES_MAX: Final = 3
"""Of one trial. Whoever loses every place that it gets is no victim of the places any more."""


class Attempts:
    """At the trials of one run. Without an executor they are executed in this process.

    asked   the spec as it was before defaults were filled in
    free    the places that no trial has at present
    """

    def __init__(
        self,
        scene: Scene,
        sink: RunSink,
        schedule: Schedule,
        asked: RunSpec,
        executor: Executor | None,
        free: Sized,
    ) -> None:
        self.is_over = False
        """Nothing is begun anew from now on."""
        self._scene = scene
        self._sink = sink
        self._schedule = schedule
        self._asked = asked
        self._executor = executor
        self._free = free
        self._isolation: Literal["inline", "process"] = "process" if executor else "inline"

    async def make(self, planned: PlannedTrial, place: dict[str, str]) -> Reception:
        """The last one, closed. Raises StoreError as closing it does."""
        lost = 0
        while True:
            reception = Reception(
                planned, self._scene, self._schedule, self._isolation, dict(place), lost
            )
            error = await self._within_its_time(reception, self._execute(planned, reception))
            if not isinstance(error, PlaceLostError) or reception.record is not None:
                break
            if self.is_over:  # it is as if the interrupt had come first: it runs again
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
            digest=self._scene.plan.digest,
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
