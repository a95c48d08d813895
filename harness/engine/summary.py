"""From records to a summary: a function of the manifest and the log, and of nothing else.

It is called when a run ends, and again whenever the summary is missing or in doubt; both times the
result is the same (a test compares them). Nothing is accumulated on the side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal, get_args

from harness.engine.cells import load_of
from harness.engine.holding import Holding
from harness.engine.rules import ArmView, RunView
from harness.engine.validity import find_caveats, verdict
from harness.metrics import summarise
from harness.schema import (
    SCHEMA_VERSION,
    ArmSummary,
    CallRecord,
    Caveat,
    IterationRecord,
    Manifest,
    OpenLoad,
    Record,
    RunState,
    Status,
    Summary,
    TrialRecord,
)

__all__ = ["IMPORTED", "derive_summary"]

IMPORTED: Final = "imported"
"""`transport` of a trial that was read from a table."""


def derive_summary(
    manifest: Manifest,
    records: Iterable[Record],
    *,
    state: RunState | None = None,
    caveats: Iterable[Caveat] = (),
) -> Summary:
    """What the records amount to, with the verdict.

    state     how the run ended, where the manifest does not say so yet
    caveats   doubts from elsewhere: the hook harness_find_caveats, damage to the log
    """
    ended = state or manifest.state
    by_key = {key: _Arm(manifest, *key) for key in _planned(manifest)}
    span = _Span()
    for record in records:
        key = (record.arm, record.cell)
        if key not in by_key:  # not in the plan: shown all the same
            by_key[key] = _Arm(manifest, *key)
        by_key[key].add(record)
        span.add(record)
    views = tuple(arm.view() for arm in by_key.values())
    view = RunView(manifest=manifest, state=ended, arms=views)
    return Summary(
        schema_version=SCHEMA_VERSION,
        run_id=manifest.run_id,
        name=manifest.name,
        state=ended,
        scenario=manifest.spec.scenario.name,
        backend=manifest.spec.backend.name,
        model=manifest.spec.backend.model,
        spec_digest=manifest.spec_digest,
        arms=tuple(one.summary for one in views),
        verdict=verdict([*find_caveats(view), *caveats]),
        started=manifest.started,
        wall_s=span.seconds(),
        load_mode=_load_mode(manifest),
        cells=manifest.cells,
    )


def _load_mode(manifest: Manifest) -> Literal["closed", "open"] | None:
    """Of the first arm; arms may differ."""
    keys = _planned(manifest)
    load = load_of(manifest.spec, *keys[0], manifest.cells) if keys else manifest.spec.load
    if load is None:
        return None
    return "open" if isinstance(load, OpenLoad) else "closed"


def _planned(manifest: Manifest) -> list[tuple[str, str]]:
    """Every (arm, cell) once, arms as the spec names them: the plan's own order is shuffled."""
    rank = {name: index for index, name in enumerate(manifest.spec.arms)}
    keys = dict.fromkeys((arm, cell) for arm, cell, _ in manifest.plan)
    place = {cell: index for index, cell in enumerate(manifest.cells)}
    return sorted(keys, key=lambda k: (rank.get(k[0], len(rank)), place.get(k[1], len(place))))


class _Arm:
    """Collects what belongs to one arm and cell. Warm-up counts for nothing but its trials."""

    def __init__(self, manifest: Manifest, arm: str, cell: str) -> None:
        self.spec = manifest.spec
        self.load = load_of(manifest.spec, arm, cell, manifest.cells)
        self.arm = arm
        self.cell = cell
        self._held = Holding(self.load)
        self.iterations: list[IterationRecord] = []
        self.trials: list[TrialRecord] = []
        self.launches: set[int] = set()

    def add(self, record: Record) -> None:
        self.launches.add(record.trial)
        if isinstance(record, TrialRecord):
            self.trials.append(record)
        elif record.phase != "measured":
            return
        elif isinstance(record, CallRecord):
            self._held.add(record)
        else:
            self.iterations.append(record)

    @property
    def calls(self) -> list[CallRecord]:
        return self._held.calls

    def view(self) -> ArmView:
        return ArmView(
            calls=self.calls,
            iterations=self.iterations,
            trials=self.trials,
            summary=self.summary(),
            load=self.load,
        )

    def summary(self) -> ArmSummary:
        statuses = Counter(call.status for call in self.calls)
        tokens = [call.usage.output_tokens for call in self.calls if call.status == "ok"]
        known = [count for count in tokens if count is not None]
        return ArmSummary(
            arm=self.arm,
            cell=self.cell,
            trials=len(self.launches),
            iterations=len(self.iterations),
            calls={status: statuses[status] for status in get_args(Status) if statuses[status]},
            planned=sum(iteration.planned_calls for iteration in self.iterations),
            metrics=summarise(
                self.calls,
                self.iterations,
                load=self.load,
                simulated=any(trial.effective.simulated for trial in self.trials),
                seed=self.spec.seed,
            ),
            # Unknown for one call is unknown for the sum.
            output_tokens=sum(known) if known and len(known) == len(tokens) else None,
        )


def is_imported(record: Record) -> bool:
    if isinstance(record, TrialRecord):
        return record.transport == IMPORTED
    return isinstance(record, IterationRecord) and record.imported


class _Span:
    """First start to last end of anything recorded, on the monotonic clock."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    def add(self, record: Record) -> None:
        if is_imported(record):  # nobody knows when
            return
        if isinstance(record, CallRecord):
            start_ns = record.instants.due_ns
            end_ns = record.instants.closed_ns or record.instants.end_ns or start_ns
        else:
            start_ns, end_ns = record.start_ns, record.end_ns
        self.first_ns = start_ns if self.first_ns is None else min(self.first_ns, start_ns)
        self.last_ns = end_ns if self.last_ns is None else max(self.last_ns, end_ns)

    def seconds(self) -> float | None:
        if self.first_ns is None or self.last_ns is None:
            return None
        return (self.last_ns - self.first_ns) / 1e9
