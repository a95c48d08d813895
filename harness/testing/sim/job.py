"""One request to the truth server, as the desk, the server and the log know it."""

from __future__ import annotations

from msgspec import Struct

from harness.testing.sim.asked import Asked
from harness.testing.sim.openrouter import Route
from harness.testing.sim.spec import Fault
from harness.testing.sim.timeline import Timeline

__all__ = ["Job"]


class Job(Struct, kw_only=True):
    """One request, from its arrival to its end: what the log says of it."""

    serial: int
    conn: int
    arrived_ns: int
    method: str = ""
    path: str = ""
    keep_alive: bool = True
    metadata: bool = False
    query: str = ""
    request_id: str | None = None
    ordinal: int | None = None
    """Its number among the requests for text; None: it is none."""
    fault: Fault | None = None
    asked: Asked | None = None
    route: Route | None = None
    """openrouter: who serves it."""
    timeline: Timeline | None = None
    status: int | None = None
    """HTTP status of the answer; None: no answer."""
    answered_ns: int | None = None
    """When the answer was handed to the sender. What was due before that is late because of us."""
    held: bool = False
    """Its answer never ends by itself."""
    has_slot: bool = False
    revised: int = 0
    """How often what was left of its answer was planned anew."""
