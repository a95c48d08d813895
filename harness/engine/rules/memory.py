"""Did models fit into memory, and was that foreseen: skipped_models, memory_prediction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from harness.engine.cells import BASE_CELL
from harness.engine.guard import DOES_NOT_FIT, amount
from harness.engine.rules.view import RunView
from harness.schema import Caveat, Fit, TrialRecord
from harness.text import one_line

__all__ = ["did_not_fit", "memory_prediction", "skipped_models"]

MIB = 2**20


def did_not_fit(trial: TrialRecord) -> bool:
    """Skipped for its model's size: it was never begun, and nothing of it failed."""
    return trial.error is not None and trial.error.code == DOES_NOT_FIT


def skipped_models(view: RunView) -> Iterator[Caveat]:
    """Cells whose model was predicted not to fit into memory: the run says nothing of them."""
    cells: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
    for trial in filter(did_not_fit, view.skipped):
        cells[trial.arm, trial.cell].append(trial)
    for (arm, cell), trials in cells.items():
        first = trials[0]
        why = first.error.message if first.error is not None else ""
        fit = first.fit
        yield Caveat(
            code="skipped-models",
            severity="note",
            message=f"{len(trials)} trial{'s' * (len(trials) > 1)} not begun: {one_line(why, 300)}",
            evidence={
                "trials": len(trials),
                "needed_bytes": fit.predicted.total_bytes if fit is not None else None,
                "free_bytes": fit.free_bytes if fit is not None else None,
                "limit_bytes": fit.limit_bytes if fit is not None else None,
                "device": fit.device if fit is not None else None,
            },
            remedy="a smaller context, fewer slots or a smaller model; guard.memory: off begins it "
            "all the same",
            arm=arm,
            cell=None if cell == BASE_CELL else cell,
        )


def memory_prediction(view: RunView) -> Iterator[Caveat]:
    """What a model took in fact is far from what was predicted: the guard's next decision on such a
    model is worth as little."""
    bounds = view.manifest.spec.validity
    for arm in view.arms:
        fits = [trial.fit for trial in arm.trials if trial.fit is not None]
        off = [(share, fit) for fit in fits if (share := _off(fit)) is not None]
        worst = max(off, key=lambda one: abs(one[0]), default=None)
        if worst is None:
            continue
        share, fit = worst
        predicted, peak = fit.predicted.total_bytes or 0, fit.peak_bytes or 0
        slack = bounds.footprint_slack_mib * MIB
        if abs(share) <= bounds.footprint_share_max or abs(peak - predicted) <= slack:
            continue
        yield Caveat(
            code="memory-prediction",
            severity="note",
            message=f"{amount(predicted)} of memory were predicted for the model, and "
            f"{amount(peak)} were taken ({share:+.0%}; bound "
            f"{bounds.footprint_share_max:.0%}): {one_line(fit.peak_of, 80)}",
            evidence={
                "predicted_bytes": predicted,
                "peak_bytes": peak,
                "peak_of": fit.peak_of,
                "basis": fit.predicted.basis,
                "trials": len(off),
            },
            remedy="guard.share_max leaves room for it, guard.free_bytes states what there is",
            arm=arm.name,
            cell=arm.cell,
        )


def _off(fit: Fit) -> float | None:
    """By what share of the prediction the outcome differs from it."""
    predicted = fit.predicted.total_bytes
    if not predicted or fit.peak_bytes is None:
        return None
    return (fit.peak_bytes - predicted) / predicted
