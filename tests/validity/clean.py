"""Clean runs: varied loads on truth servers that do nothing wrong, through the real engine.

A caveat that such a run gets, other than `simulated`, is a false alarm, unless this machine really
kept us waiting: three rules judge the machine on which they run, and may be right. Whether they are
is then asked of others than the stamps that the rule went by (`supported`): the kernel, which must
have kept tasks waiting for a real share of the time, and the server, which must have been as late.
A run that is excused so is made again (`settle`), and how many are is counted.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec

import harness
from harness.engine import run, spec_from
from harness.engine.summary import derive_summary
from harness.host import Host
from harness.schema import Caveat, IterationRecord, Message, Request
from harness.testing import MemorySink
from harness.testing.sim.draft import TIMED
from harness.testing.sim.log import LogTail
from tests.sim.servers import sim

OF_THE_MACHINE = ("client-lag", "schedule-slip", "host-noise")

KEPT_WAITING_MIN = 0.25
"""Share of an iteration that a hypervisor took, or in which our threads were ready and had no core:
on two quiet cores 1 clean run of 50 had as much, and half of them less than 0.03."""
PRESSURE_MIN = 0.5
"""Share in which any task waited (PSI): client and server did that to each other in 1 of 200."""
SERVER_LATE_NS = 5_000_000
"""A send that began so late; the server's own log calls 1 ms late."""
ATTEMPTS = 3
EXCUSED_SHARE_MAX = 0.1
"""Of the runs: where more are, the machine is too busy to tell its faults from those of a rule."""

# Backend → how `harness sim` is started. TTFT a few ms, gaps of a ms or two: each run is short.
SERVERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("openai", ("--dialect", "vllm", "--ttft", "6", "--gap", "2")),
    ("ollama", ("--ttft", "uniform:4,10", "--gap", "lognormal:2,0.5", "--set", "slots=4")),
    ("openai", ("--dialect", "llamacpp", "--ttft", "gamma:8,4", "--gap", "2")),
    ("openai", ("--dialect", "sglang", "--ttft", "lognormal:6,3", "--set", "tokens_per_chunk=4")),
    ("openai", ("--dialect", "vllm", "--ttft", "5", "--gap", "1", "--set", "reasoning_tokens=4")),
    ("ollama", ("--ttft", "5", "--gap", "gamma:2,1", "--set", "load=10")),
    ("openai", ("--dialect", "openrouter", "--ttft", "uniform:5,15", "--gap", "2")),
    ("openai", ("--dialect", "transformers", "--ttft", "8", "--gap", "1", "--set", "slots=2")),
)  # fmt: skip
SLOTS = {1: 4, 7: 2}


class StepsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    words: int = 20


class Steps:
    """A workflow of three calls: one, then two at once."""

    planned_calls_per_iteration = 3

    def __init__(self, config: Any) -> None:
        self._words = config.options.words

    async def setup(self, ctx: Any) -> None: ...

    async def execute(self, ctx: Any) -> None:
        with ctx.span("plan"):
            await ctx.call(self._request("plan"))
        with ctx.span("work"):
            await asyncio.gather(*(ctx.call(self._request(f"work {n}")) for n in range(2)))

    async def teardown(self, ctx: Any) -> None: ...

    def _request(self, stage: str) -> Request:
        text = " ".join([stage, *["word"] * self._words])
        return Request(
            messages=(Message(role="user", content=text),), max_tokens=6, stage=stage[:4]
        )


