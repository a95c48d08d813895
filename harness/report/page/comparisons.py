"""Effects in words, with their intervals drawn on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from harness.report.figures import UNKNOWN, interval, number, signed
from harness.report.grid import axes
from harness.report.page.figures import place_cells, place_columns
from harness.report.page.tables import Cell, Column, Strip, Table, Tone, of_number, table
from harness.report.page.tables import label as text
from harness.schema import Summary
from harness.schema.comparison import Comparison, Effect, GateResult

__all__ = ["Compared", "compared", "effects_table", "verdicts"]

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
    """(metric, sentence, tone)."""
    conditions: Table
    gates: tuple[GateResult, ...]


def compared(ones: Sequence[Comparison]) -> Iterator[Compared]:
    for one in ones:
        yield Compared(
            name=f"{one.candidate.label} − {one.baseline.label}",
            comparable=one.comparable,
            sentences=tuple((e.metric, e.sentence, _tone(e)) for e in one.effects),
            conditions=_conditions(one),
            gates=one.gates,
        )


def effects_table(ones: Sequence[Comparison], summary: Summary) -> Table:
    """Every effect of every comparison, with the axes of the candidate's cell as columns."""
    swept = axes(summary.cells)
    scale = _scale([effect for one in ones for effect in one.effects])
    columns = [Column(head="Candidate − baseline"), *place_columns(swept)[1:], *_COLUMNS]
    rows = [
        [_pair(one), *place_cells("", one.candidate.cell, summary)[1:], *_row(effect, scale)]
        for one in ones
        for effect in one.effects
    ]
    return table("Differences", columns, rows, 2 + len(swept))


def verdicts(ones: Sequence[Comparison]) -> list[tuple[str, int]]:
    """How often it came out how: (words, count)."""
    words = [effect.words for one in ones for effect in one.effects]
    return [(word, words.count(word)) for word in dict.fromkeys(words)]


def _pair(one: Comparison) -> Cell:
    """The arms; with the cells only where they differ, and the axes' columns do not say it."""
    same = one.candidate.cell == one.baseline.cell
    if same or (one.baseline.cell == "base" and one.candidate.arm != one.baseline.arm):
        return text(f"{one.candidate.arm} − {one.baseline.arm}")
    return text(f"{one.candidate.label} − {one.baseline.label}")


_COLUMNS: Final = (
    Column(head="Metric", code=True),
    Column(head="Verdict"),
    Column(head="Difference", unit="%", title="Of the means, of the baseline's; 0 in the middle"),
    Column(head="Means", numeric=True, title="Baseline → candidate; their difference below"),
    Column(head="p, Holm", numeric=True, title="Corrected for the family that was tested"),
    Column(head="Trials", title="Baseline + candidate: the unit of analysis"),
)


def _row(effect: Effect, scale: float) -> list[Cell]:
    return [
        text(effect.metric, code=True, title=_better(effect)),
        Cell(text=effect.words, title=effect.sentence, tone=_tone(effect)),
        _drawn(effect, scale),
        _means(effect),
        of_number(effect.p_holm, _p(effect.p_holm)),
        Cell(
            text=f"{effect.n[0]} + {effect.n[1]}{', paired' if effect.paired else ''}",
            lines=(f"{effect.values[0]} + {effect.values[1]} values",),
            title="" if effect.more_trials is None else f"{effect.more_trials} more are needed",
        ),
    ]


def _means(effect: Effect) -> Cell:
    unit = "" if effect.unit in ("", "1") else f" {effect.unit}"
    ours = interval(effect.difference_low, effect.difference_high)
    spread = "" if ours == UNKNOWN else f" ({ours})"
    return Cell(
        text=f"{number(effect.baseline_mean)} → {number(effect.candidate_mean)}{unit}",
        lines=(f"{signed(effect.difference)}{spread}",),
        sort=effect.difference,
        unknown=effect.difference is None,
    )


def _drawn(effect: Effect, scale: float) -> Cell:
    low, high, share = effect.share_low, effect.share_high, effect.share
    if low is None or high is None or share is None:
        shown = f"{_percent(share)} %" if share is not None else UNKNOWN
        return Cell(text=shown, sort=share, unknown=share is None, lines=("no interval",))
    strip = Strip(
        low=max(low / scale, -1),
        high=min(high / scale, 1),
        at=min(max(share / scale, -1), 1),
        cut_low=low < -scale,
        cut_high=high > scale,
    )
    return Cell(
        text=f"{_percent(share)} %",
        lines=(f"{_percent(low)} … {_percent(high)} %",),
        sort=share,
        strip=strip,
        tone=_tone(effect),
    )


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
    return table("Conditions that differ", columns, rows)


def _value(value: Any) -> str:
    return UNKNOWN if value is None else msgspec.json.encode(value).decode()
