"""Reads a record log (log.py has the format), lazily and flat in memory.

Damage is told apart by what follows it. Bytes at the end that make no record are a *torn tail*:
a writer was killed; they are dropped, and the reader says how many. A broken record with an intact
one somewhere behind it is *corruption*: the reader refuses to pretend and raises StoreError, or,
when asked to salvage, skips to the next intact record and lists what it skipped.

A run that was taken up again holds a SessionRecord where that was; a trial whose place was lost and
which began anew, a RetryRecord. What was recorded before of the trials that these name is void, and
left out: they ran again. So a log is passed over twice, first for those markers; they are few, and
found without decoding anything else.

An intact record of a kind that this version does not know was written by a newer one: it is
skipped and counted. Fields that we do not know are ignored by msgspec.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, get_args

import msgspec

from harness.errors import StoreError
from harness.schema import LogEntry, Record, RetryRecord, SessionRecord
from harness.store.log import FRAME, HEADER, MAGIC, VERSION, checksum, reason

__all__ = ["Damage", "LogReader"]

_KINDS: Final = tuple(str(kind.__struct_config__.tag) for kind in get_args(LogEntry))
# How the body of a known record begins, behind its map header of 1, 3 or 5 bytes.
_STARTS: Final = tuple(msgspec.msgpack.encode("t") + msgspec.msgpack.encode(k) for k in _KINDS)
_ANY_START: Final = re.compile(b"|".join(re.escape(start) for start in _STARTS))
_MAP_HEADERS: Final = (1, 3, 5)
_MARKS: Final = tuple(
    msgspec.msgpack.encode("t") + msgspec.msgpack.encode(kind) for kind in ("session", "retry")
)
_WINDOW: Final = 1 << 20
_OVERLAP: Final = max(len(start) for start in _STARTS) - 1


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the log that are no record."""

    offset: int
    size_bytes: int
    reason: str
    """`short header`, `short body` or `bad checksum`."""
    torn: bool
    """At the end of the log: a writer was killed. Otherwise: corruption."""


