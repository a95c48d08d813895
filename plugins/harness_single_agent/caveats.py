"""Doubts about a finished `single_agent` run."""

from __future__ import annotations

from typing import Any

from harness.protocols import RunData
from harness.schema import Caveat, IterationRecord

__all__ = ["find_caveats"]


def find_caveats(result: RunData) -> list[Caveat] | None:
    """`corpus-cut`: the model did not see all of the data; doubtful where one arm saw more of it
    than another, because then they did not do the same work."""
    if result.manifest.spec.scenario.name != "single_agent":
        return None
    by_arm: dict[str, dict[str, Any]] = {}
    for record in result.records():
        if isinstance(record, IterationRecord) and "corpus_cut" in record.data:
            stages = record.data["corpus_cut"]
            worse = max(stages["analysis"], stages["report"], key=lambda cut: cut["lines_left_out"])
            by_arm.setdefault(record.arm, {**worse, **_same_for_all(stages)})
    seen = {cut["summary_chars"] for cut in by_arm.values()}
    if len(seen) > 1:
        chars = {arm: cut["summary_chars"] for arm, cut in by_arm.items()}
        return [
            Caveat(
                code="corpus-cut",
                severity="doubtful",
                message="the arms were shown data summaries of different length, to fit their "
                "contexts: they did not do the same work",
                evidence={"summary_chars": chars},
                remedy=f"-o summary_chars_max={min(seen)} gives every arm the same summary",
            )
        ]
    return [_cut(arm, cut) for arm, cut in by_arm.items() if cut["lines_left_out"]] or None


def _same_for_all(stages: dict[str, Any]) -> dict[str, Any]:
    """The analysis prompt alone must be equal: the other one repeats what the model wrote."""
    return {"summary_chars": stages["analysis"]["summary_chars"]}


def _cut(arm: str, cut: dict[str, Any]) -> Caveat:
    return Caveat(
        code="corpus-cut",
        severity="note",
        message=f"{cut['lines_left_out']} lines of the data summary did not fit into the prompt",
        evidence=cut,
        remedy="a larger num_ctx and summary_chars_max, or a smaller corpus",
        arm=arm,
    )
