"""Doubts about a finished `multi_agent` run."""

from __future__ import annotations

from typing import Any

from harness.protocols import RunData
from harness.schema import Caveat, IterationRecord, TrialRecord

__all__ = ["find_caveats"]

_MEANT_TO_DIFFER = ("baseline_vs_chimera", "chimera_hetero")


def find_caveats(result: RunData) -> list[Caveat] | None:
    """`equal-agents`: the two agents of a form that has them differ ran the same options; doubtful
    where the spec gave them different ones, because then the server's defaults made them equal.
    `held-back`: a semaphore kept agents waiting, which no server did."""
    pairs: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    """(arm, cell) → agent → its options."""
    sent: dict[tuple[str, str], dict[str, Any]] = {}
    held: dict[tuple[str, str], tuple[int, int]] = {}
    """(arm, cell) → how many may work at once, of how many."""
    for record in result.records():
        if isinstance(record, IterationRecord) and {"semaphore", "agents"} <= {*record.data}:
            of = len(record.data["agents"])
            held.setdefault((record.arm, record.cell), (record.data["semaphore"], of))
        if isinstance(record, IterationRecord) and record.data.get("form") in _MEANT_TO_DIFFER:
            options = {name: one["options"] for name, one in record.data["agents"].items()}
            pairs.setdefault((record.arm, record.cell), options)
        elif isinstance(record, TrialRecord):
            sent.setdefault((record.arm, record.cell), record.effective.options)
    equal = [
        _caveat(*place, pair) for place, pair in pairs.items() if _equal(pair, sent.get(place, {}))
    ]
    return equal + [_held_back(*place, *width) for place, width in held.items()]


def _equal(pair: dict[str, dict[str, Any]], sent: dict[str, Any]) -> bool:
    first, second = ({**sent, **own} for own in pair.values())
    return first == second


def _caveat(arm: str, cell: str, pair: dict[str, dict[str, Any]]) -> Caveat:
    asked = [*pair.values()]
    return Caveat(
        code="equal-agents",
        severity="note" if asked[0] == asked[1] else "doubtful",
        message="the two agents, which this form has differ, ran with the same options",
        evidence={"options": pair},
        remedy="chimera (and chimera2) options that differ from the other agent's, or the form "
        "chimera_homo",
        arm=arm,
        cell=cell,
    )


def _held_back(arm: str, cell: str, at_once: int, agents: int) -> Caveat:
    return Caveat(
        code="held-back",
        severity="note",
        message=f"no more than {at_once} of {agents} agents worked at once, by the scenario's "
        f"semaphore: the speed-up cannot be above {at_once}, whatever the server can do",
        evidence={"semaphore": at_once, "agents": agents},
        remedy="without `semaphore`, if the server is asked about",
        arm=arm,
        cell=cell,
    )
