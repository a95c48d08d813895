"""One thing that an audit found, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, field

__all__ = ["SHOWN", "Finding", "Severity", "by_severity"]

Severity: TypeAlias = Literal["wrong", "doubtful", "note"]

SHOWN: Final = 10
"""Examples that the evidence of one finding names."""

_RANK: Final = {"wrong": 0, "doubtful": 1, "note": 2}


class Finding(Struct, frozen=True, kw_only=True):
    """A contradiction or an oddity, with what shows it."""

    code: str
    severity: Severity
    """`wrong`: it contradicts what is recorded, or cannot be. `doubtful`: it may well be as it
    stands, and misleads. `note`: to be known."""
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    where: str = ""
    """The file, arm or call that it is about."""


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, otherwise in order."""
    return tuple(sorted(findings, key=lambda finding: _RANK[finding.severity]))
