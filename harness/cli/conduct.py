"""Conducts a run for a person: brings engine, store, reports and progress together."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from harness.cli.progress import progress_for
from harness.engine import Observer, Outcome, run
from harness.engine.summary import derive_summary
from harness.errors import HarnessError
from harness.host import Host
from harness.schema import Manifest, Record, RunSpec, Summary
from harness.store import Run, RunWriter, load_run

__all__ = ["FolderSink", "conduct", "finish", "perform", "show"]

log = logging.getLogger("harness.cli")

EXIT_INVALID = 4
EXIT_INTERRUPTED = 130


class FolderSink:
    """Puts what the engine records into a run folder, which is made when the run begins."""

    def __init__(self, out: Path | None, root: Path) -> None:
        self._out = out
        self._root = root
        self.writer: RunWriter | None = None

    def begin(self, manifest: Manifest) -> None:
        self.writer = RunWriter.create(manifest, out=self._out, root=self._root)

    def append(self, record: Record) -> None:
        self._open.append(record)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        return self._open.artifact(trial, name, content)

    @property
    def _open(self) -> RunWriter:
        assert self.writer is not None, "begin comes first"
        return self.writer


def conduct(spec: RunSpec, host: Host, *, out: Path | None, as_json: bool) -> int:
    """Run `spec` and show the result. Returns the exit status."""
    sink = FolderSink(out, Path("runs"))
    with progress_for(sys.stderr) as observer:
        outcome = perform(spec, host, sink, observer)
    assert sink.writer is not None
    summary = finish(sink.writer, outcome, host)
    if outcome.manifest.state == "failed" and isinstance(outcome.error, HarnessError):
        click.echo(f"run folder: {sink.writer.path}", err=True)
        raise outcome.error
    show(summary, sink.writer.path, as_json)
    if outcome.manifest.state == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_INVALID if summary.verdict.state == "invalid" else 0


def perform(spec: RunSpec, host: Host, sink: FolderSink, observer: Observer | None) -> Outcome:
    """The engine in an event loop of its own. An interrupt ends the run, not the program."""

    async def main() -> Outcome:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(run(spec, host, sink, observer))
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, _interrupt, task, number)
            except (NotImplementedError, RuntimeError, ValueError):
                log.debug("signal %s keeps its default handler", number)
        return await task

    return asyncio.run(main())


def _interrupt(task: asyncio.Task[Outcome], number: int) -> None:
    """Once: stop cleanly with what there is. A second time: at once."""
    for again in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().remove_signal_handler(again)
        signal.signal(again, signal.SIG_DFL)
    click.echo("stopping; once more to stop at once", err=True)
    task.cancel()


def finish(writer: RunWriter, outcome: Outcome, host: Host) -> Summary:
    """Summary and reports, from what is on disk and nothing else."""
    manifest = outcome.manifest
    error = str(outcome.error) if isinstance(outcome.error, HarnessError) else None
    run_data: Run = load_run(writer.path)
    caveats = host.find_caveats(run_data)
    summary = derive_summary(manifest, run_data.records(), caveats=caveats)
    writer.finish(manifest.state, summary, ended=manifest.ended or "", error=error)
    run_data = load_run(writer.path)
    for entry in host.exporters:
        if entry.automatic:
            _report(entry.name, entry.factory, run_data, writer.path / "reports" / entry.automatic)
    host.run_finished(summary)
    return summary


def _report(name: str, export: object, run_data: Run, path: Path) -> None:
    """One that fails must not take the others, nor the run, with it."""
    assert callable(export)
    path.parent.mkdir(exist_ok=True)
    try:
        with path.open("wb") as out:
            export(run_data, out)
    except Exception as error:  # a stranger's exporter
        log.debug("exporter %s raised", name, exc_info=True)
        click.echo(f"warning: exporter {name}: {type(error).__name__}: {error}", err=True)


def show(summary: Summary, path: Path, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode())
        return
    from rich.console import Console

    from harness.report.table import render_summary

    console = Console(soft_wrap=False)
    render_summary(summary, console)
    console.print(f"\n{path}", markup=False, highlight=False, soft_wrap=True)
    report = path / "reports" / "comparison_report.md"
    if report.exists():
        console.print(f"{report}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"next: harness export {path} --format jsonl",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
