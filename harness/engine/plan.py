"""From a spec to the trials it asks for, in the order in which they are to run.

Everything that can be wrong with a spec is found here, before anything is started: names that no
plugin registered, options that a plugin does not know, fields that this version does not implement.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import msgspec

from harness.addresses import server_address
from harness.engine.specfile import merge
from harness.errors import NotSupportedYet, SpecError
from harness.host import Host
from harness.protocols import (
    BackendConfig,
    BackendFactory,
    ScenarioConfig,
    ScenarioFactory,
    WorkflowScenario,
)
from harness.registry import Entry
from harness.schema import (
    BackendSpec,
    ClosedLoad,
    OpenLoad,
    RunSpec,
    ScenarioSpec,
)
from harness.strict import decode

__all__ = ["BASE_CELL", "Arm", "Plan", "PlannedTrial", "make_plan", "seed_for"]

BASE_CELL = "base"


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One arm, resolved: its plugins found, its options checked."""

    name: str
    backend: Entry[BackendFactory]
    backend_config: BackendConfig
    scenario: Entry[ScenarioFactory]
    scenario_options: Any
    is_workflow: bool
    """Whether the scenario makes its calls itself; else it takes a load."""

    def scenario_config(self, seed: int, cell: str) -> ScenarioConfig:
        return ScenarioConfig(options=self.scenario_options, seed=seed, arm=self.name, cell=cell)


class PlannedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One launch. `trial` is its place in the run; `block` is the same for the trials that the arms
    are compared over, and decides the seeds."""

    arm: Arm
    cell: str
    trial: int
    block: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `run` executes, in order."""

    spec: RunSpec
    """With the defaults that depend on plugins filled in: a request scenario has a load."""
    trials: tuple[PlannedTrial, ...]


def make_plan(spec: RunSpec, host: Host) -> Plan:
    """Raises SpecError (NotSupportedYet) with the path of what is wrong."""
    _refuse_unsupported(spec)
    _check_numbers(spec)
    arms = _resolve_arms(spec, host)
    if spec.load is None and not all(arm.is_workflow for arm in arms):
        spec = msgspec.structs.replace(spec, load=ClosedLoad())
    order = _ordered(spec, arms)
    trials = tuple(
        PlannedTrial(arm=arm, cell=BASE_CELL, trial=index, block=block)
        for index, (arm, block) in enumerate(order)
    )
    return Plan(spec=spec, trials=trials)


def seed_for(spec: RunSpec, block: int, phase: str, iteration: int) -> int:
    """63 bits. Equal between the arms of a block, different otherwise."""
    text = f"{spec.seed}/{block}/{phase}/{iteration}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _refuse_unsupported(spec: RunSpec) -> None:
    """What the spec has room for and this version does not do. Never ignored."""
    if spec.sweep is not None:
        raise NotSupportedYet("$.sweep", "a sweep")
    if spec.stop is not None:
        raise NotSupportedYet("$.stop", "adaptive stopping")
    if spec.isolation == "process":
        raise NotSupportedYet("$.isolation", "a fresh process per trial")
    if spec.instruments:
        raise NotSupportedYet("$.instruments", "an instrument in a spec")
    if spec.slo is not None:
        raise NotSupportedYet("$.slo", "an SLO")


