"""All of it together: pairs of sides in, comparisons out.

Records are read once for each run. Then, pair by pair: may they be compared; how does each metric
differ. Then, over all pairs: p-values corrected for their number, and only then words. A sweep of
nine cells and four metrics asks 36 questions, and one in twenty would be "significant" by chance.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from harness.compare.asked import Asked, metrics_of, units_of, with_stated
from harness.compare.conditions import conditions, forbidding
from harness.compare.effects import effect_of, missing_effect, unranked
from harness.compare.gates import gate_of, in_unit, unanswered
from harness.compare.measured import Party, has_blocks, measured
from harness.compare.sides import Key, Place, pair_keys
from harness.compare.watermark import MADE_UP
from harness.compare.words import spoken
from harness.compare.work import of_all_work, unequal_output
from harness.errors import SpecError
from harness.protocols import RunData
from harness.schema import Comparison, Condition, Effect, GateResult, Side
from harness.statistics import holm

__all__ = ["arms_of", "compare", "compare_arms", "why_not"]


class _Question(Struct, frozen=True, kw_only=True):
    """One pair, read."""

    a: Party
    b: Party
    paired: bool
    conditions: tuple[Condition, ...]
    metrics: tuple[str, ...] = field(default_factory=tuple)


def compare(pairs: Sequence[tuple[Place, Place]], asked: Asked) -> tuple[Comparison, ...]:
    """In the order of `pairs`. Raises SpecError: a metric that there is not, a margin in another
    unit, blocks that do not pair; StoreError: a log that cannot be read."""
    read = _read(pairs)
    sides = [party.data for pair in read for party in reversed(pair)]
    specs = {id(place.run): place.run.manifest.spec for pair in pairs for place in pair}
    asked = with_stated(asked, [*specs.values()], sides)
    units = units_of(sides, asked)
    questions = [_question(a, b, asked) for a, b in read]
    found = [_effects(question, asked) for question in questions]
    family = [effect for effects in found for effect in effects]
    p_values = holm([_p(effect) for effect in family])
    adjusted = dict(zip(map(id, family), p_values, strict=True))
    tests = sum(p is not None for p in p_values)
    gates = len(asked.gates) * sum(not forbidding(one.conditions) for one in questions)
    made = []
    for question, effects in zip(questions, found, strict=True):
        unequal = unequal_output(question.a.data, question.b.data)
        words = tuple(
            spoken(
                replace(effect, p_holm=adjusted[id(effect)]),
                family=tests,
                unequal_work=unequal if of_all_work(effect.metric) else "",
            )
            for effect in effects
        )
        made.append(_comparison(question, words, _gates(question, asked, units, max(gates, 1))))
    return tuple(made)


def compare_arms(run: RunData) -> tuple[Comparison, ...]:
    """The headlines of every arm against the baseline, cell by cell, with words; nothing where
    there is one arm and cell."""
    with contextlib.suppress(KeyError, TypeError):  # not every stranger's run can be a key
        return _MADE[run]
    pairs = arms_of(run)
    made = compare(pairs, Asked()) if pairs else ()
    with contextlib.suppress(TypeError):
        _MADE[run] = made
    return made


def arms_of(run: RunData) -> list[tuple[Place, Place]]:
    """Every arm with the baseline, cell by cell."""
    return [
        (
            Place(run=run, name=run.manifest.name, arm=a[0], cell=a[1]),
            Place(run=run, name=run.manifest.name, arm=b[0], cell=b[1]),
        )
        for a, b in pair_keys(_keys(run))
    ]


_MADE: Final[weakref.WeakKeyDictionary[RunData, tuple[Comparison, ...]]] = (
    weakref.WeakKeyDictionary()
)
"""A loaded run does not change, and each of its reports asks: seconds, for one with many calls."""


def why_not(one: Comparison) -> str:
    """Why the two are not compared; empty where they are."""
    stops = forbidding(one.conditions)
    return f"{stops[0].name}: {stops[0].why}" if stops and not one.comparable else ""


def _p(effect: Effect) -> float | None:
    return effect.p_welch if effect.p_mcnemar is None else effect.p_mcnemar


# ---- reading


def _read(pairs: Iterable[tuple[Place, Place]]) -> list[tuple[Party, Party]]:
    places = [place for pair in pairs for place in pair]
    runs: dict[int, tuple[RunData, dict[Key, None]]] = {}
    for place in places:
        runs.setdefault(id(place.run), (place.run, {}))[1][place.arm, place.cell] = None
    data = {at: measured(run, keys) for at, (run, keys) in runs.items()}
    parties = [
        Party(place=place, data=data[id(place.run)][place.arm, place.cell]) for place in places
    ]
    return list(zip(parties[::2], parties[1::2], strict=True))


def _question(a: Party, b: Party, asked: Asked) -> _Question:
    return _Question(
        a=a,
        b=b,
        paired=_is_paired(a, b, asked.paired),
        conditions=conditions(a, b, allow_invalid=asked.allow_invalid, strict=asked.strict),
        metrics=metrics_of(a.data, b.data, asked),
    )


def _is_paired(a: Party, b: Party, wanted: bool | None) -> bool:
    one, other = a.place.run.manifest, b.place.run.manifest
    blocks = one.run_id == other.run_id and a.key != b.key and has_blocks(one.spec)
    if wanted and not blocks:
        raise SpecError(
            "only arms and cells of one interleaved run have blocks to pair",
            where="--paired",
            remedy="--unpaired",
        )
    return blocks if wanted is None else wanted


# ---- deciding


def _effects(question: _Question, asked: Asked) -> list[Effect]:
    """None where the two are not to be compared."""
    if forbidding(question.conditions):
        return []
    a, b = question.a.data, question.b.data
    margins = {one.metric: one for one in asked.margins}
    found = []
    for name in question.metrics:
        if name not in a.series or name not in b.series:
            found.append(missing_effect(name, a, b, paired=question.paired))
            continue
        series = b.series[name]
        if a.series[name].unit != series.unit:
            continue
        margin = in_unit(margins[name], series.unit) if name in margins else None
        effect = effect_of(name, a, b, paired=question.paired, margin=margin)
        found.append(unranked(effect) if a.is_made_up(name) or b.is_made_up(name) else effect)
    return found


def _gates(
    question: _Question, asked: Asked, units: Mapping[str, str], gates: int
) -> tuple[GateResult, ...]:
    a, b, paired = question.a.data, question.b.data, question.paired
    found = []
    for one in asked.gates:
        if why := _not_gated(one.metric, question):
            series = b.series.get(one.metric) or a.series.get(one.metric)
            unit = series.unit if series else units[one.metric]
            found.append(unanswered(one, unit, "not comparable", why))
        else:
            found.append(gate_of(one, a, b, paired=paired, gates=gates, looks=asked.looks))
    return tuple(found)


def _not_gated(metric: str, question: _Question) -> str:
    """Why it cannot be asked of these two; empty if it can."""
    if stops := forbidding(question.conditions):
        return f"{stops[0].name}: {stops[0].why}"
    a, b = question.a.data, question.b.data
    if a.is_made_up(metric) or b.is_made_up(metric):
        return MADE_UP
    one, other = a.series.get(metric), b.series.get(metric)
    if one is None or other is None:
        who = "neither side" if one is other else f"the {'candidate' if one else 'baseline'}"
        return f"{who} has {'this' if one is other else 'no such'} figure"
    if one.unit != other.unit:
        return f"its unit was {one.unit or 'none'}, and is {other.unit or 'none'}"
    return unequal_output(a, b) if of_all_work(metric) else ""


def _comparison(
    question: _Question, effects: tuple[Effect, ...], gates: tuple[GateResult, ...]
) -> Comparison:
    a, b = question.a, question.b
    labels = _labels(a.place, b.place)
    return Comparison(
        baseline=_side(a, labels[0]),
        candidate=_side(b, labels[1]),
        comparable=not forbidding(question.conditions),
        conditions=question.conditions,
        effects=effects,
        gates=gates,
        simulated=a.data.simulated or b.data.simulated,
        made_up=tuple(
            name for name in question.metrics if a.data.is_made_up(name) or b.data.is_made_up(name)
        ),
        random_weights=a.data.random_weights or b.data.random_weights,
    )


def _side(of: Party, label: str) -> Side:
    run = of.place.run
    return Side(
        run_id=run.manifest.run_id,
        run=of.place.name,
        arm=of.place.arm,
        cell=of.place.cell,
        label=label,
        trials=of.data.launches,
        calls=of.data.calls,
        started=run.manifest.started,
    )


def _labels(a: Place, b: Place) -> tuple[str, str]:
    """What they differ in, the run, the arm, the cell; and what tells them from other pairs."""
    keys = [key for place in (a, b) for key in _keys(place.run)]
    parts = (
        (a.name, b.name, a.run.manifest.run_id != b.run.manifest.run_id),
        (a.arm, b.arm, len({arm for arm, _ in keys}) > 1),
        (a.cell, b.cell, len({cell for _, cell in keys}) > 1),
    )
    one = " / ".join(x for x, _, shown in parts if shown) or "baseline"
    other = " / ".join(y for _, y, shown in parts if shown) or "candidate"
    return (one, other) if one != other else (f"{one} (baseline)", f"{other} (candidate)")


def _keys(run: RunData) -> list[Key]:
    return [(arm.arm, arm.cell) for arm in run.summary.arms]
