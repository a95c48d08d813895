"""A run, iteration by iteration: what became of the calls of each, and the means over them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from harness.metrics import CONCURRENCY_METRICS, Pair, condense
from harness.metrics.agents import Contention, agents_of, contention_of, slowdowns
from harness.metrics.concurrency import SLOWDOWN
from harness.metrics.series import pairs_of
from harness.protocols import RunData
from harness.schema import CallRecord, IterationRecord, Phase, TrialRecord, ValiditySpec

if TYPE_CHECKING:
    from harness.metrics import IterationView

__all__ = ["IterationLine", "iteration_lines"]

_CALL_MEANS: Final = (
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "ttft_from_due_ms",
    "e2e_from_due_ms",
    "decode_rate_server_tok_s",
)


class IterationLine(Struct, frozen=True, kw_only=True):
    """One iteration: what became of its calls, and the means over its `ok` calls."""

    arm: str
    cell: str
    trial: int
    iteration: int
    phase: Phase
    status: str
    """`unfinished`: calls were recorded, but not the iteration's end."""
    planned_calls: int | None
    calls: dict[str, int]
    error: str | None = None
    spans_ms: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float | None] = field(default_factory=dict)
    """Iteration metrics by name, the scenario's own among them."""
    simulated: tuple[str, ...] = ()
    """Those of `figures` that were played back or made up, and not measured."""
    call_means: dict[str, float | None] = field(default_factory=dict)
    contention: Contention | None = None
    """Where several agents worked at once: whether they held each other up, and what says so."""


_Key = tuple[str, str, int, int, str]


def iteration_lines(run: RunData) -> list[IterationLine]:
    """In the order in which they ended. Holds the calls of unfinished iterations only."""
    under_way: dict[_Key, list[CallRecord]] = defaultdict(list)
    agents = _Agents()
    lines: dict[_Key, IterationLine] = {}
    key: _Key
    for record in run.records():
        if isinstance(record, TrialRecord):
            continue
        key = (record.arm, record.cell, record.trial, record.iteration, record.phase)
        if isinstance(record, IterationRecord):
            calls = under_way.pop(key, [])
            lines[key] = _line(record, calls, run)
            agents.see(record, calls)
        elif key in lines:  # a call that its iteration never came to: recorded behind it
            lines[key] = _with_call(lines[key], record)
        else:
            under_way[key].append(replace(record, text=None, reasoning=None, payloads=None))
    for key, pair in agents.pairs(run.manifest.spec.validity):
        lines[key] = _with_pair(lines[key], pair)
    return [*lines.values(), *(_unfinished(calls) for calls in under_way.values())]


class _Agents:
    """Iterations in which several agents worked, with their calls: each needs its other half."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], list[CallRecord]] = defaultdict(list)
        self._iterations: dict[tuple[str, str], list[IterationRecord]] = defaultdict(list)

    def see(self, record: IterationRecord, calls: Iterable[CallRecord]) -> None:
        if record.phase in ("measured", "solo") and agents_of(record):
            self._iterations[record.arm, record.cell].append(record)
            self._calls[record.arm, record.cell] += map(condense, calls)

    def pairs(self, validity: ValiditySpec) -> Iterator[tuple[_Key, Pair]]:
        for place, iterations in self._iterations.items():
            for pair in pairs_of(self._calls[place], iterations, validity):
                one = pair.record
                yield (*place, one.trial, one.iteration, one.phase), pair


def _with_pair(line: IterationLine, pair: Pair) -> IterationLine:
    own = {metric.name: metric.formula(pair) for metric in CONCURRENCY_METRICS}
    slower = slowdowns(pair) or {}
    own |= {f"{SLOWDOWN}{agent}": value for agent, value in slower.items()}
    return replace(line, figures=line.figures | own, contention=contention_of(pair))


def _line(record: IterationRecord, calls: Sequence[CallRecord], run: RunData) -> IterationLine:
    from harness.engine.cells import load_of
    from harness.metrics import COLD_METRICS, ITERATION_METRICS, IterationView
    from harness.metrics.cost import PRICED, has_costs
    from harness.metrics.energy import energy_metrics_of
    from harness.metrics.iteration import GOODPUT

    manifest = run.manifest
    spec = manifest.spec
    view = IterationView(
        record=record,
        calls=tuple(calls),
        load=load_of(spec, record.arm, record.cell, manifest.cells),
        slo=spec.slo,
        cold_by=spec.iterations.cold_by,
    )
    metrics = [*ITERATION_METRICS, *(COLD_METRICS if record.phase == "cold" else ())]
    known = [one for one in metrics if spec.slo is not None or one.name not in GOODPUT]
    if not has_costs(calls):
        known = [one for one in known if one.name not in PRICED]
    spans: dict[str, float] = defaultdict(float)
    for span in record.spans:
        name = f"{span.agent}.{span.name}" if span.agent else span.name
        spans[name] += (span.end_ns - span.start_ns) / 1e6
    figures: dict[str, float | None] = {own.name: own.value for own in record.metrics}
    figures |= {one.name: one.formula(view) for one in (*known, *energy_metrics_of([view]))}
    return IterationLine(
        arm=record.arm,
        cell=record.cell,
        trial=record.trial,
        iteration=record.iteration,
        phase=record.phase,
        status=record.status,
        planned_calls=record.planned_calls,
        calls=dict(Counter(call.status for call in calls)),
        error=f"{record.error.code}: {record.error.message}" if record.error else None,
        spans_ms=dict(spans),
        figures=figures,
        simulated=_made_up(view),
        call_means=_means(calls),
    )


def _made_up(view: IterationView) -> tuple[str, ...]:
    """What an instrument or the scenario says so of, and what is derived of it."""
    from harness.metrics.energy import energy_metrics_of, provenance_of

    own = [metric.name for metric in view.record.metrics if metric.provenance == "simulated"]
    derived = [
        one.name
        for one in energy_metrics_of([view])
        if own and provenance_of(one, [view]) == "simulated"
    ]
    return tuple(dict.fromkeys([*own, *derived]))


def _with_call(line: IterationLine, call: CallRecord) -> IterationLine:
    return replace(line, calls=dict(Counter(line.calls) + Counter([call.status])))


def _unfinished(calls: Sequence[CallRecord]) -> IterationLine:
    first = calls[0]
    return IterationLine(
        arm=first.arm,
        cell=first.cell,
        trial=first.trial,
        iteration=first.iteration,
        phase=first.phase,
        status="unfinished",
        planned_calls=None,
        calls=dict(Counter(call.status for call in calls)),
        call_means=_means(calls),
    )


def _means(calls: Iterable[CallRecord]) -> dict[str, float | None]:
    from harness.metrics import call_metric

    ok = [call for call in calls if call.status == "ok"]
    return {name: _mean(call_metric(name).formula, ok) for name in _CALL_MEANS}


def _mean(
    formula: Callable[[CallRecord], float | None], calls: Sequence[CallRecord]
) -> float | None:
    known = [value for value in map(formula, calls) if value is not None]
    return sum(known) / len(known) if known else None
