"""The record log: append-only, one write(2) per record, readable after a kill at any instant.

    file    = magic (8 bytes), version (uint32), then records
    record  = length (uint32), CRC-32 of length and body (uint32), body: one msgpack LogEntry

All integers are little-endian. The checksum covers the length too, so that a run of zeros (what
some file systems leave behind after a crash) is not a valid empty record. reader.py reads it.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path
from typing import Final

import msgspec

from harness.errors import StoreError
from harness.schema import LogEntry, RetryRecord, SessionRecord
from harness.text import without_surrogates

__all__ = ["FRAME", "HEADER", "MAGIC", "VERSION", "LogWriter", "being_written", "checksum"]

MAGIC: Final = b"\x89HRNLOG\n"
VERSION: Final = 1
HEADER: Final = MAGIC + struct.pack("<I", VERSION)
FRAME: Final = struct.Struct("<II")
LOCK_PATIENCE_S: Final = 1.0
"""For whoever only looks whether the log is being written (`being_written`), and for a writer that
was killed and has not gone yet."""


def checksum(body: bytes) -> int:
    """CRC-32 of the length (as written) and the body."""
    return zlib.crc32(body, zlib.crc32(struct.pack("<I", len(body))))


class LogWriter:
    """Appends records to a new file. Not thread-safe. After a failed append it stays failed."""

    def __init__(self, path: Path, *, there: bool = False) -> None:
        """`there`: the file is there, and goes on behind what it holds; see `cut_back_to`. Raises
        StoreError: the file exists (or does not), cannot be made, or is being written."""
        self.path = path
        self.records = 0
        """Appended by this writer."""
        self.size_bytes = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._fd = -1
        self._failed: StoreError | None = None
        try:
            # Unbuffered: what append() has returned from, a kill cannot take back.
            flags = os.O_RDWR | os.O_APPEND | (0 if there else os.O_CREAT | os.O_EXCL)
            self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o644)
            if not _lock(self._fd, patience_s=LOCK_PATIENCE_S if there else 0.0):
                raise StoreError(
                    "this run is still being written by another process",
                    where=str(path),
                    remedy="let it end, or end it",
                )
            self.size_bytes = os.fstat(self._fd).st_size
            if not there:
                self._write(HEADER)
        except OSError as error:
            self.close()
            remedy = "" if there else "--out FOLDER"
            raise StoreError(reason(error), where=str(path), remedy=remedy) from error
        except StoreError:
            self.close()
            raise

    def cut_back_to(self, size_bytes: int) -> None:
        """Drop what lies behind: a record that its writer was killed over. Raises StoreError."""
        try:
            os.ftruncate(self._fd, size_bytes)
            self.size_bytes = size_bytes
            if size_bytes < len(HEADER):  # killed while it made the file
                os.ftruncate(self._fd, 0)
                self.size_bytes = 0
                self._write(HEADER)
        except OSError as error:
            raise StoreError(reason(error), where=str(self.path)) from error

    def append(self, record: LogEntry) -> None:
        """Raises StoreError when the file system refuses; what came before stays readable."""
        if self._failed is not None:
            raise self._failed
        if self._fd < 0:
            raise StoreError("the record log is closed", where=str(self.path))
        body = self._encode(record)
        try:
            self._write(FRAME.pack(len(body), checksum(body)) + body)
        except OSError as error:
            self._failed = self._refusal(error)
            raise self._failed from error
        self.records += 1

    def sync(self) -> None:
        """Ask the file system to keep it, also through a power cut. Raises StoreError."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._refusal(error) from error

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def is_there(self) -> bool:
        """Whether the file that we write is still the one at its path."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._fd))
        except OSError:
            return False

    def restore(self) -> None:
        """Write the file anew at its path, from the one that is still open though it was deleted.
        Raises StoreError."""
        new = LogWriter(self.path)
        try:
            at = len(HEADER)
            while part := os.pread(self._fd, 1 << 20, at):
                new._write(part)
                at += len(part)
        except OSError as error:
            new.close()
            raise self._refusal(error) from error
        os.close(self._fd)
        self._fd, new._fd = new._fd, -1

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _encode(self, record: LogEntry) -> bytes:
        try:
            return self._encoder.encode(record)
        except UnicodeEncodeError:
            # A model may answer with half a surrogate pair; that must not cost the run.
            return self._encoder.encode(
                without_surrogates(msgspec.to_builtins(record, builtin_types=(bytes,)))
            )
        except (TypeError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"a {type(record).__name__} cannot be stored: {error}",
                where=_place(record),
                remedy="leave only numbers, text, bytes, lists and dicts in ctx.note",
            ) from error

    def _write(self, data: bytes) -> None:
        """All of `data`, or none of it and OSError."""
        done = 0
        try:
            while done < len(data):  # one turn, unless the disk fills up
                done += os.write(self._fd, memoryview(data)[done:])
        except OSError:
            if done:
                self._cut_back()
            raise
        self.size_bytes += done

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self.size_bytes)
        except OSError:
            return  # a torn tail then, which the reader drops

    def _refusal(self, error: OSError) -> StoreError:
        return StoreError(
            f"{reason(error)}; the first {self.records} records ({self.size_bytes} bytes) are "
            "kept and can be read",
            where=str(self.path),
            remedy="free space, or --out FOLDER on another disk, and run again",
        )


def reason(error: OSError) -> str:
    """What the system said, without the path (which StoreError.where has)."""
    return error.strerror or str(error)


def being_written(path: Path) -> bool | None:
    """Whether a living process has the log open for writing. None: cannot be told here."""
    try:
        import fcntl

        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except (ImportError, OSError):
        return None


def _lock(fd: int, *, patience_s: float) -> bool:
    """Hold the file while the writer lives, so that a reader can tell a run from a dead one. False:
    another writer holds it."""
    until = time.monotonic() + patience_s
    while True:
        try:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        except (ImportError, OSError):
            return True  # no such locks here: readers then trust the manifest
        else:
            return True


def _place(record: LogEntry) -> str:
    if isinstance(record, SessionRecord):
        return "the session"
    if isinstance(record, RetryRecord):
        return f"trial {record.trial}"
    return f"arm {record.arm}, trial {record.trial}"
