"""The truth server's log: a folder with requests.jsonl and sends.bin (docs/sim.md).

requests.jsonl is for reading: the server, each request when it is over, the distance between the
clocks from time to time, and at the end how punctual the sends were. sends.bin holds a row per
send as the native thread wrote it. Both are appended to as it goes: what is there is good, whenever
the server was killed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec
from msgspec import Struct, field

from harness._native.truth import ROW_SIZE
from harness.errors import StoreError
from harness.testing.sim.desk import Job
from harness.testing.sim.draft import TIMED

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LATE_NS", "LogWriter", "SimLog", "punctuality", "read_log", "row_type"]

REQUESTS: Final = "requests.jsonl"
SENDS: Final = "sends.bin"
FORMAT: Final = 1
LATE_NS: Final = 1_000_000
LATE_SHOWN: Final = 100
SLICE: Final = 24 * 1024

_FIELDS: Final = (
    *(("serial", "<i8"), ("due_ns", "<i8"), ("before_ns", "<i8"), ("after_ns", "<i8")),
    *(("index", "<u4"), ("size", "<u4"), ("kind", "<u4"), ("tries", "<u4")),
)


def row_type() -> np.dtype[Any]:
    """numpy's name for a row of sends.bin."""
    import numpy as np

    return np.dtype(list(_FIELDS))


class LogWriter:
    """Open for one server."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. Raises StoreError if it cannot be made, or holds something."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise StoreError(
                    "the folder is not empty", where=str(folder), remedy="another --log"
                )
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._requests: BinaryIO = os.fdopen(os.open(folder / REQUESTS, flags, 0o644), "wb", 0)
            self._sends: BinaryIO = os.fdopen(os.open(folder / SENDS, flags, 0o644), "wb", 0)
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(folder)) from error
        self._lines: list[bytes] = []

    def line(self, kind: str, **what: Any) -> None:
        self._lines.append(msgspec.json.encode({"t": kind, **what}) + b"\n")

    def request(self, job: Job, *, read_ns: int, kernel: bool, ended: str, ended_ns: int) -> None:
        found: dict[str, Any] = {
            "serial": job.serial,
            "ordinal": job.ordinal,
            "method": job.method,
            "path": job.path,
            "status": job.status,
            "fault": job.fault.kind if job.fault else None,
            "arrived_ns": job.arrived_ns,
            "arrived_by": "kernel" if kernel else "user",
            "read_ns": read_ns,
            "ended": ended,
            "ended_ns": ended_ns,
        }
        if job.timeline is not None:
            timeline = job.timeline
            found |= {
                "start_ns": timeline.start_ns,
                "load_ns": timeline.load_ns,
                "prompt_ns": timeline.prompt_ns,
                "prompt_tokens": timeline.prompt_tokens,
                "cached_tokens": timeline.cached_tokens,
                "output_tokens": timeline.output_tokens,
                "chunks": len(timeline.due_ns),
            }
        self.line("request", **found)

    def rows(self, rows: bytes) -> None:
        """Raises StoreError when the disk is full."""
        try:
            # In small slices: the sending thread may be waiting for this core, and a long write
            # would keep it from it.
            for at in range(0, len(rows), SLICE):
                self._sends.write(rows[at : at + SLICE])
            if self._lines:
                self._requests.write(b"".join(self._lines))
                self._lines.clear()
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(self.folder)) from error

    def close(self) -> None:
        self._requests.close()
        self._sends.close()


class SimLog(Struct, kw_only=True):
    """A log, read."""

    folder: Path
    server: dict[str, Any]
    requests: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By serial."""
    rows: Any = None
    """numpy array of row_type(), in the order of sending."""
    end: dict[str, Any] | None = None
    """None: the server was killed, or is still running."""

    @property
    def boot(self) -> str:
        return str(self.server["boot"])


def read_log(folder: Path) -> SimLog:
    """Raises StoreError. A torn last line and a torn last row are left out."""
    import numpy as np

    try:
        lines = (folder / REQUESTS).read_bytes().split(b"\n")[:-1]
        sends = (folder / SENDS).read_bytes()
    except OSError as error:
        raise StoreError(
            error.strerror or str(error), where=str(folder), remedy="--log FOLDER of `harness sim`"
        ) from None
    try:
        found = [msgspec.json.decode(line) for line in lines]
    except msgspec.DecodeError as error:
        raise StoreError(f"not a truth server's log: {error}", where=str(folder)) from None
    if not found or found[0].get("t") != "server" or found[0].get("format") != FORMAT:
        raise StoreError(f"not a truth server's log of format {FORMAT}", where=str(folder))
    sends = sends[: len(sends) - len(sends) % ROW_SIZE]
    return SimLog(
        folder=folder,
        server=found[0],
        requests={line["serial"]: line for line in found if line["t"] == "request"},
        rows=np.frombuffer(sends, row_type()),
        end=next((line for line in found if line["t"] == "end"), None),
    )


def punctuality(rows: Any) -> dict[str, Any]:
    """How late the sends that a law of time governs began, in ns. Streams that a client's full
    socket held up are counted apart."""
    import numpy as np

    rows = rows[np.isin(rows["kind"], TIMED)]
    held = np.unique(rows["serial"][rows["tries"] > 1])
    free = rows[~np.isin(rows["serial"], held)]
    late = free["before_ns"] - free["due_ns"]
    found: dict[str, Any] = {"sends": len(free), "held_up": len(rows) - len(free)}
    if len(free):
        p50, p90, p99 = np.quantile(late, (0.5, 0.9, 0.99))
        found |= {"p50_ns": int(p50), "p90_ns": int(p90), "p99_ns": int(p99)}
        found["max_ns"] = int(late.max())
    worst = free[late > LATE_NS]
    shown = worst[:LATE_SHOWN]
    found["late"] = {
        "bound_ns": LATE_NS,
        "sends": len(worst),
        "first": [
            [int(row["serial"]), int(row["index"]), int(row["before_ns"] - row["due_ns"])]
            for row in shown
        ],
    }
    return found
