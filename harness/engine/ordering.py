"""In which order the trials of a plan run: in blocks, each of one trial of every arm and cell."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from harness.schema import RunSpec

__all__ = ["ordered"]

T = TypeVar("T")


def ordered(spec: RunSpec, arms: Sequence[T]) -> list[tuple[T, int]]:
    """(arm, block), as `spec.order` says, repeatable from the seed. With adaptive stopping or a
    search, as many blocks as there may be."""
    count = spec.trials
    if spec.stop is not None:
        count = spec.stop.trials_max
    if spec.search is not None:
        count = max(count, spec.search.trials_max)
    rng = random.Random(f"order/{spec.seed}")
    blocks = [[(arm, block) for arm in arms] for block in range(count)]
    if spec.order == "sequential":
        return [(arm, block) for arm in arms for block in range(count)]
    if spec.order == "interleaved":
        for block in blocks:
            rng.shuffle(block)
    if spec.order == "randomised":
        # Adaptive stopping compares block by block what comes after the trials that all have.
        together = count if spec.stop is None else spec.trials
        blocks = [[pair for block in blocks[:together] for pair in block], *blocks[together:]]
        for block in blocks:
            rng.shuffle(block)
    return [pair for block in blocks for pair in block]