def host() -> Host:
    @harness.hookimpl
    def harness_register_scenarios(registry: Any) -> None:
        registry.add("steps", Steps, options=StepsOptions)

    module = types.ModuleType("clean_runs")
    module.harness_register_scenarios = harness_register_scenarios  # type: ignore[attr-defined]
    made = Host.load()
    assert made.add("clean_runs", module)
    return made


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, LogTail]]:
    """One process for each of SERVERS; their addresses and logs."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(sim(folder / str(number), *words))
            for number, (_, words) in enumerate(SERVERS)
        ]
        yield {server.url: LogTail(server.log) for server in started}


def specs(urls: Sequence[str], count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """`count` runs, repeatable from the seed, going round the servers."""
    for number in range(count):
        rng = Random(f"clean/{seed}/{number}")
        which = number % len(SERVERS)
        spec: dict[str, Any] = {
            "backend": {"name": SERVERS[which][0], "model": "sim", "url": urls[which]},
            "transport": "native" if rng.random() < 0.7 else "portable",
            "trials": rng.choice((1, 1, 1, 2)),
            "seed": number,
        }
        if rng.random() < 0.25:
            iterations = {"warmup": 1, "measured": rng.choice((1, 2, 4))}
            spec |= {"scenario": {"name": "steps"}, "iterations": iterations}
            arms = {"short": {"scenario": {"options": {"words": 10}}}, "long": {}}
        else:
            load = _load(rng, which, spec["transport"])
            # In an open loop a tenth of E2E may be lag: an answer takes some 40 ms there. Portable
            # sends 1 to 3 ms late on a quiet machine: it needs longer ones.
            tokens = rng.choice((4, 6, 8)) if load["mode"] == "closed" else 16
            if load["mode"] == "open" and spec["transport"] == "portable":
                tokens = 48
            options = {"prompt_tokens": 24, "max_tokens": tokens}
            spec |= {"scenario": {"name": "load", "options": options}, "load": load}
            arms = {"short": {"scenario": {"options": {"prompt_tokens": 16}}}, "long": {}}
        is_slow = spec.get("load", {}).get("rate_per_s", 100) < 100
        if not is_slow and rng.random() < 0.3:
            spec["arms"] = arms
        yield spec


def _load(rng: Random, which: int, transport: str) -> dict[str, Any]:
    if rng.random() < 0.6:
        concurrency = rng.choice((1, 2, 4, 8, 16, 32))
        requests = rng.choice((8, 2 * concurrency, 3 * concurrency))
        if concurrency > 2 and rng.random() < 0.4:
            requests = max(48, 10 * concurrency)  # long enough for its series to be judged
        return {
            "mode": "closed",
            "concurrency": concurrency,
            "requests": max(requests, concurrency),
        }
    if transport == "portable":
        # It takes milliseconds of Python to open a connection: of a burst it sends the last late,
        # and the alarm is right.
        return {"mode": "open", "rate_per_s": 25, "arrival": "constant", "requests": 6}
    # At most half of what the slots can answer.
    rate_per_s = min(rng.choice((120, 240)), 12 * SLOTS.get(which, 100))
    return {
        "mode": "open",
        "rate_per_s": rate_per_s,
        "arrival": rng.choice(("constant", "poisson", "gamma")),
        "requests": 8 if rate_per_s < 100 else rng.choice((8, 16)),
    } | ({"concurrency_max": 64} if rng.random() < 0.3 else {})


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what it was, every caveat that it got, and when its server was late."""

    raw: dict[str, Any]
    caveats: tuple[Caveat, ...]
    iterations: tuple[IterationRecord, ...]
    server_late_ns: tuple[int, ...] = ()
    """Instants at which a send of the server began SERVER_LATE_NS late."""

    @property
    def alarms(self) -> list[Caveat]:
        """What makes a clean run doubtful or worse."""
        return [c for c in self.caveats if c.severity != "note" and c.code != "simulated"]

    @property
    def false_alarms(self) -> list[Caveat]:
        return [alarm for alarm in self.alarms if not supported(alarm, self)]


def judge(raw: dict[str, Any], plugins: Host, logs: Mapping[str, LogTail]) -> Judged:
    sink = MemorySink()
    outcome = asyncio.run(run(spec_from(raw), plugins, sink))
    assert outcome.manifest.state == "finished", (raw, outcome.error)
    summary = derive_summary(outcome.manifest, sink.records)
    measured = [r for r in sink.records if isinstance(r, IterationRecord) and r.phase == "measured"]
    return Judged(
        raw=raw,
        caveats=summary.verdict.caveats,
        iterations=tuple(measured),
        server_late_ns=late_sends(logs[raw["backend"]["url"]]),
    )


def late_sends(log: LogTail) -> tuple[int, ...]:
    """When the sends were due, since the last look, that a law of time governs, whose answer was
    there in time and whose client kept up, and that began SERVER_LATE_NS late all the same."""
    found = log.read()
    made_ns = {serial: told["answered_ns"] or 0 for serial, told in found.requests.items()}
    return tuple(
        int(row["due_ns"])
        for row in found.rows[found.rows["before_ns"] - found.rows["due_ns"] > SERVER_LATE_NS]
        if row["kind"] in TIMED
        and row["tries"] == 1
        and made_ns.get(int(row["serial"]), row["before_ns"]) <= row["due_ns"]
    )


def supported(alarm: Caveat, judged: Judged) -> bool:
    """Whether others saw, in an iteration of that arm, that this machine kept tasks waiting."""
    if alarm.code not in OF_THE_MACHINE:
        return False
    for iteration in judged.iterations:
        host = iteration.host
        if iteration.arm != alarm.arm or host is None:
            continue
        waited = (host.steal_share or 0.0) + (host.run_wait_share or 0.0)
        if waited >= KEPT_WAITING_MIN or (host.pressure_share or 0.0) >= PRESSURE_MIN:
            return True
        if any(iteration.start_ns <= at_ns <= iteration.end_ns for at_ns in judged.server_late_ns):
            return True
    return False


def settle(once: Callable[[], Judged]) -> list[Judged]:
    """A run, made again as long as its alarms have a cause: the last one says what to think of it.
    At most ATTEMPTS of them."""
    made = [once()]
    while made[-1].alarms and not made[-1].false_alarms and len(made) < ATTEMPTS:
        made.append(once())
    return made


def complaints(runs: Sequence[Sequence[Judged]]) -> list[Any]:
    """What speaks against the rules, `settle` of each run given: false alarms, and too many that
    were excused."""
    found: list[Any] = [
        (alarm.code, alarm.message, alarm.evidence, made[-1].raw)
        for made in runs
        for alarm in made[-1].false_alarms
    ]
    excused = sum(bool(made[0].alarms) for made in runs)
    if excused > EXCUSED_SHARE_MAX * len(runs):
        found.append(f"{excused} of {len(runs)} runs had an alarm")
    return found
