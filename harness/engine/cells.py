"""Sweeps: from axes to cells, and from an arm and a cell to the configuration that they stand for.

Pure data: no plugin is asked, so that a report can find out years later what a cell meant. The
merge goes base ← arm ← cell; an arm that sets what an axis sets would be overruled in silence, and
is refused (plan.py).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Final

import msgspec

from harness.engine.specfile import merge, with_mode
from harness.errors import SpecError
from harness.schema import (
    ArmSpec,
    BackendSpec,
    Load,
    RunSpec,
    ScenarioSpec,
    SearchSpec,
    SweepSpec,
)
from harness.strict import decode

__all__ = [
    "BASE_CELL",
    "CELLS_MAX",
    "Configuration",
    "Level",
    "backends_of",
    "configuration",
    "find_cells",
    "load_of",
    "search_loads",
    "sweeps_models",
]

BASE_CELL: Final = "base"
"""The only cell where nothing is swept."""
CELLS_MAX: Final = 100_000
LABEL_MAX: Final = 60
SWEPT: Final = ("backend", "scenario", "load")
"""What an axis may address; anything else is the same for the whole run."""

Cells = dict[str, dict[str, Any]]


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One value of an axis, and what it is called."""

    label: str
    value: Any


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What one arm and cell ask for, as the spec has it."""

    backend: BackendSpec
    scenario: ScenarioSpec
    load: Load | None


def find_cells(spec: RunSpec) -> Cells:
    """Cell → path → value; empty where nothing is swept or searched. Raises SpecError."""
    if spec.search is not None:
        loads = search_loads(spec.search)
        name = _short_names([spec.search.path])[spec.search.path]
        whole = spec.search.path == "load.concurrency"
        values = [int(load) if whole else load for load in loads]
        return {f"{name}={value:g}": {spec.search.path: value} for value in values}
    if spec.sweep is None:
        return {}
    axes = {path: _levels(path, levels) for path, levels in spec.sweep.axes.items()}
    _check_axes(axes)
    points = _points(spec.sweep, axes, spec.seed)
    short = _short_names(list(axes))
    cells: Cells = {}
    for point in points:
        chosen = dict(zip(axes, point, strict=True))
        name = ",".join(f"{short[path]}={level.label}" for path, level in chosen.items())
        cells[_unused(name, cells)] = {path: level.value for path, level in chosen.items()}
    return cells


def configuration(
    spec: RunSpec, arm: str, cell: str, cells: Mapping[str, Mapping[str, Any]], where: str = "$"
) -> Configuration:
    """What `arm` in `cell` asks for. Raises SpecError that names the place of a mistake."""
    raw = _merged(spec, spec.arms.get(arm, ArmSpec()), cells.get(cell, {}))
    return Configuration(
        backend=decode(raw["backend"], BackendSpec, where=f"{where}.backend"),
        scenario=decode(raw["scenario"], ScenarioSpec, where=f"{where}.scenario"),
        load=_decode_load(raw["load"], f"{where}.load"),
    )


def backends_of(
    spec: RunSpec, planned: Iterable[tuple[str, str]], cells: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Names of the backends of a run, each once, in the order of the plan."""
    found: dict[str, None] = {}
    for arm, cell in planned:
        name: Any = spec.arms.get(arm, ArmSpec()).backend.get("name", spec.backend.name)
        values = cells.get(cell, {})
        whole = values.get("backend")
        if isinstance(whole, Mapping):
            name = whole.get("name", name)
        found[str(values.get("backend.name", name))] = None
    return list(found) or [spec.backend.name]


