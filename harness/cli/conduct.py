"""Conducts a run for a person: brings engine, store, reports and progress together."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TextIO, TypeAlias

from harness.cli.background import run_async
from harness.cli.harmless import harmless
from harness.cli.progress import progress_for
from harness.cli.shown import show
from harness.cli.signals import Signals
from harness.cli.status import DONE, INVALID, SPENT
from harness.cli.terminal import mute, say, say_at_once, show_cursor
from harness.engine import Observer, Outcome, run
from harness.engine.resume import Resume
from harness.engine.till import BUDGET
from harness.errors import HarnessError, StoreError
from harness.host import Host
from harness.protocols import Exporter
from harness.registry import Entry
from harness.schema import (
    Manifest,
    Record,
    RetryRecord,
    RunSpec,
    SessionRecord,
    Summary,
)
from harness.store import Run, RunWriter, load_run
from harness.text import one_line

__all__ = ["FolderSink", "conduct", "finish", "perform"]

log = logging.getLogger("harness.cli")

STOPPING: Final = "stopping; once more to stop at once"
ENDING: Final = "ending; once more to stop at once"

Progress: TypeAlias = Callable[[TextIO], AbstractContextManager[Observer]]


class FolderSink:
    """Puts what the engine records into a run folder, which is made when the run begins."""

    def __init__(self, out: Path | None, root: Path, resumed: Run | None = None) -> None:
        self._out = out
        self._root = root
        self._resumed = resumed
        self.writer: RunWriter | None = None
        self.before: Callable[[], object] = bool
        """Called before anything is made."""

    def begin(self, manifest: Manifest) -> None:
        self.before()
        self.writer = RunWriter.create(manifest, out=self._out, root=self._root)

    def resume(self, manifest: Manifest, session: SessionRecord) -> None:
        self.before()
        run = self._resumed
        assert run is not None, "whoever resumes a run has loaded it"
        self.writer = RunWriter.reopen(run.path, manifest, session, len(run.sessions))

    def append(self, record: Record | RetryRecord) -> None:
        self._open.append(record)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        return self._open.artifact(trial, name, content)

    @property
    def _open(self) -> RunWriter:
        assert self.writer is not None, "begin comes first"
        return self.writer


def conduct(
    spec: RunSpec,
    host: Host,
    *,
    out: Path | None,
    as_json: bool,
    resumed: Run | None = None,
    retry_failed: bool = False,
    progress: Progress = progress_for,
    enough: Callable[[], bool] | None = None,
) -> int:
    """Run `spec`, or what is missing of `resumed`, and show the result. Returns the exit status.

    `enough` is asked when a signal comes, on the event loop's thread: True, if that is the proper
    end of this run, and no interrupt.

    Raises HarnessError; StoppedError, if a signal comes before anything was begun.
    """
    with Signals() as signals:
        sink = FolderSink(out, Path("runs"), resumed)
        resume = None
        if resumed is not None:
            resume = Resume(
                run=resumed, begin=sink.resume, paid=resumed.entries, retry_failed=retry_failed
            )
        outcome = _measure(spec, host, sink, signals, resume, progress, enough)
        assert sink.writer is not None
        made, unwritten = _conclude(sink.writer, outcome, host)
        if sink.writer.restored:
            say(
                f"warning: {sink.writer.path} was deleted during the run, and was made again from "
                "what was still open; artifacts are lost"
            )
        if outcome.manifest.state == "failed" and isinstance(outcome.error, HarnessError):
            say(f"run folder: {sink.writer.path}")
            raise outcome.error
        try:
            show(made, as_json)
            sys.stdout.flush()
        except BrokenPipeError:
            mute()  # the verdict is known all the same
        _warn_of(made.summary)
        if unwritten:
            raise unwritten[0]
        return signals.status or _status(made.summary)


def _status(summary: Summary) -> int:
    """A budget that was used up is known to whoever set it: that figures are few is no news."""
    spent = next((one for one in summary.verdict.caveats if one.code == BUDGET), None)
    if spent is not None:
        say(one_line(spent.message))
        return SPENT
    return INVALID if summary.verdict.state == "invalid" else DONE


def _warn_of(summary: Summary) -> None:
    """On standard error, so that it is seen when the result goes to a file or another program."""
    verdict = summary.verdict
    if verdict.state == "valid":
        return
    codes = dict.fromkeys(c.code for c in verdict.caveats if c.severity != "note")
    say(f"warning: the run is {verdict.state}: {', '.join(codes)}")


def _measure(
    spec: RunSpec,
    host: Host,
    sink: FolderSink,
    signals: Signals,
    resume: Resume | None,
    progress: Progress,
    enough: Callable[[], bool] | None,
) -> Outcome:
    """The run itself. What ends it is written into the manifest, if the disk takes that much."""
    try:
        with progress(sys.stderr) as observer:
            return perform(spec, host, sink, observer, signals, resume, enough)
    except HarnessError as error:
        if sink.writer is not None:
            sink.writer.fail(error)
        raise


def _conclude(writer: RunWriter, outcome: Outcome, host: Host) -> tuple[Run, list[StoreError]]:
    """`finish`; of a run that failed, its own error is the one to be told."""
    unwritten: list[StoreError] = []
    try:
        return finish(writer, outcome, host, unwritten.append), unwritten
    except StoreError:
        if isinstance(outcome.error, HarnessError):
            raise outcome.error from None
        raise


def perform(
    spec: RunSpec,
    host: Host,
    sink: FolderSink,
    observer: Observer | None,
    signals: Signals | None = None,
    resume: Resume | None = None,
    enough: Callable[[], bool] | None = None,
) -> Outcome:
    """The engine in an event loop of its own. A signal ends the run, not the program; `enough` as
    for `conduct`."""
    signals = signals or Signals()

    async def main() -> Outcome:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(run(spec, host, sink, observer, resume=resume))

        # A live line is taken down before a second signal can end us, which its own thread draws:
        # that is for the loop to do. What blocks the loop is not to keep the cursor hidden.
        take_down: Callable[[], None] | None = getattr(observer, "stop", None)

        def stop() -> None:
            if enough is not None and enough():
                signals.number = None  # nobody need be told of it by the exit status
            elif not task.done():
                if take_down is not None:
                    take_down()
                    say(STOPPING)
                task.cancel()

        def answer() -> None:
            show_cursor()
            if take_down is None:
                say_at_once(STOPPING if enough is None else ENDING)
            loop.call_soon_threadsafe(stop)

        sink.before = lambda: signals.answer_with(answer)
        try:
            return await task
        finally:
            signals.answer_with(_finishing)

    return run_async(main())


def _finishing() -> None:
    say_at_once("measured; the summary is being written; once more to stop at once")


def finish(
    writer: RunWriter,
    outcome: Outcome,
    host: Host,
    unwritten: Callable[[StoreError], None] | None = None,
) -> Run:
    """Summary and reports, from what is on disk and nothing else; the run with both. Raises
    StoreError; a report that the disk refuses goes to `unwritten`."""
    from harness.engine.summary import derive_summary  # not before the first request

    manifest = outcome.manifest
    error = harmless(str(outcome.error)) if isinstance(outcome.error, HarnessError) else None
    writer.ensure_folder()
    run_data: Run = load_run(writer.path)
    caveats = host.find_caveats(run_data)
    summary = derive_summary(
        manifest, run_data.records(), caveats=caveats, sessions=run_data.sessions
    )
    writer.finish(manifest.state, summary, ended=manifest.ended or "", error=error)
    run_data = load_run(writer.path)
    for entry in host.exporters:
        if entry.automatic and _is_due(entry, run_data):
            refused = _report(entry.name, entry.factory, run_data, writer, entry.automatic)
            if refused is not None and unwritten is not None:
                unwritten(refused)
    host.run_finished(summary)
    return run_data


def _is_due(entry: Entry[Exporter], run_data: Run) -> bool:
    if entry.when is None:
        return True
    try:
        return entry.when(run_data)
    except Exception as error:  # a stranger's
        say(f"warning: exporter {entry.name}: {type(error).__name__}: {error}")
        return False


def _report(
    name: str, export: object, run_data: Run, writer: RunWriter, file: str
) -> StoreError | None:
    """One that fails must not take the others, nor the run, with it. Returns what the disk said."""
    assert callable(export)
    try:
        writer.report(file, lambda out: export(run_data, out), f"--format {name}")
    except StoreError as error:
        return error
    except Exception as error:  # a stranger's exporter
        log.debug("exporter %s raised", name, exc_info=True)
        say(f"warning: exporter {name}: {type(error).__name__}: {error}")
    return None
