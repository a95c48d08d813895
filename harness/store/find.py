"""From what a person types to a run folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import StoreError
from harness.store.folder import MANIFEST, RECORDS, is_run
from harness.store.log import reason
from harness.store.reader import LogReader

__all__ = ["RunEntry", "find_run", "list_runs"]


class RunEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run folder, as far as its manifest's first lines tell."""

    path: Path
    run_id: str
    name: str
    state: str
    started: str


class _Head(msgspec.Struct):
    run_id: str
    name: str
    state: str
    started: str


def list_runs(root: Path | None = None) -> list[RunEntry]:
    """Every run folder directly below `root` (default: ./runs), oldest first. Folders without a
    readable manifest are left out."""
    folder = Path("runs") if root is None else root
    if not folder.is_dir():
        return []
    try:
        found = [_entry(path) for path in folder.iterdir() if is_run(path)]
    except OSError as error:
        raise StoreError(reason(error), where=str(folder)) from error
    entries = [entry for entry in found if entry is not None]
    return sorted(entries, key=lambda entry: (entry.started, entry.path.name))


def find_run(ref: str | Path, root: Path | None = None) -> Path:
    """See `load_run`. Raises StoreError: nothing there, not a run, or more than one fits."""
    path = Path(ref)
    if path.name == MANIFEST and path.is_file():
        return path.parent
    if path.is_dir():
        return _checked(path)
    if isinstance(ref, Path) or path.exists() or len(path.parts) != 1:
        raise StoreError("there is no run here", where=str(ref), remedy="the path of a run folder")
    return _by_name(str(ref), root)


def _by_name(ref: str, root: Path | None) -> Path:
    where = str(Path("runs") if root is None else root)
    runs = list_runs(root)
    if not runs:
        raise StoreError(f"there is no run {ref!r}", where=where, remedy="harness run SPEC")
    if ref == "latest":
        return _latest(runs)
    fitting = [r for r in runs if r.path.name.startswith(ref) or r.run_id.startswith(ref)]
    if len(fitting) == 1:
        return fitting[0].path
    if fitting:
        names = ", ".join(run.path.name for run in fitting[:5])
        more = f" and {len(fitting) - 5} more" if len(fitting) > 5 else ""
        raise StoreError(f"{ref!r} fits several runs: {names}{more}", where=where)
    raise StoreError(
        f"no run begins with {ref!r}", where=where, remedy=f"the newest is {runs[-1].path.name}"
    )


def _latest(runs: list[RunEntry]) -> Path:
    """The newest run that has something to show: not one that failed before its first call, unless
    there is no other. Those stay to be had by name."""
    shown = (run.path for run in reversed(runs) if run.state != "failed" or _has_call(run.path))
    return next(shown, runs[-1].path)


def _has_call(path: Path) -> bool:
    try:
        return LogReader(path / RECORDS, salvage=True).has_call()
    except StoreError:
        return False


def _checked(path: Path) -> Path:
    if is_run(path):
        return path
    if (path / RECORDS).exists():
        raise StoreError(
            f"the run's {MANIFEST} is missing", where=str(path), remedy="restore it from a copy"
        )
    remedy = "name one of the runs in it" if list_runs(path) else "harness run SPEC"
    raise StoreError("this folder holds no run", where=str(path), remedy=remedy)


def _entry(path: Path) -> RunEntry | None:
    try:
        head = msgspec.json.decode((path / MANIFEST).read_bytes(), type=_Head)
    except (OSError, msgspec.DecodeError):
        return None
    return RunEntry(
        path=path, run_id=head.run_id, name=head.name, state=head.state, started=head.started
    )
