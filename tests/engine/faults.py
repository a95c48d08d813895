"""Runs with a fault put in, and the caveats that they get."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import Caveat, Summary, Usage
from tests.store import builders
from tests.store.builders import manifest

ARMS = ("baseline", "chimera")


def clean(calls: int = 10) -> list:
    return builders.records(ARMS, calls=calls)


def codes(records, **changes) -> dict[str, str]:
    """Code → severity of every caveat of the run."""
    return {caveat.code: caveat.severity for caveat in caveats(records, **changes)}


def caveat_of(code: str, records, **changes) -> Caveat:
    return next(caveat for caveat in caveats(records, **changes) if caveat.code == code)


def caveats(records, **changes) -> tuple[Caveat, ...]:
    changes = {"state": "finished"} | changes
    summary = derive_summary(manifest(ARMS, **changes), records)
    # What is written must read as what is derived: evidence may hold no tuple, no number as a key.
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary
    return summary.verdict.caveats


def changed(records, kind: str, index: int, **changes) -> list:
    """`records` with the n-th measured record (or trial) of a kind changed."""
    tag = {"call": "CallRecord", "iteration": "IterationRecord", "trial": "TrialRecord"}[kind]
    places = [
        i
        for i, r in enumerate(records)
        if type(r).__name__ == tag and getattr(r, "phase", "measured") == "measured"
    ]
    made = list(records)
    made[places[index]] = replace(made[places[index]], **changes)
    return made


def with_error(records, index: int, status: str = "error") -> list:
    call = builders.failed(status, f"code.{status}")
    return changed(records, "call", index, status=status, error=call.error, usage=Usage())
