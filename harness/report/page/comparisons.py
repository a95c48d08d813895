"""Effects in words, with their intervals drawn on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from harness.report.aggregate import headlines
from harness.report.figures import UNKNOWN, number, signed
from harness.report.page.tables import Cell, Column, Strip, Table, Tone, of_number, table
from harness.report.page.tables import label as text
from harness.schema import Summary
from harness.schema.comparison import Comparison, Effect, GateResult

__all__ = ["Compared", "compared", "overview_table", "verdicts"]

SCALE_MIN: Final = 0.02
"""Shares are never drawn larger than this makes them: a difference of nothing must look it."""
SCALE_MAX: Final = 2.0
"""What is more than three times the baseline is cut off, so that the rest can still be told
apart."""


class Compared(Struct, frozen=True, kw_only=True):
    """One comparison, whole."""

    name: str
    comparable: bool
    sentences: tuple[tuple[str, str, Tone], ...]
    """(metric, sentence, tone) of the headlines."""
    effects: Table
    conditions: Table
    gates: tuple[GateResult, ...]


def compared(ones: Sequence[Comparison], summary: Summary) -> Iterator[Compared]:
    first = headlines(summary)
    for one in ones:
        ranked = _ranked(one.effects, first)
        yield Compared(
            name=_name(one),
            comparable=one.comparable,
            sentences=tuple(
                (effect.metric, effect.sentence, _tone(effect))
                for effect in ranked
                if effect.metric in first
            ),
            effects=_effects(one, ranked),
            conditions=_conditions(one),
            gates=one.gates,
        )


def overview_table(ones: Sequence[Comparison], summary: Summary) -> Table:
    """Every comparison's headlines in one table: for sweeps, where there are many."""
    first = headlines(summary)
    found = [(one, effect) for one in ones for effect in _ranked(one.effects, first)]
    found = [(one, effect) for one, effect in found if effect.metric in first]
    scale = _scale([effect for _, effect in found])
    rows = [[text(_name(one)), *_row(effect, scale)] for one, effect in found]
    return table("Differences", (Column(head="Candidate − baseline"), *_COLUMNS), rows, 2)


def verdicts(ones: Sequence[Comparison], summary: Summary) -> list[tuple[str, int]]:
    """How often the headlines came out how: (words, count)."""
    first = headlines(summary)
    words = [effect.words for one in ones for effect in one.effects if effect.metric in first]
    return [(word, words.count(word)) for word in dict.fromkeys(words)]


def _ranked(effects: Sequence[Effect], first: Sequence[str]) -> list[Effect]:
    rank = {name: index for index, name in enumerate(first)}
    return sorted(effects, key=lambda effect: rank.get(effect.metric, len(rank)))


def _name(one: Comparison) -> str:
    return f"{one.candidate.label} − {one.baseline.label}"


_COLUMNS: Final = (
    Column(head="Metric", code=True),
    Column(head="Verdict"),
    Column(head="Difference", unit="%", numeric=True, title="Of the means, of the baseline's"),
    Column(head="95 % interval", title="No difference is in the middle"),
    Column(head="Difference", numeric=True, title="Of the means, in the metric's own unit"),
    Column(head="Baseline", numeric=True, title="Mean"),
    Column(head="Candidate", numeric=True, title="Mean"),
    Column(head="p, Holm", numeric=True, title="Corrected for the family that was tested"),
    Column(head="Trials", title="Baseline + candidate: the unit of analysis"),
)


def _effects(one: Comparison, ranked: Sequence[Effect]) -> Table:
    scale = _scale(ranked)
    rows = [_row(effect, scale) for effect in ranked]
    return table(f"Differences, {_name(one)}", _COLUMNS, rows)


def _row(effect: Effect, scale: float) -> list[Cell]:
    unit = "" if effect.unit in ("", "1") else f" {effect.unit}"
    ours = _interval(effect.difference_low, effect.difference_high)
    return [
        text(effect.metric, code=True, title=_better(effect)),
        Cell(text=effect.words, title=effect.sentence, tone=_tone(effect)),
        of_number(effect.share, _percent(effect.share)),
        _drawn(effect, scale),
        Cell(
            text=f"{signed(effect.difference)}{unit}",
            lines=(ours,) if ours else (),
            sort=effect.difference,
            unknown=effect.difference is None,
        ),
        of_number(effect.baseline_mean),
        of_number(effect.candidate_mean),
        of_number(effect.p_holm, _p(effect.p_holm)),
        Cell(
            text=f"{effect.n[0]} + {effect.n[1]}{', paired' if effect.paired else ''}",
            lines=(f"{effect.values[0]} + {effect.values[1]} values",),
            title="" if effect.more_trials is None else f"{effect.more_trials} more are needed",
        ),
    ]


def _drawn(effect: Effect, scale: float) -> Cell:
    low, high, share = effect.share_low, effect.share_high, effect.share
    if low is None or high is None or share is None:
        return Cell(text=UNKNOWN, unknown=True, tone="dim")
    strip = Strip(
        low=max(low / scale, -1),
        high=min(high / scale, 1),
        at=min(max(share / scale, -1), 1),
        cut_low=low < -scale,
        cut_high=high > scale,
    )
    shown = f"{_percent(low)} … {_percent(high)} %"
    return Cell(text=shown, sort=low, strip=strip, tone=_tone(effect))


def _scale(effects: Sequence[Effect]) -> float:
    """What half the width of a strip stands for: the furthest end of all, within bounds."""
    ends = [abs(end) for one in effects for end in (one.share_low, one.share_high) if end]
    return min(max([SCALE_MIN, *ends]), SCALE_MAX)


def _tone(effect: Effect) -> Tone:
    tones: dict[str, Tone] = {"better": "good", "worse": "bad", "not enough data": "dim"}
    return tones.get(effect.words, "")


def _better(effect: Effect) -> str:
    return "" if effect.better == "neither" else f"{effect.better} is better"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else signed(share * 100, 3)


def _p(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return "< 0.0001" if value < 1e-4 else number(value, 2)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} … {signed(high)}"


def _conditions(one: Comparison) -> Table:
    columns = [Column(head=name) for name in ("Condition", "Baseline", "Candidate", "Weight")]
    rows = [
        [
            text(condition.name, code=True, title=condition.why),
            text(_value(condition.baseline), code=True),
            text(_value(condition.candidate), code=True),
            Cell(text=condition.weight, title=condition.why, lines=(condition.why,)),
        ]
        for condition in one.conditions
    ]
    return table(f"Conditions that differ, {_name(one)}", columns, rows)


def _value(value: Any) -> str:
    return UNKNOWN if value is None else msgspec.json.encode(value).decode()
