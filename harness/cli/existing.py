"""`--skip-existing`: what was measured already is not measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from harness.cli.harmless import print_json
from harness.cli.status import DONE, INVALID
from harness.cli.terminal import say
from harness.engine import make_plan
from harness.errors import StoreError
from harness.host import Host
from harness.schema import RunSpec
from harness.store import Run, is_being_written, list_runs, load_run
from harness.store.folder import MANIFEST, is_run

__all__ = ["find_existing", "say_existing"]

ROOT: Final = Path("runs")


class _Head(msgspec.Struct):
    spec_digest: str
    state: str


def find_existing(spec: RunSpec, host: Host, out: Path | None) -> Run | None:
    """The newest finished run of the very same spec: in the folder `out`, if one is named, and else
    below ./runs. Raises SpecError, as planning does; StoreError where folders cannot be listed."""
    wanted = make_plan(spec, host).digest
    if out is not None:
        folders = [out] if is_run(out) else []
    else:
        folders = [entry.path for entry in reversed(list_runs(ROOT)) if entry.state == "finished"]
    for folder in folders:
        head = _head(folder)
        if head is None or head.spec_digest != wanted or head.state != "finished":
            continue
        if is_being_written(folder):  # it is being resumed
            continue
        try:
            return load_run(folder)
        except StoreError:
            continue  # damaged: no reason not to measure
    return None


def say_existing(run: Run, *, as_json: bool) -> int:
    """Where it is, and what it came to. Returns the exit status that it had."""
    summary = run.summary
    if as_json:
        print_json(summary, indent=2)
    say(
        f"{run.path}: finished with the same spec, verdict {summary.verdict.state}; not run again "
        f"(harness show {run.path})"
    )
    return INVALID if summary.verdict.state == "invalid" else DONE


def _head(folder: Path) -> _Head | None:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Head)
    except (OSError, msgspec.DecodeError):
        return None
