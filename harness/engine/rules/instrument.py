"""Is the error of the measuring itself known, and did every instrument see what it was to see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.engine.rules.hardware import ENERGY, why_no_energy
from harness.engine.rules.view import RunView
from harness.schema import Caveat, IterationRecord
from harness.text import one_line

__all__ = ["no_selfcheck", "unobserved"]


def no_selfcheck(view: RunView) -> Iterator[Caveat]:
    """The run looked for a self-check and found none. Older runs did not look, and say nothing."""
    unknown = view.manifest.environment.selfcheck_unknown
    if unknown is None:
        return
    reason, _, _ = unknown.rpartition(": harness selfcheck")
    yield Caveat(
        code="no-selfcheck",
        severity="note",
        message=f"the instrument's own error is not known here: {reason or unknown}",
        evidence={"selfcheck_unknown": unknown},
        remedy="harness selfcheck",
    )


def _lacking(record: IterationRecord) -> Iterator[tuple[str, str]]:
    """(figure, reason), but for those that lack what joules lack: the rule no-energy says it."""
    said = {name: why_no_energy(record, name) for name in ENERGY}
    for figure, reason in record.unobserved.items():
        if said.get(figure.partition(".")[0]) != reason:
            yield figure, reason


def unobserved(view: RunView) -> Iterator[Caveat]:
    """Figures that an instrument was asked for and could not give, with its own reason."""
    for arm in view.arms:
        lacking = Counter(item for one in arm.iterations for item in _lacking(one))
        if not lacking:
            continue
        names = dict.fromkeys(name for name, _ in lacking)
        (name, reason), count = lacking.most_common(1)[0]
        more = f", and {len(names) - 1} more figures" if len(names) > 1 else ""
        yield Caveat(
            code="unobserved",
            severity="note",
            message=f"{one_line(name, 80)} is unknown in {count} of {len(arm.iterations)} "
            f"iterations{more}: {one_line(reason, 200)}",
            evidence={"iterations": {f"{n}: {why}": k for (n, why), k in lacking.items()}},
            remedy="longer iterations, another instrument, or none",
            arm=arm.name,
            cell=arm.cell,
        )
