"""Which version of harness wrote a run's documents: rules and fields change, records do not."""

from __future__ import annotations

from typing import Any

from harness.schema import ArmSummary, MetricSummary, Summary
from harness.store.load import Run
from harness.text import listed, one_line

__all__ = ["another_version"]


def another_version(run: Run, summary: Any) -> str:
    """Which version of harness wrote the documents, if not this one; else empty. Before a release,
    versions have one number, so it is also seen by fields that every entry lacks: this one leaves
    none out. A figure or a caveat that was taken out is no such field."""
    from harness import __version__

    theirs = run.manifest.environment.harness_version
    lacks = _lacks(summary)
    if theirs == __version__ and not lacks:
        return ""
    named = "" if theirs == __version__ else f"; this is {__version__}"
    without = f", which had no {listed(lacks, 3)} yet" if lacks else ""
    return f"another version ({one_line(theirs, 40)}{named}){without}"


def _lacks(summary: Any) -> list[str]:
    """Fields of today that no entry of their kind has."""
    if not isinstance(summary, dict):
        return []
    arms = _dicts(summary.get("arms"))
    metrics = [one for arm in arms for one in _dicts(arm.get("metrics"))]
    kinds = ((Summary, [summary]), (ArmSummary, arms), (MetricSummary, metrics))
    return [
        name
        for kind, entries in kinds
        for name in kind.__struct_fields__
        if entries and not any(name in entry for entry in entries)
    ]


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
