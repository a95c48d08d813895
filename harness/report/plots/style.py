"""How every figure of ours looks: one palette, one type, one way to tell series apart.

Colours are of Okabe and Ito's set; the light ones are darker here, so that each stands out from
paper by 3:1. Two series never differ by colour alone: each has a marker, a dash and a hatch of its
own, so that neither a colour-blind reader nor a black-and-white print loses one (tests compute
both). What is not data, the grid or a footer, is grey.

matplotlib is imported by the functions that draw, never its pyplot: no figure of ours is global,
and the style holds only while one of them is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = [
    "BLUE",
    "FAINT",
    "GREEN",
    "GREY",
    "GRID",
    "INK",
    "LOOKS",
    "ORANGE",
    "PURPLE",
    "SKY",
    "Look",
    "applied",
    "legend_below",
    "look",
    "tidy",
]

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#007A5E"
PURPLE: Final = "#B0508A"
SKY: Final = "#3E9BD0"
INK: Final = "#222222"
GREY: Final = "#6B6B6B"
"""Second-rank text: 5:1 on white."""
FAINT: Final = "#B8B8B8"
"""What stands behind: the other arms, single trials."""
GRID: Final = "#DEDEDE"

FONT: Final = "DejaVu Sans"
"""Comes with matplotlib, so that a figure is the same everywhere."""


class Look(NamedTuple):
    """What tells one series from another, in any one of four ways."""

    colour: str
    marker: str
    dash: Any
    hatch: str


_COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE, INK, SKY)
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: Final = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (6, 1.6, 1.2, 1.6)),
    (0, (9, 2)),
)
_HATCHES: Final = ("", "///", "\\\\\\", "xx", "---", "||", "++")
LOOKS: Final = tuple(
    Look(
        _COLOURS[i % len(_COLOURS)],
        _MARKERS[i % len(_MARKERS)],
        _DASHES[i % len(_DASHES)],
        _HATCHES[i % len(_HATCHES)],
    )
    for i in range(42)
)


def look(index: int) -> Look:
    """Of the index-th series of a run: the same in all its figures. The first six differ in colour,
    the first 42 in the pair of colour and marker."""
    return LOOKS[index % len(LOOKS)]


@contextmanager
def applied() -> Iterator[None]:
    """The style holds within. Strangers' text is never taken for mathematics."""
    import matplotlib as mpl

    style: Any = {
        "axes.axisbelow": True,
        "axes.edgecolor": "#888888",
        "axes.facecolor": "none",  # the watermark stands behind
        "axes.labelcolor": INK,
        "axes.labelsize": 9.5,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.unicode_minus": True,
        "figure.facecolor": "white",
        "font.family": FONT,
        "font.size": 9.5,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "hatch.linewidth": 0.6,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "path.simplify": True,
        "pdf.fonttype": 42,
        "savefig.facecolor": "white",
        "svg.fonttype": "path",
        "svg.hashsalt": "harness",
        "text.color": INK,
        "text.parse_math": False,
        "text.usetex": False,
        "xtick.color": INK,
        "xtick.labelsize": 8.5,
        "ytick.color": INK,
        "ytick.labelsize": 8.5,
    }
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever a matplotlibrc of the user's says
        mpl.rcParams.update(style)
        yield


def legend_below(figure: SubFigure, handles: Any, columns: int | None = None) -> None:
    """Below all axes, in as many columns as there is room for."""
    width = figure.bbox.width / figure.dpi
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = max(int(width / (0.075 * longest + 0.62)), 1)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns or len(handles), room),
        handlelength=3.0,
        columnspacing=1.6,
    )


def tidy(axes: Axes, *, grid: str = "both") -> None:
    """Grid lines behind the data, numbers without mathematics on either axis."""
    from harness.report.plots.words import tick

    if grid in ("x", "both"):
        axes.grid(True, axis="x", which="major")
    if grid in ("y", "both"):
        axes.grid(True, axis="y", which="major")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(tick)
        axis.set_minor_formatter("")
