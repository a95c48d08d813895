"""Did the axes of a sweep change anything: cells that ran the same, axes without an effect.

Two ways to find that an axis does nothing. By what the server ran: its levels led to one effective
configuration, as far as the server tells (an option that it does not tell of proves nothing). And
by what was measured: in every metric its levels differ by no more than two launches of one cell do.
The latter says little where launches scatter widely, so it is said only where they do not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean, median, variance
from typing import Any, Final, NamedTuple

from harness.engine.rules.configuration import configuration_key
from harness.engine.rules.view import ArmView, RunView
from harness.metrics import call_metric
from harness.schema import Caveat, OpenLoad

__all__ = ["duplicate_cells", "no_op_factor"]

SHOWN: Final = 3
FREEDOM_MIN: Final = 4
"""Degrees of freedom of the scatter between launches: of fewer, its width is anybody's guess."""


def duplicate_cells(view: RunView) -> Iterator[Caveat]:
    """Cells of one arm that ran one configuration: what they differ by, two launches differ by."""
    for name, cells in _swept(view).items():
        groups: dict[Hashable, list[str]] = defaultdict(list)
        for cell in cells:
            if (key := _key(cell, view)) is not None:
                groups[key].append(cell.summary.cell)
        same = [group for group in groups.values() if len(group) > 1]
        if same:
            others = len(same) - 1
            more = f", and {others} more such group{'s' * (others > 1)}" if others else ""
            yield Caveat(
                code="duplicate-cells",
                severity="note",
                message=f"{_listed(same[0])} ran the same configuration{more}: they differ by what "
                "two launches of one cell differ by",
                evidence={"groups": same},
                remedy="leave all but one of them out, or read them as an A/A comparison",
                arm=name,
            )


def no_op_factor(view: RunView) -> Iterator[Caveat]:
    """Axes whose levels made no difference; once for each arm and way of knowing."""
    for name, cells in _swept(view).items():
        alike, idle = [], []
        for path in _paths(cells, view):
            strata = [*_strata(path, cells, view)]
            if strata and all(_ran_alike(stratum, view) for stratum in strata):
                alike.append(path)
            elif strata and (found := _widths(strata, view)):
                idle.append((path, found))
        if alike:
            yield _configured_alike(name, alike, cells, view)
        if idle:
            yield _measured_alike(name, dict(idle), view)


def _configured_alike(name: str, paths: list[str], cells: list[ArmView], view: RunView) -> Caveat:
    levels = {
        path: [*dict.fromkeys(str(_values(cell, view)[path]) for cell in cells)] for path in paths
    }
    shown = ", ".join(
        f"{path} ({', '.join(some[:SHOWN])}{_more(some)})" for path, some in levels.items()
    )
    return Caveat(
        code="no-op-factor",
        severity="doubtful",
        message=f"the levels of {shown} led to the same effective configuration: comparing them "
        "compares nothing",
        evidence={"axes": paths, "levels": levels, "by": "configuration"},
        remedy="other levels, within what this server and model can do; or leave the axis out",
        arm=name,
    )


def _measured_alike(name: str, found: dict[str, dict[str, _Width]], view: RunView) -> Caveat:
    bound = view.manifest.spec.validity.no_op_width_share_max
    widest = max(width.share for widths in found.values() for width in widths.values())
    return Caveat(
        code="no-op-factor",
        severity="note",
        message=f"no effect shown of {_listed([*found])}: in every metric the levels differ by no "
        f"more than launches of one cell do ({widest:.1%} at most)",
        evidence={
            "axes": {
                path: {metric: width._asdict() for metric, width in widths.items()}
                for path, widths in found.items()
            },
            "by": "effect",
            "width_share_max": bound,
        },
        remedy="levels that lie further apart, or more --runs to show a smaller effect",
        arm=name,
    )


