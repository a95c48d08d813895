"""One trial: open the backend, warm up, measure, close. It ends in exactly one TrialRecord."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import threading
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from harness._native.clock import monotonic_ns
from harness.engine.calls import Caller
from harness.engine.cold import confirm_stopped, refuse_impossible
from harness.engine.guard import DOES_NOT_FIT, DoesNotFitError, Taken, foresee
from harness.engine.iterations import Iterations
from harness.engine.plan import PlannedTrial
from harness.engine.pricing import check_price, priced
from harness.engine.readers import Readers
from harness.engine.readings import nothing_asked, read_again
from harness.engine.seams import Scene
from harness.engine.tapping import TrialTap, together
from harness.engine.till import BUDGET, Till
from harness.errors import BudgetError, HarnessError, PluginError
from harness.protocols import Backend, Transport, Unloads
from harness.redaction import Redactor, environment_secrets
from harness.schema import CallError, CallRecord, Effective, Fit, TrialRecord

__all__ = ["Trial", "uninterrupted"]

log = logging.getLogger("harness.engine")

GRACE_S = 5.0
"""After an interrupt: how long a scenario may take to notice that its calls have ended."""


class _End(Struct, frozen=True):
    """How it ended, for its record and for the run."""

    status: Literal["ok", "error", "cancelled", "skipped"]
    error: CallError | None = None
    failure: BaseException | None = None
    """None as well where the trial was skipped."""


class Trial:
    """One launch. `execute` it once; `interrupt` may be called while it runs."""

    def __init__(self, planned: PlannedTrial, scene: Scene) -> None:
        self._planned = planned
        self._scene = scene
        self._backend: Backend | None = None
        self._transport: Transport | None = None
        self._tap: TrialTap | None = None
        self._readers = Readers(scene.host)
        self._caller: Caller | None = None
        self._effective = Effective()
        self._fit: Fit | None = None
        self._taken = Taken()
        self._start_ns = monotonic_ns()
        self._measured_ns: int | None = None
        self._stats: dict[str, int] = {}
        """Of transports before the present one: a restart takes another."""

    async def execute(self) -> tuple[TrialRecord, BaseException | None]:
        """The record, already appended, and the error that ended the trial, if one did."""
        end = _End(status="ok")
        try:
            await self._run()
        except (Exception, asyncio.CancelledError) as error:
            end = _ended_by(error, self._planned.trial)
        # The record holds the transport's counts, so it is made before the transport closes.
        record = self._record(end)
        try:
            await self._close()
        finally:
            self._scene.sink.append(record)
        return record, end.failure

    async def interrupt(self, running: asyncio.Future[Any]) -> None:
        """End every call with what it has received, and `running`, the task of `execute`, with it.

        What does not end by itself within GRACE_S is cancelled: a backend that still opens, a
        scenario that waits for something else than its calls.
        """
        if self._caller is not None:
            await self._caller.end()
            if not self._caller.outside:  # other programs do not hear of it: they must be told
                await asyncio.wait([running], timeout=GRACE_S)
        if not running.done():
            running.cancel()
            await asyncio.wait([running])

    async def _run(self) -> None:
        caller = await self._open()
        await Iterations(self._planned, self._scene, self, caller, self._deliver).run()
        # What follows may wait for a dead server, and is no part of what was measured.
        self._measured_ns = monotonic_ns()
        assert self._backend is not None
        self._effective = await read_again(self._backend, self._effective)

    async def _open(self) -> Caller:
        """At first, and after a restart: then the caller goes on, with what is new."""
        spec, arm = self._scene.plan.spec, self._planned.arm
        self._backend = backend = arm.backend.factory(arm.own_backend_config())
        refuse_impossible(spec, backend, arm.backend.name)
        await self._check_fit(backend)
        if "numpy" not in sys.modules:
            # The transport waits for it. Meanwhile the backend mostly waits for its server.
            threading.Thread(target=importlib.import_module, args=("numpy",)).start()
        await backend.open()
        self._effective = await backend.effective()
        if arm.backend_config.passive:
            self._effective = nothing_asked(self._effective)
        urls = list(backend.urls)
        self._effective = priced(self._effective, arm, urls, spec, self._scene.prices)
        till = self._till()
        self._transport = self._scene.open_transport(spec.transport, urls)
        await self._transport.open()
        if arm.asked.backend.tap:
            self._tap = TrialTap(self._scene.open_tap(spec.transport, urls))
            await self._tap.open()
        if self._caller is not None:
            self._caller.resume(backend, self._transport, self._tap)
            return self._caller
        self._caller = Caller(
            backend,
            self._transport,
            spec.timeouts,
            spec.keep,
            self._deliver,
            tap=self._tap,
            readers=self._readers,
            till=till,
        )
        return self._caller

    async def _check_fit(self, backend: Backend) -> None:
        """Once, before anything is loaded. Raises DoesNotFitError."""
        config = self._planned.arm.backend_config
        if self._caller is not None or config.passive:
            return
        self._fit = await foresee(backend, self._scene.plan.spec.guard)
        if self._fit is not None and self._fit.decision == "too_large":
            raise DoesNotFitError(self._fit, config.model)

    def _till(self) -> Till:
        """One for the whole trial: its price holds through restarts. Raises SpecError where there
        is a budget, and nobody can say what a call may cost."""
        if self._caller is not None:
            price = self._caller.till.price
            self._effective = replace(self._effective, price=price)
            return self._caller.till
        if self._scene.purse is not None:
            check_price(self._effective, self._planned.arm)
        return Till(self._effective.price, self._scene.purse)

    # What the iterations ask of the trial. --------------------------------------------------------

    @property
    def effective(self) -> Effective:
        """As it was read when the backend was opened last."""
        return self._effective

    async def chill(self) -> None:
        """Have the model gone, or the backend new, and be sure of it. Raises BackendError."""
        backend = self._backend
        assert backend is not None and self._caller is not None
        if self._scene.plan.spec.iterations.cold_by == "unload":
            assert isinstance(backend, Unloads), "refused otherwise"
            await backend.unload()
            return
        urls = backend.urls
        self._stats = self._counts()
        await self._caller.pause()
        self._transport = self._tap = self._backend = None
        await backend.close()
        await confirm_stopped(urls)
        if self._caller.ended:
            raise asyncio.CancelledError
        await self._open()

    # ----------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        """Each part closes even if another one fails to."""
        try:
            if self._caller is not None:
                await self._caller.end()
            transport = self._transport
            if transport is not None and not (self._caller and self._caller.carries(transport)):
                if self._tap is not None:
                    await self._tap.end()
                await transport.close()
        finally:
            if self._backend is not None:
                await self._backend.close()

    def _deliver(self, record: CallRecord) -> None:
        self._taken.see(record)
        self._scene.sink.append(record)
        self._scene.seen.call_finished(record)

    def _record(self, end: _End) -> TrialRecord:
        transport = self._transport
        return TrialRecord(
            arm=self._planned.arm.name,
            cell=self._planned.cell,
            trial=self._planned.trial,
            status=end.status,
            start_ns=self._start_ns,
            end_ns=self._measured_ns or monotonic_ns(),
            effective=Redactor(environment_secrets()).value(self._effective),
            transport=transport.name if transport else "",
            transport_stats=self._counts(),
            fit=self._taken.beside(self._fit, self._effective),
            error=end.error,
        )

    def _counts(self) -> dict[str, int]:
        """What the transports have counted; the last one tells nothing once it is closed."""
        ended = self._caller is not None and self._caller.ended
        last = self._transport.stats() if self._transport and not ended else {}
        last = {**last, **(self._tap.stats() if self._tap is not None else {})}
        names = {**self._stats, **last}
        return {name: together(name, self._stats.get(name, 0), last.get(name, 0)) for name in names}


def _ended_by(error: BaseException, trial: int) -> _End:
    """By DoesNotFitError it is skipped, which is no failure. What is no HarnessError is of a
    stranger's backend or scenario."""
    text = Redactor(environment_secrets()).text
    if isinstance(error, DoesNotFitError):
        return _End("skipped", CallError(code=DOES_NOT_FIT, message=text(str(error))))
    if isinstance(error, asyncio.CancelledError):
        message = text(str(error)) or "interrupted"
        return _End("cancelled", CallError(code="cancelled", message=message), error)
    if not isinstance(error, HarnessError):
        log.debug("trial %d raised", trial, exc_info=error)
        error = PluginError(
            f"{type(error).__name__}: {error}",
            where=f"trial {trial}",
            remedy="--log-level debug shows where",
        )
    code = BUDGET if isinstance(error, BudgetError) else "error"
    return _End("error", CallError(code=code, message=text(str(error))), error)


async def uninterrupted(trial: Trial) -> tuple[TrialRecord, BaseException | None]:
    """Execute `trial`. Our own cancellation interrupts it, and it ends with what it has."""
    running = asyncio.ensure_future(trial.execute())
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await trial.interrupt(running)
        record, _ = await running
        return record, asyncio.CancelledError()
