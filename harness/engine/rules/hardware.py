"""Did heat, clocks or somebody else's work on the GPU decide the figures; did counters give joules.

These go by figures that an instrument recorded under the names of docs/instruments.md, whichever
plugin it came from: `gpu.…` and `rapl.…`. Where none was asked for, they have nothing to say.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from harness.engine.rules.view import ArmView, RunView, label
from harness.joules import WINDOW_MIN_S
from harness.schema import Caveat, IterationRecord
from harness.text import one_line

__all__ = ["ENERGY", "clocks", "gpu_shared", "no_energy", "thermal", "why_no_energy"]

ENERGY: Final = ("gpu", "rapl")
"""Instruments that count joules, as `<name>.energy_j`."""


def thermal(view: RunView) -> Iterator[Caveat]:
    """Heat held a GPU's clocks down while it was measured; or its power limit did, which is how
    most of them are built to run, and no doubt but a thing to know."""
    bound = view.manifest.spec.validity.gpu_throttled_share_max
    for arm in view.arms:
        wall_ms = sum(_wall_ms(one) for one in arm.iterations)
        for kind, severity, says, remedy in (
            ("thermal", "doubtful", "heat", "cooling, pauses between iterations, or a lower clock"),
            ("power", "note", "the power limit", "the same limit for whatever it is compared with"),
        ):
            held_ms = sum(_figures(arm, f"gpu.throttled_{kind}_ms"))
            share = held_ms / wall_ms if wall_ms else 0.0
            if share <= bound:
                continue
            yield Caveat(
                code="thermal",
                severity="doubtful" if severity == "doubtful" else "note",
                message=f"{says} held the GPU's clocks down for {share:.0%} of the measured time "
                f"(bound {bound:.0%})",
                evidence={
                    f"throttled_{kind}_ms": held_ms,
                    "measured_ms": wall_ms,
                    "temperature_max_c": max(_figures(arm, "gpu.temperature_max_c"), default=None),
                },
                remedy=remedy,
                arm=arm.name,
                cell=arm.cell,
            )


def clocks(view: RunView) -> Iterator[Caveat]:
    """The arms of a cell ran at different clocks: what differs between them may be just that."""
    bound = view.manifest.spec.validity.gpu_clock_ratio_max
    cells: dict[str, dict[str, float]] = defaultdict(dict)
    for arm in view.arms:
        if seen := _figures(arm, "gpu.sm_clock_mean_mhz"):
            cells[arm.summary.cell][label(arm, view)] = sum(seen) / len(seen)
    apart = {cell: of for cell, of in cells.items() if len(of) > 1 and _ratio(of) > bound}
    if not apart:
        return
    worst = max(apart.values(), key=_ratio)
    least, most = min(worst.values()), max(worst.values())
    yield Caveat(
        code="clocks",
        severity="doubtful",
        message=f"the GPU ran at {least:.0f} to {most:.0f} MHz (SM clock) in the arms, so they are "
        f"not comparable (bound: a ratio of {bound:g})",
        evidence={"sm_clock_mean_mhz": worst, "cells": len(apart)},
        remedy="a locked clock (nvidia-smi --lock-gpu-clocks), more trials in interleaved order, "
        "or arms that load the GPU alike",
    )


def gpu_shared(view: RunView) -> Iterator[Caveat]:
    """Somebody else was on the GPU. Neither time nor energy nor memory can be told apart."""
    for arm in view.arms:
        strangers = _figures(arm, "gpu.foreign_processes")
        if not any(strangers):
            continue
        with_them = sum(count > 0 for count in strangers)
        yield Caveat(
            code="gpu-shared",
            severity="doubtful",
            message=f"up to {max(strangers):.0f} other process{'es' * (max(strangers) > 1)} on the "
            f"GPU, in {with_them} of {len(strangers)} iterations: their work and joules are in the "
            "figures",
            evidence={"foreign_processes_max": max(strangers), "iterations": with_them},
            remedy="nvidia-smi names them; a GPU of one's own",
            arm=arm.name,
            cell=arm.cell,
        )


def no_energy(view: RunView) -> Iterator[Caveat]:
    """Joules were asked for, and there are none."""
    asked = [one if isinstance(one, str) else one.name for one in view.manifest.spec.instruments]
    for arm in view.arms:
        for name in (one for one in ENERGY if one in asked):
            without = [one for one in arm.iterations if why_no_energy(one, name)]
            if not without:
                continue
            shortest = min(without, key=_wall_ms)  # whatever is long enough for it is for all
            reasons = Counter(why_no_energy(one, name) for one in without)
            reason = why_no_energy(shortest, name)
            if "window" not in reason:
                ((reason, _),) = reasons.most_common(1)
            needs, remedy = _longer(arm, shortest) if "window" in reason else ("", "")
            yield Caveat(
                code="no-energy",
                severity="note",
                message=f"{name} gives no joules in {len(without)} of {len(arm.iterations)} "
                f"iterations: {one_line(reason, 300)}{needs}",
                evidence={
                    "instrument": name,
                    "reason": reason,
                    "iterations": len(without),
                    "shortest_s": _wall_ms(shortest) / 1e3,
                },
                remedy=remedy or "see to that, or leave the instrument out",
                arm=arm.name,
                cell=arm.cell,
            )


def why_no_energy(record: IterationRecord, name: str) -> str:
    """Why this iteration has no joules of that instrument; empty where it has them, or nobody
    said."""
    figure = f"{name}.energy_j"
    if any(one.name == figure for one in record.metrics):
        return ""
    return record.unobserved.get(figure) or record.unobserved.get(name, "")


def _longer(arm: ArmView, shortest: IterationRecord) -> tuple[str, str]:
    """(how much is missing, what to do), where it is length that is."""
    wall_s = _wall_ms(shortest) / 1e3
    if not 0 < wall_s < WINDOW_MIN_S:
        return "", ""
    more_s = WINDOW_MIN_S - wall_s
    if arm.load is None or not shortest.planned_calls:
        return f"; {more_s:.2g} s more an iteration", "longer iterations"
    # A tenth more than the pace says: the next iteration may be a quicker one.
    requests = math.ceil(1.1 * shortest.planned_calls * WINDOW_MIN_S / wall_s)
    more = requests - shortest.planned_calls
    return (
        f"; {more_s:.2g} s more an iteration, {more} more requests at this pace",
        f"--requests {requests}",
    )


def _figures(arm: ArmView, name: str) -> list[float]:
    """Of every measured iteration that has it."""
    return [metric.value for one in arm.iterations for metric in one.metrics if metric.name == name]


def _wall_ms(record: IterationRecord) -> float:
    return max(0, record.end_ns - record.start_ns) / 1e6


def _ratio(figures: dict[str, float]) -> float:
    least, most = min(figures.values()), max(figures.values())
    return most / least if least > 0 else math.inf if most > 0 else 1.0
