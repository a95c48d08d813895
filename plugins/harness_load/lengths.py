"""Seeded lengths in tokens. All distributions are given by their mean and one spread in tokens, so
that changing the shape does not change the work that is offered on average."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Literal, TypeAlias

__all__ = ["Distribution", "check_spread", "sampler"]

Distribution: TypeAlias = Literal["constant", "uniform", "normal", "lognormal"]


def check_spread(name: str, distribution: Distribution, spread: float) -> None:
    """ValueError where a spread would be ignored, or is missing: neither is a silent no-op."""
    if not math.isfinite(spread):
        raise ValueError(f"{name}_spread must be a finite number of tokens")
    if distribution == "constant" and spread:
        raise ValueError(f"{name}_spread has no effect on constant lengths: choose a distribution")
    if distribution != "constant" and not spread:
        raise ValueError(f"{name}_distribution {distribution} needs {name}_spread, in tokens")


def sampler(
    distribution: Distribution, mean: float, spread: float, rng: Random, *, floor: int = 1
) -> Callable[[], int]:
    """A function that draws the next length, at least `floor`: lengths below it are raised to it,
    which lifts the mean where the spread is large against the mean."""
    draw = _draw(distribution, mean, spread, rng)
    return lambda: max(floor, round(draw()))


def _draw(
    distribution: Distribution, mean: float, spread: float, rng: Random
) -> Callable[[], float]:
    if distribution == "uniform":
        return lambda: rng.uniform(mean - spread, mean + spread)
    if distribution == "normal":
        return lambda: rng.gauss(mean, spread)
    if distribution == "lognormal":
        # Moments of the lognormal: variance of the log = ln(1 + sd² / mean²).
        sigma = math.sqrt(math.log1p((spread / mean) ** 2))
        mu = math.log(mean) - sigma * sigma / 2
        return lambda: rng.lognormvariate(mu, sigma)
    return lambda: mean
