"""The last `harness selfcheck`, kept per user and machine: every run can name its own error.

    $HARNESS_STATE_DIR, else $XDG_STATE_HOME/chimera-harness, else ~/.local/state/chimera-harness
        selfcheck-<host digest>.json

A home folder may be shared between machines, hence the digest in the name; a build may have been
replaced since, hence the one in the check. What cannot be read is a reason to have no figure, never
a reason not to run. Reading is a part of every start: one small file, nothing imported for it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from harness.errors import StoreError
from harness.schema import SelfCheck

__all__ = ["better_selfcheck", "check_path", "save_selfcheck", "state_dir", "stored_selfcheck"]

SIZE_MAX: Final = 1 << 20
"""Bytes. A check takes some ten thousand; what is larger is not ours."""


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The file. Unknown fields are let pass, so that a newer version may add to it."""

    format: int
    host: str
    check: SelfCheck


def state_dir() -> Path | None:
    """Where what must outlive a cache is kept. Not created here; None without a home folder."""
    if chosen := os.environ.get("HARNESS_STATE_DIR"):
        return Path(chosen).expanduser()
    try:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return Path(base) / "chimera-harness"


def check_path(host_digest: str) -> Path | None:
    folder = state_dir()
    return folder / f"selfcheck-{host_digest}.json" if folder else None


def stored_selfcheck(host_digest: str, native_digest: str) -> tuple[SelfCheck | None, str | None]:
    """(the check of this machine and build, None), or (None, why there is none). Never raises for
    what it finds."""
    if not sys.platform.startswith("linux"):
        return None, "the self-check needs the reactor, and that needs Linux"
    path = check_path(host_digest)
    if path is None:
        return None, "there is no home folder to keep it in: set HARNESS_STATE_DIR"
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_MAX)
    except FileNotFoundError:
        return None, "never made on this machine: harness selfcheck"
    except OSError as error:
        return None, f"{path} cannot be read ({error.strerror}): harness selfcheck"
    try:
        stored = msgspec.json.decode(raw, type=_Stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, f"{path} is not a self-check: harness selfcheck"
    if stored.format != 1 or stored.host != host_digest:
        return None, f"{path} is of another machine or version: harness selfcheck"
    if stored.check.native_digest != native_digest:
        digest = stored.check.native_digest[:16]
        return None, f"made with another build (digest {digest}): harness selfcheck"
    return stored.check, None


def better_selfcheck(check: SelfCheck, host_digest: str) -> SelfCheck | None:
    """A full check of this build that is kept, where `check` is a quick one: it is to stay."""
    stored, _ = stored_selfcheck(host_digest, check.native_digest)
    better = stored is not None and stored.mode == "full" and check.mode == "quick"
    return stored if better else None


def save_selfcheck(check: SelfCheck, host_digest: str) -> Path:
    """Replaces the one before it, at once or not at all. Raises StoreError."""
    path = check_path(host_digest)
    if path is None:
        raise StoreError("there is no home folder to keep it in", remedy="set HARNESS_STATE_DIR")
    stored = _Stored(format=1, host=host_digest, check=check)
    text = msgspec.json.format(msgspec.json.encode(stored), indent=1) + b"\n"
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(text)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"the check cannot be kept: {_why_not(path.parent, error)}",
            where=str(path),
            remedy="HARNESS_STATE_DIR names another folder, --no-save keeps nothing",
        ) from None
    return path


def _why_not(folder: Path, error: OSError) -> str:
    """In whole words: of a file where a folder should be, the system says `file exists`."""
    for part in (folder, *folder.parents):
        if part.exists():
            if not part.is_dir():
                return f"{part} is a file"
            break
    return (error.strerror or str(error)).lower()
