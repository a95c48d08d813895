"""What one arm and cell of a run recorded, as far as a comparison needs it.

One pass over the log for all that is compared of a run. Values come from harness.metrics.all_series
and so are those of every other report; their trials are named by block, so that the k-th trial of
one arm stands beside the k-th of another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from harness.compare.sides import Key, Place
from harness.engine.cells import load_of
from harness.engine.holding import Holding
from harness.metrics import Series, all_series
from harness.metrics.slo import tally
from harness.protocols import RunData
from harness.schema import CallRecord, IterationRecord, Load, OpenLoad, RunSpec, TrialRecord

__all__ = ["Measured", "Party", "Prompts", "Unit", "has_blocks", "measured"]

ENDED: Final = ("ok", "error")
"""Status of a trial that came to its end, well or not; others run again, or were not needed."""

Unit: TypeAlias = tuple[int, int]
"""(block, iteration)"""


class Prompts(Struct, frozen=True, kw_only=True):
    """What is known of the prompts of measured calls."""

    by_unit: dict[Unit, frozenset[str]]
    """Digests. Those of prompts that no cache may know are left out: they differ between runs by
    design."""
    first: dict[Unit, str]
    """Digest of the iteration's first prompt: the question, where there is one."""
    cold: int
    chars_mean: float | None


class Measured(Struct, frozen=True, kw_only=True):
    """One arm and cell."""

    series: dict[str, Series]
    """By name. Where a scenario gave one name to figures of several units or provenances, that of
    which there are most values has it, and the others have theirs in brackets: `size [kB]`."""
    several: tuple[str, ...]
    """Names of `series` with brackets of ours."""
    blocks: dict[int, int]
    """Trial → which one of this arm and cell it is in the plan, from 0."""
    load: Load | None
    trials: tuple[TrialRecord, ...]
    calls: int
    calls_ok: int
    requests: dict[int, int]
    """Block → requests of its measured iterations, whatever became of them."""
    tokens_per_call: float | None
    stamps: dict[str, int]
    """Source of the first-token stamp → calls."""
    prompts: Prompts

    @property
    def launches(self) -> int:
        """Trials that came to their end."""
        return len({trial.trial for trial in self.trials if trial.status in ENDED})

    @property
    def is_open(self) -> bool:
        return isinstance(self.load, OpenLoad)

    @property
    def simulated(self) -> bool:
        return any(trial.effective.simulated for trial in self.trials)

    def is_made_up(self, name: str) -> bool:
        """Whether a figure was not measured although the server was real."""
        one = self.series.get(name)
        return one is not None and one.provenance == "simulated" and not self.simulated

    @property
    def random_weights(self) -> bool:
        return any(trial.effective.random_weights for trial in self.trials)

    def by_block(self, name: str) -> dict[int, list[float]]:
        """Block → the values of its trial, in ascending order of blocks."""
        found = self.series[name].by_trial() if name in self.series else {}
        return dict(sorted((self.blocks[trial], values) for trial, values in found.items()))


class Party(Struct, frozen=True, kw_only=True):
    """One side, with what it measured."""

    place: Place
    data: Measured

    @property
    def key(self) -> Key:
        return self.place.arm, self.place.cell


class _Collected:
    def __init__(self, load: Load | None) -> None:
        self.held = Holding(load)
        self.cold = Holding(None)
        self.solo = Holding(None)
        self.iterations: list[IterationRecord] = []
        self.trials: list[TrialRecord] = []
        self.stamps: Counter[str] = Counter()

    def add(self, record: CallRecord | IterationRecord) -> None:
        """Of a measured, a cold or a solo iteration: all have figures, and never the same ones."""
        if isinstance(record, IterationRecord):
            self.iterations.append(record)
        elif record.phase == "cold":
            self.cold.add(record)
        elif record.phase == "solo":
            self.solo.add(record)
        else:
            if record.chunks.count:
                self.stamps[record.stamp_source] += 1
            self.held.add(record)


def has_blocks(spec: RunSpec) -> bool:
    """Whether the k-th trials of its arms and cells ran side by side. Of a table nobody knows, and
    a search tries each load when it comes to it."""
    is_imported = spec.backend.name == "imported"
    return spec.order == "interleaved" and spec.search is None and not is_imported


