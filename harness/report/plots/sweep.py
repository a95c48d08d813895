"""What the figures of a sweep share: its grid, who was swept, and the figure of each cell."""

from __future__ import annotations

from harness.report.plots.arms import Shown, figure_of
from harness.report.plots.grid import Grid, grid_of
from harness.report.plots.source import Key, Source, Unfit, key_of

__all__ = ["figure_at", "metrics_of", "not_swept", "swept_arms", "swept_grid"]


def swept_grid(source: Source) -> Grid:
    grid = grid_of(source.cell_values())
    if grid is None:
        raise Unfit("this run has no sweep, or only one cell of it is looked at")
    return grid


def swept_arms(source: Source) -> list[str]:
    return list(dict.fromkeys(a.arm for a in source.arms if a.cell in source.cells))


def not_swept(source: Source) -> list[Key]:
    """Arms that were not swept."""
    return [key_of(arm) for arm in source.arms if arm.cell not in source.cells]


def metrics_of(source: Source) -> list[str]:
    names = source.names()
    if not names:
        raise Unfit("no arm has a value of the metric" if source.wanted else "nothing was measured")
    return names


def figure_at(source: Source, arm: str, cell: str | None, name: str) -> Shown | None:
    key = Key(arm, cell or "")
    return figure_of(source, key, name) if key in source.by_key else None
