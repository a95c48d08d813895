"""From a spec to the trials it asks for, in the order in which they are to run.

Everything that can be wrong with a spec is found here, before anything is started: names that no
plugin registered, options that a plugin does not know in any arm or cell, numbers out of bounds.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from typing import Any, Literal

import msgspec

from harness.addresses import server_address
from harness.engine.bands import with_bands
from harness.engine.cells import BASE_CELL, Configuration, configuration, find_cells
from harness.engine.checks import check_load, check_numbers, check_requests, check_search_size
from harness.engine.instruments import ResolvedInstrument, resolve_instruments
from harness.engine.ordering import ordered
from harness.engine.placing import LOCAL, ResolvedExecutor, resolve_executor
from harness.engine.specfile import digest
from harness.errors import SpecError
from harness.host import Host
from harness.options import own_copy
from harness.protocols import (
    BackendConfig,
    BackendFactory,
    ScenarioConfig,
    ScenarioFactory,
    WorkflowScenario,
)
from harness.registry import Entry
from harness.schema import ArmSpec, ClosedLoad, Load, RunSpec

__all__ = ["BASE_CELL", "Arm", "Plan", "PlannedTrial", "make_plan", "seed_for"]

DEFAULT_ARM = "default"


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One arm in one cell, resolved: its plugins found, its options checked."""

    name: str
    cell: str
    asked: Configuration
    backend: Entry[BackendFactory]
    backend_config: BackendConfig
    scenario: Entry[ScenarioFactory]
    scenario_options: Any
    is_workflow: bool
    """Whether the scenario makes its calls itself; else it takes a load."""
    is_solo: bool = False
    """Whether its measured iterations have one of phase `solo` beside them."""
    agents: tuple[str, ...] = ()
    """Names of the registered agents that it starts."""
    load: Load | None

    def own_backend_config(self) -> BackendConfig:
        config = self.backend_config
        return msgspec.structs.replace(config, options=own_copy(config.options))

    def scenario_config(self, seed: int) -> ScenarioConfig:
        options = own_copy(self.scenario_options)
        return ScenarioConfig(options=options, seed=seed, arm=self.name, cell=self.cell)


class PlannedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One launch. `trial` is its place in the run; `block` is the same for the trials that the arms
    are compared over, and decides the seeds."""

    arm: Arm
    trial: int
    block: int

    @property
    def cell(self) -> str:
        return self.arm.cell


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `run` executes, in order. A schedule (schedule.py) may find some of it unnecessary."""

    spec: RunSpec
    """With the defaults that depend on plugins filled in: a request scenario has a load."""
    arms: tuple[Arm, ...]
    """Every arm and cell once, as the spec names them."""
    cells: dict[str, dict[str, Any]]
    """Cell → path → value; empty without a sweep."""
    trials: tuple[PlannedTrial, ...]
    isolation: Literal["inline", "process"]
    instruments: tuple[ResolvedInstrument, ...] = ()
    executor: ResolvedExecutor
    """Of trials in processes of their own."""

    @property
    def digest(self) -> str:
        """Of the spec: the same for everybody who plans it."""
        return digest(self.spec)

    def duplicates(self) -> list[list[tuple[str, str]]]:
        """Groups of (arm, cell) that ask for the very same: two cells by mistake, or an A/A
        comparison on purpose."""
        same: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
        for arm in self.arms:
            options = (arm.backend_config, arm.scenario_options, arm.load)
            key = msgspec.json.encode(
                (arm.backend.name, arm.scenario.name, *map(repr, options)), order="sorted"
            )
            same[key].append((arm.name, arm.cell))
        return [group for group in same.values() if len(group) > 1]


def make_plan(spec: RunSpec, host: Host) -> Plan:
    """Raises SpecError with the path of what is wrong."""
    check_numbers(spec)
    spec = with_bands(spec)
    cells = find_cells(spec)
    _refuse_overruled(spec, cells)
    if spec.arms:
        _addresses(spec.backend.url, "$.backend.url")  # recorded even if every arm has its own
    arms = [_resolve(spec, arm, cell, cells, host) for arm, cell in _pairs(spec, list(cells))]
    _refuse_unheld(spec, arms)
    spec, arms = _with_loads(spec, arms)
    check_search_size(spec, [arm.load for arm in arms if arm.cell in cells])
    order = ordered(spec, arms)
    trials = tuple(
        PlannedTrial(arm=arm, trial=index, block=block) for index, (arm, block) in enumerate(order)
    )
    return Plan(
        spec=spec,
        arms=tuple(arms),
        cells=cells,
        trials=trials,
        isolation=_isolation(spec, trials, host),
        instruments=resolve_instruments(spec, host),
        executor=resolve_executor(spec.placement, host),
    )


