"""The truth server's log: a folder with requests.jsonl and sends.bin (docs/sim.md).

requests.jsonl is for reading: the server, each request when it is over, the distance between the
clocks from time to time, and at the end how punctual the sends were. sends.bin holds a row per
send as the native thread wrote it. Both are appended to as it goes: what is there is good, whenever
the server was killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec
from msgspec import Struct, field

from harness._native.truth import ROW_SIZE
from harness.errors import StoreError
from harness.testing.sim.job import Job
from harness.testing.sim.punctual import LATE_NS, punctuality

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "LATE_NS",
    "LogTail",
    "LogWriter",
    "SimLog",
    "punctuality",
    "read_log",
    "row_blocks",
    "row_type",
]

REQUESTS: Final = "requests.jsonl"
SENDS: Final = "sends.bin"
FORMAT: Final = 1
ROWS_AT_A_TIME: Final = 1 << 15

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
            raise StoreError(
                f"cannot make the log: {error.strerror or error}",
                where=str(folder),
                remedy="--log FOLDER, one that can be written",
            ) from error
        self._lines: list[bytes] = []
        self._refused: StoreError | None = None

    def line(self, kind: str, **what: Any) -> None:
        self._lines.append(msgspec.json.encode({"t": kind, **what}) + b"\n")

    def request(self, job: Job, *, read_ns: int, kernel: bool, ended: str, ended_ns: int) -> None:
        found: dict[str, Any] = {
            "serial": job.serial,
            "ordinal": job.ordinal,
            "method": job.method,
            "path": job.path,
            "request_id": job.request_id,
            "status": job.status,
            "fault": job.fault.kind if job.fault else None,
            "arrived_ns": job.arrived_ns,
            "arrived_by": "kernel" if kernel else "user",
            "read_ns": read_ns,
            "answered_ns": job.answered_ns,
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
        if job.revised:
            found["revised"] = job.revised
        self.line("request", **found)

    def rows(self, blocks: Iterable[bytes]) -> None:
        """Raises StoreError when the disk is full, and ever after: a row behind half a row would
        be read as another."""
        if self._refused is not None:
            raise self._refused
        # Block by block: the sending thread may be waiting for this core, and a long write would
        # keep it from it.
        for block in blocks:
            self._write(self._sends, SENDS, block)
        if self._lines:
            self._write(self._requests, REQUESTS, b"".join(self._lines))
            self._lines.clear()

    def _write(self, file: BinaryIO, name: str, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:  # a disk that fills up takes a part
                rest = rest[file.write(rest) :]
        except OSError as error:
            self._refused = StoreError(
                f"cannot write the log: {error.strerror or error}",
                where=str(self.folder / name),
                remedy="free space, or --log on another disk",
            )
            raise self._refused from error

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
    return LogTail(folder).read()


class LogTail:
    """Reads a log piece by piece while its server writes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: dict[str, Any] | None = None
        self._at = {REQUESTS: 0, SENDS: 0}

    def read(self) -> SimLog:
        """What has come since the last time, `server` always. A torn line or row waits for its
        other half. Raises StoreError."""
        import numpy as np

        lines = self._new(REQUESTS, lambda new: new.rfind(b"\n") + 1).split(b"\n")[:-1]
        sends = self._new(SENDS, lambda new: len(new) - len(new) % ROW_SIZE)
        try:
            found = [msgspec.json.decode(line) for line in lines]
        except msgspec.DecodeError as error:
            raise StoreError(
                f"not a truth server's log: {error}", where=str(self._folder)
            ) from None
        if self._server is None:
            if not found or found[0].get("t") != "server" or found[0].get("format") != FORMAT:
                raise StoreError(
                    f"not a truth server's log of format {FORMAT}", where=str(self._folder)
                )
            self._server = found[0]
        return SimLog(
            folder=self._folder,
            server=self._server,
            requests={line["serial"]: line for line in found if line["t"] == "request"},
            rows=np.frombuffer(sends, row_type()),
            end=next((line for line in found if line["t"] == "end"), None),
        )

    def _new(self, name: str, whole: Callable[[bytes], int]) -> bytes:
        try:
            with (self._folder / name).open("rb") as file:
                file.seek(self._at[name])
                new = file.read()
        except OSError as error:
            raise StoreError(
                error.strerror or str(error),
                where=str(self._folder),
                remedy="--log FOLDER of `harness sim`",
            ) from None
        new = new[: whole(new)]
        self._at[name] += len(new)
        return new


def row_blocks(folder: Path) -> Iterator[Any]:
    """The rows of sends.bin, some MB at a time. Raises StoreError."""
    import numpy as np

    try:
        with (folder / SENDS).open("rb") as file:
            while len(rows := np.fromfile(file, row_type(), ROWS_AT_A_TIME)):
                yield rows
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(folder)) from None
