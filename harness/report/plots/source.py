"""What figures are drawn from: a run's summary, and its records in one pass, arm by arm.

Values are those of `harness.metrics.all_series`, as everywhere; no figure can show others than the
tables beside it. Stamps of chunks are let go as the calls come by (10 million gaps are 40 MB).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from harness.compare.watermark import is_stub, made_up
from harness.metrics import Series, call_metric, condense, inter_chunk_ns, itl_unknown_because
from harness.metrics.call import queue_residual
from harness.metrics.series import all_series
from harness.protocols import RunData
from harness.report.aggregate import durations, metric
from harness.report.plots.plot import Frame
from harness.schema import (
    ArmSummary,
    CallRecord,
    Comparison,
    Instants,
    IterationRecord,
    MetricSummary,
    Phase,
    Status,
    TrialRecord,
)
from harness.text import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.report.models import ModelRow

__all__ = ["Key", "Sample", "Shot", "Source", "Unfit"]


class Unfit(Exception):  # noqa: N818 - no error: most runs are unfit for most kinds
    """Why a kind of figure cannot be drawn of this run: `this run has no sweep`."""


class Key(NamedTuple):
    """An arm and cell."""

    arm: str
    cell: str


class Shot(NamedTuple):
    """A call of any phase, as far as figures need it."""

    trial: int
    iteration: int
    phase: Phase
    status: Status
    instants: Instants
    stage: str
    duration_ms: float | None
    """TTFT; in an open loop, from due. Where it is known."""
    agent: str = ""
    residual_ms: float | None = None
    """Of TTFT: what no field of the server explains."""


class Sample:
    """The records of one arm and cell."""

    def __init__(self, key: Key, source: Source) -> None:
        from harness.engine.cells import load_of
        from harness.engine.holding import Holding

        self.key = key
        manifest = source.run.manifest
        self.load = load_of(manifest.spec, key.arm, key.cell, manifest.cells)
        self.iterations: list[IterationRecord] = []
        self.trials: list[TrialRecord] = []
        self.shots: list[Shot] = []
        self.itl_unknown: dict[str, int] = {}
        """Why measured, `ok` calls have no inter-token latencies → how many of them."""
        self._simulated = source.simulated
        self._duration = call_metric(source.first).formula
        self._held = Holding(self.load)
        self._gaps: list[NDArray[np.float32]] = []
        self._lags: list[NDArray[np.float32]] = []
        self._others: list[CallRecord] = []
        self._cold_by = manifest.spec.iterations.cold_by
        self._slo = manifest.spec.slo
        self._validity = manifest.spec.validity
        self._user_chunks = 0

    def add(self, record: CallRecord | IterationRecord | TrialRecord) -> None:
        if isinstance(record, TrialRecord):
            self.trials.append(record)
        elif isinstance(record, IterationRecord):
            self.iterations.append(record)
        else:
            self._add_call(record)

    def _add_call(self, call: CallRecord) -> None:
        place = (call.trial, call.iteration, call.phase, call.status)
        told = (call.stage, self._duration(call), call.agent, queue_residual(call))
        self.shots.append(Shot(*place, call.instants, *told))
        if call.phase in ("cold", "solo"):
            self._others.append(condense(call))
        if call.phase != "measured":
            return
        if call.status == "ok":
            self._add_chunks(call)
        self._held.add(call)

    def _add_chunks(self, call: CallRecord) -> None:
        between = inter_chunk_ns(call)
        if between is not None and len(between):
            self._gaps.append((between / 1e6).astype("f4"))
            if (reason := itl_unknown_because(call)) is not None:
                self.itl_unknown[reason] = self.itl_unknown.get(reason, 0) + 1
        lags, user = _lags_us(call)
        self._user_chunks += user
        if lags is not None:
            self._lags.append(lags)

    @cached_property
    def series(self) -> dict[str, Series]:
        """Every metric's values. Of imported iterations, those that their table had."""
        found = all_series(
            [*self._held.calls, *self._others],
            self.iterations,
            load=self.load,
            simulated=self._simulated,
            slo=self._slo,
            cold_by=self._cold_by,
            validity=self._validity,
        )
        return {one.name: one for one in found}

    @property
    def gaps_ms(self) -> NDArray[np.float32]:
        """Between successive content chunks of the same measured, `ok` call."""
        return _joined(self._gaps)

    @property
    def calls_with_gaps(self) -> int:
        return len(self._gaps)

    @property
    def lags_us(self) -> NDArray[np.float32]:
        """How late this process read each chunk that the kernel stamped."""
        return _joined(self._lags)

    @property
    def user_chunks(self) -> int:
        """Chunks stamped in user space, of which that is not known."""
        return self._user_chunks