def _more(some: Sequence[str]) -> str:
    return f", … {len(some)} in all" if len(some) > SHOWN else ""


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:SHOWN], *([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


# Cells and axes. ----------------------------------------------------------------------------------


def _swept(view: RunView) -> dict[str, list[ArmView]]:
    """Arm → its cells, where there are several. A search compares no loads, it looks for one."""
    found: dict[str, list[ArmView]] = defaultdict(list)
    for arm in view.arms:
        # Of a table nobody knows what the server ran; `harness audit` has what can be said of it.
        of_a_table = any(iteration.imported for iteration in arm.iterations)
        if arm.summary.cell in view.manifest.cells and not arm.is_empty and not of_a_table:
            found[arm.name].append(arm)
    searched = view.manifest.spec.search is not None
    return {} if searched else {name: cells for name, cells in found.items() if len(cells) > 1}


def _values(cell: ArmView, view: RunView) -> dict[str, Any]:
    return view.manifest.cells[cell.summary.cell]


def _paths(cells: list[ArmView], view: RunView) -> list[str]:
    """Axes of which these cells have several levels."""
    levels: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        for path, value in _values(cell, view).items():
            levels[path].add(repr(value))
    return [path for path, values in levels.items() if len(values) > 1]


def _strata(path: str, cells: list[ArmView], view: RunView) -> Iterator[list[ArmView]]:
    """Cells that differ in this axis alone, in groups of at least two levels."""
    groups: dict[str, list[ArmView]] = defaultdict(list)
    for cell in cells:
        others = {other: value for other, value in _values(cell, view).items() if other != path}
        groups[repr(sorted(others.items()))].append(cell)
    for group in groups.values():
        if len({repr(_values(cell, view)[path]) for cell in group}) > 1:
            yield group


def _key(cell: ArmView, view: RunView) -> Hashable | None:
    return configuration_key(cell, flat(_values(cell, view)))


def _ran_alike(stratum: list[ArmView], view: RunView) -> bool:
    keys = {_key(cell, view) for cell in stratum}
    return len(keys) == 1 and None not in keys


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path → value, with mappings taken apart."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        if isinstance(value, Mapping):
            found |= flat({f"{path}.{name}": inner for name, inner in value.items()})
        else:
            found[path] = value
    return found


# What launches of one cell differ by. -------------------------------------------------------------


class _Width(NamedTuple):
    """A difference between levels, and that which launches of one cell may have (95 %): shares of
    the lower one."""

    effect: float
    share: float


def _widths(strata: list[list[ArmView]], view: RunView) -> dict[str, _Width] | None:
    """Metric → width, if no metric shows an effect and the widths are narrow enough to say so."""
    found = {}
    for metric in _metrics(strata[0][0]):
        width = _width(metric, strata)
        if width is None or width.share > view.manifest.spec.validity.no_op_width_share_max:
            return None
        if width.effect > width.share:
            return None
        found[metric] = width
    return found


def _metrics(arm: ArmView) -> tuple[str, ...]:
    due = "_from_due" if isinstance(arm.load, OpenLoad) else ""
    wanted = (f"ttft{due}_ms", "tpot_ms", f"e2e{due}_ms")
    known = {one.name for one in arm.summary.metrics if one.n}
    return tuple(name for name in wanted if name in known)


def _width(metric: str, strata: list[list[ArmView]]) -> _Width | None:
    """Of the pair of levels that stands out most against its own width. The scatter between
    launches is taken over all cells together, in logarithms: it grows with the level. None where
    launches are too few, or a cell has no figure."""
    from scipy.special import stdtrit

    trials = [[_trial_figures(metric, cell) for cell in stratum] for stratum in strata]
    cells = [figures for stratum in trials for figures in stratum]
    freedom = sum(len(figures) - 1 for figures in cells)
    if not all(cells) or freedom < FREEDOM_MIN:
        return None
    scatter = sum(variance(f) * (len(f) - 1) for f in cells if len(f) > 1) / freedom
    t = float(stdtrit(freedom, 0.975))
    over = [
        (abs(fmean(one) - fmean(other)), t * math.sqrt(scatter * (1 / len(one) + 1 / len(other))))
        for stratum in trials
        for one, other in combinations(stratum, 2)
    ]
    effect, width = max(over, key=lambda pair: (pair[0] - pair[1], pair[0]))
    return _Width(math.expm1(effect), math.expm1(width))


def _trial_figures(metric: str, cell: ArmView) -> list[float]:
    """The logarithm of the median of each trial."""
    formula = call_metric(metric).formula
    values: dict[int, list[float]] = defaultdict(list)
    for call in cell.calls:
        value = formula(call) if call.status == "ok" else None
        if value is not None and value > 0:
            values[call.trial].append(value)
    return [math.log(median(row)) for row in values.values()]
