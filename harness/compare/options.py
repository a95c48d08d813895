"""What there is to choose from, and what is found of it (recommend.py)."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from harness.compare.factors import Factor
from harness.schema import Effect

__all__ = ["Level", "Objective", "Option", "Recommendation"]


class Objective(Struct, frozen=True, kw_only=True):
    """What is to be made low or high."""

    metric: str
    unit: str
    better: Literal["lower", "higher"]

    def is_worse(self, one: float, than: float) -> bool:
        return one > than if self.better == "lower" else one < than


class Level(Struct, frozen=True, kw_only=True):
    """One objective of one option."""

    mean: float
    """Over trials."""
    low: float | None
    """95 % interval (Student's, of trial means). None below 5 trials."""
    high: float | None
    n: int
    """Trials."""


class Option(Struct, frozen=True, kw_only=True):
    """One arm and cell."""

    arm: str
    cell: str
    values: dict[str, Any]
    """What the sweep set."""
    levels: dict[str, Level]
    """Metric → level."""
    status: Literal["recommended", "beaten", "out", "unknown"]
    """`out`: it does not meet the SLO, or is not shown to. `unknown`: it lacks an objective."""
    because: str = ""
    more_trials: int | None = None
    """Of one that cannot be told from the best: further trials each, until the difference that was
    observed would be seen in 4 of 5 cases. None: it was told apart, or it is not worth it."""

    @property
    def label(self) -> str:
        return self.arm if self.cell in ("", "base") else f"{self.arm} / {self.cell}"


class Recommendation(Struct, frozen=True, kw_only=True):
    """What the run shows."""

    run_id: str
    name: str
    objectives: tuple[Objective, ...]
    options: tuple[Option, ...]
    """Best mean of the first objective first."""
    best: tuple[Option, ...]
    """Recommended: one, any of several, or the trade to be made."""
    effects: tuple[Effect, ...]
    """The best option against each of the others, in the order of `options`; first objective."""
    factors: tuple[Factor, ...]
    tests: int
    """That a p-value was corrected for: rivals of an option times objectives. 0: none was made."""
    paired: bool
    sentence: str
    unranked: str
    """Why some options are not ranked against others; empty where all are."""
    doubts: tuple[str, ...]
    """Codes of the run's caveats that the reader must weigh."""
    watermark: str = ""
    """Why this may not be acted on."""
