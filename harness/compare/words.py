"""What may be said of a difference: a word, and one sentence with its interval.

better, worse          significant after Holm's correction for all that was tested together
changed                the same, of a figure of which neither direction is better, or where the
                       two sides did not do the same amount of work
equivalent             a difference beyond the margin that was stated before is excluded
no difference shown    none of these; not a proof that there is none
not enough data        fewer than 5 trials a side; or what there is cannot carry a verdict
"""

from __future__ import annotations

import math
from typing import Final

from msgspec.structs import replace

from harness.schema import Effect
from harness.schema.comparison import Words
from harness.statistics import GROUPS_MIN

__all__ = ["ALPHA", "percent", "sized", "spoken", "within"]

ALPHA: Final = 0.05
MANY: Final = 1000
"""Further trials beyond which their number is no advice."""
TIMES: Final = ("ns", "us", "µs", "ms", "s")


def spoken(effect: Effect, *, family: int = 1, unequal_work: str = "") -> Effect:
    """With its words, from the p-values it has. `family`: metrics that were tested together;
    `unequal_work`: why durations of the two are not of the same work, if so."""
    word = _word(effect, bool(unequal_work))
    sentence = _sentence(effect, word, family)
    if unequal_work and word not in ("not enough data", "no difference shown"):
        sentence += f"; but {unequal_work}"
    return replace(effect, words=word, sentence=sentence)


def _word(effect: Effect, unequal_work: bool) -> Words:
    if (
        effect.because
        or effect.difference is None
        or (min(effect.n) < GROUPS_MIN and effect.p_mcnemar is None)
    ):
        return "not enough data"
    if effect.p_equivalent is not None and effect.p_equivalent < ALPHA and not unequal_work:
        return "equivalent"
    if effect.p_holm is None or not effect.p_holm < ALPHA or effect.difference == 0:
        return "no difference shown"
    if effect.better == "neither" or unequal_work:
        return "changed"
    return "better" if (effect.difference > 0) == (effect.better == "higher") else "worse"


def _sentence(effect: Effect, word: Words, family: int) -> str:
    if word == "not enough data":
        return _not_enough(effect)
    if effect.p_mcnemar is not None and word != "equivalent":
        return _of_questions(effect, word)
    trials = _trials(effect)
    if word == "equivalent":
        # The interval may reach a little beyond: two tests at 5 % are an interval of 90 %.
        tested = f"(TOST, p = {effect.p_equivalent:.2g})"
        return f"equivalent within {within(effect)} {tested}: {_interval(effect)}, {trials}"
    if word == "no difference shown":
        if effect.difference == effect.difference_low == effect.difference_high == 0:
            return f"no difference shown: the same in all of {trials}"
        chance = effect.p_welch is not None and effect.p_welch < ALPHA
        why = f" once corrected for {family} tests" if chance and effect.difference else ""
        return f"no difference shown{why}: {_interval(effect)}, {trials}{_further(effect)}"
    size, low, high, unit = _figures(effect)
    low, high = sorted((low.strip("+−"), high.strip("+−")), key=float)
    level = f"{effect.level * 100:g} % interval {low} to {high}"
    return f"{_direction(effect)} by {size.strip('+−')}{unit} ({level}), {trials}"


def _of_questions(effect: Effect, word: Words) -> str:
    shown = word if word == "no difference shown" else _direction(effect).rstrip(",")
    means = f"{effect.candidate_mean:.3g} against {effect.baseline_mean:.3g}"
    return f"{shown}: {means}, the same questions, McNemar p = {effect.p_mcnemar:.2g}"


def _direction(effect: Effect) -> str:
    """Of times: faster or slower; of all else: lower or higher, and whether that is good."""
    up = (effect.difference or 0) > 0
    if effect.unit in TIMES and effect.better == "lower":
        return "slower" if up else "faster"
    plain = "higher" if up else "lower"
    if effect.better == "neither":
        return plain
    return f"{plain}, {'better' if up == (effect.better == 'higher') else 'worse'},"


