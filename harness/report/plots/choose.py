"""Which kinds of figure there are, and which of them a run is fit for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from harness.errors import SpecError
from harness.protocols import RunData
from harness.report.plots.arms import arms
from harness.report.plots.cold import cold_warm
from harness.report.plots.ecdf import ecdfs
from harness.report.plots.effects import effects
from harness.report.plots.family import families
from harness.report.plots.heatmap import heatmaps
from harness.report.plots.histogram import histograms
from harness.report.plots.loadcurve import load_curves
from harness.report.plots.modelsize import bubbles, model_cost, model_size
from harness.report.plots.overtime import over_time
from harness.report.plots.plot import Plot
from harness.report.plots.search import searches
from harness.report.plots.source import Source, Unfit
from harness.report.plots.stamps import stamps
from harness.report.plots.timeline import timeline
from harness.schema import Comparison
from harness.strict import nearest

__all__ = ["KINDS", "Choice", "Kind", "choose", "figures_for"]


class Kind(Struct, frozen=True):
    """A kind of figure."""

    name: str
    shows: str
    make: Callable[[Source], list[Plot]]
    """Raises Unfit."""


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("arms", "arms side by side: means with intervals, medians, trials", arms),
        Kind("effects", "forest plot of a comparison's effects", effects),
        Kind("family", "line families along an axis of a sweep", families),
        Kind("heatmap", "a sweep over two axes", heatmaps),
        Kind("model-size", "parameters against latency, throughput, cost, energy", model_size),
        Kind("model-cost", "what models cost against latency and throughput", model_cost),
        Kind("model-bubbles", "size against latency; area is cost or energy", bubbles),
        Kind("load-curve", "throughput against latency, with the SLO", load_curves),
        Kind("search", "the highest load that meets the SLO", searches),
        Kind("ecdf", "cumulative shares of TTFT and of ITL", ecdfs),
        Kind("histogram", "histograms of TTFT and of ITL", histograms),
        Kind("over-time", "latency over time, warm-up and outliers marked", over_time),
        Kind("cold-warm", "cold starts beside warm calls", cold_warm),
        Kind("timeline", "concurrent calls by slot; agents together and alone", timeline),
        Kind("stamps", "client lag, and the error of the stamps", stamps),
    )
}


class Choice(Struct, frozen=True, kw_only=True):
    """The figures that fit, and why others do not."""

    plots: list[Plot]
    refused: dict[str, str]
    """Kind → why."""


def figures_for(run: RunData, *, comparisons: Sequence[Comparison] = ()) -> list[Plot]:
    """Every figure that the run is fit for; none, where it has nothing to show."""
    return choose(run, comparisons=comparisons).plots


def choose(
    run: RunData,
    *,
    comparisons: Sequence[Comparison] = (),
    kinds: Iterable[str] = (),
    metrics: Sequence[str] = (),
    arms: Sequence[str] = (),
    cells: Sequence[str] = (),
) -> Choice:
    """What fits, of these kinds, metrics, arms and cells; of all of them, where none is named.

    Raises SpecError for a name that there is not.
    """
    _known("kind", kinds, list(KINDS), "--kind")
    summaries = run.summary.arms
    named = list(dict.fromkeys(one.name for arm in summaries for one in arm.metrics))
    _known("metric", metrics, named, "--metric")
    _known("arm", arms, list(dict.fromkeys(one.arm for one in summaries)), "--arm")
    _known("cell", cells, list(dict.fromkeys(one.cell for one in summaries)), "--cell")
    source = Source(run, comparisons=comparisons, metrics=metrics, arms=arms, cells=cells)
    plots: list[Plot] = []
    refused: dict[str, str] = {}
    for name in kinds or KINDS:
        source.shown.clear()
        try:
            plots += _marked(KINDS[name].make(source), source)
        except Unfit as unfit:
            refused[name] = str(unfit)
    return Choice(plots=plots, refused=refused)


def _marked(plots: list[Plot], source: Source) -> list[Plot]:
    """With the watermark, where one of the metrics that they show was not measured: those that were
    asked of the source, and those by which their data go."""
    compared = {e.metric for one in source.comparisons for e in one.effects}
    made = []
    for plot in plots:
        shown = source.shown | (compared if plot.kind == "effects" else set())
        shown |= {*plot.data} if isinstance(plot.data, Mapping) else set()
        if source.made_up & shown:
            plot = replace(plot, frame=replace(plot.frame, simulated=True))
        made.append(plot)
    return made


def _known(what: str, asked: Iterable[str], known: list[str], where: str) -> None:
    for name in asked:
        if name not in known:
            guess = nearest(name, known)
            raise SpecError(
                f"there is no {what} {name!r} in this run"
                if what != "kind" else f"there is no {what} {name!r}",
                where=where,
                remedy=guess or f"one of: {', '.join(known[:12])}",
            )  # fmt: skip
