"""On which machine a trial ran, as far as that decides what may stand beside what.

An executor says so in the trial's `placement` (harness.jobs.here). Instants of a trial whose clock
is not that of the run's own machine are comparable within the trial, and with no other's; the
trial's `home_ns` are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["MACHINE_KIND", "gpu_models", "machine_kind"]

MACHINE_KIND: Final = ("cpu_model", "cpu_count", "kernel", "gpu_models")
"""Of a placement: what makes two machines alike."""


def machine_kind(placement: Mapping[str, str]) -> tuple[str, ...]:
    """In the order of MACHINE_KIND; empty texts where nothing is said."""
    return tuple(placement.get(name, "") for name in MACHINE_KIND)


def gpu_models(names: Iterable[str]) -> str:
    """Of the GPUs of one machine: `2 x NVIDIA H200`."""
    return ", ".join(f"{count} x {name}" for name, count in sorted(Counter(names).items()))
