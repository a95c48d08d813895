"""Who served the calls of a run: the provider that was pinned, another one, or several."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from harness.protocols import RunData
from harness.schema import CallRecord, Caveat, TrialRecord
from harness.text import listed, one_line
from harness_openrouter.decode import served_by

__all__ = ["find_caveats"]


def find_caveats(result: RunData) -> list[Caveat] | None:
    served: dict[str, Counter[str]] = defaultdict(Counter)
    routing: dict[str, dict[str, Any]] = {}
    for record in result.records():
        if isinstance(record, TrialRecord):
            found = record.effective.details.get("routing")
            if record.effective.server == "openrouter" and isinstance(found, dict):
                routing[record.arm] = found
        elif isinstance(record, CallRecord) and record.phase == "measured":
            name = served_by(record.server)
            if name is not None:
                served[record.arm][name] += 1
    return [c for arm, found in routing.items() for c in _of_arm(arm, found, served[arm])] or None


def _of_arm(arm: str, routing: dict[str, Any], served: Counter[str]) -> Iterator[Caveat]:
    pinned = routing.get("pinned")
    if pinned is None:
        yield _not_pinned(arm, served)
        return
    if routing.get("provider") is None:
        return  # not listed: by which name it answers is not known
    names = {str(pinned).casefold(), str(routing["provider"]).casefold()}
    others = Counter({n: count for n, count in served.items() if n.casefold() not in names})
    if others:
        yield Caveat(
            code="provider-mismatch",
            severity="doubtful",
            message=f"{others.total()} of {served.total()} calls were served by "
            f"{listed(list(others))}, although {one_line(str(routing['provider']), 80)} was "
            "pinned",
            evidence={"pinned": pinned, "served": dict(served)},
            remedy="report it to the service, and leave these calls out",
            arm=arm,
        )


def _not_pinned(arm: str, served: Counter[str]) -> Caveat:
    shown = listed([f"{name} ({count})" for name, count in served.most_common()])
    first = served.most_common(1)[0][0] if served else "NAME"
    return Caveat(
        code="provider-not-pinned",
        severity="doubtful",
        message="no provider was pinned: calls may have met other hardware, quantisations and "
        f"limits; they were served by {shown}",
        evidence={"served": dict(served)},
        remedy=f"-o provider={one_line(first, 80)}",
        arm=arm,
    )