def _joined(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    import numpy as np

    return np.concatenate(parts) if parts else np.zeros(0, "f4")


def _lags_us(call: CallRecord) -> tuple[NDArray[np.float32] | None, int]:
    """Of the chunks with a kernel stamp, and how many have none."""
    import numpy as np

    from harness._native.recorder import FLAG_USER_STAMP

    columns = call.chunks
    if not columns.count or not len(columns.lag_ns) == len(columns.size) == 4 * columns.count:
        return None, 0
    kernel = np.frombuffer(columns.size, "<u4") & FLAG_USER_STAMP == 0
    if call.stamp_source == "tap":  # their lag is the tap's own, and no client's
        return None, int(columns.count - kernel.sum())
    if call.stamp_source != "kernel":
        return None, columns.count
    lags = np.frombuffer(columns.lag_ns, "<u4")[kernel] / 1e3
    return lags.astype("f4"), int(columns.count - kernel.sum())


class Source:
    """A run, as figures look at it."""

    def __init__(
        self,
        run: RunData,
        *,
        comparisons: Sequence[Comparison] = (),
        metrics: Sequence[str] = (),
        arms: Iterable[str] = (),
        cells: Iterable[str] = (),
    ) -> None:
        self.run = run
        self.summary = run.summary
        self.comparisons = tuple(comparisons)
        self.wanted = tuple(metrics)
        only_arms, only_cells = set(arms), set(cells)
        names = dict.fromkeys(one.arm for one in self.summary.arms)
        self.rank = {name: index for index, name in enumerate(names)}
        """Arm → its place, which is its look in every figure."""
        self.arms: tuple[ArmSummary, ...] = tuple(
            one
            for one in self.summary.arms
            if (not only_arms or one.arm in only_arms)
            and (not only_cells or one.cell in only_cells)
        )
        self.by_key = {key_of(one): one for one in self.arms}
        codes = {caveat.code for caveat in self.summary.verdict.caveats}
        self.simulated = is_stub(self.summary)
        self.made_up = frozenset(made_up(self.summary))
        """Metrics that were not measured although the server was."""
        self.shown: set[str] = set()
        """Metrics that were asked for, until somebody clears it: what the figure in the making is
        of."""
        self.random_weights = "random-weights" in codes

    @property
    def first(self) -> str:
        """The duration that this run is read by first: TTFT, in an open loop from due."""
        return next(iter(durations(self.summary)))

    @cached_property
    def cells(self) -> list[str]:
        """Of the sweep; none without one."""
        return [cell for cell in dict.fromkeys(a.cell for a in self.arms) if cell in self._swept]

    @property
    def _swept(self) -> dict[str, dict[str, object]]:
        return self.summary.cells or self.run.manifest.cells

    def cell_values(self) -> dict[str, dict[str, object]]:
        """Cell → path → value, of the cells that are looked at."""
        return {cell: dict(self._swept[cell]) for cell in self.cells}

    @cached_property
    def samples(self) -> dict[Key, Sample]:
        """The records, read once."""
        found = {key: Sample(key, self) for key in map(key_of, self.arms)}
        for record in self.run.records():
            sample = found.get(Key(record.arm, record.cell))
            if sample is not None:
                sample.add(record)
        return found

    @cached_property
    def model_rows(self) -> list[ModelRow]:
        """What each arm and cell says of its model; reads the records once more."""
        from harness.report.models import model_rows

        return model_rows(self.run)

    def names(self, most: int = 4) -> list[str]:
        """The metrics to be shown: those asked for, else the headlines that the run has, else what
        its scenario measured."""
        found = self._names(most)
        self.shown.update(found)
        return found

    def _names(self, most: int) -> list[str]:
        from harness.report.aggregate import headlines

        known = {one.name for arm in self.arms for one in arm.metrics if one.n}
        if self.wanted:
            return [name for name in self.wanted if name in known]
        heads = [name for name in headlines(self.summary) if name in known]
        if heads:
            return heads[:most]
        rest = [one.name for arm in self.arms for one in arm.metrics if one.n]
        return list(dict.fromkeys(rest))[:most]

    def metric(self, name: str) -> MetricSummary:
        """Any arm's: for its unit and direction."""
        self.shown.add(name)
        found = (metric(arm, name) for arm in self.arms)
        return next(one for one in found if one is not None)

    def label(self, key: Key) -> str:
        """The arm, with its cell where there are several."""
        cells = {one.cell for one in self.arms}
        return f"{key.arm} / {key.cell}" if len(cells) > 1 else key.arm

    def frame(self, *, simulated: bool | None = None) -> Frame:
        return Frame(
            footer=_footer(self),
            simulated=self.simulated if simulated is None else simulated,
            key=self.summary.run_id,
        )


def key_of(arm: ArmSummary) -> Key:
    return Key(arm.arm, arm.cell)


def _footer(source: Source) -> str:
    summary = source.summary
    codes = dict.fromkeys(c.code for c in summary.verdict.caveats if c.severity != "note")
    verdict = f"verdict {summary.verdict.state}"
    if codes:
        verdict += f" ({', '.join(list(codes)[:4])}{', …' if len(codes) > 4 else ''})"
    spec = summary.spec_digest.removeprefix("sha256:")[:12]
    parts = [
        f"harness {source.run.manifest.environment.harness_version}",
        f"run {summary.run_id} of {summary.started[:10]}",
        f"spec {spec}",
        verdict,
    ]
    if source.random_weights:
        parts.insert(3, "random weights")
    if summary.state != "finished":
        parts.insert(3, summary.state)
    return one_line(" · ".join(parts), 300)
