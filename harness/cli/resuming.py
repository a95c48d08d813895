"""`harness run --resume RUN`: what there is of the run, and whether anything is missing."""

from __future__ import annotations

from pathlib import Path

from harness.cli.harmless import print_json
from harness.cli.terminal import say
from harness.engine.plan import make_plan
from harness.engine.resume import Resume, is_unpaid, same_plan, session_after, standing
from harness.engine.schedule import make_schedule
from harness.errors import SpecError, StoreError
from harness.host import Host
from harness.schema import RunSpec, TrialRecord
from harness.store import Run, check_log, find_run, is_being_written, load_run

__all__ = ["check_out", "is_complete", "load_earlier", "say_complete"]


def load_earlier(ref: str) -> Run:
    """The run, with a log that can be added to. Raises StoreError."""
    path = find_run(ref)
    if is_being_written(path):
        raise StoreError(
            "this run is still being written by another process",
            where=str(path),
            remedy="let it end, or end it (Ctrl-C)",
        )
    check_log(path)
    return load_run(path)


def check_out(out: Path | None, run: Run) -> None:
    """A resumed run stays where it is. Raises SpecError."""
    if out is not None and out.resolve() != run.path.resolve():
        raise SpecError(
            f"a resumed run stays in its folder, {run.path}", where="--out", remedy="leave it out"
        )


def is_complete(resume: Resume, spec: RunSpec, host: Host) -> bool:
    """Whether it came to its end, and no trial is missing. Raises SpecError if `spec` is not the
    run's own."""
    plan = same_plan(resume, make_plan(spec, host), host)
    schedule = make_schedule(plan)
    for record in standing(resume, session_after(resume)):
        schedule.see(record)
    nothing_left = not [*schedule.skipped()] and schedule.next() is None
    return nothing_left and resume.run.manifest.state == "finished"


def say_complete(run: Run, *, as_json: bool) -> None:
    if as_json:
        print_json(run.summary, indent=2)
    trials = [record for record in run.records() if isinstance(record, TrialRecord)]
    failed = sum(t.status == "error" and not is_unpaid(t) for t in trials)
    again = f"; {failed} failed, and --retry-failed runs them again" if failed else ""
    say(f"{run.path}: nothing is missing, all {len(trials)} trials have ended{again}")
