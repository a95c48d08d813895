"""What an arm took in joules, in words, with the bound of the error beside it and a readable unit.

The counters of GPUs and of CPU packages stand side by side and are never added up: a package may be
on the GPU's own board, and a desktop's CPU serves more than this run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from harness.report.aggregate import metric
from harness.report.figures import number
from harness.schema import ArmSummary, MetricSummary

__all__ = ["energy_unit", "energy_words", "is_energy"]

SOURCES: Final = (("gpu", "gpu", "GPUs"), ("rapl", "cpu", "CPU packages"))
"""(instrument, what metrics derived of it begin with, in words)."""
PER: Final = (("request", "request"), ("token", "output token"), ("correct", "correct answer"))
UNITS: Final = ("J", "J/tok", "J/answer")
WH_FROM_J: Final = 36_000.0
"""From ten watt hours on, joules are a row of digits."""
MJ_BELOW_J: Final = 0.1


def is_energy(name: str) -> bool:
    """Whether it is derived of what an instrument counted: joules per something."""
    return name.startswith(("gpu_energy_", "cpu_energy_"))


def energy_unit(unit: str, values: Iterable[float | None]) -> tuple[str, float]:
    """What to call it, and by what to divide: one for all values of a row."""
    known = [abs(value) for value in values if value is not None]
    if unit not in UNITS or not known or not max(known):
        return unit, 1.0
    if max(known) < MJ_BELOW_J:
        return f"m{unit}", 1e-3
    return (unit.replace("J", "Wh", 1), 3600.0) if max(known) >= WH_FROM_J else (unit, 1.0)


def energy_words(arm: ArmSummary) -> str:
    """`GPUs 312 J (± 24 J) an iteration, 105 W on average, 61 W idle; 1.95 J a request, 24.4 mJ an
    output token`: medians of iterations. Empty where nothing was counted."""
    return "; ".join(filter(None, (" and ".join(_source(arm, *one)) for one in SOURCES)))


def _source(arm: ArmSummary, instrument: str, begins: str, words: str) -> Iterator[str]:
    whole = _known(arm, f"{instrument}.energy_j")
    if whole is None:
        return
    bound = _known(arm, f"{instrument}.energy_bound_j")
    sure = f" (± {_shown(bound)})" if bound else ""
    parts = [f"{words} {_shown(whole)}{sure} an iteration"]
    for name, said in (("power_mean_w", "on average"), ("idle_power_w", "idle")):
        if power := _known(arm, f"{instrument}.{name}"):
            parts.append(f"{number(power.median, 3)} W {said}")
    parts += [
        f"{_shown(one)} per {said}"
        for per, said in PER
        if (one := _known(arm, f"{begins}_energy_j_per_{per}"))
    ]
    # Where an instrument made it up, no sentence of it may be quoted alone.
    mark = "SIMULATED, not measured: " if whole.provenance == "simulated" else ""
    yield mark + ", ".join(parts)


def _known(arm: ArmSummary, name: str) -> MetricSummary | None:
    one = metric(arm, name)
    return one if one is not None and one.n else None


def _shown(one: MetricSummary) -> str:
    unit, scale = energy_unit(one.unit, [one.median])
    value = None if one.median is None else one.median / scale
    return f"{number(value, 3)} {unit.partition('/')[0]}"
