"""Reads a table of results: CSV, or a list of objects in a JSON file. Rows come out as text.
Public: an importer of a plugin's own may start from here.

CSV is read strictly, because what is wrong with it shifts figures into other columns: every row has
as many fields as the header, and no two columns have one name.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.errors import StoreError

__all__ = ["Row", "Table", "csv_header", "read_csv", "read_json_rows"]

SIZE_MAX: Final = 256 * 2**20
"""Bytes. Records are better kept as a run than as a table of that size."""


class Row(msgspec.Struct, frozen=True):
    """Column → what stands there, as text; and where it stands, for messages and evidence."""

    fields: dict[str, str]
    place: int
    """Line of a CSV file (1 is the header's), index of a JSON list."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of a file, and which file it was."""

    file: str
    """Name alone: a path tells of the machine."""
    sha256: str
    columns: tuple[str, ...]
    rows: Sequence[Row]


def read_csv(path: Path) -> Table:
    """Raises StoreError with the line of what cannot be read."""
    content = _read(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(
            f"byte {error.start} is not UTF-8",
            where=str(path),
            remedy="iconv -f latin1 -t utf-8",
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        rows = [
            Row(dict(zip(header, _whole(fields, header, reader.line_num, path), strict=True)), line)
            for fields in reader
            if (line := reader.line_num) and fields
        ]
    except csv.Error as error:
        raise StoreError(f"line {reader.line_num}: {error}", where=str(path)) from None
    return _table(path, content, header, rows)


def csv_header(path: Path) -> tuple[str, ...]:
    """The names in its first line; empty where that is none. Raises StoreError."""
    try:
        with path.open("rb") as file:
            line = file.readline(2**16)
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(path)) from None
    try:
        names = next(csv.reader(io.StringIO(line.decode("utf-8-sig"), newline=""), strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return ()
    return tuple(name.strip() for name in names)


def read_json_rows(path: Path, place: str = "") -> Table:
    """The list at the dotted path `place` (empty: the whole file is the list), one object a row.
    What is nested in a row gets a dotted name. Raises StoreError."""
    content = _read(path)
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise StoreError(f"not JSON: {error}", where=str(path)) from None
    for part in filter(None, place.split(".")):
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise StoreError(
            f"there is no list of objects at {place or 'the top'}",
            where=str(path),
            remedy="`rows: PATH` in the mapping says where it is",
        )
    rows = [Row(dict(_flat(one)), index) for index, one in enumerate(value)]
    columns = dict.fromkeys(name for row in rows for name in row.fields)
    # A field that one object lacks is unknown there.
    rows = [Row({name: row.fields.get(name, "") for name in columns}, row.place) for row in rows]
    return _table(path, content, list(columns), rows)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(path)) from None
    if len(content) > SIZE_MAX:
        raise StoreError(f"it has more than {SIZE_MAX // 2**20} MiB", where=str(path))
    return content


def _check_header(header: Sequence[str], path: Path) -> None:
    if not any(header):
        raise StoreError("the first line names the columns, and it is empty", where=str(path))
    twice = [name for index, name in enumerate(header) if name in header[:index]]
    if twice:
        raise StoreError(
            f"two columns are called {twice[0]!r}", where=str(path), remedy="rename one of them"
        )


def _whole(fields: list[str], header: Sequence[str], line: int, path: Path) -> list[str]:
    if len(fields) != len(header):
        raise StoreError(
            f"line {line} has {len(fields)} fields, and the header {len(header)}", where=str(path)
        )
    return fields


def _table(path: Path, content: bytes, columns: Sequence[str], rows: Sequence[Row]) -> Table:
    digest = hashlib.sha256(content).hexdigest()
    return Table(file=path.name, sha256=digest, columns=tuple(columns), rows=rows)


def _flat(value: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{before}{key}"
        if isinstance(item, Mapping):
            found += _flat(item, f"{name}.")
        elif item is None:
            found.append((name, ""))
        elif isinstance(item, str):
            found.append((name, item))
        else:  # numbers keep every digit; lists are no figure, and stay text
            found.append((name, msgspec.json.encode(item).decode()))
    return found