def _check_numbers(spec: RunSpec) -> None:
    def at_least(least: float, value: float, where: str) -> None:
        if not value >= least:  # also refuses nan
            raise SpecError(f"must be at least {least:g}, is {value:g}", where=where)

    at_least(1, spec.trials, "$.trials")
    at_least(1, spec.iterations.measured, "$.iterations.measured")
    at_least(0, spec.iterations.warmup, "$.iterations.warmup")
    for name in spec.timeouts.__struct_fields__:
        at_least(0.001, getattr(spec.timeouts, name), f"$.timeouts.{name}")
    for name in spec.validity.__struct_fields__:
        bound = getattr(spec.validity, name)
        at_least(0, bound, f"$.validity.{name}")
        if "share" in name and bound > 1:
            raise SpecError(f"a share is at most 1, is {bound:g}", where=f"$.validity.{name}")
    load = spec.load
    if load is not None:
        at_least(1, load.requests, "$.load.requests")
    if isinstance(load, ClosedLoad):
        at_least(1, load.concurrency, "$.load.concurrency")
    elif isinstance(load, OpenLoad):
        at_least(1e-6, load.rate_per_s, "$.load.rate_per_s")
        at_least(1e-3, load.shape, "$.load.shape")
        if load.shape != 1.0 and load.arrival != "gamma":
            raise SpecError(
                f"has no effect on {load.arrival} arrivals",
                where="$.load.shape",
                remedy="arrival: gamma",
            )
        if load.concurrency_max is not None:
            at_least(1, load.concurrency_max, "$.load.concurrency_max")


def _resolve_arms(spec: RunSpec, host: Host) -> list[Arm]:
    if not spec.arms:
        return [_resolve("default", spec.backend, spec.scenario, spec, host, "$")]
    _addresses(spec.backend.url, "$.backend.url")  # recorded even if every arm has its own
    base_backend = msgspec.to_builtins(spec.backend)
    base_scenario = msgspec.to_builtins(spec.scenario)
    arms = []
    for name, arm in spec.arms.items():
        if not name or not name.isprintable():
            raise SpecError(f"{name!r} cannot name an arm", where="$.arms")
        where = f"$.arms.{name}"
        backend = decode(merge(base_backend, arm.backend), BackendSpec, where=f"{where}.backend")
        scenario = decode(
            merge(base_scenario, arm.scenario), ScenarioSpec, where=f"{where}.scenario"
        )
        arms.append(_resolve(name, backend, scenario, spec, host, where))
    return arms


def _resolve(
    name: str, backend: BackendSpec, scenario: ScenarioSpec, spec: RunSpec, host: Host, where: str
) -> Arm:
    backend_entry = host.backends.get(backend.name, f"{where}.backend.name")
    scenario_entry = host.scenarios.get(scenario.name, f"{where}.scenario.name")
    urls = _addresses(backend.url, f"{where}.backend.url")
    config = BackendConfig(
        model=backend.model,
        urls=urls,
        options=backend_entry.decode_options(backend.options, f"{where}.backend.options"),
        timeouts=spec.timeouts,
        seed=spec.seed,
    )
    options = scenario_entry.decode_options(scenario.options, f"{where}.scenario.options")
    scenario_config = ScenarioConfig(options=options, seed=spec.seed, arm=name, cell=BASE_CELL)
    # Made once here to learn its kind, and so that what its factory refuses is refused now.
    is_workflow = isinstance(scenario_entry.factory(scenario_config), WorkflowScenario)
    if spec.load is not None and is_workflow:
        raise SpecError(
            f"scenario {scenario.name!r} makes its calls itself and takes no load",
            where="$.load",
            remedy="leave it out; iterations and trials say how often it runs",
        )
    return Arm(
        name=name,
        backend=backend_entry,
        backend_config=config,
        scenario=scenario_entry,
        scenario_options=options,
        is_workflow=is_workflow,
    )


def _addresses(url: str | tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    """Checked before anything is written: the spec and every record hold them."""
    if isinstance(url, str):
        return (server_address(url, where=where),)
    return tuple(
        server_address(one, where=f"{where}[{index}]") for index, one in enumerate(url or ())
    )


def _ordered(spec: RunSpec, arms: list[Arm]) -> list[tuple[Arm, int]]:
    """(arm, block), as `spec.order` says, repeatable from the seed."""
    rng = random.Random(f"order/{spec.seed}")
    blocks = [[(arm, block) for arm in arms] for block in range(spec.trials)]
    if spec.order == "sequential":
        return [(arm, block) for arm in arms for block in range(spec.trials)]
    if spec.order == "interleaved":
        for block in blocks:
            rng.shuffle(block)
    order = [pair for block in blocks for pair in block]
    if spec.order == "randomised":
        rng.shuffle(order)
    return order
