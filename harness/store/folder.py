"""The run folder: what it is called, what lies in it, and files that are whole or not there.

<name>-<UTC time>-<short id>/
    run.json        manifest: written before the first record, and again when the run ends
    records.log     every call, iteration and trial, as they ended; where the run was taken up
                    again, and where a trial began anew
    summary.json    derived from the records when the run ended; can be derived again
    reports/        what the exporters wrote
    artifacts/      files that the scenario left, by trial
"""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from harness.errors import StoreError
from harness.schema import Manifest
from harness.store.log import reason
from harness.text import plain_json

__all__ = [
    "ARTIFACTS",
    "MANIFEST",
    "RECORDS",
    "REPORTS",
    "SUMMARY",
    "is_run",
    "make_run_folder",
    "safe_name",
    "write_atomic",
    "write_json",
]

MANIFEST: Final = "run.json"
RECORDS: Final = "records.log"
SUMMARY: Final = "summary.json"
REPORTS: Final = "reports"
ARTIFACTS: Final = "artifacts"

_UNSAFE: Final = re.compile(r"[^\w.+-]+")
# Names that some file systems keep for themselves, with or without a suffix.
_RESERVED: Final = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def safe_name(text: str, *, fallback: str = "run", bytes_max: int = 80) -> str:
    """`text` as one path component on any file system: no separators, no control characters, no
    leading dot or dash, at most `bytes_max` bytes of UTF-8, never empty."""
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    text = _UNSAFE.sub("_", text).strip("-_. ")
    if _RESERVED.match(text):
        text = f"x_{text}"
    stem, dot, suffix = text.rpartition(".")
    if dot and len(suffix) <= 8:  # keep what says how to open the file
        room = bytes_max - len(suffix.encode()) - 1
        text = f"{_cut(stem, room)}.{suffix}"
    return _cut(text, bytes_max).rstrip(". ") or fallback


def make_run_folder(manifest: Manifest, out: Path | None, root: Path | None) -> Path:
    """A fresh folder: `out` itself, or a new one below `root` (default: `runs`).

    Raises StoreError: `out` holds a run, or something else; or the folder cannot be made.
    """
    try:
        if out is not None:
            return _exactly(out)
        return _below(Path("runs") if root is None else root, _folder_name(manifest))
    except OSError as error:
        where = str(error.filename or out or root or "runs")
        raise StoreError(
            f"cannot make the run folder: {reason(error)}", where=where, remedy="--out FOLDER"
        ) from error


def is_run(path: Path) -> bool:
    return (path / MANIFEST).is_file()


def write_json(path: Path, value: msgspec.Struct) -> None:
    """`value` as indented JSON, whole or not at all; what is not printable in it is escaped, so
    that the file can be shown as it is. Raises StoreError."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    write_atomic(path, plain_json(text) + b"\n")


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a reader sees the old file or the new one. Raises StoreError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write: {reason(error)}", where=str(path), remedy="free space, or --out FOLDER"
        ) from error


def _exactly(out: Path) -> Path:
    if is_run(out) or (out / RECORDS).exists():
        raise StoreError("this folder already holds a run", where=str(out), remedy="another --out")
    if out.exists() and not out.is_dir():
        raise StoreError("this is a file, not a folder", where=str(out), remedy="another --out")
    if out.is_dir() and any(out.iterdir()):
        raise StoreError(
            "this folder is not empty, and what is in it is not a run",
            where=str(out),
            remedy=f"--out {out / 'run'}",
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def _below(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        path = root / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue  # the same id twice in one second: count on
        return path
    raise StoreError("too many runs of this name", where=str(root / name), remedy="--out FOLDER")


def _folder_name(manifest: Manifest) -> str:
    short = re.sub(r"[^0-9A-Za-z]", "", manifest.run_id)[-8:] or "0"
    name = safe_name(manifest.name, bytes_max=60)
    return f"{name}-{_started(manifest):%Y%m%dT%H%M%SZ}-{short}"


def _started(manifest: Manifest) -> datetime:
    try:
        started = datetime.fromisoformat(manifest.started)
    except ValueError:
        return datetime.now(UTC)
    return started.astimezone(UTC) if started.tzinfo else started.replace(tzinfo=UTC)


def _cut(text: str, bytes_max: int) -> str:
    return text.encode()[: max(bytes_max, 0)].decode(errors="ignore")


def _sync_folder(path: Path) -> None:
    """Make the rename itself durable, where folders can be opened."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
