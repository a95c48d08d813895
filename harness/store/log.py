"""The record log: append-only, one write(2) per record, readable after a kill at any instant.

    file    = magic (8 bytes), version (uint32), then records
    record  = length (uint32), CRC-32 of length and body (uint32), body: one msgpack Record

All integers are little-endian. The checksum covers the length too, so that a run of zeros (what
some file systems leave behind after a crash) is not a valid empty record. reader.py reads it.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.errors import StoreError
from harness.schema import Record

__all__ = ["FRAME", "HEADER", "MAGIC", "VERSION", "LogWriter", "being_written", "checksum"]

MAGIC: Final = b"\x89HRNLOG\n"
VERSION: Final = 1
HEADER: Final = MAGIC + struct.pack("<I", VERSION)
FRAME: Final = struct.Struct("<II")


def checksum(body: bytes) -> int:
    """CRC-32 of the length (as written) and the body."""
    return zlib.crc32(body, zlib.crc32(struct.pack("<I", len(body))))


class LogWriter:
    """Appends records to a new file. Not thread-safe. After a failed append it stays failed."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError if the file exists or cannot be made."""
        self.path = path
        self.records = 0
        self.size_bytes = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._fd = -1
        self._failed: StoreError | None = None
        try:
            # Unbuffered: what append() has returned from, a kill cannot take back.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o644)
            _lock(self._fd)
            self._write(HEADER)
        except OSError as error:
            self.close()
            raise StoreError(reason(error), where=str(path), remedy="--out FOLDER") from error

    def append(self, record: Record) -> None:
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

    def _encode(self, record: Record) -> bytes:
        try:
            return self._encoder.encode(record)
        except UnicodeEncodeError:
            # A model may answer with half a surrogate pair; that must not cost the run.
            return self._encoder.encode(
                _without_surrogates(msgspec.to_builtins(record, builtin_types=(bytes,)))
            )
        except (TypeError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"a {type(record).__name__} cannot be stored: {error}",
                where=f"arm {record.arm}, trial {record.trial}",
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


def _lock(fd: int) -> None:
    """Hold the file while the writer lives, so that a reader can tell a run from a dead one."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return  # no such locks here: readers then trust the manifest


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value
