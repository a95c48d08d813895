"""From records to a summary: a function of the manifest and the log, and of nothing else.

It is called when a run ends, and again whenever the summary is missing or in doubt; both times the
result is the same (a test compares them). Nothing is accumulated on the side.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

from harness.engine.bands import resolved_bands
from harness.engine.cells import backends_of, load_of
from harness.engine.holding import Holding
from harness.engine.rules import ArmView, RunView
from harness.engine.search import SearchRule
from harness.engine.stopping import StoppingRule
from harness.engine.validity import find_caveats, verdict
from harness.engine.warmup import warmup_hints
from harness.metrics import session_of
from harness.metrics.cost import Costs
from harness.metrics.summary import summarise_agents, summarise_with_goodput
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
    SessionRecord,
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
    sessions: Sequence[SessionRecord] = (),
) -> Summary:
    """What the records amount to, with the verdict.

    state     how the run ended, where the manifest does not say so yet
    caveats   doubts from elsewhere: the hook harness_find_caveats, damage to the log
    sessions  of a run that was resumed (RunData.sessions)
    """
    ended = state or manifest.state
    by_key = {key: _Arm(manifest, *key) for key in _planned(manifest)}
    session = session_of(sessions)
    spans: dict[int, _Span] = defaultdict(_Span)
    stopping, search = _rules(manifest)
    for record in records:
        key = (record.arm, record.cell)
        if key not in by_key:  # not in the plan: shown all the same
            by_key[key] = _Arm(manifest, *key)
        by_key[key].add(record)
        spans[record.trial].add(record)
        for rule in (stopping, search):
            if rule is not None:
                rule.see(record)
    known = by_key.values() if search is None else [a for a in by_key.values() if a.launches]
    views = tuple(arm.view() for arm in known)
    view = RunView(
        manifest=manifest,
        state=ended,
        arms=views,
        skipped=tuple(trial for arm in by_key.values() for trial in arm.skipped),
        stopping=stopping.decisions() if stopping else (),
        search=search.results() if search else (),
        sessions=tuple(sessions),
    )
    return Summary(
        schema_version=SCHEMA_VERSION,
        run_id=manifest.run_id,
        name=manifest.name,
        state=ended,
        scenario=manifest.spec.scenario.name,
        backend=", ".join(backends_of(manifest.spec, _planned(manifest), manifest.cells)),
        model=manifest.spec.backend.model,
        spec_digest=manifest.spec_digest,
        arms=tuple(one.summary for one in views),
        verdict=verdict([*find_caveats(view), *caveats]),
        started=manifest.started,
        wall_s=_total(spans, session),
        load_mode=_load_mode(manifest),
        cells=manifest.cells,
        stopping=view.stopping,
        search=view.search,
        sessions=1 + len(sessions),
    )


def _rules(manifest: Manifest) -> tuple[StoppingRule | None, SearchRule | None]:
    """Those that decided while the run went on: they decide the same again."""
    spec, plan = manifest.spec, (manifest.cells, manifest.plan)
    return (
        StoppingRule(spec, *plan) if spec.stop else None,
        SearchRule(spec, *plan) if spec.search else None,
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
    """Collects what belongs to one arm and cell. Warm-up counts for nothing but its trials; cold
    iterations for the figures of cold starts alone; solo ones for what stands beside the measured
    one of the same number."""

    def __init__(self, manifest: Manifest, arm: str, cell: str) -> None:
        self.spec = manifest.spec
        self.load = load_of(manifest.spec, arm, cell, manifest.cells)
        self.arm = arm
        self.cell = cell
        self._held = Holding(self.load)
        self._cold = Holding(None)
        self._solo = Holding(None)
        self.iterations: list[IterationRecord] = []
        self.cold: list[IterationRecord] = []
        self.solo: list[IterationRecord] = []
        self.trials: list[TrialRecord] = []
        self.skipped: list[TrialRecord] = []
        self.launches: set[int] = set()
        self._costs = Costs()

    def add(self, record: Record) -> None:
        if isinstance(record, TrialRecord) and record.status == "skipped":
            self.skipped.append(record)
            return
        self.launches.add(record.trial)
        if isinstance(record, CallRecord):
            self._costs.add(record)
        if isinstance(record, TrialRecord):
            self.trials.append(record)
        elif record.phase == "cold":
            self._add_cold(record)
        elif record.phase == "solo":
            self._add_solo(record)
        elif record.phase != "measured":
            return
        elif isinstance(record, CallRecord):
            self._held.add(record)
        else:
            self.iterations.append(record)

    def _add_cold(self, record: CallRecord | IterationRecord) -> None:
        if isinstance(record, CallRecord):
            self._cold.add(record)
        else:
            self.cold.append(record)

    def _add_solo(self, record: CallRecord | IterationRecord) -> None:
        if isinstance(record, CallRecord):
            self._solo.add(record)
        else:
            self.solo.append(record)

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
            solo_calls=self._solo.calls,
            solo=self.solo,
        )

    def summary(self) -> ArmSummary:
        statuses = Counter(call.status for call in self.calls)
        tokens = [call.usage.output_tokens for call in self.calls if call.status == "ok"]
        known = [count for count in tokens if count is not None]
        bands = self.spec.bands
        simulated = any(trial.effective.simulated for trial in self.trials)
        every = [*self.calls, *self._cold.calls, *self._solo.calls]
        iterations = [*self.iterations, *self.cold, *self.solo]
        metrics, goodput = summarise_with_goodput(
            every,
            iterations,
            load=self.load,
            simulated=simulated,
            slo=self.spec.slo,
            cold_by=self.spec.iterations.cold_by,
            bands=resolved_bands(bands) if isinstance(bands, str) else bands,
            validity=self.spec.validity,
            seed=self.spec.seed,
        )
        return ArmSummary(
            arm=self.arm,
            cell=self.cell,
            trials=len(self.launches),
            iterations=len(self.iterations),
            calls={status: statuses[status] for status in get_args(Status) if statuses[status]},
            planned=sum(iteration.planned_calls for iteration in self.iterations),
            metrics=metrics,
            # Unknown for one call is unknown for the sum.
            output_tokens=sum(known) if known and len(known) == len(tokens) else None,
            skipped=len(self.skipped),
            goodput=goodput,
            warmup=warmup_hints(self.calls, self.iterations, self.load),
            agents=summarise_agents(every, iterations, simulated=simulated, seed=self.spec.seed),
            cost=self._costs.summary(),
        )


def is_imported(record: Record) -> bool:
    if isinstance(record, TrialRecord):
        return record.transport == IMPORTED
    return isinstance(record, IterationRecord) and record.imported


def _total(spans: Mapping[int, _Span], session: Callable[[int], int]) -> float | None:
    """Of all sessions: what lies between two of them is no part of the run, and no clock of ours
    has measured it."""
    together: dict[int, _Span] = defaultdict(_Span)
    for trial, span in spans.items():
        together[session(trial)].widen(span)
    known = [seconds for span in together.values() if (seconds := span.seconds()) is not None]
    return sum(known) if known else None


class _Span:
    """First start to last end of anything recorded of a trial, or in one session, on the monotonic
    clock of the run's machine: of a trial on another one, when it was begun and ended from here."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._home = False

    def add(self, record: Record) -> None:
        if is_imported(record) or self._home:  # nobody knows when; or we do
            return
        if isinstance(record, TrialRecord) and record.home_ns is not None:
            self._home = True
            self.first_ns, self.last_ns = record.home_ns
            return
        if isinstance(record, CallRecord):
            start_ns = record.instants.due_ns
            end_ns = record.instants.closed_ns or record.instants.end_ns or start_ns
        else:
            start_ns, end_ns = record.start_ns, record.end_ns
        self._take(start_ns, end_ns)

    def widen(self, other: _Span) -> None:
        if other.first_ns is not None and other.last_ns is not None:
            self._take(other.first_ns, other.last_ns)

    def _take(self, start_ns: int, end_ns: int) -> None:
        self.first_ns = start_ns if self.first_ns is None else min(self.first_ns, start_ns)
        self.last_ns = end_ns if self.last_ns is None else max(self.last_ns, end_ns)

    def seconds(self) -> float | None:
        if self.first_ns is None or self.last_ns is None:
            return None
        return (self.last_ns - self.first_ns) / 1e9
