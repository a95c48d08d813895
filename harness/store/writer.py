"""Writes one run: the manifest first, then records as they come, then the summary.

The engine is handed `writer.append` and knows no more of the store than that. Whatever happens
in between, also a kill, the folder holds a run that `load_run` can open.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from harness.errors import HarnessError, StoreError
from harness.schema import Manifest, Record, RetryRecord, RunState, SessionRecord, Summary
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
from harness.store.log import HEADER, LogWriter, reason
from harness.store.reader import LogReader

__all__ = ["RunWriter", "check_log"]


class RunWriter:
    """One run folder, open for writing. Make it with `create` or, where the run is taken up again,
    `reopen`; use it as a context manager."""

    def __init__(self, path: Path, manifest: Manifest, log: LogWriter) -> None:
        self.path = path
        """The run folder."""
        self.manifest = manifest
        self.restored = False
        """The folder was deleted during the run and made again, without what lay in it but the
        records."""
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
            # Nothing was recorded, and a folder without a manifest is no run.
            with contextlib.suppress(OSError):
                (path / RECORDS).unlink()
                path.rmdir()
            raise
        return cls(path, manifest, log)

    @classmethod
    def reopen(
        cls, path: Path, manifest: Manifest, session: SessionRecord, earlier: int = 0
    ) -> RunWriter:
        """The run in `path`, taken up again behind its last whole record: `manifest` says that it
        is running, and `session` what of it is void.

        From then on nothing in the folder passes for current that is not: the summary and what the
        exporters wrote are removed (both are derived again). Raises StoreError: another process is
        writing it, or has done so since its `earlier` sessions were read; its log is corrupt; or
        the system refuses. The run is then as it was.
        """
        log = LogWriter(path / RECORDS, there=True)
        try:
            log.cut_back_to(_whole_bytes(path, log.size_bytes, earlier))
            write_json(path / MANIFEST, manifest)  # before the rest: a reader believes it first
            _remove_derived(path)
            log.append(session)
        except BaseException:
            log.close()
            raise
        return cls(path, manifest, log)

    def append(self, record: Record | RetryRecord) -> None:
        """Add one record; when this returns, a kill cannot take it back. A RetryRecord makes void
        what is there of its trial. Raises StoreError."""
        self._log.append(record)

    @property
    def records(self) -> int:
        """Records written so far, of this session."""
        return self._log.records

    def report(self, name: str, write: Callable[[BinaryIO], object], export: str) -> None:
        """Have `write` fill reports/`name`, which is whole afterwards, or not there. `export` names
        it to `harness export`. Raises StoreError, and whatever `write` raises."""
        path = self.path / REPORTS / name
        part = path.with_name(f".{name}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            try:
                with part.open("wb") as out:
                    write(out)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(
                f"cannot write this report: {reason(error)}; the run is kept",
                where=str(path),
                remedy=f"free space, then harness export {self.path} {export}",
            ) from error

    def artifact(self, trial: int, name: str, content: bytes | str) -> str:
        """Keep a file of the scenario's; its path relative to the run folder, with `/`.

        `name` is made safe, and unique within the trial by a number before its suffix. Raises
        StoreError.
        """
        self.ensure_folder()
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

    def ensure_folder(self) -> None:
        """Make the run folder again if somebody deleted it: the log is still open. Raises
        StoreError."""
        if self._log.closed or self._log.is_there():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the run folder was deleted, and cannot be made again: {reason(error)}",
                where=str(self.path),
                remedy="run again",
            ) from error
        self._log.restore()
        write_json(self.path / MANIFEST, self.manifest)
        self.restored = True

    def finish(
        self, state: RunState, summary: Summary | None, ended: str, error: str | None = None
    ) -> None:
        """The run is over: write the summary, then the manifest with its final state.

        Without a summary (a run that failed early, or a full disk), readers derive it. Raises
        StoreError.
        """
        self.ensure_folder()
        self.manifest = msgspec.structs.replace(
            self.manifest, state=state, ended=ended, error=error
        )
        try:
            self._log.sync()
            # In this order, and the manifest also where the disk refuses the summary: it is small,
            # and the other can be derived again.
            if summary is not None:
                self._write_summary(summary)
        finally:
            try:
                write_json(self.path / MANIFEST, self.manifest)
            finally:
                self._log.close()

    def fail(self, error: HarnessError) -> None:
        """The run cannot go on. Say so in the manifest, if the disk takes that much."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with contextlib.suppress(StoreError):
            self.finish("failed", None, ended=now, error=str(error))

    def _write_summary(self, summary: Summary) -> None:
        try:
            write_json(self.path / SUMMARY, summary)
        except StoreError as error:
            raise StoreError(
                f"{error.what}; the {self.records} records that it is made of are kept",
                where=error.where,
                remedy=f"free space, then harness show {self.path}",
            ) from error

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


def check_log(path: Path) -> LogReader:
    """The log of the run in this folder, passed over: a torn tail is in its `damage`. StoreError if
    there is more amiss, so that nothing can be added to it."""
    reader = LogReader(path / RECORDS)
    try:
        reader.check()
    except StoreError as error:
        raise StoreError(
            f"{error.what}: nothing can be added to it",
            where=error.where,
            remedy="restore it from a copy, or run again from the start",
        ) from None
    return reader


def _whole_bytes(path: Path, size_bytes: int, sessions: int) -> int:
    """How far the log is whole: up to a torn tail. Raises StoreError if it is corrupt before, or of
    another number of sessions."""
    reader = check_log(path)
    if len(reader.sessions) != sessions:
        raise StoreError(
            "another process took this run up in the meantime", where=str(path), remedy="try again"
        )
    if reader.damage:
        return reader.damage[0].offset
    return size_bytes if size_bytes >= len(HEADER) else 0


def _remove_derived(path: Path) -> None:
    """Raises StoreError."""
    try:
        (path / SUMMARY).unlink(missing_ok=True)
        if (path / REPORTS).is_dir():
            for report in (path / REPORTS).iterdir():
                if report.is_file():
                    report.unlink()
    except OSError as error:
        raise StoreError(
            f"what was derived from the run so far cannot be removed: {reason(error)}",
            where=str(error.filename or path),
        ) from error


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
