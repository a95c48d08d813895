"""Writes one run: the manifest first, then records as they come, then the summary.

The engine is handed `writer.append` and knows no more of the store than that. Whatever happens
in between, also a kill, the folder holds a run that `load_run` can open.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from types import TracebackType

import msgspec

from harness.errors import StoreError
from harness.schema import Manifest, Record, RunState, Summary
from harness.store.folder import (
    ARTIFACTS,
    MANIFEST,
    RECORDS,
    REPORTS,
    SUMMARY,
    make_run_folder,
    safe_name,
    write_json,
)
from harness.store.log import LogWriter, reason

__all__ = ["RunWriter"]


class RunWriter:
    """One run folder, open for writing. Make it with `create`; use it as a context manager."""

    def __init__(self, path: Path, manifest: Manifest, log: LogWriter) -> None:
        self.path = path
        """The run folder."""
        self.manifest = manifest
        self._log = log

    @classmethod
    def create(
        cls, manifest: Manifest, out: Path | None = None, root: Path | None = None
    ) -> RunWriter:
        """A new run in exactly `out`, or in a new folder below `root` (default: ./runs).

        The manifest is on disk when this returns. Raises StoreError.
        """
        path = make_run_folder(manifest, out, root)
        # The log first: it is made exclusively, so that two runs cannot share a folder.
        log = LogWriter(path / RECORDS)
        try:
            write_json(path / MANIFEST, manifest)
        except BaseException:
            log.close()
            raise
        return cls(path, manifest, log)

    def append(self, record: Record) -> None:
        """Add one record; when this returns, a kill cannot take it back. Raises StoreError."""
        self._log.append(record)

    @property
    def records(self) -> int:
        """Records written so far."""
        return self._log.records

    @property
    def reports(self) -> Path:
        """The folder for reports, made on first use. Raises StoreError."""
        path = self.path / REPORTS
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(reason(error), where=str(path)) from error
        return path

    def artifact(self, trial: int, name: str, content: bytes | str) -> str:
        """Keep a file of the scenario's; its path relative to the run folder, with `/`.

        `name` is made safe, and unique within the trial by a number before its suffix. Raises
        StoreError.
        """
        folder = Path(ARTIFACTS) / f"{trial:04d}"
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        wanted = safe_name(name, fallback="artifact")
        try:
            (self.path / folder).mkdir(parents=True, exist_ok=True)
            return (folder / _write_new(self.path / folder, wanted, data)).as_posix()
        except OSError as error:
            raise StoreError(
                f"cannot keep the artifact {wanted}: {reason(error)}",
                where=str(self.path / folder),
                remedy="free space, or --out FOLDER on another disk",
            ) from error

    def finish(
        self, state: RunState, summary: Summary | None, ended: str, error: str | None = None
    ) -> None:
        """The run is over: write the summary, then the manifest with its final state.

        Without a summary (a run that failed early), readers derive it. Raises StoreError.
        """
        self.manifest = msgspec.structs.replace(
            self.manifest, state=state, ended=ended, error=error
        )
        try:
            self._log.sync()
            # In this order: a manifest that says `finished` never stands beside no summary.
            if summary is not None:
                write_json(self.path / SUMMARY, summary)
            write_json(self.path / MANIFEST, self.manifest)
        finally:
            self._log.close()

    def close(self) -> None:
        """Let go of the log. A run that was not finished then reads as interrupted."""
        self._log.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _write_new(folder: Path, wanted: str, data: bytes) -> str:
    """Write `data` to a new file; its name, which is `wanted` or `wanted` with a number."""
    for number in itertools.count(1):
        stem, suffix = Path(wanted).stem, Path(wanted).suffix
        name = wanted if number == 1 else f"{stem}-{number}{suffix}"
        try:
            file = (folder / name).open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                file.write(data)
        except OSError:
            (folder / name).unlink(missing_ok=True)  # half an artifact is none
            raise
        return name
    raise AssertionError  # count() does not end
