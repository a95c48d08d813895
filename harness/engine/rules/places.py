"""Where the trials ran: places that were lost, and machines that are not alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from harness.engine.rules.view import ArmView, RunView
from harness.metrics import MACHINE_KIND, machine_kind
from harness.schema import Caveat, TrialRecord
from harness.text import one_line

__all__ = ["mixed_nodes", "place_lost"]

SHOWN: Final = 10


def place_lost(view: RunView) -> Iterator[Caveat]:
    """A worker or a machine was lost, and what ran there began anew."""
    lost = {trial.trial: trial.lost for arm in view.arms for trial in arm.trials if trial.lost}
    if not lost:
        return
    times = sum(lost.values())
    trials = "a trial" if len(lost) == 1 else f"{len(lost)} trials"
    yield Caveat(
        code="place-lost",
        severity="note",
        message=f"{trials} lost the place where {'it' if len(lost) == 1 else 'they'} ran"
        f"{f', {times} times' if times > 1 else ''}, and began anew elsewhere: what was recorded "
        "before is left out",
        evidence={"lost": {str(trial): times for trial, times in sorted(lost.items())[:SHOWN]}},
    )


def mixed_nodes(view: RunView) -> Iterator[Caveat]:
    """Trials ran on several machines. Of one kind, that is one more reason why launches differ; of
    several, it is as if the arms had been measured on different machines, unless each had its equal
    share of every kind."""
    trials = [trial for arm in view.arms for trial in arm.trials if "host" in trial.placement]
    hosts = {trial.placement["host"] for trial in trials}
    if len(hosts) < 2:
        return
    kinds = {machine_kind(trial.placement) for trial in trials}
    fair = len({_shares(arm) for arm in view.arms if arm.trials}) < 2
    differ = [
        f"{name} {', '.join(one_line(value or 'unknown', 60) for value in values)}"
        for at, name in enumerate(MACHINE_KIND)
        if len(values := sorted({kind[at] for kind in kinds})) > 1
    ]
    if len(kinds) < 2:
        message = f"trials ran on {len(hosts)} machines of one kind"
    else:
        message = f"trials ran on {len(hosts)} machines of {len(kinds)} kinds ({'; '.join(differ)})"
        message += ", each arm and cell alike" if fair else ", and arms or cells unequally so"
    yield Caveat(
        code="mixed-nodes",
        severity="note" if fair or len(kinds) < 2 else "doubtful",
        message=message,
        evidence={"hosts": _counted(trials), "differ": differ},
        remedy="" if len(kinds) < 2 else "trials on one kind of machine (docs/executors.md)",
    )


def _shares(arm: ArmView) -> tuple[tuple[object, float], ...]:
    """Of its trials, on each kind of machine."""
    kinds = Counter(machine_kind(trial.placement) for trial in arm.trials)
    return tuple((kind, n / kinds.total()) for kind, n in sorted(kinds.items()))


def _counted(trials: Iterable[TrialRecord]) -> dict[str, int]:
    return dict(Counter(trial.placement["host"] for trial in trials).most_common(SHOWN))