def sweeps_models(cells: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether cells differ in the model that answers, or in whose it is."""
    return len({repr(_model_of(values)) for values in cells.values()}) > 1


def _model_of(values: Mapping[str, Any]) -> tuple[Any, ...]:
    whole = values.get("backend")
    of = whole if isinstance(whole, Mapping) else {}
    return tuple(values.get(f"backend.{name}", of.get(name)) for name in ("name", "model"))


def load_of(
    spec: RunSpec, arm: str, cell: str, cells: Mapping[str, Mapping[str, Any]]
) -> Load | None:
    """The load of one arm and cell of a run that was planned; None for a workflow."""
    one, values = spec.arms.get(arm, ArmSpec()), cells.get(cell, {})
    if not one.load and "load" not in map(_root, values):
        return spec.load
    return _decode_load(_merged(spec, one, values)["load"], "$.load")


def _merged(spec: RunSpec, arm: ArmSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the spec says, what the arm says otherwise, and what the cell does."""
    raw: dict[str, Any] = {
        "backend": merge(msgspec.to_builtins(spec.backend), arm.backend),
        "scenario": merge(msgspec.to_builtins(spec.scenario), arm.scenario),
        "load": merge(msgspec.to_builtins(spec.load) if spec.load else {}, arm.load),
    }
    for path, value in values.items():
        raw = _with(raw, path, value)
    return raw


def search_loads(search: SearchSpec) -> list[float]:
    """The loads that may be tried, ascending: a geometric grid from `low` to `high`, both
    included; whole numbers for a concurrency. Raises SpecError."""
    where = "$.search"
    whole = search.path == "load.concurrency"
    if not (search.low > 0 and math.isfinite(search.high) and search.high > search.low):
        raise SpecError("0 < low < high is expected", where=where)
    if whole and search.low < 1:
        raise SpecError(f"a concurrency is at least 1, is {search.low:g}", where=f"{where}.low")
    if not 1.001 <= search.step <= 100:
        raise SpecError(
            f"must lie between 1.001 and 100, is {search.step:g}", where=f"{where}.step"
        )
    count = math.ceil(math.log(search.high / search.low) / math.log(search.step) - 1e-9)
    found = [search.low * search.step**index for index in range(count)] + [search.high]
    if whole:
        return [float(value) for value in sorted({round(value) for value in found})]
    return [float(f"{value:.4g}") for value in found]


# Axes. --------------------------------------------------------------------------------------------


def _levels(path: str, levels: Any) -> list[Level]:
    where = f"$.sweep.axes.{path}"
    if isinstance(levels, Mapping):
        found = [Level(label=_checked(str(k), where), value=v) for k, v in levels.items()]
    elif isinstance(levels, list | tuple):
        labels = [_checked(_label(value, index), where) for index, value in enumerate(levels)]
        found = [Level(label=k, value=v) for k, v in zip(labels, levels, strict=True)]
    else:
        raise SpecError(
            f"levels are a list, or a mapping of labels to values; this is {levels!r}",
            where=where,
            remedy=f"[{levels}]",
        )
    if not found:
        raise SpecError("this axis has no levels", where=where, remedy="leave the axis out")
    return found


def _label(value: Any, index: int) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    if isinstance(value, int | float | str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        named = [str(value[key]) for key in ("name", "model") if value.get(key)]
        if named:
            return " ".join(named)
    return f"#{index + 1}"


def _checked(label: str, where: str) -> str:
    if not label.isprintable() or not label.strip():
        raise SpecError(f"{label!r} cannot name a level", where=where, remedy="label: value")
    return label if len(label) <= LABEL_MAX else label[: LABEL_MAX - 1] + "…"


def _check_axes(axes: Mapping[str, list[Level]]) -> None:
    if not axes:
        raise SpecError("a sweep has at least one axis", where="$.sweep.axes", remedy="no sweep")
    for path in axes:
        if _root(path) not in SWEPT or "" in path.split("."):
            raise SpecError(
                "an axis is a dotted path into backend, scenario or load",
                where=f"$.sweep.axes.{path}",
                remedy="such as backend.options.num_ctx",
            )
    for one in axes:
        for other in axes:
            if one != other and f"{other}.".startswith(f"{one}."):
                raise SpecError(
                    f"lies within the axis {one}, and one would overrule the other",
                    where=f"$.sweep.axes.{other}",
                    remedy="one of the two",
                )


def _points(
    sweep: SweepSpec, axes: Mapping[str, list[Level]], seed: int
) -> list[tuple[Level, ...]]:
    if sweep.strategy != "random":
        for name in ("samples", "seed"):
            if getattr(sweep, name) is not None:
                raise SpecError(
                    f"has no effect on the strategy {sweep.strategy}",
                    where=f"$.sweep.{name}",
                    remedy="strategy: random",
                )
    sizes = {path: len(levels) for path, levels in axes.items()}
    if sweep.strategy == "zip":
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{path} has {size}" for path, size in sizes.items())
            raise SpecError(f"axes side by side have equally many levels: {shown}", where="$.sweep")
        return list(zip(*axes.values(), strict=True))
    total = math.prod(sizes.values())
    if sweep.strategy == "random":
        return _sampled(sweep, axes, total, seed)
    if total > CELLS_MAX:
        raise SpecError(
            f"that makes {total} cells, more than {CELLS_MAX}",
            where="$.sweep.axes",
            remedy="strategy: random, samples: 100",
        )
    return list(product(*axes.values()))


def _sampled(
    sweep: SweepSpec, axes: Mapping[str, list[Level]], total: int, seed: int
) -> list[tuple[Level, ...]]:
    """Without replacement, in the order of the grid. Grids too large to list are no trouble."""
    samples = sweep.samples
    if samples is None:
        raise SpecError(
            "how many cells?", where="$.sweep.samples", remedy=f"samples: {min(total, 10)}"
        )
    if not 1 <= samples <= min(total, CELLS_MAX):
        raise SpecError(
            f"{samples} of {total} cells cannot be drawn without replacement",
            where="$.sweep.samples",
            remedy=f"1 to {min(total, CELLS_MAX)}",
        )
    rng = random.Random(f"sweep/{seed if sweep.seed is None else sweep.seed}")
    return [
        _point(index, list(axes.values())) for index in sorted(rng.sample(range(total), samples))
    ]


def _point(index: int, axes: list[list[Level]]) -> tuple[Level, ...]:
    """The index-th of the product, in the order of itertools.product."""
    chosen: list[Level] = []
    for levels in reversed(axes):
        index, at = divmod(index, len(levels))
        chosen.append(levels[at])
    return tuple(reversed(chosen))


# Names and paths. ---------------------------------------------------------------------------------


def _short_names(paths: list[str]) -> dict[str, str]:
    """The last parts of each path that tell it from the others."""
    short: dict[str, str] = {}
    for path in paths:
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[-count:])
            if sum(f".{other}".endswith(f".{name}") for other in paths) == 1:
                break
        short[path] = name
    return short


def _unused(name: str, cells: Cells) -> str:
    """Levels that are given twice make cells of their own: duplicates are named, not dropped."""
    count, unused = 1, name
    while unused in cells:
        count += 1
        unused = f"{name} ({count})"
    return unused


def _root(path: str) -> str:
    return path.partition(".")[0]


def _with(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `raw` with `value` at `path`. The parts of a spec are shared by all its cells."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return merge(raw, value)


def _decode_load(raw: dict[str, Any], where: str) -> Load | None:
    return decode(with_mode(raw), Load, where=where) if raw else None  # type: ignore[arg-type]
