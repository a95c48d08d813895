"""Which arm and cell is best, said only as far as the trials of this run show it.

options.py has what is said of each of them, levels.py how good each is, judging.py the tests that
it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from harness.compare.effects import effect_of
from harness.compare.factors import factors
from harness.compare.judging import judge, rank
from harness.compare.levels import means_of, objective_of, option_of, unranked
from harness.compare.measured import Measured, has_blocks, measured
from harness.compare.options import Objective, Option, Recommendation
from harness.compare.sides import Key
from harness.compare.watermark import MADE_UP, is_stub, made_up
from harness.compare.words import spoken
from harness.compare.work import of_all_work, unequal_output
from harness.errors import SpecError
from harness.protocols import RunData
from harness.schema import Effect, Manifest, Summary
from harness.statistics import GROUPS_MIN
from harness.text import listed

__all__ = ["headline", "recommend", "refusal"]


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


def refusal(summary: Summary, metrics: Iterable[str] = ()) -> str:
    """Why nothing may be recommended from this run by these metrics; empty if it may."""
    caveats = summary.verdict.caveats
    if is_stub(summary):
        return "the server was a simulation: what is best for it says nothing of any model"
    fake = made_up(summary)
    if found := [name for name in metrics if name in fake]:
        return f"{listed(found)} {'are' if len(found) > 1 else 'is'} {MADE_UP}"
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
    objectives = tuple(objective_of(name, found) for name in names)
    for name in slo or {}:
        objective_of(name, found)
    paired = _is_paired(run.manifest, found, names)
    options = [option_of(key, run.manifest, objectives, slo or {}, found) for key in found]
    judged, tests = judge(options, objectives, found, paired)
    first = objectives[0]
    judged.sort(key=lambda one: rank(one, first))
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
            {key: means_of(found[key], first.metric) for key in found},
            seed=run.manifest.spec.seed,
        ),
        tests=tests,
        paired=paired,
        sentence="",
        unranked=unranked(judged, objectives, found),
        doubts=tuple(dict.fromkeys(c.code for c in summary.verdict.caveats)),
        watermark=watermark,
    )
    return replace(made, sentence=_sentence(made))


# ---- figures


def _has(one: Measured) -> bool:
    return any(series.values for series in one.series.values())


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
    ours = found[first.arm, first.cell]
    others = [one for one in options if one is not first and of.metric in one.levels]
    for one in others:
        other = found[one.arm, one.cell]
        effect = effect_of(of.metric, other, ours, paired=paired)
        p = None if effect.p_welch is None else min(1.0, effect.p_welch * tests)
        unequal = unequal_output(other, ours) if of_all_work(of.metric) else ""
        yield spoken(replace(effect, p_holm=p), family=tests, unequal_work=unequal)


# ---- words


def _sentence(of: Recommendation) -> str:
    if not of.unranked or not of.best or (len(of.best) == 1 and not of.tests):
        return _ranked(of)
    if len(of.best) == 1:
        return f"{_ranked(of)}; {of.unranked}"
    shown = listed([one.label for one in of.best])
    return f"No ranking of {shown}: {of.unranked}. Try --metric ttft_ms, or one max_tokens for all"


def _ranked(of: Recommendation) -> str:
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
        return f"{one.label}: {levels}; {against} ({_tested(of, fewest)})"
    shown = listed([one.label for one in of.best])
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
