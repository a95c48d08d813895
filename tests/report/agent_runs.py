"""Runs of several agents at a server with a known number of slots. Nothing in them was measured: a
call waits for a slot, then for its prompt, then streams; every instant follows from its place."""

from __future__ import annotations

import random

import msgspec

from harness.schema import ArmSpec, CallError, IterationRecord, IterationsSpec, Span
from tests.store import builders
from tests.store.builders import MS, FakeRun, manifest

STAGES = ("analysis", "report")
PROMPT_MS, GAP_MS = 60.0, 10.0


class Slots:
    """When a call that arrives is served: first come, first served."""

    def __init__(self, count):
        self._free = [0.0] * count

    def taken(self, at_ms, length_ms):
        slot = min(range(len(self._free)), key=lambda i: self._free[i])
        start = max(at_ms, self._free[slot])
        self._free[slot] = start + length_ms
        return start


def run_of_agents(
    arms=("default",),
    *,
    agents=("collector", "insight"),
    slots=1,
    trials=5,
    measured=1,
    tokens=24,
    solo=True,
    solo_tokens=None,
    fail=(),
    simulated=False,
    streams=1,
    seed=1,
    usage=True,
    spec=None,
):
    """`slots`: of the server, or arm → slots. `fail`: (phase, agent) whose last call times out."""
    rng = random.Random(seed)
    records, plan, number = [], [], 0
    for _ in range(trials):
        for arm in arms:
            count = slots[arm] if isinstance(slots, dict) else slots
            start_ms = at_ms = 100_000.0 * number + 1000
            for iteration in range(measured):
                for phase in ("solo", "measured") if solo else ("measured",):
                    amount = (solo_tokens or tokens) if phase == "solo" else tokens
                    made = _iteration(arm, number, iteration, phase, agents, count, at_ms, amount,
                                      {a for p, a in fail if p == phase}, streams, rng)  # fmt: skip
                    if not usage:
                        made[:-1] = [
                            msgspec.structs.replace(c, usage=msgspec.structs.replace(
                                c.usage, output_tokens=None)) for c in made[:-1]
                        ]  # fmt: skip
                    records += made
                    at_ms = made[-1].end_ns / MS + 100
            ended = builders.trial(arm, number, start_ns=round((start_ms - 10) * MS),
                                   end_ns=round(at_ms * MS))  # fmt: skip
            effective = msgspec.structs.replace(ended.effective, simulated=simulated)
            records.append(msgspec.structs.replace(ended, effective=effective))
            plan.append((arm, "base", number))
            number += 1
    made_spec = builders.spec(
        arms={arm: ArmSpec() for arm in arms}, trials=trials,
        iterations=IterationsSpec(warmup=0, measured=measured), **(spec or {}),
    )  # fmt: skip
    made = manifest(arms=arms, state="finished", plan=tuple(plan), spec=made_spec)
    return FakeRun(made, records)


def _iteration(arm, trial, iteration, phase, agents, count, at_ms, tokens, failing, streams, rng):
    server, calls, spans = Slots(count), [], []
    begin = at_ms
    free = dict.fromkeys(agents, at_ms)
    order = [(stage, agent) for stage in STAGES for agent in agents]
    if phase == "solo":
        order = [(stage, agent) for agent in agents for stage in STAGES]
    starts = {}
    previous = None
    for stage, agent in order:
        if phase == "solo" and previous is not None and previous != agent and agent not in starts:
            free[agent] = free[previous] + 20
        if agent not in starts:
            starts[agent] = free[agent]
            read = 15 + rng.random() * 10
            spans.append(_span("ingest", agent, free[agent], free[agent] + read))
            free[agent] += read
        sent, ends = free[agent], []
        for _ in range(streams):
            length = PROMPT_MS + GAP_MS * tokens * (1 + 0.05 * rng.random())
            wait = server.taken(sent, length) - sent + PROMPT_MS
            place = {"arm": arm, "trial": trial, "iteration": iteration, "phase": phase,
                     "ordinal": len(calls)}  # fmt: skip
            made = builders.call(sent_ms=sent, ttft_ms=wait, tokens=tokens,
                                 tpot_ms=(length - PROMPT_MS) / tokens, **place)  # fmt: skip
            made = msgspec.structs.replace(
                made, agent=agent, stage=stage,
                server={"load_duration": 2 * MS, "prompt_eval_duration": round(55 * MS)},
            )  # fmt: skip
            if agent in failing and stage == STAGES[-1]:
                made = msgspec.structs.replace(
                    made, status="timeout", error=CallError(code="timeout.total", message="late"),
                    instants=msgspec.structs.replace(made.instants, end_ns=None),
                )  # fmt: skip
            calls.append(made)
            ends.append((made.instants.closed_ns or 0) / MS)
        spans.append(_span(stage, agent, sent, max(ends)))
        free[agent] = max(ends) + 1
        previous = agent
    spans += [_span("agent", agent, starts[agent], free[agent]) for agent in agents]
    end = max(free.values())
    record = IterationRecord(
        arm=arm, cell="base", trial=trial, iteration=iteration, phase=phase,
        status="error" if failing else "ok", start_ns=round((begin - 5) * MS),
        end_ns=round((end + 5) * MS), planned_calls=len(calls), spans=tuple(spans),
        error=CallError(code="scenario", message="an agent failed") if failing else None,
    )  # fmt: skip
    return [*calls, record]


def _span(name, agent, start_ms, end_ms):
    return Span(name=name, agent=agent, start_ns=round(start_ms * MS), end_ns=round(end_ms * MS))
