"""Models beside one another: size, or cost, against what each came to; and bubbles, with a third.

A point is the mean of one model with its 95 % interval, and says its n. A square runs here, a
circle is somebody's API; a family has one colour in every figure of a run, and each point bears its
name, so that nothing is told by colour alone. A bubble's area is its value: there is no least one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.report.figures import number
from harness.report.plots.arms import Shown, intervals_of
from harness.report.plots.layout import columns
from harness.report.plots.modelmarks import draw as draw_points
from harness.report.plots.modelmarks import legend, name_axes, with_footnote
from harness.report.plots.modelpoints import (
    PARAMETERS,
    Left,
    Models,
    Spot,
    best_known,
    models_of,
    spots,
)
from harness.report.plots.plot import Plot
from harness.report.plots.source import Key, Source, Unfit
from harness.report.plots.style import legend_below
from harness.report.plots.words import metric_label, plural

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

__all__ = ["bubbles", "model_cost", "model_size"]

COST: Final = ("cost_usd", "iteration_cost_usd", "cost_usd_per_1k_output_tokens")
ENERGY: Final = (
    "gpu_energy_j_per_request",
    "gpu_energy_j_per_token",
    "cpu_energy_j_per_request",
    "cpu_energy_j_per_token",
    "gpu.energy_j",
    "rapl.energy_j",
)
_E2E: Final = ("e2e_ms", "e2e_from_due_ms", "wall_ms")
_TTFT: Final = ("ttft_ms", "ttft_from_due_ms")
_RATE: Final = ("held_throughput_tok_s", "throughput_tok_s", "requests_per_s")

PANELS_MAX: Final = 6


def model_size(source: Source) -> list[Plot]:
    models = models_of(source)
    names = _names(source, models, [_E2E, _TTFT, _RATE, COST, ENERGY])
    return _scatter(source, models, PARAMETERS, names, "model-size", "Models by size")


def model_cost(source: Source) -> list[Plot]:
    models = models_of(source)
    cost = best_known(source, models, [n for n in source.wanted if n in COST] or COST)
    if cost is None:
        raise Unfit("of no model it is known what it cost (harness prices says how to tell)")
    names = [name for name in _names(source, models, [_E2E, _TTFT, _RATE, ENERGY]) if name != cost]
    return _scatter(source, models, cost, names, "model-cost", "Models by cost")


def bubbles(source: Source) -> list[Plot]:
    models = models_of(source)
    area = _area(source, models)
    names = [n for n in _names(source, models, [_E2E, _RATE]) if n not in (area, *COST, *ENERGY)]
    names = sorted(names, key=lambda name: name not in models.scores)
    title = f"Models by size; area: {metric_label(area, source.metric(area).unit)}"
    return _scatter(source, models, PARAMETERS, names, "model-bubbles", title, area=area)


def _area(source: Source, models: Models) -> str:
    wanted = [name for name in source.wanted if name in COST or name in ENERGY]
    area = best_known(source, models, wanted or (*COST, *ENERGY))
    if area is None:
        raise Unfit("of no model cost or energy are known, and area would be nothing")
    return area


def _names(source: Source, models: Models, groups: Iterable[Sequence[str]]) -> list[str]:
    """What goes up: the metrics asked for, else one of each group, and the scenario's own."""
    known = {one.name for arm in source.arms for one in arm.metrics if one.n}
    if source.wanted:
        return [name for name in source.wanted if name in known][:PANELS_MAX]
    found = [best_known(source, models, group) for group in groups]
    chosen = [name for name in found if name is not None]
    return [*chosen, *(n for n in models.scores if n in known)][:PANELS_MAX]


def _scatter(
    source: Source,
    models: Models,
    x: str,
    names: Sequence[str],
    kind: str,
    title: str,
    area: str | None = None,
) -> list[Plot]:
    data: dict[str, list[Spot]] = {}
    left: dict[str, Left] = {}
    for name in names:
        found, left[name] = spots(source, models, x, name, area=area)
        if len(found) > 1:
            data[name] = found
    if not data:
        raise Unfit(_too_few(models, left))
    missing = _missing(models, {name: left[name] for name in data})
    across = columns(len(data))
    down = -(-len(data) // across)
    size_in = (min(4.9 * across + 0.4, 13.0) if across > 1 else 7.6, 2.0 + 3.4 * down)

    def draw(whole: SubFigure) -> None:
        figure = with_footnote(whole, missing, size_in)
        grid: Any = figure.subplots(down, across, squeeze=False)
        flat = list(grid.flat)
        panel_in = (size_in[0] / across - 0.9, 2.7)
        for axes, name in zip(flat, data, strict=False):
            draw_points(axes, data[name], models, panel_in)
            name_axes(axes, source, x, name)
        for axes in flat[len(data) :]:
            axes.set_visible(False)
        legend_below(figure, legend(source, data, models, area))

    return [
        Plot(
            name=kind,
            kind=kind,
            title=title,
            subtitle=f"mean with its 95 % interval; {intervals_of(_by_key(data))}; beside each: n",
            caption=_caption(source, data, x, area, missing),
            data=data,
            size_in=size_in,
            draw=draw,
            frame=source.frame(),
        )
    ]


def _by_key(data: Mapping[str, Sequence[Spot]]) -> dict[str, dict[Key, Shown | None]]:
    return {name: {one.model.key: one.shown for one in points} for name, points in data.items()}


def _missing(models: Models, left: Mapping[str, Left]) -> str:
    """`big: skipped: …; phi, qwen: cost of a call not known`: who is in no panel, or not in all."""
    why: dict[str, list[str]] = {}
    for reasons in (models.left, *left.values()):
        for name, reason in reasons.items():
            if name not in why.setdefault(reason, []):
                why[reason].append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in why.items())


def _too_few(models: Models, left: Mapping[str, Left]) -> str:
    missing = _missing(models, left)
    return "fewer than two models can be placed" + (f": {missing}" if missing else "")


def _caption(
    source: Source, data: Mapping[str, Sequence[Spot]], x: str, area: str | None, missing: str
) -> str:
    name, points = next(iter(data.items()))
    across = "parameters" if x == PARAMETERS else metric_label(x, source.metric(x).unit)
    said = [f"{one.model.name}: n = {plural(one.shown.n, one.shown.of)}, {_interval(one.shown)}"
            for one in points[:20]]  # fmt: skip
    areas = f" Area: {metric_label(area, source.metric(area).unit)}." if area is not None else ""
    return (
        f"Means with 95 % intervals against {across}, {intervals_of(_by_key(data))}. Squares run "
        f"here, circles are APIs; * marks a size that is only declared.{areas} "
        f"Of {name}: {'; '.join(said)}." + (f" Left out: {missing}." if missing else "")
    )


def _interval(one: Shown) -> str:
    if one.low is None or one.high is None:
        return f"mean {number(one.mean)}, no interval"
    return f"mean {number(one.mean)} ({number(one.low)} to {number(one.high)})"
