"""Wake-up delay: from when the truth server sent a chunk until the agent saw it.

Only the truth server says when it sent what (docs/sim.md), and only a program that was asked for
chunk stamps says when it saw it; both read the same clock. The delay holds everything in between:
the server's own send, the kernel, the tap where there is one, and the runtime that had to wake up.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError
from harness.protocols import Context
from harness.schema import Effective, ReportedCall
from harness_agents.program import Outcome

if TYPE_CHECKING:
    from harness.testing.sim.log import LogTail

__all__ = ["WakeUps"]

_REASONING, _CONTENT = 2, 3
"""Kinds of a send (docs/sim.md)."""
_PATIENCE_S: Final = 3.0
"""The server writes its log several times a second."""
_STEP_S: Final = 0.05


class WakeUps:
    """Reads the server's log along with the trial."""

    def __init__(self, folder: Path | None, why_not: str = "") -> None:
        self._why_not = why_not
        self._tail: LogTail | None = None
        self._serials: dict[str, int] = {}
        self._chunks: dict[str, int] = {}
        self._sends: dict[int, list[Any]] = {}
        if folder is not None:
            from harness.testing.sim.log import LogTail

            self._tail = LogTail(folder)

    @classmethod
    def of(cls, effective: Effective) -> WakeUps:
        """For the backend that was opened; it may not know its server's log."""
        sim = effective.details.get("sim")
        found = sim.get("live_log") if isinstance(sim, dict) else None
        if isinstance(found, str) and found:
            return cls(Path(found))
        return cls(None, "only the truth server says when it sent what: --backend sim")

    async def measure(self, ctx: Context, outcome: Outcome) -> None:
        """Metrics `wake_up_p50_us`, `wake_up_p99_us`, `wake_up_max_us`; or a note why not."""
        calls = [call for call in outcome.calls if call.reported.chunk_ns]
        why_not = self._why_not
        if self._tail is not None and calls:
            try:
                await self._read(self._tail, calls, outcome.start_ns or 0)
            except HarnessError as error:
                why_not = str(error)
        elif not calls:
            why_not = why_not or "the program stamped no chunks"
        delays_ns, left_out = self._delays(calls)
        if len(delays_ns) == 0:
            ctx.note("wake_up_unknown", why_not or "no call was found in the server's log")
            return
        import numpy as np

        p50, p99 = np.percentile(delays_ns, (50, 99))
        for name, value_ns in (("p50", p50), ("p99", p99), ("max", delays_ns.max())):
            ctx.metric(f"wake_up_{name}_us", float(value_ns) / 1e3, "us", better="lower")
        ctx.note("wake_up", {"chunks": len(delays_ns), "calls_left_out": left_out})

    async def _read(self, tail: LogTail, calls: list[ReportedCall], start_ns: int) -> None:
        """Until every call is in the log, with all of its sends, or patience ends."""
        self._serials.clear()
        self._sends.clear()
        wanted = {call.call for call in calls}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                self._take(tail, start_ns)
                while not all(map(self._whole, wanted)):
                    await asyncio.sleep(_STEP_S)
                    self._take(tail, start_ns)

    def _whole(self, call: str) -> bool:
        serial = self._serials.get(call)
        return serial is not None and len(self._sends.get(serial, ())) >= self._chunks[call]

    def _take(self, tail: LogTail, start_ns: int) -> None:
        log = tail.read()
        for serial, request in log.requests.items():
            if request.get("request_id") and request["arrived_ns"] >= start_ns:
                self._serials[request["request_id"]] = serial
                self._chunks[request["request_id"]] = request.get("chunks") or 0
        rows = log.rows
        content = rows[(rows["kind"] == _CONTENT) | (rows["kind"] == _REASONING)]
        for row in content:
            self._sends.setdefault(int(row["serial"]), []).append(int(row["before_ns"]))

    def _delays(self, calls: list[ReportedCall]) -> tuple[Any, int]:
        """One figure a chunk, and how many calls have another number of chunks than were sent."""
        import numpy as np

        found, left_out = [], 0
        for call in calls:
            sent = np.array(self._sends.get(self._serials.get(call.call, -1), ()), "<i8")
            seen = np.frombuffer(call.reported.chunk_ns or b"", "<i8")
            if len(sent) == len(seen) and len(seen):
                found.append(seen - sent)
            else:
                left_out += 1
        return (np.concatenate(found) if found else np.empty(0, "<i8")), left_out