def measured(run: RunData, keys: Iterable[Key]) -> dict[Key, Measured]:
    """Each of `keys`; warm-up and what ran under a profiler left out, and trials that did not come
    to their end: the few calls of such a launch would weigh as much as all of another, and be the
    quick ones. StoreError if the log is corrupt."""
    manifest = run.manifest
    loads = {key: load_of(manifest.spec, *key, manifest.cells) for key in keys}
    found = {key: _Collected(load) for key, load in loads.items()}
    for record in run.records():
        one = found.get((record.arm, record.cell))
        if one is None:
            continue
        if isinstance(record, TrialRecord):
            one.trials.append(record)
        elif record.phase in ("measured", "cold", "solo"):
            one.add(record)
    planned: dict[Key, list[int]] = defaultdict(list)
    for arm, cell, trial in manifest.plan:
        planned[arm, cell].append(trial)
    return {key: _measured(run, planned[key], loads[key], one) for key, one in found.items()}


def _measured(run: RunData, planned: list[int], load: Load | None, of: _Collected) -> Measured:
    ended = {trial.trial for trial in of.trials if trial.status in ENDED}
    calls = [call for call in of.held.calls if call.trial in ended]
    others = [*of.cold.calls, *of.solo.calls]
    other_calls = [call for call in others if call.trial in ended]
    iterations = [one for one in of.iterations if one.trial in ended]
    ok = [call for call in calls if call.status == "ok"]
    tokens = [call.usage.output_tokens for call in ok if call.usage.output_tokens is not None]
    simulated = any(trial.effective.simulated for trial in of.trials)
    spec = run.manifest.spec
    every = [
        *all_series(
            [*calls, *other_calls],
            iterations,
            load=load,
            simulated=simulated,
            slo=spec.slo,
            cold_by=spec.iterations.cold_by,
            validity=spec.validity,
        )
    ]
    named = _named(every)
    seen = {call.trial for call in calls} | {one.trial for one in iterations}
    blocks = _blocks(planned, seen)
    return Measured(
        series=named,
        several=tuple(name for name in named if name not in {one.name for one in every}),
        blocks=blocks,
        load=load,
        trials=tuple(of.trials),
        calls=len(calls),
        calls_ok=len(ok),
        requests=_requests(calls, iterations, blocks),
        tokens_per_call=sum(tokens) / len(tokens) if tokens else None,
        stamps=dict(of.stamps),
        prompts=_prompts(calls, blocks),
    )


def _named(every: Iterable[Series]) -> dict[str, Series]:
    found: dict[str, list[Series]] = defaultdict(list)
    for one in every:
        found[one.name].append(one)
    named = {}
    for name, ones in found.items():
        first, *others = sorted(ones, key=lambda one: -len(one.values))
        named[name] = first
        for one in others:
            same = sum(other.unit == one.unit for other in ones) > 1
            shown = f"{one.unit or 'no unit'}{f', {one.provenance}' if same else ''}"
            named[f"{name} [{shown}]"] = replace(one, name=f"{name} [{shown}]")
    return named


def _requests(
    calls: Iterable[CallRecord], iterations: Iterable[IterationRecord], blocks: dict[int, int]
) -> dict[int, int]:
    """As goodput counts them (harness.metrics.slo)."""
    made: dict[Unit, list[CallRecord]] = defaultdict(list)
    for call in calls:
        made[call.trial, call.iteration].append(call)
    counts: Counter[int] = Counter()
    for one in iterations:
        if one.phase == "measured" and one.status != "cancelled":
            of_unit = made[one.trial, one.iteration]
            counts[blocks[one.trial]] += tally(of_unit, {}, planned=one.planned_calls).of
    return dict(counts)


def _blocks(planned: list[int], seen: set[int]) -> dict[int, int]:
    """A trial that the plan does not know comes behind all others."""
    order = dict.fromkeys([*planned, *sorted(seen)])
    return {trial: block for block, trial in enumerate(order)}


def _prompts(calls: Iterable[CallRecord], blocks: dict[int, int]) -> Prompts:
    by_unit: dict[Unit, set[str]] = defaultdict(set)
    first: dict[Unit, tuple[str, str]] = {}
    chars, cold = [], 0
    for call in calls:
        if call.prompt_chars is not None:
            chars.append(call.prompt_chars)
        if call.cold_prompt:
            cold += 1
        elif call.prompt_digest is not None:
            unit = blocks[call.trial], call.iteration
            by_unit[unit].add(call.prompt_digest)
            asked = call.call_id, call.prompt_digest
            first[unit] = min(first.get(unit, asked), asked)
    return Prompts(
        by_unit={unit: frozenset(digests) for unit, digests in by_unit.items()},
        first={unit: digest for unit, (_, digest) in first.items()},
        cold=cold,
        chars_mean=sum(chars) / len(chars) if chars else None,
    )
