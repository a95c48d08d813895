"""What comes of one trial on its way to the run: records, artifacts, and how it ended.

Everything passes here, whether the trial is executed in this process (then this is its sink) or
elsewhere (then its messages come to `deliver`). So there is one place where a record goes to the
sink and to the schedule, one that writes artifacts, and one that says what becomes of a trial that
has left no record of its own: it was lost, or took too long.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Literal

from msgspec.structs import replace

from harness._native.clock import monotonic_ns
from harness.engine import messages
from harness.engine.plan import PlannedTrial
from harness.engine.schedule import Schedule
from harness.engine.seams import Scene
from harness.engine.whereabouts import clock_id
from harness.errors import HarnessError, PlaceLostError, StoreError, TrialLostError
from harness.redaction import Redactor, environment_secrets
from harness.schema import (
    Artifact,
    CallError,
    CallRecord,
    IterationRecord,
    Record,
    RetryRecord,
    TrialRecord,
)

__all__ = ["OUTPUT", "Reception"]

log = logging.getLogger("harness.engine")

OUTPUT: Final = "output.txt"
"""Artifact of a trial in a process of its own: what it printed."""


class Reception:
    """Of one attempt at one trial. `failure` is what ended it, once it has ended."""

    def __init__(
        self,
        planned: PlannedTrial,
        scene: Scene,
        schedule: Schedule,
        isolation: Literal["inline", "process"],
        placement: dict[str, str],
        lost: int = 0,
    ) -> None:
        self.lost = lost
        """Attempts before this one, whose place was lost."""
        self.placement = placement
        """An executor may add to it what it knows: `node`."""
        self.record: TrialRecord | None = None
        self.failure: BaseException | None = None
        self._planned = planned
        self._scene = scene
        self._schedule = schedule
        self._isolation: Literal["inline", "process"] = isolation
        self._start_ns = monotonic_ns()
        self._first: CallRecord | IterationRecord | None = None
        self._last: CallRecord | IterationRecord | None = None
        self._limit_s: float | None = None
        self._paths: dict[str, str] = {}
        self._refused: StoreError | None = None

    def overdue(self, limit_s: float) -> None:
        """It has had its time, and is about to be ended for that."""
        self._limit_s = limit_s

    @property
    def is_overdue(self) -> bool:
        return self._limit_s is not None

    # A TrialSink, for a trial in this process. ----------------------------------------------------

    def append(self, record: Record) -> None:
        if isinstance(record, TrialRecord):
            record = self.record = self._completed(record)
        else:
            self._last = record
            self._first = self._first or record
        self._scene.sink.append(record)
        self._schedule.see(record)
        if isinstance(record, IterationRecord):
            self._scene.seen.iteration_finished(record)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        return self._scene.sink.artifact(trial, name, content)

    # For one elsewhere. ---------------------------------------------------------------------------

    def deliver(self, message: bytes) -> None:
        """Raises StoreError."""
        found = messages.decode_message(message)
        if isinstance(found, CallRecord):
            self.append(found)
            self._scene.seen.call_finished(found)
        elif isinstance(found, IterationRecord):
            self._iteration(found)
        elif isinstance(found, messages.Kept):
            self._keep(found)
        elif isinstance(found, messages.Begun):
            self._scene.seen.iteration_started(self._planned, found.phase, found.calls)
        elif isinstance(found, messages.Said):
            logging.getLogger(found.name).log(found.level, "%s", found.text)
        elif isinstance(found, messages.Printed):
            self._print(found.text)
        else:
            self._ended(found)

    def _iteration(self, record: IterationRecord) -> None:
        """With the paths of its artifacts. One that could not be kept fails it, and the run."""
        refused, self._refused = self._refused, None
        kept = tuple(
            Artifact(name=one.name, path=self._paths.pop(one.path))
            for one in record.artifacts
            if one.path in self._paths
        )
        record = replace(record, artifacts=kept)
        if refused is not None:
            error = CallError(code="store", message=str(refused)[:500])
            record = replace(record, status="error", error=error)
        self.append(record)
        if refused is not None:
            raise refused

    def _keep(self, found: messages.Kept) -> None:
        if self._refused is not None:
            return
        try:
            path = self.artifact(self._planned.trial, found.name, found.content)
        except StoreError as error:
            self._refused = error
        else:
            self._paths[found.ticket] = path

    def _print(self, text: str) -> None:
        """Kept beside the records; where it cannot be, no figure is missing."""
        try:
            self.artifact(self._planned.trial, OUTPUT, Redactor(environment_secrets()).text(text))
        except StoreError as error:
            log.warning("what trial %d printed is not kept: %s", self._planned.trial, error)

    def _ended(self, found: messages.Ended) -> None:
        self.failure = found.failure.error() if found.failure is not None else None
        if found.record is not None:
            self.append(found.record)

    # Its end. -------------------------------------------------------------------------------------

    def close(self, error: BaseException | None) -> TrialRecord:
        """The trial's record, which is made here if none has come. `error`: what execution ended
        with. Raises StoreError, unless it is that which ended the trial."""
        if error is not None and not (self.record and isinstance(error, TrialLostError)):
            self.failure = error
        if self.record is None and self.failure is None:
            self.failure = TrialLostError("it ended without saying how")
        if self.record is None:
            try:
                self.append(self._unrecorded())
            except StoreError:
                if not isinstance(self.failure, StoreError):
                    raise
        elif isinstance(error, TrialLostError):
            log.warning("it was done, and then: %s", error)
        assert self.record is not None
        return self.record

    def lost_place(self, error: PlaceLostError, attempt: int) -> RetryRecord:
        """What is to be recorded before it begins anew."""
        return RetryRecord(
            trial=self._planned.trial,
            attempt=attempt,
            reason=Redactor(environment_secrets()).text(str(error))[:500],
            placement=dict(self.placement),
        )

    def _unrecorded(self) -> TrialRecord:
        start_ns, end_ns = self._start_ns, monotonic_ns()
        if self._is_elsewhere and self._first is not None and self._last is not None:
            # By the clock of what else there is of it.
            start_ns, end_ns = _span(self._first)[0], _span(self._last)[1]
        return TrialRecord(
            arm=self._planned.arm.name,
            cell=self._planned.cell,
            trial=self._planned.trial,
            status="cancelled" if isinstance(self.failure, asyncio.CancelledError) else "error",
            start_ns=start_ns,
            end_ns=end_ns,
            error=self._reason(),
        )

    def _reason(self) -> CallError:
        failure = self.failure
        text = Redactor(environment_secrets()).text(str(failure or ""))
        if isinstance(failure, TrialLostError):
            return CallError(code="lost", message=text)
        if isinstance(failure, HarnessError):
            return CallError(code="error", message=text)
        return CallError(code="cancelled", message=text or "interrupted")

    @property
    def _is_elsewhere(self) -> bool:
        """Whether its instants are of another clock than ours."""
        return self.placement.get("clock", clock_id()) != clock_id()

    def _completed(self, record: TrialRecord) -> TrialRecord:
        """With where it ran, and for how long it might."""
        placed = replace(
            record,
            isolation=self._isolation,
            placement=dict(self.placement),
            lost=self.lost,
            home_ns=(self._start_ns, monotonic_ns()) if self._is_elsewhere else None,
        )
        if self._limit_s is None or record.status == "ok":
            return placed
        text = f"it took longer than the {self._limit_s:g} s of placement.trial_timeout_s"
        return replace(placed, status="error", error=CallError(code="timeout", message=text))


def _span(record: CallRecord | IterationRecord) -> tuple[int, int]:
    """Start and end."""
    if isinstance(record, IterationRecord):
        return record.start_ns, record.end_ns
    instants = record.instants
    return instants.due_ns, instants.closed_ns or instants.end_ns or instants.due_ns
