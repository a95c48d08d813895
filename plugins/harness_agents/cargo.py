"""cargo, as `harness agents build` needs it: found, new enough, run with its words heard, and what
it says when it fails turned into what to do about it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from harness.errors import BackendError
from harness.text import one_line
from harness_agents import rust

__all__ = ["Cargo", "Outcome", "find_cargo"]

INSTALL: Final = "install rustup (https://rustup.rs), or apt-get install cargo rustc"
_TAIL_LINES: Final = 40
_UNREACHABLE: Final = re.compile(
    r"--offline was specified|failed to download|failed to get `|no matching package named"
    r"|could not resolve host|network failure|failed to query replaced source"
    r"|download of .* failed",
    re.IGNORECASE,
)
_NO_LINKER: Final = re.compile(r"linker `\S+` not found")
_NO_SPACE: Final = re.compile(r"no space left on device", re.IGNORECASE)


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run of cargo ended."""

    ok: bool
    compiled: int
    """Packages that were compiled; the others were up to date."""
    said: tuple[str, ...]
    """The end of what it said, without its progress."""

    def remedy(self) -> str:
        """What to do about a failure; empty where only its own words can help."""
        said = "\n".join(self.said)
        if _UNREACHABLE.search(said):
            return (
                "the crates are not on this machine, and crates.io was not to be reached: with a "
                f"network, cargo fetch --locked --manifest-path {rust.WORKSPACE / 'Cargo.toml'}"
            )
        if _NO_LINKER.search(said):
            return "there is no linker: apt-get install build-essential, or gcc by other means"
        if _NO_SPACE.search(said):
            return f"the disk that holds {rust.target_folder()} is full: a build takes 170 MB"
        return ""


class Cargo(Struct, frozen=True):
    """A cargo that can compile the workspace."""

    path: str
    rustc: str
    """Its compiler, as `rustc --version` has it."""

    def build(
        self,
        binaries: Sequence[tuple[str, str]],
        *,
        offline: bool,
        force: bool,
        told: Callable[[str], None],
    ) -> Outcome:
        """Compile these (package, binary). One that fails keeps no other from being built. `told`
        is called with each package as it is compiled."""
        if force:
            packages = [word for one in sorted({p for p, _ in binaries}) for word in ("-p", one)]
            self._run(["clean", "--release", "-p", "agent-core", *packages], offline, told)
        # --workspace: features of shared crates are the same, whichever binaries are asked for.
        words = ["build", "--release", "--keep-going", "--workspace"]
        for _, name in binaries:
            words += ["--bin", name]
        return self._run(words, offline, told)

    def _run(self, words: list[str], offline: bool, told: Callable[[str], None]) -> Outcome:
        target = rust.target_folder()
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BackendError(
                f"cannot be made: {error.strerror}", where=str(target), remedy="XDG_CACHE_HOME=..."
            ) from None
        command = [self.path, *words, "--locked", "--color=never", *(["--offline"] * offline)]
        said: list[str] = []
        compiled = 0
        with subprocess.Popen(
            command,
            cwd=rust.WORKSPACE,
            env={**_environment(), "CARGO_TARGET_DIR": str(target)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    if found := re.match(r"\s*Compiling (\S+) v(\S+)", line):
                        compiled += 1
                        told(f"{found[1]} {found[2]}")
                    elif not re.match(r"\s*(Downloading|Downloaded|Finished|Locking|Updat)", line):
                        said = [*said[1 - _TAIL_LINES :], line.rstrip()]
            except BaseException:
                process.terminate()
                raise
        return Outcome(ok=process.returncode == 0, compiled=compiled, said=tuple(said))


def find_cargo() -> Cargo:
    """BackendError where there is none, or one that is too old for the workspace."""
    home = Path(os.environ.get("CARGO_HOME") or "~/.cargo").expanduser() / "bin"
    path = shutil.which("cargo") or shutil.which("cargo", path=str(home))
    if path is None:
        raise BackendError("there is no cargo on this machine", where="rust agents", remedy=INSTALL)
    # The compiler that this cargo will take.
    beside = shutil.which("rustc", path=str(Path(path).parent)) or shutil.which("rustc")
    rustc = _version(beside) if beside else None
    if rustc is None:
        raise BackendError(f"{path} has no rustc", where="rust agents", remedy=INSTALL)
    wanted = _wanted()
    found = re.search(r"(\d+)\.(\d+)", rustc)
    if found is None or (int(found[1]), int(found[2])) < wanted:
        raise BackendError(
            f"{one_line(rustc, 60)} is too old: it takes {wanted[0]}.{wanted[1]} or later",
            where="rust agents",
            remedy="rustup update, or " + INSTALL,
        )
    return Cargo(path, rustc)


def _wanted() -> tuple[int, int]:
    manifest = tomllib.loads((rust.WORKSPACE / "Cargo.toml").read_text("utf-8"))
    major, minor = manifest["workspace"]["package"]["rust-version"].split(".")[:2]
    return int(major), int(minor)


def _version(path: str) -> str | None:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, cwd=rust.WORKSPACE
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _environment() -> dict[str, str]:
    """Ours, without what would compile something else than the profile in Cargo.toml says."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CARGO_PROFILE_")}
