"""Did all that agents did go through the tap."""

from __future__ import annotations

from collections.abc import Iterator

from harness.engine.cells import configuration
from harness.engine.rules.view import RunView
from harness.schema import Caveat

__all__ = ["tap_bypassed"]


def tap_bypassed(view: RunView) -> Iterator[Caveat]:
    """Calls that an agent reports, and that the tap never saw: it reached the server another way,
    or tells of what it did not do. Nothing but its word is known of them."""
    manifest = view.manifest
    for arm in view.arms:
        asked = configuration(manifest.spec, arm.name, arm.summary.cell, manifest.cells)
        told = [call for call in arm.calls if call.stamp_source == "agent"]
        if not asked.backend.tap or not told:
            continue
        agents = sorted({call.agent for call in told})
        yield Caveat(
            code="tap-bypassed",
            severity="doubtful",
            message=f"{len(told)} of {len(arm.calls)} calls were reported, and the tap saw nothing "
            "of them: their figures are the agent's own word",
            evidence={"reported": len(told), "calls": len(arm.calls), "agents": agents},
            remedy="the agent must send every request to the address that it is given, without a "
            "proxy, and each under its own X-Request-ID",
            arm=arm.name,
            cell=arm.cell,
        )
