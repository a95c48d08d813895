"""A job executed: one trial, away from its run. Whatever comes of it is a message.

It is planned again where it runs, from the same spec: so nothing has to be carried along that only
means something in one process, and what another version would do otherwise is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from harness import __version__
from harness.engine.messages import (
    Begun,
    Ended,
    Failure,
    Kept,
    Message,
    decode_job,
    encode_message,
    other_version,
)
from harness.engine.plan import PlannedTrial, make_plan
from harness.engine.seams import Scene, Silent
from harness.engine.trial import Trial, uninterrupted
from harness.errors import HarnessError, StoreError
from harness.host import Host
from harness.money import Purse
from harness.schema import Record, TrialRecord
from harness.transport import open_transport

__all__ = ["perform"]


async def perform(
    job: bytes, deliver: Callable[[bytes], None], *, host: Host | None = None
) -> None:
    """Execute one trial here. Every message goes to `deliver`, the last of them Ended.

    Cancelled: the trial is interrupted and ends with what it has; that is delivered, and then this
    returns. What `deliver` raises ends the trial, and is raised. `deliver` is called between calls,
    on the event loop's thread; it must be quick.
    """
    outbox = _Outbox(deliver)
    try:
        asked = decode_job(job)
        found = host if host is not None else Host.load()
        plan = make_plan(asked.spec, found)
        if (asked.version, asked.digest) != (__version__, plan.digest):
            raise other_version()
    except HarnessError as error:
        outbox.post(Ended(record=None, failure=Failure.of(error)))
        return
    scene = Scene(
        plan,
        asked.run_id,
        found,
        outbox,
        _Seen(outbox),
        open_transport,
        prices=asked.prices,
        purse=Purse(Decimal(asked.budget_usd)) if asked.budget_usd is not None else None,
    )
    _, failure = await uninterrupted(Trial(plan.trials[asked.trial], scene))
    outbox.end(failure)


class _Outbox:
    """The sink of a trial that is executed away from its run."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._refusal: Exception | None = None
        self._artifacts = 0
        self._trial: TrialRecord | None = None

    def post(self, message: Message) -> None:
        """Raises StoreError for what cannot be written down, and what `deliver` raises: then, and
        from then on."""
        if self._refusal is not None:
            raise self._refusal
        encoded = encode_message(message)
        try:
            self._deliver(encoded)
        except Exception as error:
            self._refusal = error
            raise

    def append(self, record: Record) -> None:
        if isinstance(record, TrialRecord):
            self._trial = record  # goes with the end
        else:
            self.post(record)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        """A name for it until the run knows its path."""
        self._artifacts += 1
        ticket = f"artifact {self._artifacts}"
        self.post(Kept(ticket=ticket, name=name, content=content))
        return ticket

    def end(self, failure: BaseException | None) -> None:
        said = Failure.of(failure) if failure is not None else None
        try:
            self.post(Ended(record=self._trial, failure=said))
        except StoreError as error:
            # A backend's account of itself may hold anything; a refusal is raised again.
            self.post(Ended(record=None, failure=Failure.of(error)))


class _Seen(Silent):
    """The run tells by itself what it hears of calls and trials."""

    def __init__(self, outbox: _Outbox) -> None:
        self._outbox = outbox

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None:
        self._outbox.post(Begun(phase=phase, calls=calls))
