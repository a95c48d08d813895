"""The truth server for the check: `harness sim`, a child of ours on cores of its own.

It dies with us whatever happens to us: its standard input is a pipe that only we hold, and it stops
when that ends. It is in a process group of its own, so that Ctrl-C reaches us alone and we end it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from harness.errors import BackendError
from harness.schema import CallRecord
from harness.testing.sim.beside import serial_of
from harness.testing.sim.draft import FRAMES
from harness.testing.sim.log import LogTail, SimLog

__all__ = ["Truth", "merged", "on_cores"]

POLL_S: Final = 0.01
PATIENCE_S: Final = 3.0
"""Without a word from the server."""
END_S: Final = 5.0
"""To end by itself. Nothing that it still writes is needed."""


@contextlib.contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """This thread, and what it starts meanwhile, on these cores; on none: wherever it was."""
    wanted = set(cores)
    if not wanted:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def merged(logs: Sequence[SimLog]) -> SimLog:
    """Several readings of one server's log as one."""
    import numpy as np

    return SimLog(
        folder=logs[0].folder,
        server=logs[0].server,
        requests={serial: line for log in logs for serial, line in log.requests.items()},
        rows=np.concatenate([log.rows for log in logs]),
    )


class Truth:
    """Launched at once; `wait` before its first use, `stop` in any case."""

    def __init__(self, folder: Path, words: Iterable[str], cores: Iterable[int] = ()) -> None:
        """`folder` is new and becomes the log's; `words` are options of `harness sim`."""
        self.folder = folder
        self._said = folder.with_name(folder.name + ".stderr")
        command = [sys.executable, "-P", "-m", "harness", "sim", "--until-eof"]
        with on_cores(cores), self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [*command, "--log", str(folder), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                process_group=0,
            )
        self.url = ""
        self.realtime: bool | None = None
        """Whether its sending thread has real-time priority. None: not known, or not asked for."""
        self.pid = self._process.pid

    def wait(self) -> None:
        """Until it listens. Raises BackendError with what it said, if it does not."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            ready = msgspec.json.decode(line)
            self.url = str(ready["url"])
        except (msgspec.DecodeError, KeyError, TypeError):
            self.stop()
            raise BackendError(f"the truth server did not start: {self._last_words()}") from None
        self.realtime = ready.get("realtime")
        self._tail = LogTail(self.folder)

    def _last_words(self) -> str:
        """Of a server that has ended."""
        said = self._said.read_text("utf-8", "replace").strip()
        last = said.splitlines()[-1] if said else f"exit status {self._process.returncode}"
        return last.removeprefix("error: ")

    def log_of(self, calls: Iterable[CallRecord]) -> SimLog:
        """What the log says of these calls, all of which have ended. Each call is told of once.

        The server writes its log every so often, the rows of a call perhaps later than the line
        about it: this waits until all is there, or nothing more comes."""
        parts = [self._tail.read()]
        boot = parts[0].boot
        missing = _Missing({serial_of(call, boot): call.chunks.count for call in calls})
        missing.take(parts[0])
        last_s = time.monotonic()
        while missing and time.monotonic() - last_s < PATIENCE_S:
            time.sleep(POLL_S)
            if self._process.poll() is not None:
                gone = f"the truth server went away: {self._last_words()}"
                raise BackendError(gone, where=self.url)
            more = self._tail.read()
            if len(more.rows) or more.requests:
                parts.append(more)
                missing.take(more)
                last_s = time.monotonic()
        return merged(parts)

    def stop(self) -> None:
        """It is gone when this returns. A second time does nothing."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()  # nothing, where it has ended; after an interrupt it may not have
            process.wait()
            process.stdout.close()


class _Missing:
    """What is still to come of these requests: a line of each, and as many sends as chunks came."""

    def __init__(self, chunks: dict[int | None, int]) -> None:
        """`chunks` by serial; None is no request of this server's."""
        self._lines = {serial for serial in chunks if serial is not None}
        self._sends = {s: count for s, count in chunks.items() if s is not None and count}

    def __bool__(self) -> bool:
        return bool(self._lines or self._sends)

    def take(self, log: SimLog) -> None:
        """A piece of the log that has come."""
        import numpy as np

        self._lines -= log.requests.keys()
        frames = log.rows[np.isin(log.rows["kind"], FRAMES)]
        serials, counts = np.unique(frames["serial"], return_counts=True)
        for serial, count in zip(serials.tolist(), counts.tolist(), strict=True):
            left = self._sends.pop(serial, 0) - count
            if left > 0:
                self._sends[serial] = left
