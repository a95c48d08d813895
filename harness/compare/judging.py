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

An option that misses the SLO, or is not shown to meet it, is no candidate, however fast. And where
an objective takes longer, or gets higher, with more output (E2E latency, throughput), options whose
outputs differ in length are not ranked against one another: less work is not better work.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from harness.compare.levels import means_of
from harness.compare.measured import Measured
from harness.compare.options import Objective, Option
from harness.compare.sides import Key
from harness.compare.spread import answers_of, chance_variance, without_spread
from harness.compare.work import of_all_work, unequal_output
from harness.statistics import GROUPS_MIN, trials_needed
from harness.statistics.contrasts import at_least, moments, t_of_contrast

__all__ = ["judge", "p_values", "rank"]

ALPHA: Final = 0.05
POWER: Final = 0.8
WORTH_SHARE: Final = 0.02
"""A difference below this is not worth further trials, unless it costs few."""
TRIALS_WORTH: Final = 100


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
        for (i, j), p in p_values(
            [means[at, o.metric] for at in range(len(able))],
            paired,
            [_chance(found[one.arm, one.cell], o.metric) for one in able],
        )
        if p > 0 or not without_spread(o.unit, means[i, o.metric], means[j, o.metric])
    }
    tests = (len(able) - 1) * len(objectives) if found_p else 0
    different = {place for place, p in found_p.items() if p * tests < ALPHA}

    of_work = any(of_all_work(o.metric) for o in objectives)
    alike = [found[one.arm, one.cell] for one in able]

    def unequal(i: int, j: int) -> bool:
        return of_work and bool(unequal_output(alike[i], alike[j]))

    def beats(i: int, j: int) -> bool:
        levels = [(able[i].levels[o.metric].mean, able[j].levels[o.metric].mean, o)
                  for o in objectives]  # fmt: skip
        if any(o.is_worse(one, other) for one, other, o in levels) or unequal(i, j):
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
            if at == best or one.status != "recommended" or unequal(best, at)
            else replace(one, more_trials=_more(means[best, name], means[at, name], paired, tests))
            for at, one in enumerate(judged)
        ]
    return [*judged, *(one for one in options if one.status != "recommended")], tests


def _chance(one: Measured, name: str) -> float:
    figures = {block: math.fsum(of) / len(of) for block, of in one.by_block(name).items()}
    return chance_variance(figures, answers_of(one, name))


def p_values(
    figures: Sequence[Sequence[float]], paired: bool, floors: Sequence[float] = ()
) -> Iterator[tuple[tuple[int, int], float]]:
    """((i, j), p) of each two options, i < j; none below 5 trials a side, as in `harness compare`.
    A grid of 1000 options makes half a million pairs: each is tested against all others at once.
    `floors`: the least squared standard errors of their means."""
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
            of = moments(one, rows[behind:], paired=paired)
            if floors:
                of = at_least(of, (floors[i], [floors[at] for at in same[behind:]]))
            t, df = t_of_contrast(of)
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
