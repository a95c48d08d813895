"""The phase `ingest` and the data summary, as docs/agent-protocol.md has them: the one
implementation in Python, of the reference agent and of agents in this process.

It imports nothing but the standard library: the reference agent is to be light.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["File", "Ingested", "ingest", "sha256"]

_UNITS = {"csv": "rows", "json": "values", "md": "headings"}
_BLANK = b" \t\r\f"
_LISTED_MAX = 20


class File(NamedTuple):
    """One that was read."""

    path: str
    kind: str
    size_bytes: int
    units: int
    """Rows, values or headings."""


class Ingested(NamedTuple):
    files: list[File]
    skipped: int

    @property
    def summary(self) -> str:
        files = self.files
        total = sum(file.size_bytes for file in files)
        lines = [f"files read: {len(files)}, skipped: {self.skipped}, bytes: {total}"]
        for kind, unit in _UNITS.items():
            of_kind = [file for file in files if file.kind == kind]
            if of_kind:
                count = sum(file.units for file in of_kind)
                size = sum(file.size_bytes for file in of_kind)
                lines.append(f"{kind}: {len(of_kind)} files, {count} {unit}, {size} bytes")
        for file in files[:_LISTED_MAX]:
            lines.append(
                f"- {file.path}: {file.size_bytes} bytes, {file.units} {_UNITS[file.kind]}"
            )
        if len(files) > _LISTED_MAX:
            lines.append(f"- and {len(files) - _LISTED_MAX} more")
        return "\n".join(lines) + "\n"


def ingest(folder: str, listed: Iterable[tuple[str, str]]) -> Ingested:
    """`listed`: (path below the folder, kind), in order. Never raises for what a file holds."""
    files, skipped = [], 0
    for path, kind in listed:
        try:
            data = Path(folder, path).read_bytes()
            files.append(File(path, kind, len(data), _COUNTS[kind](data)))
        except (OSError, ValueError, RecursionError):
            skipped += 1
    return Ingested(files, skipped)


def sha256(summary: str) -> str:
    return hashlib.sha256(summary.encode()).hexdigest()


def _rows(data: bytes) -> int:
    lines = sum(1 for line in data.split(b"\n") if line.strip(_BLANK))
    return max(0, lines - 1)


def _values(data: bytes) -> int:
    """Leaves, counted without recursion: the document's depth is not ours to trust."""
    waiting: list[Any] = [json.loads(data.decode(), parse_constant=_refuse)]
    leaves = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        else:
            leaves += 1
    return leaves


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _headings(data: bytes) -> int:
    return data.startswith(b"#") + data.count(b"\n#")


_COUNTS = {"csv": _rows, "json": _values, "md": _headings}
