"""Error and lag against the number of streams, drawn: one page for a talk or a report.

Left, what is in the figures: the error of the stamps. Right, what the kernel's stamps keep out of
them: how late this process read. Same axes, so that the distance between the two can be seen. Loads
without a rate are left out: their number of streams says nothing of how hard they were.

Colours are those of all our figures (report/plots/style.py), and every curve has a marker and dash
of its own, so that neither a colour-blind reader nor a black-and-white print loses one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import StoreError
from harness.report.plots.style import BLUE, GREEN, GRID, INK, ORANGE
from harness.schema import SelfCheckLoad
from harness.selfcheck.found import Check
from harness.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

GAP_US: Final = 10_000.0

_STAMPS: Final = (
    ("first_token", "first token", BLUE, "o"),
    ("chunk", "any chunk", ORANGE, "s"),
)
_QUANTILES: Final = (("p50", "p50", "-", 1.0), ("p99", "p99", "--", 1.0), ("max", "max", ":", 0.75))


def draw(check: Check, path: Path) -> None:
    """Writes .png or .svg, by the name. Raises StoreError where that is not possible."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 10.5,
        "axes.edgecolor": "#888888",
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "svg.fonttype": "none",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(11.0, 5.6), dpi=150, layout="constrained", facecolor="white")
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.12, h_pad=0.08)
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        paced = sorted(
            (one for one in check.selfcheck.loads if one.rate_tok_s), key=lambda one: one.streams
        )
        _panel(left, paced, "Error of the stamps")
        for field, name, colour, marker in _STAMPS:
            _curves(left, paced, field, name, colour, marker)
        if any(one.first_token_p99_ns is None for one in paced):
            where: Any = {"transform": left.transAxes, "ha": "right", "va": "bottom"}
            left.text(0.99, 0.01, "a p99 needs n ≥ 100", fontsize=9, color="#555555", **where)
        _panel(right, paced, "Lag of the reading process (not in kernel stamps)")
        _curves(right, paced, "client_lag", "lag", GREEN, "D")
        left.set_ylabel("µs, log scale")
        _limits(left, paced)
        below = -0.13 if all(one.held for one in paced) else -0.19
        for axes in (left, right) if paced else ():
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, below),
                ncol=2 if axes is left else 3,
                frameon=False,
                handlelength=3.2,
            )
        figure.suptitle(_title(check), fontsize=11.5, x=0.02, ha="left")
        try:
            figure.savefig(path, metadata=_metadata(path))
        except OSError as error:
            raise StoreError(
                f"cannot write: {(error.strerror or str(error)).lower()}",
                where=str(path),
                remedy="--plot another/file.png",
            ) from None


def _panel(axes: Axes, paced: list[SelfCheckLoad], title: str) -> None:
    streams = [one.streams for one in paced]
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10)
    axes.set_xscale("log")
    # All of them in as many lines, or the numbers are not on one.
    below = "" if all(one.held for one in paced) else "\n "
    held = [below if one.held else "\nnot held" for one in paced]
    axes.set_xticks(streams, [f"{n:,}{said}" for n, said in zip(streams, held, strict=True)])
    axes.set_xticks([], minor=True)
    if streams:
        axes.set_xlim(min(streams) / 1.6, max(streams) * 1.6)
    rates = {one.rate_tok_s for one in paced}
    each = f" of {rates.pop():g} tok/s each" if len(rates) == 1 else ""
    axes.set_xlabel(f"streams{each}, log scale")
    axes.grid(True, which="major", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not paced:
        axes.text(0.5, 0.5, "no load with a rate was tried", transform=axes.transAxes, ha="center")


def _curves(
    axes: Axes, paced: list[SelfCheckLoad], field: str, name: str, colour: str, marker: str
) -> None:
    for suffix, label, dash, alpha in _QUANTILES:
        if field == "client_lag" and suffix == "max":
            continue
        points = [
            (one.streams, value / 1e3)
            for one in paced
            if (value := getattr(one, f"{field}_{suffix}_ns")) is not None
        ]
        if not points:
            continue
        axes.plot(
            *zip(*points, strict=True),
            linestyle=dash,
            color=colour,
            alpha=alpha,
            marker=marker,
            markersize=6 if suffix == "p50" else 5,
            markerfacecolor=colour if suffix == "p50" else "white",
            linewidth=2.0 if suffix == "p50" else 1.6,
            label=f"{name}, {label}",
        )


def _limits(axes: Axes, paced: list[SelfCheckLoad]) -> None:
    """Room for every value, and for the gap between two tokens, which errors are small against.
    A stamp before its send makes an error negative: then the axis is linear around 0."""
    fields = (
        *(f"{field}_{suffix}_ns" for field, *_ in _STAMPS for suffix, *_ in _QUANTILES),
        "client_lag_p50_ns",
        "client_lag_p99_ns",
    )
    values = [
        value / 1e3
        for one in paced
        for field in fields
        if (value := getattr(one, field)) is not None
    ]
    axes.set_yscale("log")
    if values and min(values) <= 0:
        axes.set_yscale("symlog", linthresh=1.0)
    else:
        axes.set_ylim(min([0.5, *(value / 2 for value in values)]), 2 * max([GAP_US, *values]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    for panel in axes.figure.axes:
        panel.axhline(GAP_US, color="#888888", linewidth=1.0)
        panel.annotate(
            "gap between two tokens, 10 ms",
            (0.0, GAP_US),
            xycoords=("axes fraction", "data"),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=9,
            color="#555555",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
            zorder=5,
        )


def _title(check: Check) -> str:
    machine, made = check.machine, check.selfcheck
    calls = sum(one.calls for one in made.loads if one.rate_tok_s)
    cores = f"{machine.cores} core{'' if machine.cores == 1 else 's'}"
    pinned = (
        "client and server on cores of their own"
        if machine.server_cores
        else "shared by client and server"
    )
    return (
        f"harness selfcheck, {made.mode}, {made.at[:10]}, n = {calls:,} calls\n"
        f"{one_line(machine.cpu or 'unknown processor', 60)}, {cores}, "
        f"Linux {one_line(machine.kernel or '', 30)}; {pinned}; build {made.native_digest}"
    )


def _metadata(path: Path) -> dict[str, Any]:
    key = "Title" if path.suffix.lower() == ".svg" else "Software"
    return {key: "harness selfcheck"}