def _not_enough(effect: Effect) -> str:
    n, m = effect.n
    if effect.because:
        return f"not enough data: {effect.because}{_as_seen(effect)}"
    if effect.more_trials is None:
        return f"not enough data: {n} and {m} trials"
    text = f"not enough data: {_more(effect.more_trials)}"
    if max(n, m) == 1 and max(effect.values) > 1:
        text += f" ({max(effect.values)} values of one launch say nothing of the next)"
    elif not max(n, m):
        text += " (neither side has this figure)"
    elif not min(n, m):
        text += f" (the {'candidate' if n else 'baseline'} has none)"
    elif effect.more_trials > GROUPS_MIN - min(n, m):
        text += f" to see a difference of {_resolution(effect)}"
    return text


def _as_seen(effect: Effect) -> str:
    if effect.baseline_mean is None or effect.candidate_mean is None:
        return ""
    means = f"{effect.candidate_mean:.4g} against {effect.baseline_mean:.4g}"
    return f"; {means} {effect.unit}".rstrip()


def _further(effect: Effect) -> str:
    if effect.more_trials is None:
        return ""
    return f"; {_more(effect.more_trials)} would show one of {_resolution(effect)}"


def _more(count: int) -> str:
    if count > MANY:
        return f"over {MANY} more trials each"
    return f"{count} more {'trial' if count == 1 else 'trials'} each"


def _resolution(effect: Effect) -> str:
    if effect.margin is not None:
        return within(effect)
    return "5 % of the baseline" if effect.unit in ("%", "share") else "5 %"


def within(effect: Effect) -> str:
    margin = effect.margin or 0.0
    return sized(margin, effect.unit) if effect.margin_absolute else f"{percent(margin)} %"


def sized(figure: float, unit: str) -> str:
    """A difference with its unit; one of shares or percentages in percentage points."""
    if unit in ("%", "share"):
        return f"{figure * (100 if unit == 'share' else 1):.4g} percentage points"
    return f"{figure:.4g} {'' if unit == '1' else unit}".rstrip()


def _trials(effect: Effect) -> str:
    n, m = effect.n
    if effect.paired:
        return f"{n} blocks"
    return f"{n} trials each" if n == m else f"{n} and {m} trials"


def _interval(effect: Effect) -> str:
    _, low, high, unit = _figures(effect)
    return f"{effect.level * 100:g} % interval {low} to {high}{unit}"


def _figures(effect: Effect) -> tuple[str, str, str, str]:
    """Difference, lower and upper bound, each with its sign, and the unit: per cent of the
    baseline, where that is known. So many digits that the bounds can be told apart."""
    figures = (effect.share, effect.share_low, effect.share_high)
    size, low, high = (None if figure is None else 100 * figure for figure in figures)
    if size is not None and low is not None and high is not None and _agree(effect):
        digits = min(max(1, _digits(high - low)), 2)
        shown = [f"{figure:.{digits}f}" for figure in (size, low, high)]
        unit = " %"
    else:
        bounds = (effect.difference, effect.difference_low, effect.difference_high)
        texts = [sized(figure or 0.0, effect.unit).partition(" ") for figure in bounds]
        shown, unit = [text for text, _, _ in texts], "".join(texts[0][1:])
    return (*(_signed(text) for text in shown), unit)  # type: ignore[return-value]


def _agree(effect: Effect) -> bool:
    """Whether the bounds of the share leave 0 out where those of the difference, and so the test,
    do. Welch's degrees of freedom are not the same for both: of 200 pairs one or two disagree."""
    sides = (
        (effect.share_low or 0.0, effect.share_high or 0.0),
        (effect.difference_low or 0.0, effect.difference_high or 0.0),
    )
    return len({low > 0 or high < 0 for low, high in sides}) == 1


def _digits(width: float) -> int:
    """Behind the point, so that two of the width's own are seen."""
    return 1 - math.floor(math.log10(width)) if width > 0 else 1


def _signed(text: str) -> str:
    """With a real minus; what rounds to 0 has no sign."""
    if float(text) == 0:
        return text.lstrip("-")
    return f"−{text[1:]}" if text.startswith("-") else f"+{text}"


def percent(share: float) -> str:
    """A share (0.07) as a number of per cent (7.0), to the digits that anybody reads."""
    figure = share * 100
    if abs(figure) >= 100:
        return f"{figure:.0f}"
    return f"{figure:.1f}" if abs(figure) >= 0.95 else f"{figure:.2g}"
