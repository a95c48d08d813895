"""Which arms and cells are beaten, and which are not, as far as the trials of a run show it.

Every option is tested against every other on every objective (Welch's t of trial means; of blocks,
where the run interleaved its arms).

    beaten       some other option is significantly better in one objective, and worse in none
    recommended  what is left. One option: it is the best that was measured. Several, of one
                 objective: any of these, as nothing tells them apart; of more: a trade to be made

What must not happen is that the truly best option is called beaten. It has k − 1 rivals, and could
wrongly lose to each in each of m objectives: so a p-value is corrected for (k − 1) m tests, the
first step of Holm's, and that error stays below 5 % however the winner was found (Hsu 1996, ch. 4).
The family of each option against the observed best would not do: which one that is was read off the
same data.

An option that misses the SLO, or is not shown to meet it, is no candidate, however fast.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from msgspec.structs import replace

from harness.compare.measured import Measured
from harness.compare.options import Level, Objective, Option
from harness.compare.sides import Key
from harness.errors import SpecError
from harness.schema import Manifest
from harness.statistics import GROUPS_MIN, t_interval, trials_needed
from harness.statistics.contrasts import moments, t_of_contrast
from harness.strict import nearest
from harness.text import listed

__all__ = ["judge", "means_of", "objective_of", "option_of", "p_values", "rank"]

ALPHA: Final = 0.05
POWER: Final = 0.8
WORTH_SHARE: Final = 0.02
"""A difference below this is not worth further trials, unless it costs few."""
TRIALS_WORTH: Final = 100


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
    means = means_of(one, name)
    if not means:
        return None
    around = t_interval(means) if len(means) >= GROUPS_MIN else None
    return Level(
        mean=math.fsum(means) / len(means),
        low=around.low if around else None,
        high=around.high if around else None,
        n=len(means),
    )


def means_of(one: Measured, name: str) -> list[float]:
    """One figure a trial: the mean of its values, as `harness compare` takes it."""
    return [math.fsum(values) / len(values) for values in one.by_block(name).values()]


def rank(one: Option, of: Objective) -> tuple[int, float]:
    order = {"recommended": 0, "beaten": 1, "out": 2, "unknown": 3}
    level = one.levels.get(of.metric)
    sign = 1 if of.better == "lower" else -1
    return order[one.status], sign * level.mean if level else math.inf


def judge(
    options: Sequence[Option],
    objectives: Sequence[Objective],
    found: Mapping[Key, Measured],
    paired: bool,
) -> tuple[list[Option], int]:
    """The candidates among `options`, beaten or not; and how many tests it took."""
    able = [one for one in options if one.status == "recommended"]
    means = {
        (at, o.metric): means_of(found[one.arm, one.cell], o.metric)
        for at, one in enumerate(able)
        for o in objectives
    }
    found_p = {
        (i, j, o.metric): p
        for o in objectives
        for (i, j), p in p_values([means[at, o.metric] for at in range(len(able))], paired)
    }
    tests = (len(able) - 1) * len(objectives) if found_p else 0
    different = {place for place, p in found_p.items() if p * tests < ALPHA}

    def beats(i: int, j: int) -> bool:
        levels = [(able[i].levels[o.metric].mean, able[j].levels[o.metric].mean, o)
                  for o in objectives]  # fmt: skip
        if any(o.is_worse(one, other) for one, other, o in levels):
            return False
        at = min(i, j), max(i, j)
        return any((*at, o.metric) in different for o in objectives)

    judged = []
    for j, one in enumerate(able):
        winner = next((i for i in range(len(able)) if i != j and beats(i, j)), None)
        if winner is not None:
            by = able[winner]
            one = replace(one, status="beaten", because=f"{by.label} is better")
        judged.append(one)
    best = min(
        (j for j, one in enumerate(judged) if one.status == "recommended"),
        key=lambda j: rank(judged[j], objectives[0]),
        default=None,
    )
    if best is not None and len(objectives) == 1:
        name = objectives[0].metric
        judged = [
            one
            if at == best or one.status != "recommended"
            else replace(one, more_trials=_more(means[best, name], means[at, name], paired, tests))
            for at, one in enumerate(judged)
        ]
    return [*judged, *(one for one in options if one.status != "recommended")], tests


def p_values(
    figures: Sequence[Sequence[float]], paired: bool
) -> Iterator[tuple[tuple[int, int], float]]:
    """((i, j), p) of each two options, i < j; none below 5 trials a side, as in `harness compare`.
    A grid of 1000 options makes half a million pairs: each is tested against all others at once."""
    import numpy as np
    from scipy.special import stdtr

    by_size: dict[int, list[int]] = defaultdict(list)
    for at, trials in enumerate(figures):
        if len(trials) >= GROUPS_MIN:
            by_size[len(trials)].append(at)
    for same in by_size.values():
        rows = np.array([figures[at] for at in same])
        for i in (at for group in by_size.values() for at in group):
            behind = bisect_right(same, i)
            if behind == len(same):
                continue
            one = np.broadcast_to(np.asarray(figures[i]), (len(same) - behind, len(figures[i])))
            t, df = t_of_contrast(moments(one, rows[behind:], paired=paired))
            p = np.minimum(1.0, 2 * stdtr(df, -np.abs(t)))
            yield from zip(((i, j) for j in same[behind:]), p.tolist(), strict=True)


def _more(best: Sequence[float], other: Sequence[float], paired: bool, tests: int) -> int | None:
    """Further trials each until the difference as it was observed would be seen, at the level that
    the family leaves a single test."""
    import numpy as np

    lacking = max(0, GROUPS_MIN - min(len(best), len(other)))
    if min(len(best), len(other)) < 2:
        return lacking
    a, b = np.asarray(best), np.asarray(other)
    distance = abs(float(b.mean() - a.mean()))
    if paired and a.size == b.size:
        sd, df = float((b - a).std(ddof=1)), 1.0
    else:
        sd, df = math.sqrt(float(a.var(ddof=1) + b.var(ddof=1))), 2.0
    if distance == 0:
        return lacking or None
    needed = trials_needed(
        distance, sd, alpha=ALPHA / 2 / max(tests, 1), power=POWER, df_per_trial=df
    )
    further = None if needed is None else max(lacking, needed - min(a.size, b.size), 1)
    small = distance < WORTH_SHARE * abs(float(a.mean()))
    if further is None or (small and further > TRIALS_WORTH):
        return lacking or None
    return further
