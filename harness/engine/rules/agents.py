"""Agents at once and one after another: is a speed-up of the same work, and is there one at all.

Times of one piece of work can be divided by one another. If an agent wrote twice as much while it
was alone, a "speed-up" of two is no more than that. And of pairs whose solo half failed, those that
are left are not a sample of all: what fails is mostly what was slow.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from harness.engine.rules.view import ArmView, RunView
from harness.metrics import Pair
from harness.metrics.agents import agents_of, contention_of, tokens_of
from harness.metrics.series import pairs_of
from harness.schema import CallRecord, Caveat, ValiditySpec
from harness.text import listed, one_line

__all__ = ["contention", "solo_missing", "unequal_work"]

SHOWN_MAX: Final = 8
"""Pairs in the evidence."""
QUEUE_SHOWN_MS: Final = 1.0
"""Less than that is no queue: it is what two requests at the same instant cost."""


def unequal_work(view: RunView) -> Iterator[Caveat]:
    """Agents that generated another amount alone than beside the others, over all whole pairs."""
    bounds = view.manifest.spec.validity
    for arm in view.arms:
        pairs = [pair for pair in _pairs(arm, bounds) if pair.alone() is not None]
        work = _work(pairs)
        unknown = [agent for agent, sides in work.items() if None in sides]
        if unknown:
            yield _unknown(arm, unknown, len(pairs))
            continue
        excess = {agent: _excess(*sides) for agent, sides in work.items()}
        if excess and max(excess.values()) > bounds.solo_work_share_max:
            yield _unequal(arm, work, max(excess, key=lambda agent: excess[agent]))


def solo_missing(view: RunView) -> Iterator[Caveat]:
    """Measured iterations without a solo one that came to its end; or without any, and then the
    only figure of several agents is the load-balance ratio."""
    for arm in view.arms:
        over = {trial.trial for trial in arm.trials if trial.status in ("ok", "error")}
        measured = [one for one in arm.iterations if one.trial in over and one.status == "ok"]
        several = [one for one in measured if len(agents_of(one)) > 1]
        if not arm.solo:
            if several:
                yield _no_solo(arm, len(several))
            continue
        pairs = [one for one in _pairs(arm) if one.record in measured]
        lacking = [pair for pair in pairs if pair.together() and pair.alone() is None]
        if lacking:
            yield _half(arm, lacking, len(pairs))


def contention(view: RunView) -> Iterator[Caveat]:
    """Agents held each other up: whose, by how much, and what says so."""
    bounds = view.manifest.spec.validity
    for arm in view.arms:
        found = [(pair, contention_of(pair)) for pair in _pairs(arm, bounds)]
        known = [(pair, one) for pair, one in found if one.found is not None]
        contended = [(pair, one) for pair, one in known if one.found]
        if not contended:
            continue
        worst, slowest = max(
            ((max(one.slowdowns.values()), max(one.slowdowns, key=lambda a: one.slowdowns[a]))
             for _, one in contended)
        )  # fmt: skip
        waits = [one.queue_excess_ms for _, one in contended if one.queue_excess_ms is not None]
        queued, shared = "", bool(waits) and max(waits) < QUEUE_SHOWN_MS
        if shared:
            queued = ", without a queue that shows: they shared what the server can do"
        elif waits:
            queued = f", the queue residual grew by up to {max(waits):.3g} ms"
        yield Caveat(
            code="contention",
            severity="note",
            message=f"in {len(contended)} of {len(known)} iterations agents held each other up: "
            f"{one_line(slowest, 40)} took {worst:.3g} times as long as alone{queued}",
            evidence={
                "by_slowdown": sum(bool(one.slowdown) for _, one in contended),
                "by_queue": sum(bool(one.queue) for _, one in contended),
                "contention_slowdown_max": bounds.contention_slowdown_max,
                "contention_queue_max_ms": bounds.contention_queue_max_ms,
                "iterations": [
                    {
                        "trial": pair.record.trial,
                        "iteration": pair.record.iteration,
                        "slowdowns": dict(one.slowdowns),
                        "queue_residual_ms": [one.queue_together_ms, one.queue_alone_ms],
                    }
                    for pair, one in contended[:SHOWN_MAX]
                ],
            },
            remedy="fewer agents at once, or a server for each on hardware of its own"
            if shared
            else "as many slots of the server as there are agents, or an endpoint for each, if "
            "they are not to wait for one another",
            arm=arm.name,
            cell=arm.cell,
        )


def _pairs(arm: ArmView, bounds: ValiditySpec | None = None) -> list[Pair]:
    """In the order of the plan, whatever that of the log is."""
    iterations = sorted([*arm.iterations, *arm.solo], key=lambda one: (one.trial, one.iteration))
    return pairs_of([*arm.calls, *arm.solo_calls], iterations, bounds)


# ---- the same work


def _work(pairs: Sequence[Pair]) -> dict[str, tuple[int | None, int | None]]:
    """Agent → output tokens together and alone; None where the server did not count some. Agents
    that make no calls do no work that could be counted."""
    agents = dict.fromkeys(name for pair in pairs for name in agents_of(pair.record))
    made = {}
    for agent in agents:
        together = [call for pair in pairs for call in _of(agent, pair.calls)]
        alone = [call for pair in pairs for call in _of(agent, pair.solo_calls)]
        if together or alone:
            made[agent] = (_tokens(together), _tokens(alone))
    return made


def _of(agent: str, calls: Sequence[CallRecord]) -> list[CallRecord]:
    return [call for call in calls if call.agent == agent]


def _tokens(calls: Sequence[CallRecord]) -> int | None:
    return tokens_of(calls) if calls else 0


def _excess(together: int | None, alone: int | None) -> float:
    """By what share the larger amount exceeds the smaller."""
    least, most = sorted((together or 0, alone or 0))
    return most / least - 1 if least else math.inf if most else 0.0


def _unequal(arm: ArmView, work: dict[str, tuple[int | None, int | None]], worst: str) -> Caveat:
    together, alone = work[worst]
    return Caveat(
        code="unequal-work",
        severity="doubtful",
        message=f"{one_line(worst, 40)} generated {together} tokens beside the others and {alone} "
        "alone: speed-up and slowdown are not of the same work",
        evidence={
            "output_tokens": {
                agent: {"together": sides[0], "alone": sides[1]} for agent, sides in work.items()
            }
        },
        remedy="bound the output (max_tokens, ignore_eos), or temperature 0 and a seed, so that "
        "agents do the same work twice; compare TTFT and TPOT, which need no equal lengths",
        arm=arm.name,
        cell=arm.cell,
    )


def _unknown(arm: ArmView, agents: list[str], pairs: int) -> Caveat:
    return Caveat(
        code="unequal-work",
        severity="note",
        message=f"the server did not count the output tokens of {listed(agents)}: nobody knows "
        "whether the agents did the same work alone and beside each other",
        evidence={"agents": agents, "pairs": pairs},
        remedy="a server, or a version of it, that reports usage in its streams",
        arm=arm.name,
        cell=arm.cell,
    )


# ---- the solo arm


def _no_solo(arm: ArmView, count: int) -> Caveat:
    return Caveat(
        code="solo-missing",
        severity="note",
        message=f"several agents worked at once in {count} iterations, and never one after "
        "another: there is no speed-up (the load-balance ratio is none)",
        evidence={"iterations": count},
        remedy="a scenario with a solo arm (`solo = True`), such as multi_agent",
        arm=arm.name,
        cell=arm.cell,
    )


def _half(arm: ArmView, lacking: Sequence[Pair], of: int) -> Caveat:
    why = Counter(_why(pair) for pair in lacking)
    told = "; ".join(f"{count} × {reason}" for reason, count in why.most_common())
    return Caveat(
        code="solo-missing",
        severity="doubtful",
        message=f"{len(lacking)} of {of} iterations have nothing to be compared with ({told}): "
        "speed-up and slowdown are of the others alone",
        evidence={"reasons": dict(why), "iterations": [_place(p) for p in lacking[:SHOWN_MAX]]},
        remedy="see to the failures of the solo iterations: "
        "`harness export RUN --format jsonl` has their calls",
        arm=arm.name,
        cell=arm.cell,
    )


def _why(pair: Pair) -> str:
    if pair.solo is None:
        return "no solo iteration was recorded"
    if pair.solo.status != "ok":
        said = pair.solo.error
        told = f": {one_line(said.message, 80)}" if said and said.message else ""
        return f"the solo iteration ended as {pair.solo.status}{told}"
    if {*agents_of(pair.solo)} != {*agents_of(pair.record)}:
        return "other agents worked alone"
    return "a call of an agent alone failed"


def _place(pair: Pair) -> dict[str, Any]:
    return {"trial": pair.record.trial, "iteration": pair.record.iteration}