def seed_for(spec: RunSpec, block: int, phase: str, iteration: int) -> int:
    """63 bits. Equal between the arms and cells of a block, different otherwise."""
    text = f"{spec.seed}/{block}/{phase}/{iteration}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


# Arms and cells. ----------------------------------------------------------------------------------


def _pairs(spec: RunSpec, cells: list[str]) -> list[tuple[str, str]]:
    """(arm, cell), arms as the spec names them; an arm that is not swept has the base cell."""
    for name in spec.arms:
        if not name or not name.isprintable():
            raise SpecError(f"{name!r} cannot name an arm", where="$.arms")
    arms = spec.arms or {DEFAULT_ARM: ArmSpec()}
    if cells and not any(arm.swept for arm in arms.values()):
        raise SpecError(
            "no arm takes part in the sweep", where="$.arms", remedy="swept: true in one of them"
        )
    return [
        (name, cell)
        for name, arm in arms.items()
        for cell in (cells if cells and arm.swept else [BASE_CELL])
    ]


def _refuse_unheld(spec: RunSpec, arms: list[Arm]) -> None:
    """A budget is kept by whoever sends a call, and other programs do not ask us."""
    outside = next((arm for arm in arms if arm.agents or arm.backend_config.passive), None)
    if spec.budget_usd is not None and outside is not None:
        raise SpecError(
            f"the calls of {outside.asked.scenario.name!r} are made by other programs, and cannot "
            "be held to a budget",
            where="$.budget_usd",
            remedy="leave it out; or set a limit with the provider",
        )


def _refuse_overruled(spec: RunSpec, cells: dict[str, dict[str, Any]]) -> None:
    """An arm's own value at the path of an axis would never be used."""
    for name, arm in spec.arms.items():
        for values in cells.values() if arm.swept else ():
            for path, value in values.items():
                root, _, rest = path.partition(".")
                if _overrules(value, getattr(arm, root), rest.split(".") if rest else []):
                    raise SpecError(
                        f"the sweep sets {path} in every cell, and would overrule this",
                        where=f"$.arms.{name}.{path}",
                        remedy=f"leave it out, or arms.{name}.swept: false",
                    )


def _overrules(value: Any, patch: Any, parts: list[str]) -> bool:
    """Whether `value` at this path takes the place of something in `patch`. A mapping is merged: it
    takes the place of what it names."""
    if parts:
        inside = isinstance(patch, dict) and parts[0] in patch
        return inside and _overrules(value, patch[parts[0]], parts[1:])
    if not (isinstance(value, dict) and isinstance(patch, dict)):
        return True
    return any(key in patch and _overrules(of, patch[key], []) for key, of in value.items())


