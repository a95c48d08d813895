"""What of a run was simulated, and may pass for measured nowhere.

Either the server was a stand-in, and nothing of the run says anything of a model; or the server was
real, and some figures come from an instrument that played back a recording or made them up, such as
the joules of a GPU that is not there. Every report says so above all else, and marks each figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from harness.schema import ArmSummary, Summary
from harness.text import listed

__all__ = ["MADE_UP", "STUB", "is_stub", "made_up", "watermark"]

STUB: Final = "a stub was measured, no model server"
MADE_UP: Final = "simulated: its figures were played back or made up, and rank nothing"


def is_stub(summary: Summary) -> bool:
    """Whether a server was simulated."""
    caveats = (one for one in summary.verdict.caveats if one.code == "simulated")
    return any("figures" not in one.evidence for one in caveats)


def made_up(summary: Summary) -> tuple[str, ...]:
    """Names of the figures that were not measured although the server was real."""
    return tuple(dict.fromkeys(name for arm in summary.arms for name in _of_arm(arm)))


def _of_arm(arm: ArmSummary) -> Iterable[str]:
    known = [one for one in arm.metrics if one.n]
    if all(one.provenance == "simulated" for one in known):
        return  # of a stub
    yield from (one.name for one in known if one.provenance == "simulated")


def watermark(summary: Summary) -> str:
    """What a report says before anything else; empty where all was measured."""
    if is_stub(summary):
        return STUB
    names = made_up(summary)
    shown = dict.fromkeys(name.partition(".")[0] + ".*" if "." in name else name for name in names)
    return f"not measured, but played back or made up: {listed([*shown], 6)}" if names else ""
