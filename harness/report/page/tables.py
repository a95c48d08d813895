"""A table that can be sorted: columns, rows, and what a figure brings along."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from harness.report.figures import UNKNOWN, interval_of, number
from harness.schema import MetricSummary

__all__ = ["Cell", "Column", "Strip", "Table", "Tone", "as_cell", "figure", "label", "of_number"]

Tone: TypeAlias = Literal["", "good", "bad", "dim"]


class Strip(Struct, frozen=True, kw_only=True):
    """An interval drawn on the scale of its column, 0 in the middle. Shares of half the width,
    −1 … 1."""

    low: float
    high: float
    at: float
    cut_low: bool = False
    """It goes on beyond the scale."""
    cut_high: bool = False


class Cell(Struct, frozen=True, kw_only=True):
    text: str
    lines: tuple[str, ...] = ()
    """Below it, smaller: interval, n."""
    title: str = ""
    """All that is known of the figure, on hovering."""
    sort: float | None = None
    """None: sorted by its text; unknown figures go last."""
    unknown: bool = False
    code: bool = False
    tone: Tone = ""
    strip: Strip | None = None


class Column(Struct, frozen=True, kw_only=True):
    head: str
    unit: str = ""
    title: str = ""
    numeric: bool = False
    code: bool = False


class Table(Struct, frozen=True, kw_only=True):
    caption: str
    """For those who hear the page, and in print."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heads: int = 1
    """Columns that name the row."""


def label(text: str, **more: str | bool) -> Cell:
    return Cell(text=text, **more)  # type: ignore[arg-type]


def of_number(
    value: float | None, text: str | None = None, tone: Tone = "", title: str = ""
) -> Cell:
    shown = number(value) if text is None else text
    return Cell(text=shown, sort=value, unknown=value is None, tone=tone, title=title)


def as_cell(value: str | float | None) -> Cell:
    """A level of an axis: sorted as a number where it is one."""
    if isinstance(value, bool | str):
        return label(str(value).lower() if isinstance(value, bool) else value)
    return of_number(value)


def figure(one: MetricSummary | None, made_up: Collection[str] = ()) -> Cell:
    """A metric's median, with interval and n below it and the rest on hovering. `made_up`: names of
    those that were not measured, beside others that were."""
    if one is None or not one.n:
        return Cell(text=UNKNOWN, unknown=True, title="not measured", tone="dim")
    band = (f"{one.band} (by {one.band_by})",) if one.band else ()
    lines = (f"mean {number(one.mean)}, n = {one.n}", interval_of(one), *band)
    if one.name in made_up:
        lines = ("simulated", *lines)
    tone: Tone = "bad" if one.name in made_up else ""
    return Cell(text=number(one.median), lines=lines, title=_told(one), sort=one.median, tone=tone)


def _told(one: MetricSummary) -> str:
    unit = "" if one.unit in ("", "1") else f" {one.unit}"
    parts = [
        f"{one.name}: median {number(one.median)}{unit} of n = {one.n} ({one.of}s)",
        f"mean {number(one.mean)}{unit}, 95 % interval {interval_of(one)}",
        f"SD {number(one.sd)}",
        f"range {number(one.minimum)} … {number(one.maximum)}",
        one.provenance,
    ]
    if one.n_eff is not None:
        parts.append(f"as good as {number(one.n_eff, 3)} independent values")
    if one.outliers:
        parts.append(
            f"{one.outliers} outliers, mean without them {number(one.mean_without_outliers)}"
        )
    if one.missing:
        parts.append(f"unknown for {one.missing} more")
    return "; ".join(parts)


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], heads: int = 1
) -> Table:
    return Table(caption=caption, columns=tuple(columns), rows=tuple(map(tuple, rows)), heads=heads)
