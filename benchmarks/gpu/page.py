"""What was found, as a section of docs/gpu.md: every figure with its n, unit and conditions."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from benchmarks.gpu.measure import Cost, Counter, Square
from benchmarks.gpu.models import Ran

__all__ = ["Conditions", "section"]

UNKNOWN = "unknown"


class Conditions(NamedTuple):
    """Under which all of it was measured."""

    date: str
    source: str
    origin: str
    gpu: str
    memory_bytes: int | None
    power_limit_w: float | None
    machine: str
    versions: str


def section(
    conditions: Conditions,
    costs: list[Cost],
    counter: Counter,
    squares: list[Square],
    models: list[Ran],
) -> str:
    """Markdown. What is not of a real GPU says so before anything else."""
    parts = [_head(conditions), _calls(costs, counter)]
    if squares:
        parts.append(_squares(squares))
    if models:
        parts.append(_models(models))
    return "\n".join(parts)


def _head(of: Conditions) -> str:
    mark = (
        ""
        if of.source == "nvml"
        else f"**SIMULATED ({of.source}): no GPU was measured: these are figures of nothing.**\n\n"
    )
    limit = UNKNOWN if of.power_limit_w is None else f"{of.power_limit_w:.0f} W"
    return (
        f"{mark}Measured on {of.date}: {of.gpu}, {_gib(of.memory_bytes)}, power limit {limit}; "
        f"{of.origin}; {of.machine}; {of.versions}. Nothing else ran on the GPU that we know of.\n"
    )


def _calls(costs: list[Cost], counter: Counter) -> str:
    rows = [
        f"| {one.name} | {one.n} | {one.p50_us:.1f} | {one.p99_us:.1f} | {one.max_us:.1f} |"
        for one in costs
    ]
    period = (
        "The energy counter did not step while the GPU was idle."
        if counter.period_ms is None
        else f"The energy counter of the idle GPU steps every {counter.period_ms:.1f} ms (median; "
        f"longest {counter.longest_ms:.1f} ms; {counter.steps} steps in {counter.looks} looks); "
        f"idle power {_number(counter.idle_w, 'W')}."
    )
    table = "| call | n | p50 µs | p99 µs | max µs |\n|---|---|---|---|---|\n" + "\n".join(rows)
    return f"{table}\n\n{period}\n"


def _squares(squares: list[Square]) -> str:
    rows = [
        f"| {one.window_s:.2f} | {_number(one.counter_j)} | {_number(one.bound_j)} | "
        f"{_number(one.instant_j)} | {_number(one.average_j)} | "
        f"{_ratio(one.instant_j, one.counter_j)} | {_ratio(one.average_j, one.counter_j)} |"
        for one in squares
    ]
    head = (
        "Square wave of matrix products, energy by the counter and by integrating the power over "
        "the same windows:\n\n"
        "| window s | counter J | bound ± J | ∫ instant power J | ∫ power J | instant / counter | "
        "power / counter |\n|---|---|---|---|---|---|---|\n"
    )
    known = [
        one.instant_j / one.counter_j
        for one in squares
        if one.instant_j is not None and one.counter_j
    ]
    told = (
        f"\n\nIntegrated instant power / counter: median {median(known):.3f}, "
        f"from {min(known):.3f} to {max(known):.3f} (n = {len(known)})."
        if known
        else ""
    )
    return head + "\n".join(rows) + told + "\n"


def _models(models: list[Ran]) -> str:
    head = (
        "Models of random weights in bfloat16 through the `hf` backend, one request at a time; "
        "medians over n iterations; energy is gross:\n\n"
        "| model | parameters | n | tok/s | J/token | energy J (± bound) | idle W | memory "
        "predicted | memory taken (by) | taken / predicted | verdict |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| {one.size} | {one.parameters / 1e9:.3f} G | {one.n} | "
        f"{_number(one.throughput_tok_s)} | {_number(one.j_per_token)} | "
        f"{_energy(one)} | "
        f"{_number(one.idle_w)} | {_gib(one.predicted_bytes)} | {_gib(one.peak_bytes)}"
        f"{f' ({one.peak_of})' if one.peak_of else ''} | "
        f"{_ratio(one.peak_bytes, one.predicted_bytes)} | {one.verdict} |"
        for one in models
    ]
    why = {f"`{name}`: {reason}" for one in models for name, reason in one.why.items()}
    notes = "\n\nUnknown, and why: " + "; ".join(sorted(why)) + "." if why else ""
    return head + "\n".join(rows) + notes + "\n"


def _energy(one: Ran) -> str:
    if one.energy_j is None:
        return UNKNOWN
    return f"{_number(one.energy_j)} (± {_number(one.bound_j)}, n = {one.energy_n})"


def _number(value: float | None, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{value:.4g}{f' {unit}' if unit else ''}"


def _ratio(one: float | None, other: float | None) -> str:
    return UNKNOWN if one is None or not other else f"{one / other:.3f}"


def _gib(size_bytes: float | None) -> str:
    return UNKNOWN if size_bytes is None else f"{size_bytes / 2**30:.2f} GiB"
