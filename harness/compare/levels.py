"""What the options of a run are measured by: objectives, the level of each, and what keeps some
from being candidates or from being ranked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from harness.compare.measured import Measured
from harness.compare.options import Level, Objective, Option
from harness.compare.sides import Key
from harness.compare.spread import answers_of
from harness.compare.work import OUTPUT_RATIO_MAX, of_all_work
from harness.errors import SpecError
from harness.schema import Manifest
from harness.statistics import GROUPS_MIN, clopper_pearson, t_interval
from harness.strict import nearest
from harness.text import listed

__all__ = ["means_of", "objective_of", "option_of", "unranked"]


def objective_of(name: str, found: Mapping[Key, Measured]) -> Objective:
    series = [one.series[name] for one in found.values() if name in one.series]
    known = [one for one in series if one.values]
    if not known:
        every = (series for one in found.values() for series in one.series.values())
        names = dict.fromkeys(series.name for series in every if series.values)
        raise SpecError(
            "this run has no such figure",
            where=name,
            remedy=nearest(name, names) or f"one of {listed(list(names))}",
        )
    better = known[0].better
    if better == "neither":
        raise SpecError("neither direction of this figure is better", where=name)
    return Objective(metric=name, unit=known[0].unit, better=better)


def option_of(
    key: Key,
    manifest: Manifest,
    objectives: Sequence[Objective],
    slo: Mapping[str, float],
    found: Mapping[Key, Measured],
) -> Option:
    one = found[key]
    levels = {o.metric: level for o in objectives if (level := level_of(one, o.metric))}
    missing = [o.metric for o in objectives if o.metric not in levels]
    status: Literal["recommended", "out", "unknown"] = "unknown" if missing else "recommended"
    because = f"it has no {', '.join(missing)}" if missing else ""
    for name, bound in slo.items():
        level = level_of(one, name)
        if level is not None:
            levels.setdefault(name, level)
        why = _misses(name, bound, level, objective_of(name, found))
        if why:
            status, because = "out", why
            break
    return Option(
        arm=key[0],
        cell=key[1],
        values=dict(manifest.cells.get(key[1], {})),
        levels=levels,
        status=status,
        because=because,
    )


def _misses(name: str, bound: float, level: Level | None, of: Objective) -> str:
    """Why an option is not shown to meet the bound; the worse end of the interval counts."""
    if level is None:
        return f"it has no {name}"
    sign = "at most" if of.better == "lower" else "at least"
    end = level.high if of.better == "lower" else level.low
    if of.is_worse(level.mean, bound):
        return f"its {name} of {level.mean:.4g} {of.unit} is not {sign} {bound:g}"
    if end is None:
        lacking = GROUPS_MIN - level.n
        return f"whether its {name} is {sign} {bound:g} takes {lacking} more trials"
    if of.is_worse(end, bound):
        return (
            f"its {name} of {level.mean:.4g} {of.unit} may lie beyond {bound:g}: the interval "
            f"reaches to {end:.4g}"
        )
    return ""


def level_of(one: Measured, name: str) -> Level | None:
    """A share's interval is never narrower than chance makes it, as in the summary."""
    means = means_of(one, name)
    if not means:
        return None
    mean = math.fsum(means) / len(means)
    around = t_interval(means) if len(means) >= GROUPS_MIN else None
    if around is None:
        return Level(mean=mean, low=None, high=None, n=len(means))
    low, high = around.low, around.high
    answers = sum((answers_of(one, name) or {}).values())
    if answers:
        chance = clopper_pearson(round(mean * answers), answers)
        low, high = max(0.0, min(low, chance.low)), min(1.0, max(high, chance.high))
    return Level(mean=mean, low=low, high=high, n=len(means))


def unranked(
    options: Sequence[Option], objectives: Sequence[Objective], found: Mapping[Key, Measured]
) -> str:
    """Why some candidates are not ranked against others; empty where all are."""
    names = [o.metric for o in objectives if of_all_work(o.metric)]
    able = [one for one in options if one.status in ("recommended", "beaten")]
    by_tokens = sorted(
        (tokens, one.label)
        for one in able
        if (tokens := found[one.arm, one.cell].tokens_per_call) is not None
    )
    if not names or len(by_tokens) < 2 or by_tokens[-1][0] <= OUTPUT_RATIO_MAX * by_tokens[0][0]:
        return ""
    (least, short), (most, long) = by_tokens[0], by_tokens[-1]
    return (
        f"{listed(names)} depends on the length of the output, and that differs ({short}: "
        f"{least:.1f}, {long}: {most:.1f} tokens a call): options whose outputs differ by more "
        f"than {(OUTPUT_RATIO_MAX - 1) * 100:.0f} % are not ranked against one another"
    )


def means_of(one: Measured, name: str) -> list[float]:
    """One figure a trial: the mean of its values, as `harness compare` takes it."""
    return [math.fsum(values) / len(values) for values in one.by_block(name).values()]