def _resolve(
    spec: RunSpec, name: str, cell: str, cells: dict[str, dict[str, Any]], host: Host
) -> Arm:
    where = f"$.arms.{name}" if spec.arms else "$"
    if cell in cells:
        where = f"$ (cell {cell})" if not spec.arms else f"{where} (cell {cell})"
    asked = configuration(spec, name, cell, cells, where)
    backend = host.backends.get(asked.backend.name, f"{where}.backend.name")
    scenario = host.scenarios.get(asked.scenario.name, f"{where}.scenario.name")
    config = BackendConfig(
        model=asked.backend.model,
        urls=_addresses(asked.backend.url, f"{where}.backend.url"),
        options=backend.decode_options(asked.backend.options, f"{where}.backend.options"),
        timeouts=spec.timeouts,
        seed=spec.seed,
    )
    options = scenario.decode_options(asked.scenario.options, f"{where}.scenario.options")
    # Made once here to learn its kind, and so that what its factory refuses is refused now.
    made = scenario.factory(
        ScenarioConfig(options=own_copy(options), seed=spec.seed, arm=name, cell=cell)
    )
    is_workflow = isinstance(made, WorkflowScenario)
    if asked.backend.tap and not getattr(made, "taps", False):
        raise SpecError(
            f"scenario {asked.scenario.name!r} starts no agent programs: there is nothing to tap",
            where="$.backend.tap" if spec.backend.tap else f"{where}.backend.tap",
            remedy="leave it out; the harness measures its own calls itself",
        )
    if asked.load is not None and is_workflow:
        raise SpecError(
            f"scenario {asked.scenario.name!r} makes its calls itself and takes no load",
            where="$.load" if spec.load is not None else f"{where}.load",
            remedy="leave it out; iterations and trials say how often it runs",
        )
    check_load(asked.load, f"{where}.load")
    check_requests(made, backend, asked.backend.options, config, host.agents, where)
    return Arm(
        name=name,
        cell=cell,
        asked=asked,
        backend=backend,
        backend_config=msgspec.structs.replace(config, passive=getattr(made, "passive", False)),
        scenario=scenario,
        scenario_options=options,
        is_workflow=is_workflow,
        is_solo=is_workflow and bool(getattr(made, "solo", False)),
        agents=tuple(dict.fromkeys(getattr(made, "agents_used", {}).values())),
        load=asked.load,
    )


def _with_loads(spec: RunSpec, arms: list[Arm]) -> tuple[RunSpec, list[Arm]]:
    """With the default load, where nobody spoke of loads. Written into the spec, so that whoever
    reads the run need not know that its scenario takes one."""
    without = [arm for arm in arms if arm.load is None and not arm.is_workflow]
    if not without:
        return spec, arms
    if any(arm.load is not None for arm in arms):
        raise SpecError(
            "this arm has no load, and others have",
            where=f"$.arms.{without[0].name}.load",
            remedy="a $.load for all of them",
        )
    if any(arm.is_workflow for arm in arms):
        one = without[0]
        raise SpecError(
            f"{one.asked.scenario.name!r} takes a load, and other scenarios here make their calls "
            "themselves",
            where=f"$.arms.{one.name}.load" if spec.arms else "$.load",
            remedy="a load in the arms that take one, or a spec for each kind",
        )
    load = ClosedLoad()
    replace = msgspec.structs.replace
    return replace(spec, load=load), [
        replace(arm, load=load, asked=replace(arm.asked, load=load)) for arm in arms
    ]


def _addresses(url: str | tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    """Checked before anything is written: the spec and every record hold them."""
    if isinstance(url, str):
        return (server_address(url, where=where),)
    return tuple(
        server_address(one, where=f"{where}[{index}]") for index, one in enumerate(url or ())
    )


def _isolation(
    spec: RunSpec, trials: tuple[PlannedTrial, ...], host: Host
) -> Literal["inline", "process"]:
    """A fresh process per trial for whatever has several or limits what one may have, if another
    process can have this host."""
    place, wanted = spec.placement, spec.isolation
    bound = next((name for name in ("cpus", "gpus") if getattr(place, name)), None)
    obstacle = "" if host.is_installed else "not every plugin here is an installed one"
    if os.name != "posix":
        obstacle = "it takes Linux or macOS"
    if wanted == "auto":
        limited = bound is not None or place.parallel > 1 or place.trial_timeout_s is not None
        limited |= place.executor != LOCAL
        wanted = "process" if not obstacle and (limited or len(trials) > 1) else "inline"
    elif wanted == "process" and obstacle:
        raise SpecError(
            f"a process of its own is not to be had: {obstacle}",
            where="$.isolation",
            remedy="isolation: inline",
        )
    if wanted == "inline" and place.executor != LOCAL:
        raise SpecError(
            f"a trial within this process is not placed by {place.executor!r}"
            + (f": {obstacle}" if obstacle else ""),
            where="$.placement.executor",
            remedy="leave it out" if obstacle else "isolation: process",
        )
    if wanted == "inline" and bound is not None:
        raise SpecError(
            "a trial within this process has what the process has",
            where=f"$.placement.{bound}",
            remedy="isolation: process" if not obstacle else "leave it out",
        )
    return wanted
