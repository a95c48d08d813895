"""What the HTML report takes from elsewhere: comparisons and plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from harness.protocols import RunData
from harness.schema.comparison import Comparison

__all__ = ["Plot", "find_comparisons", "find_plots"]


class Plot(Protocol):
    """A figure that can be drawn."""

    name: str
    title: str
    caption: str

    def svg(self) -> str: ...


def find_comparisons(run: RunData) -> list[Comparison]:
    """Every arm against the baseline, cell by cell; none where there is one arm and cell."""
    try:
        from harness.compare import compare_arms
    except ImportError:
        return []
    return list(compare_arms(run))


def find_plots(run: RunData) -> Iterator[Plot]:
    try:
        from harness.report.plots import figures_for
    except ImportError:
        return iter(())
    return iter(figures_for(run))
