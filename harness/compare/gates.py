"""`--gate METRIC=MARGIN`: has it become worse by more than one would accept?

    ttft_ms=5%            the mean of each trial; a loss of 5 % of the baseline
    ttft_ms=2ms           a loss of 2 ms
    retries=0.5           a loss of 0.5, of a figure without a unit
    median:ttft_ms=5%     the median of each trial; also p95 and p99, where trials are large enough
    accuracy=2pp          percentage points, of a figure that is itself in %

The rule is that of harness.statistics.gate. Where several gates are asked at once (metrics, arms,
cells), the level of a false alarm is divided by their number, so that it holds for the command as a
whole: one alarm fails it. The level of a missed loss is not: to pass, every gate must.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

from msgspec import Struct

from harness.compare.effects import Margin, trial_values
from harness.compare.measured import Measured
from harness.compare.spread import NO_SPREAD, answers_of, chance_variance, without_spread
from harness.compare.words import percent, sized
from harness.errors import SpecError
from harness.margins import Amount, parse_margin
from harness.schema import Comparison, GateResult
from harness.statistics import NEEDED, describe, gate
from harness.statistics.gate import GATE_ALPHA, GateDecision
from harness.strict import nearest
from harness.text import one_line

__all__ = [
    "GateSpec",
    "Statistic",
    "gate_of",
    "gate_status",
    "in_unit",
    "parse_gate",
    "unanswered",
]

Statistic = Literal["mean", "median", "p95", "p99"]

NO_REGRESSION: Final = 0
REGRESSION: Final = 1
NOT_ENOUGH: Final = 2
NOT_COMPARABLE: Final = 3

NO_UNIT: Final = ("", "1")
_TO_NS: Final = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}


class GateSpec(Struct, frozen=True, kw_only=True):
    """One gate as it was asked for."""

    metric: str
    statistic: Statistic
    amount: Amount


# ---- what a person types


def parse_gate(text: str) -> GateSpec:
    """`[STATISTIC:]METRIC=MARGIN`. Raises SpecError."""
    amount = parse_margin(text, "--gate")
    statistic, colon, metric = amount.metric.partition(":")
    if not colon:
        return GateSpec(metric=amount.metric, statistic="mean", amount=amount)
    if statistic not in get_args(Statistic):
        known = get_args(Statistic)
        raise SpecError(
            f"{one_line(statistic, 40)!r} is no statistic of a trial",
            where=f"--gate {one_line(text, 80)}",
            remedy=nearest(statistic, known) or " or ".join(known),
        )
    found: Statistic = next(one for one in get_args(Statistic) if one == statistic)
    return GateSpec(metric=metric, statistic=found, amount=amount)


def in_unit(amount: Amount, unit: str) -> Margin:
    """Checked against the metric's unit. Raises SpecError."""
    if amount.unit == "%":
        return Margin(value=amount.number / 100)
    if not amount.unit and unit not in NO_UNIT:
        guess = f"{amount.number * 100:g}%" if amount.number < 1 else f"{amount.number:g}%"
        raise SpecError(
            "a margin has a unit: % of the baseline, or that of the metric",
            where=amount.text,
            remedy=f"{amount.text.partition(' ')[0]} {one_line(amount.metric, 60)}={guess}",
        )
    if amount.unit == unit or not amount.unit or (amount.unit == "pp" and unit == "%"):
        return Margin(value=amount.number, absolute=True)
    if amount.unit == "pp" and unit == "share":
        return Margin(value=amount.number / 100, absolute=True)
    if amount.unit in _TO_NS and unit in _TO_NS:
        return Margin(value=amount.number * _TO_NS[amount.unit] / _TO_NS[unit], absolute=True)
    raise SpecError(
        f"the metric's unit is {one_line(unit, 20) or 'none'}, not {one_line(amount.unit, 20)}",
        where=amount.text,
        remedy=f"{amount.number:g}% of the baseline, or an amount "
        + (f"in {one_line(unit, 20)}" if unit not in NO_UNIT else "without a unit"),
    )


# ---- what comes of it