class LogReader:
    """Iterates over the records of a log, as often as you like.

    After an iteration that reached the end, `damage` holds what was dropped (a torn tail, and with
    `salvage` also what was skipped) and `unknown` the number of records of unknown kinds.
    Raises StoreError: no log, a newer format, or (without `salvage`) corruption.
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self.path = path
        self.salvage = salvage
        self.damage: tuple[Damage, ...] = ()
        self.unknown = 0
        self._decoder: msgspec.msgpack.Decoder[LogEntry] = msgspec.msgpack.Decoder(LogEntry)
        self._found: list[tuple[int, SessionRecord | RetryRecord]] | None = None

    def __iter__(self) -> Iterator[Record]:
        """Without what a later session, or a later attempt, made void."""
        unknown = 0
        void = {trial: at for at, mark in self._tolerant() for trial in _voided(mark)}
        for offset, body in self.bodies():
            record = self._decode(offset, body)
            if record is None:
                unknown += 1
            elif isinstance(record, SessionRecord | RetryRecord):
                continue
            elif offset >= void.get(record.trial, 0):
                yield record
        self.unknown = unknown

    def entries(self) -> Iterator[LogEntry]:
        """All that there is, in the order of the log, with what is void by now: what was spent on
        it is spent."""
        for offset, body in self.bodies():
            entry = self._decode(offset, body)
            if entry is not None:
                yield entry

    @property
    def sessions(self) -> tuple[SessionRecord, ...]:
        """One for each time that the run was taken up again, up to when this was first asked for or
        `check`ed. Of a corrupt log, those that can be read. StoreError: no log."""
        return tuple(mark for _, mark in self._tolerant() if isinstance(mark, SessionRecord))

    @property
    def retries(self) -> tuple[RetryRecord, ...]:
        """One for each time that a trial's place was lost and it began anew; otherwise as
        `sessions`."""
        return tuple(mark for _, mark in self._tolerant() if isinstance(mark, RetryRecord))

    def check(self) -> None:
        """Pass over the bare bytes and their checksums, for `damage`. Raises as iterating does."""
        self._found = None
        self._marks()

    def _tolerant(self) -> list[tuple[int, SessionRecord | RetryRecord]]:
        """For iterating, which meets a fault where it is, and not before."""
        try:
            return self._marks()
        except StoreError:
            return LogReader(self.path, salvage=True)._marks()

    def _marks(self) -> list[tuple[int, SessionRecord | RetryRecord]]:
        """(offset, session or retry), read once."""
        if self._found is None:
            found: list[tuple[int, SessionRecord | RetryRecord]] = []
            for offset, body in self.bodies():
                if any(body.startswith(_MARKS, n) for n in _MAP_HEADERS):
                    mark = self._decode(offset, body)
                    if isinstance(mark, SessionRecord | RetryRecord):
                        found.append((offset, mark))
            self._found = found
        return self._found

    def has_call(self) -> bool:
        """Whether a call was recorded. Reads up to the first; raises as iterating does."""
        call = msgspec.msgpack.encode("t") + msgspec.msgpack.encode("call")
        return any(body.startswith(call, n) for _, body in self.bodies() for n in _MAP_HEADERS)

    def bodies(self) -> Iterator[tuple[int, bytes]]:
        """(offset, body) of every intact record, not decoded."""
        found: list[Damage] = []
        try:
            with self.path.open("rb", buffering=1 << 20) as file:
                end = os.fstat(file.fileno()).st_size
                offset = self._skip_header(file, end)
                while offset < end:
                    body, problem = _read_record(file, offset, end)
                    if body is not None:
                        yield offset, body
                        offset += FRAME.size + len(body)
                        continue
                    damage = _assess(self.path, offset, end, problem)
                    if not damage.torn and not self.salvage:
                        raise self._corrupt(damage)
                    found.append(damage)
                    offset += damage.size_bytes
                    file.seek(offset)
        except OSError as error:
            raise StoreError(reason(error), where=str(self.path)) from error
        self.damage = tuple(found)

    def _skip_header(self, file: BinaryIO, end: int) -> int:
        header = file.read(len(HEADER))
        if header == HEADER:
            return len(HEADER)
        if HEADER.startswith(header):  # killed while it made the file
            return end
        if header.startswith(MAGIC):
            version = struct.unpack("<I", header[len(MAGIC) :])[0]
            raise StoreError(
                f"log format {version} is newer than this version reads ({VERSION})",
                where=str(self.path),
                remedy="pip install --upgrade chimera-harness",
            )
        raise StoreError("not a record log", where=str(self.path))

    def _decode(self, offset: int, body: bytes) -> LogEntry | None:
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            if _kind(body) not in (None, *_KINDS):
                return None
            raise StoreError(
                f"the record at byte {offset} is intact, but does not fit this version: {error}",
                where=str(self.path),
                remedy="pip install --upgrade chimera-harness",
            ) from None

    def _corrupt(self, damage: Damage) -> StoreError:
        rest = LogReader(self.path, salvage=True)
        offsets = [offset for offset, _ in rest.bodies()]
        before = sum(offset < damage.offset for offset in offsets)
        return StoreError(
            f"corrupt at byte {damage.offset} ({damage.reason}); the {before} records before it "
            f"and {len(offsets) - before} after it are intact",
            where=str(self.path),
            remedy="--salvage (salvage=True) reads those, and marks the run invalid",
        )


def _voided(mark: SessionRecord | RetryRecord) -> tuple[int, ...]:
    """Trials of which nothing before this mark counts."""
    return mark.superseded if isinstance(mark, SessionRecord) else (mark.trial,)


def _read_record(file: BinaryIO, offset: int, end: int) -> tuple[bytes | None, str]:
    """The body at `offset`, where the file stands, or None and what is wrong there."""
    if end - offset < FRAME.size:
        return None, "short header"
    length, expected = FRAME.unpack(file.read(FRAME.size))
    if length > end - offset - FRAME.size:
        return None, "short body"
    body = file.read(length)
    if len(body) < length:  # the writer cut it back while we read
        return None, "short body"
    return (body, "") if checksum(body) == expected else (None, "bad checksum")


def _assess(path: Path, offset: int, end: int, problem: str) -> Damage:
    """What the bad bytes at `offset` are: a torn tail, or corruption up to the next record."""
    found = _next_intact(path, offset + 1, end)
    stop = end if found is None else found
    return Damage(offset=offset, size_bytes=stop - offset, reason=problem, torn=found is None)


def _next_intact(path: Path, start: int, end: int) -> int | None:
    """Offset of the first intact record of a known kind at or behind `start`.

    Every body begins with its kind, so candidates are found by text search and proven by checksum;
    trying each byte would be quadratic in the size of the log. Read window by window rather than
    mapped: a file that shrinks under a mapping kills the process, and mmap.find of CPython 3.11.2
    looks one byte behind the mapping, which is fatal for a file of whole pages.
    """
    with path.open("rb") as file:
        for at in range(start, end, _WINDOW):
            file.seek(at)
            for offset in _candidates(file.read(_WINDOW + _OVERLAP), at):
                if offset >= start and _intact(file, offset, end):
                    return offset
    return None


def _candidates(window: bytes, at: int) -> list[int]:
    """Where records may begin, whose kind is found in this window of the file."""
    hits = {hit.start() for hit in _ANY_START.finditer(window)}
    return sorted(at + hit - header - FRAME.size for hit in hits for header in _MAP_HEADERS)


def _intact(file: BinaryIO, offset: int, end: int) -> bool:
    file.seek(offset)
    return _read_record(file, offset, end)[0] is not None


def _kind(body: bytes) -> str | None:
    """The kind of a record that does not decode as one of ours; None if it has none."""
    try:
        value = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    kind = value.get("t") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None
