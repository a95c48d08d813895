"""What stands before the weights in a GGUF file: its metadata, and how many parameters there are.

The layout (little-endian): magic, version, number of tensors, number of entries; each entry is a
key, a type and a value; each tensor a name, its dimensions, its type and where it begins. Nothing
of it is believed: every length is checked against the file before anything is read by it.

Lists are not kept but for short ones of numbers: a vocabulary is walked over, and its length kept.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

__all__ = ["BadHeaderError", "Header", "parts", "read_header"]

_NUMBERS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
"""Type → one value of it. 8 is text, 9 a list."""
_TEXT, _LIST = 8, 9
_KEPT_MAX: Final = 1024
"""Longest list that is kept: one number for each layer, say."""
_ENTRIES_MAX: Final = 100_000
_DIMENSIONS_MAX: Final = 8
_SPLIT: Final = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf")


class BadHeaderError(ValueError):
    """The file is no GGUF file that we can read; the message says why."""


class Header(Struct, frozen=True, kw_only=True):
    """Of one file."""

    entries: dict[str, Any]
    """Key → number, text, or a short list of numbers; of any other list its length alone, under
    `<key>.length`."""
    parameters: int
    """Elements of all tensors."""

    @property
    def architecture(self) -> str:
        return str(self.entries.get("general.architecture", ""))


def parts(path: Path) -> list[Path]:
    """All files of a model that was split (`…-00001-of-00003.gguf`); otherwise `path` alone."""
    match = _SPLIT.fullmatch(path.name)
    if match is None or not 1 < int(match["parts"]) < 1000:
        return [path]
    count = match["parts"]
    names = (f"{match['stem']}-{n:05}-of-{count}.gguf" for n in range(1, int(count) + 1))
    return [path.with_name(name) for name in names]


def read_header(path: Path) -> Header:
    """Read once per process and file version. BadHeaderError; OSError."""
    facts = path.stat()
    return _read(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=16)
def _read(path: Path, size_bytes: int, mtime_ns: int) -> Header:
    del mtime_ns  # part of the key: a file that changed is read again
    if size_bytes < 24:
        raise BadHeaderError("it is too short")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return _Reader(view).header()


class _Reader:
    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self._at = 0

    def header(self) -> Header:
        try:
            if self._view[:4] != b"GGUF":
                raise BadHeaderError("it does not begin with GGUF")
            self._at = 4
            version = self._number(4)
            if version not in (2, 3):
                raise BadHeaderError(f"its version is {version}")
            tensors, entries = self._count(), self._count()
            found = dict(self._entries(entries))
            return Header(entries=found, parameters=sum(self._tensors(tensors)))
        except struct.error as error:
            raise BadHeaderError("it ends within its header") from error

    def _entries(self, count: int) -> Iterator[tuple[str, Any]]:
        for _ in range(count):
            key = self._text()
            kind = self._number(4)
            if kind == _TEXT:
                yield key, self._text()
            elif kind != _LIST:
                yield key, self._number(kind)
            else:
                length, kept = self._list()
                yield (key, kept) if kept is not None else (f"{key}.length", length)

    def _list(self) -> tuple[int, list[Any] | None]:
        kind, length = self._number(4), self._number(10)
        if kind == _TEXT:
            for _ in range(length):  # as long as the file has text for it
                self._skip(self._number(10))
            return length, None
        one = _NUMBERS.get(kind)
        if one is None:
            raise BadHeaderError(f"it has a list of type {kind}")
        if length <= _KEPT_MAX:
            return length, [self._number(kind) for _ in range(length)]
        self._skip(length * one.size)
        return length, None

    def _tensors(self, count: int) -> Iterator[int]:
        for _ in range(count):
            self._skip(self._number(10))
            dimensions = self._number(4)
            if dimensions > _DIMENSIONS_MAX:
                raise BadHeaderError(f"a tensor has {dimensions} dimensions")
            yield math.prod(self._number(10) for _ in range(dimensions))
            self._skip(4 + 8)

    def _number(self, kind: int) -> Any:
        one = _NUMBERS.get(kind)
        if one is None:
            raise BadHeaderError(f"it has a value of type {kind}")
        (value,) = one.unpack_from(self._view, self._at)
        self._at += one.size
        return value

    def _count(self) -> int:
        found = self._number(10)
        if found > _ENTRIES_MAX:
            raise BadHeaderError(f"it says that it has {found} entries")
        return int(found)

    def _text(self) -> str:
        length, start = self._number(10), self._at
        self._skip(length)
        return self._view[start : start + length].decode("utf-8", "replace")

    def _skip(self, count: int) -> None:
        if count > len(self._view) - self._at:
            raise BadHeaderError("it ends within its header")
        self._at += count