def gate_of(
    asked: GateSpec, a: Measured, b: Measured, *, paired: bool, gates: int = 1, looks: int = 1
) -> GateResult:
    """Of candidate `b` against baseline `a`. `gates`: how many are asked in all; `looks`: how often
    the data are looked at in all. SpecError for a metric without a better direction."""
    series = b.series[asked.metric]
    margin = in_unit(asked.amount, series.unit)
    if series.better == "neither":
        raise SpecError(
            f"neither direction of {asked.metric} is better, so it cannot become worse",
            where=asked.amount.text,
            remedy="--equivalent",
        )
    both = trial_values(a.by_block(asked.metric), b.by_block(asked.metric), paired=paired)
    one, other = (_figures(side, asked.statistic) for side in both)
    lacking = sum(map(len, both)) - len(one) - len(other)
    if paired and lacking:
        kept = [block for block in one if block in other]
        one, other = {k: one[k] for k in kept}, {k: other[k] for k in kept}
    figures = [*one.values()], [*other.values()]
    if without_spread(series.unit, *figures):
        return unanswered(asked, series.unit, "not enough data", NO_SPREAD)
    answers = [answers_of(side, asked.metric) for side in (a, b)]
    decision = gate(
        *figures,
        margin=margin.value,
        better=series.better,
        relative=not margin.absolute,
        paired=paired,
        alpha=GATE_ALPHA / gates,
        looks=looks,
        floors=(chance_variance(one, answers[0]), chance_variance(other, answers[1])),
    )
    few = f"{asked.statistic} needs {NEEDED[asked.statistic]} values a trial" if lacking else ""
    return GateResult(
        metric=asked.metric,
        statistic=asked.statistic,
        margin=margin.value,
        absolute=margin.absolute,
        status=decision.verdict,
        sentence=_sentence(asked, decision, series.unit, few),
        loss=decision.loss,
        loss_low=decision.loss_low,
        loss_high=decision.loss_high,
        more_trials=None if few else decision.more_trials,
    )


def unanswered(
    asked: GateSpec, unit: str, status: Literal["not enough data", "not comparable"], why: str
) -> GateResult:
    """Of a question that these two sides cannot answer. SpecError for a margin in another unit."""
    margin = in_unit(asked.amount, unit)
    return GateResult(
        metric=asked.metric,
        statistic=asked.statistic,
        margin=margin.value,
        absolute=margin.absolute,
        status=status,
        sentence=f"{_name(asked)}: {status}: {why}",
    )


def gate_status(comparisons: Iterable[Comparison]) -> int:
    """The worst decides: a regression, however little else is known; then what cannot be compared;
    then what has too few data."""
    every = list(comparisons)
    found = {result.status for one in every for result in one.gates}
    if "regression" in found:
        return REGRESSION
    if "not comparable" in found or not all(one.comparable for one in every):
        return NOT_COMPARABLE
    return NOT_ENOUGH if "not enough data" in found else NO_REGRESSION


def _figures(trials: dict[int, list[float]], statistic: Statistic) -> dict[int, float]:
    """Block → its trial's figure; a trial too small for a quantile has none."""
    found = {}
    for block, values in trials.items():
        if statistic == "mean":
            found[block] = sum(values) / len(values)
        elif statistic == "median":
            found[block] = _median(values)
        elif (figure := getattr(describe(values), statistic)) is not None:
            found[block] = figure
    return found


def _median(values: Sequence[float]) -> float:
    from statistics import median

    return median(values)


def _name(asked: GateSpec) -> str:
    return asked.metric if asked.statistic == "mean" else f"{asked.statistic} of {asked.metric}"


def _sentence(asked: GateSpec, found: GateDecision, unit: str, few: str) -> str:
    name, margin = _name(asked), _amount(found.margin, found, unit)
    if found.loss is None:
        because = few or f"{found.because}{_more(found)}{_absolute(asked, found, unit)}"
        return f"{name}: not enough data: {because}"
    word = "worse" if found.loss > 0 else "better"
    size = _amount(abs(found.loss), found, unit)
    shown = f"{word} by {size}" if found.loss else "the same"
    low, high = found.loss_low or 0.0, found.loss_high or 0.0
    bounds = f"loss between {_signed(low, found, unit)} and {_signed(high, found, unit)}"
    n, m = found.n
    trials = f"{n} blocks" if found.paired else f"{n} and {m} trials"
    if found.verdict == "regression":
        return f"{name}: regression: {shown}, margin {margin} ({bounds}; {trials})"
    if found.verdict == "no regression":
        return (
            f"{name}: no regression: {shown}; a loss of {margin} is excluded ({bounds}; {trials})"
        )
    because = few or f"{found.because}{_more(found)}"
    return f"{name}: not enough data: {because} ({shown}; {bounds}; {trials})"


def _absolute(asked: GateSpec, found: GateDecision, unit: str) -> str:
    """Of nothing there are no shares, however many trials: then an amount is what can be asked."""
    if not found.relative or found.baseline is None or found.more_trials is not None:
        return ""
    amount = "1pp" if unit in ("%", "share") else "0.01" if unit in NO_UNIT else f"1{unit}"
    of = "" if asked.statistic == "mean" else f"{asked.statistic}:"
    return f"; an amount can be asked for: --gate {of}{asked.metric}={amount}"


def _more(found: GateDecision) -> str:
    if found.more_trials is None:
        return ""
    return f"; {found.more_trials} more trial{'' if found.more_trials == 1 else 's'} each"


def _amount(figure: float, found: GateDecision, unit: str) -> str:
    return f"{percent(figure)} %" if found.relative else sized(figure, unit)


def _signed(figure: float, found: GateDecision, unit: str) -> str:
    return f"{'−' if figure < 0 else ''}{_amount(abs(figure), found, unit)}"
