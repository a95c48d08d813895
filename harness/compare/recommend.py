"""Which arm and cell is best, said only as far as the trials of this run show it.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from harness.compare.effects import effect_of
from harness.compare.factors import Factor, factors
from harness.compare.measured import Measured, has_blocks, measured
from harness.compare.sides import Key
from harness.compare.words import spoken
from harness.errors import SpecError
from harness.protocols import RunData
from harness.schema import Effect, Manifest, Summary
from harness.statistics import GROUPS_MIN, t_interval, trials_needed
from harness.statistics.contrasts import moments, t_of_contrast
from harness.strict import nearest
from harness.text import listed

__all__ = ["Level", "Objective", "Option", "Recommendation", "headline", "recommend", "refusal"]

ALPHA: Final = 0.05
POWER: Final = 0.8
WORTH_SHARE: Final = 0.02
"""A difference below this is not worth further trials, unless it costs few."""
TRIALS_WORTH: Final = 100


class Objective(Struct, frozen=True, kw_only=True):
    """What is to be made low or high."""

    metric: str
    unit: str
    better: Literal["lower", "higher"]


class Level(Struct, frozen=True, kw_only=True):
    """One objective of one option."""

    mean: float
    """Over trials."""
    low: float | None
    """95 % interval (Student's, of trial means). None below 5 trials."""
    high: float | None
    n: int
    """Trials."""


class Option(Struct, frozen=True, kw_only=True):
    """One arm and cell."""

    arm: str
    cell: str
    values: dict[str, Any]
    """What the sweep set."""
    levels: dict[str, Level]
    """Metric → level."""
    status: Literal["recommended", "beaten", "out", "unknown"]
    """`out`: it does not meet the SLO, or is not shown to. `unknown`: it lacks an objective."""
    because: str = ""
    more_trials: int | None = None
    """Of one that cannot be told from the best: further trials each, until the difference that was
    observed would be seen in 4 of 5 cases. None: it was told apart, or it is not worth it."""


class Recommendation(Struct, frozen=True, kw_only=True):
    """What the run shows."""

    run_id: str
    name: str
    objectives: tuple[Objective, ...]
    options: tuple[Option, ...]
    """Best mean of the first objective first."""
    best: tuple[Option, ...]
    """Recommended: one, any of several, or the trade to be made."""
    effects: tuple[Effect, ...]
    """The best option against each of the others, in the order of `options`; first objective."""
    factors: tuple[Factor, ...]
    tests: int
    """That a p-value was corrected for: rivals of an option times objectives. 0: none was made."""
    paired: bool
    sentence: str
    doubts: tuple[str, ...]
    """Codes of the run's caveats that the reader must weigh."""
    watermark: str = ""
    """Why this may not be acted on."""


def headline(summary: Summary) -> str:
    """The metric that a scenario is about: system throughput of a closed loop, latency from the due
    instant of an open one, the wall time of a workflow; of an imported table, its only metric with
    a direction. Raises SpecError where it takes a choice."""
    known = {m.name: m for arm in summary.arms for m in arm.metrics if m.n}
    by_mode = {"closed": "throughput_tok_s", "open": "e2e_from_due_ms"}
    name = by_mode.get(summary.load_mode or "", "wall_ms")
    if name in known:
        return name
    with_direction = [name for name, m in known.items() if m.better != "neither"]
    if len(with_direction) == 1:
        return with_direction[0]
    raise SpecError(
        "which figure is to be made better?",
        where="--metric",
        remedy=f"one or several of {listed(with_direction or list(known))}",
    )


def refusal(summary: Summary) -> str:
    """Why nothing may be recommended from this run; empty if it may."""
    caveats = summary.verdict.caveats
    if any(caveat.code == "simulated" for caveat in caveats):
        return "the server was a simulation: what is best for it says nothing of any model"
    if summary.verdict.state == "invalid":
        codes = dict.fromkeys(c.code for c in caveats if c.severity == "invalid")
        return f"the run is invalid ({', '.join(codes)})"
    return "" if summary.state == "finished" else f"the run is not complete ({summary.state})"


def recommend(
    run: RunData,
    metrics: Sequence[str] = (),
    *,
    slo: Mapping[str, float] | None = None,
    watermark: str = "",
) -> Recommendation:
    """Raises SpecError for a metric that the run does not have, or that has no better direction,
    and where there is nothing to choose from. The caller has asked `refusal`."""
    summary = run.summary
    names = list(dict.fromkeys(metrics)) or [headline(summary)]
    keys = [(arm.arm, arm.cell) for arm in summary.arms]
    found = {key: one for key, one in measured(run, keys).items() if one.calls or _has(one)}
    if len(found) < 2:
        raise SpecError(
            "there is one arm and cell, and so nothing to choose from",
            where=run.manifest.name,
            remedy="arms or a sweep in the spec",
        )
    objectives = tuple(_objective(name, found) for name in names)
    for name in slo or {}:
        _objective(name, found)
    paired = _is_paired(run.manifest, found, names)
    options = [_option(key, run.manifest, objectives, slo or {}, found) for key in found]
    judged, tests = _judged(options, objectives, found, paired)
    first = objectives[0]
    judged.sort(key=lambda one: _rank(one, first))
    best = tuple(one for one in judged if one.status == "recommended")
    made = Recommendation(
        run_id=run.manifest.run_id,
        name=run.manifest.name,
        objectives=objectives,
        options=tuple(judged),
        best=best,
        effects=tuple(_effects(best, judged, first, found, paired, tests)) if best else (),
        factors=factors(
            {key: _factors_of(run.manifest, key, one) for key, one in found.items()},
            {key: _means(found[key], first.metric) for key in found},
            seed=run.manifest.spec.seed,
        ),
        tests=tests,
        paired=paired,
        sentence="",
        doubts=tuple(dict.fromkeys(c.code for c in summary.verdict.caveats)),
        watermark=watermark,
    )
    return replace(made, sentence=_sentence(made))


# ---- figures


def _has(one: Measured) -> bool:
    return any(series.values for series in one.series.values())


def _objective(name: str, found: Mapping[Key, Measured]) -> Objective:
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


def _means(one: Measured, name: str) -> list[float]:
    """One figure a trial: the mean of its values, as `harness compare` takes it."""
    return [math.fsum(values) / len(values) for values in one.by_block(name).values()]


def _level(one: Measured, name: str) -> Level | None:
    means = _means(one, name)
    if not means:
        return None
    around = t_interval(means) if len(means) >= GROUPS_MIN else None
    return Level(
        mean=math.fsum(means) / len(means),
        low=around.low if around else None,
        high=around.high if around else None,
        n=len(means),
    )


def _factors_of(manifest: Manifest, key: Key, one: Measured) -> Mapping[str, Any]:
    """What the sweep set. Of a table, what its rows say: a baseline has none of the factors of the
    cell that it stands in."""
    if manifest.spec.backend.name == "imported":
        return one.trials[0].effective.options if one.trials else {}
    return manifest.cells.get(key[1], {})


def _is_paired(manifest: Manifest, found: Mapping[Key, Measured], names: Iterable[str]) -> bool:
    """Whether the k-th trials of all options ran in one block."""
    if not has_blocks(manifest.spec):
        return False
    blocks = {frozenset(one.by_block(name)) for one in found.values() for name in names}
    return len(blocks) == 1


# ---- options


def _option(
    key: Key,
    manifest: Manifest,
    objectives: Sequence[Objective],
    slo: Mapping[str, float],
    found: Mapping[Key, Measured],
) -> Option:
    one = found[key]
    levels = {o.metric: level for o in objectives if (level := _level(one, o.metric))}
    missing = [o.metric for o in objectives if o.metric not in levels]
    status: Literal["recommended", "out", "unknown"] = "unknown" if missing else "recommended"
    because = f"it has no {', '.join(missing)}" if missing else ""
    for name, bound in slo.items():
        level = _level(one, name)
        if level is not None:
            levels.setdefault(name, level)
        why = _misses(name, bound, level, _objective(name, found))
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
    if _worse(level.mean, bound, of):
        return f"its {name} of {level.mean:.4g} {of.unit} is not {sign} {bound:g}"
    if end is None:
        lacking = GROUPS_MIN - level.n
        return f"whether its {name} is {sign} {bound:g} takes {lacking} more trials"
    if _worse(end, bound, of):
        return (
            f"its {name} of {level.mean:.4g} {of.unit} may lie beyond {bound:g}: the interval "
            f"reaches to {end:.4g}"
        )
    return ""


def _worse(one: float, than: float, of: Objective) -> bool:
    return one > than if of.better == "lower" else one < than


def _rank(one: Option, of: Objective) -> tuple[int, float]:
    order = {"recommended": 0, "beaten": 1, "out": 2, "unknown": 3}
    level = one.levels.get(of.metric)
    sign = 1 if of.better == "lower" else -1
    return order[one.status], sign * level.mean if level else math.inf


def _judged(
    options: Sequence[Option],
    objectives: Sequence[Objective],
    found: Mapping[Key, Measured],
    paired: bool,
) -> tuple[list[Option], int]:
    """The candidates among `options`, beaten or not; and how many tests it took."""
    able = [one for one in options if one.status == "recommended"]
    means = {
        (at, o.metric): _means(found[one.arm, one.cell], o.metric)
        for at, one in enumerate(able)
        for o in objectives
    }
    found_p = {
        (i, j, o.metric): p
        for o in objectives
        for (i, j), p in _p_values([means[at, o.metric] for at in range(len(able))], paired)
    }
    tests = (len(able) - 1) * len(objectives) if found_p else 0
    different = {place for place, p in found_p.items() if p * tests < ALPHA}

    def beats(i: int, j: int) -> bool:
        levels = [(able[i].levels[o.metric].mean, able[j].levels[o.metric].mean, o)
                  for o in objectives]  # fmt: skip
        if any(_worse(one, other, o) for one, other, o in levels):
            return False
        at = min(i, j), max(i, j)
        return any((*at, o.metric) in different for o in objectives)

    judged = []
    for j, one in enumerate(able):
        winner = next((i for i in range(len(able)) if i != j and beats(i, j)), None)
        if winner is not None:
            by = able[winner]
            one = replace(one, status="beaten", because=f"{_label(by)} is better")
        judged.append(one)
    best = min(
        (j for j, one in enumerate(judged) if one.status == "recommended"),
        key=lambda j: _rank(judged[j], objectives[0]),
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


def _p_values(
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


def _effects(
    best: Sequence[Option],
    options: Sequence[Option],
    of: Objective,
    found: Mapping[Key, Measured],
    paired: bool,
    tests: int,
) -> Iterator[Effect]:
    """The best mean against every other option that has the figure: how large, and how sure."""
    first = best[0]
    others = [one for one in options if one is not first and of.metric in one.levels]
    made = [
        effect_of(of.metric, found[one.arm, one.cell], found[first.arm, first.cell], paired=paired)
        for one in others
    ]
    for effect in made:
        p = None if effect.p_welch is None else min(1.0, effect.p_welch * tests)
        yield spoken(replace(effect, p_holm=p), family=tests)


# ---- words


def _label(one: Option) -> str:
    return one.arm if one.cell in ("", "base") else f"{one.arm} / {one.cell}"


def _sentence(of: Recommendation) -> str:
    names = ", ".join(o.metric for o in of.objectives)
    able = [one for one in of.options if one.status in ("recommended", "beaten")]
    if not able:
        reasons = list(dict.fromkeys(one.because for one in of.options))
        return f"Nothing can be recommended: {reasons[0]}"
    fewest = min(level.n for one in able for level in one.levels.values())
    if not of.tests and len(able) > 1:
        return (
            f"Nothing can be told apart: {fewest} trial{'s' if fewest > 1 else ''} each, and it "
            f"takes {GROUPS_MIN}"
        )
    if len(of.best) == 1:
        one = of.best[0]
        rivals = len(able) - 1
        against = {0: "the only candidate", 1: "better than the other"}.get(
            rivals, f"better than each of the {rivals} others"
        )
        levels = "; ".join(_level_words(one, objective) for objective in of.objectives)
        return f"{_label(one)}: {levels}; {against} ({_tested(of, fewest)})"
    shown = listed([_label(one) for one in of.best])
    if len(of.objectives) > 1:
        return (
            f"A trade between {names}: none of {len(of.best)} options is shown to be better than "
            f"another in all: {shown}"
        )
    beaten = sum(one.status == "beaten" for one in able)
    others = "the other one is" if beaten == 1 else f"the other {beaten} are"
    than = f"; {others} shown to be worse" if beaten else ""
    return (
        f"Any of these {len(of.best)}: {shown}. Nothing tells them apart in {names}{than} "
        f"({_tested(of, fewest)})"
    )


def _level_words(one: Option, objective: Objective) -> str:
    level = one.levels[objective.metric]
    unit = "" if objective.unit in ("", "1") else f" {objective.unit}"
    around = "" if level.low is None else f", 95 % interval {level.low:.4g} to {level.high:.4g}"
    return f"{objective.metric} {level.mean:.4g}{unit}{around}"


def _tested(of: Recommendation, trials: int) -> str:
    each = f"{trials} trials each"
    return f"corrected for {of.tests} tests, {each}" if of.tests > 1 else each
