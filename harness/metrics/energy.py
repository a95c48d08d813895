"""ENERGY_METRICS: joules per request, token and right answer, of what an instrument counted.

The energy is that of the whole iteration, of every device it was counted on, and gross: idle power
is in it, and so is what failed calls took. It is there only where the instrument gave one: a window
too short for its counter gives none, and so no figure here. CPU packages (RAPL) and GPUs are
counted by different instruments, and never added up: one may be a part of the other's board.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from harness.metrics.iteration import IterationView, output_tokens
from harness.metrics.metric import Metric, Provenance, definer, find

__all__ = ["CORRECT", "ENERGY_METRICS", "energy_metric", "energy_metrics_of", "provenance_of"]

GPU: Final = "gpu.energy_j"
CPU: Final = "rapl.energy_j"
CORRECT: Final = "correct"
"""The scenario's own metric: how many answers of the iteration were right, in `answers`."""


def energy_metric(name: str) -> Metric[IterationView]:
    """The metric of that name; SpecError if there is none."""
    return find(name, ENERGY_METRICS)


def energy_metrics_of(views: Sequence[IterationView]) -> list[Metric[IterationView]]:
    """Those that these iterations have: of the counters that gave energy; per right answer where
    answers were scored."""
    names = {one.name for view in views for one in view.record.metrics}
    scored = any(_correct(view) is not None for view in views)
    return [
        one
        for one in ENERGY_METRICS
        if _source(one) in names and (scored or not one.name.endswith("_correct"))
    ]


def provenance_of(metric: Metric[IterationView], views: Sequence[IterationView]) -> Provenance:
    """`simulated` where the energy was, in any of them."""
    of = (one for view in views for one in view.record.metrics if one.name == _source(metric))
    return "simulated" if any(one.provenance == "simulated" for one in of) else metric.provenance


def _source(metric: Metric[IterationView]) -> str:
    return GPU if metric.name.startswith("gpu_") else CPU


def _energy_j(view: IterationView, source: str) -> float | None:
    return next((one.value for one in view.record.metrics if one.name == source), None)


def _requests(view: IterationView) -> float | None:
    return float(sum(call.status == "ok" for call in view.calls))


def _correct(view: IterationView) -> float | None:
    of = (one for one in view.record.metrics if (one.name, one.unit) == (CORRECT, "answers"))
    return next((one.value for one in of), None)


Per = Callable[[IterationView], float | None]


def _per(source: str, count: Per) -> Per:
    """Nothing was done: no energy for each of it."""

    def formula(view: IterationView) -> float | None:
        energy_j, of = _energy_j(view, source), count(view)
        return None if energy_j is None or not of else energy_j / of

    return formula


_define = definer("iteration", IterationView)


# fmt: off
ENERGY_METRICS: Final[tuple[Metric[IterationView], ...]] = (
    _define("gpu_energy_j_per_request", "J", "lower", "derived", _per(GPU, _requests),
            "Energy of the used GPUs over the iteration, idle power included / its ok calls."),
    _define("gpu_energy_j_per_token", "J/tok", "lower", "derived", _per(GPU, output_tokens),
            "Energy of the used GPUs over the iteration / output tokens of its ok calls."),
    _define("gpu_energy_j_per_correct", "J/answer", "lower", "derived", _per(GPU, _correct),
            "Energy of the used GPUs over the iteration / answers that were right."),
    _define("cpu_energy_j_per_request", "J", "lower", "derived", _per(CPU, _requests),
            "Energy of the CPU packages over the iteration, everybody's work included / its ok "
            "calls."),
    _define("cpu_energy_j_per_token", "J/tok", "lower", "derived", _per(CPU, output_tokens),
            "Energy of the CPU packages over the iteration / output tokens of its ok calls."),
    _define("cpu_energy_j_per_correct", "J/answer", "lower", "derived", _per(CPU, _correct),
            "Energy of the CPU packages over the iteration / answers that were right."),
)
# fmt: on
