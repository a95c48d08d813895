"""Doubts about a finished `multi_agent` run."""

from __future__ import annotations

from typing import Any

from harness.protocols import RunData
from harness.schema import Caveat, IterationRecord, TrialRecord

__all__ = ["find_caveats"]

_MEANT_TO_DIFFER = ("baseline_vs_chimera", "chimera_hetero")


def find_caveats(result: RunData) -> list[Caveat] | None:
    """`equal-agents`: the two agents of a form that has them differ ran the same options; doubtful
    where the spec gave them different ones, because then the server's defaults made them equal."""
    pairs: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    """(arm, cell) → agent → its options."""
    sent: dict[tuple[str, str], dict[str, Any]] = {}
    for record in result.records():
        if isinstance(record, IterationRecord) and record.data.get("form") in _MEANT_TO_DIFFER:
            options = {name: one["options"] for name, one in record.data["agents"].items()}
            pairs.setdefault((record.arm, record.cell), options)
        elif isinstance(record, TrialRecord):
            sent.setdefault((record.arm, record.cell), record.effective.options)
    return [
        _caveat(*place, pair) for place, pair in pairs.items() if _equal(pair, sent.get(place, {}))
    ]


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
