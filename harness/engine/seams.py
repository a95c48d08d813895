"""Where the engine meets the rest: who takes the records, who watches, who carries the calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from harness.engine.plan import Plan, PlannedTrial
from harness.host import Host
from harness.money import Purse
from harness.protocols import Transport
from harness.schema import (
    CallRecord,
    Effective,
    IterationRecord,
    Manifest,
    PriceRecord,
    Record,
    RetryRecord,
    TrialRecord,
)
from harness.transport.tap import Tap, open_tap

__all__ = [
    "Launch",
    "Observer",
    "RunSink",
    "Scene",
    "Silent",
    "TapFactory",
    "TransportFactory",
    "TrialSink",
]


class TrialSink(Protocol):
    """Where the records of a trial go, one by one, as they are made."""

    def append(self, record: Record) -> None: ...

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        """Returns the path, relative to the run folder."""


class RunSink(TrialSink, Protocol):
    """Where the records of a run go."""

    def begin(self, manifest: Manifest) -> None:
        """First of all: what is about to be recorded."""

    def append(self, record: Record | RetryRecord) -> None:
        """RetryRecord: what was appended of that trial before is void."""


class Observer(Protocol):
    """Whoever wants to show progress. Called between measurements, never inside one."""

    def run_started(self, plan: Plan) -> None:
        """Once, before anything else."""

    def recorded_before(self, record: Record) -> None:
        """A resumed run: a record of an earlier session that still counts."""

    def trial_started(self, planned: PlannedTrial, total: int) -> None: ...

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None: ...

    def call_finished(self, record: CallRecord) -> None: ...

    def iteration_finished(self, record: IterationRecord) -> None: ...

    def trial_finished(self, record: TrialRecord) -> None: ...

    def trial_retried(self, record: RetryRecord) -> None:
        """The place of a trial under way was lost: it begins anew, with nothing of what it had."""


class Silent:
    """The observer that shows nothing."""

    def run_started(self, plan: Plan) -> None: ...

    def recorded_before(self, record: Record) -> None: ...

    def trial_started(self, planned: PlannedTrial, total: int) -> None: ...

    def iteration_started(self, planned: PlannedTrial, phase: str, calls: int | None) -> None: ...

    def call_finished(self, record: CallRecord) -> None: ...

    def iteration_finished(self, record: IterationRecord) -> None: ...

    def trial_finished(self, record: TrialRecord) -> None: ...

    def trial_retried(self, record: RetryRecord) -> None: ...


TransportFactory: TypeAlias = Callable[
    [Literal["auto", "native", "portable"], list[str]], Transport
]
TapFactory: TypeAlias = Callable[[Literal["auto", "native", "portable"], list[str]], Tap]


class Launch(Protocol):
    """What the iterations ask of their trial."""

    @property
    def effective(self) -> Effective:
        """As it was read when the backend was opened last."""

    async def chill(self) -> None:
        """Have the model gone, or the backend new, and be sure of it. Raises BackendError."""


@dataclass(frozen=True)
class Scene:
    """What every trial of a run shares."""

    plan: Plan
    run_id: str
    host: Host
    sink: TrialSink
    seen: Observer
    open_transport: TransportFactory
    open_tap: TapFactory = open_tap
    prices: tuple[PriceRecord, ...] = ()
    """Those that the models of this run were found in (pricing.py)."""
    purse: Purse | None = None
    """Of one trial. None: there is no budget."""
