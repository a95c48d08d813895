"""The Rust agents, as far as they are built: where a binary is, and what it is made of.

`harness agents build` (build.py) compiles the workspace in rust/ and leaves a note beside the
binaries: of which sources each was made. A binary without that note, or of other sources than those
that are here, is not used: a result is to name what was measured.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from harness.errors import BackendError

__all__ = [
    "RUNTIMES",
    "WORKSPACE",
    "Built",
    "Runtime",
    "about",
    "binary",
    "notes",
    "sources_digest",
    "target_folder",
    "write_notes",
]

WORKSPACE: Final = Path(__file__).resolve().parent / "rust"
REMEDY: Final = "harness agents build"

_NOTES: Final = "built.json"
_ABOUT_S: Final = 10.0


class Runtime(Struct, frozen=True):
    """One agent: its package and binary in the workspace, and what it runs on in a few words."""

    package: str
    binary: str
    summary: str


RUNTIMES: Final = {
    "rust-tokio": Runtime("agent-tokio", "agent-tokio", "tokio, multi-thread"),
    "rust-tokio-current": Runtime(
        "agent-tokio", "agent-tokio-current", "tokio, one thread with a LocalSet"
    ),
    "rust-tokio-local": Runtime(
        "agent-tokio", "agent-tokio-local", "tokio, one thread as LocalRuntime"
    ),
    "rust-smol": Runtime("agent-smol", "agent-smol", "smol, one thread"),
    "rust-async-std": Runtime(
        "agent-async-std", "agent-async-std", "async-std, a thread per core; historic"
    ),
    "rust-smol-1kb": Runtime(
        "agent-smol", "agent-smol-1kb", "smol with a reader of 1,024 bytes; sees no first token"
    ),
}
"""By the names under which they are registered."""


class Built(Struct, frozen=True, kw_only=True):
    """What `harness agents build` notes of a binary."""

    sources: str
    """Digest of the workspace that it was made of."""
    at: str
    """When (UTC, ISO 8601)."""


def binary(name: str) -> Path:
    """The program. BackendError where it is not there, or was made of other sources than these."""
    runtime = _runtime(name)
    path = target_folder() / "release" / runtime.binary
    note = notes().get(name)
    if not path.is_file():
        raise BackendError("is not built", where=f"agent {name}", remedy=REMEDY)
    if note is None or note.sources != sources_digest():
        what = "was built of other sources than those that are here"
        raise BackendError(what, where=f"agent {name}", remedy=REMEDY)
    return path


def about(name: str) -> dict[str, Any]:
    """As the binary itself says it (compiler, profile, crates), and its digest, size and age.
    Runs it for a moment. BackendError as for `binary`, and where it does not run."""
    import subprocess

    path = binary(name)
    try:
        done = subprocess.run(
            [path, "--about"], capture_output=True, timeout=_ABOUT_S, check=True, env={}
        )
        said = msgspec.json.decode(done.stdout, type=dict[str, Any])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        remedy = f"{REMEDY} --force"
        what = f"does not say what it is made of: {error}"
        raise BackendError(what, where=f"agent {name}", remedy=remedy) from None
    content = path.read_bytes()
    return {
        "language": "Rust",
        **said,
        "binary": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "built_at": notes()[name].at,
    }


def target_folder() -> Path:
    """Where cargo builds: `build/rust` of a checkout, a folder of the user's cache elsewhere."""
    checkout = WORKSPACE.parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "plugins").is_dir():
        return checkout / "build" / "rust"
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    # Each installation its own: two versions of the package may be in use side by side.
    place = hashlib.sha256(os.fsencode(WORKSPACE)).hexdigest()[:12]
    return Path(cache) / "harness" / "rust" / place


def sources_digest() -> str:
    """Of all that is compiled here, and how."""
    digest = hashlib.sha256()
    for path in sorted(WORKSPACE.rglob("*")):
        inside = path.relative_to(WORKSPACE)
        if inside.parts[0] in ("target", ".cargo") or "tests" in inside.parts:
            continue
        if path.suffix in (".rs", ".toml", ".lock") and path.is_file():
            digest.update(inside.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def notes() -> dict[str, Built]:
    """What was built, by name; nothing where no build was finished."""
    try:
        content = (target_folder() / _NOTES).read_bytes()
        return msgspec.json.decode(content, type=dict[str, Built])
    except (OSError, msgspec.DecodeError):
        return {}


def write_notes(notes: dict[str, Built]) -> None:
    path = target_folder() / _NOTES
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_bytes(msgspec.json.encode(notes))
    beside.replace(path)


def _runtime(name: str) -> Runtime:
    try:
        return RUNTIMES[name]
    except KeyError:
        names = ", ".join(RUNTIMES)
        raise BackendError(
            f"there is no Rust agent {name!r}", where="agents", remedy=f"one of {names}"
        ) from None
