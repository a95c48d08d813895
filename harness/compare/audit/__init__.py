"""Does a run follow from its records, and can its records be: what an auditor would ask, answered.

finding.py    one thing that was found, and how bad it is
folder.py     the manifest and its digest, the bytes of the log, what changed between sessions
documents.py  summary.json and the reports, leaf by leaf against what the records give;
              versions.py: which version wrote them
records.py    records against one another and the plan; stamps.py: can a call be as recorded
values.py     what the figures tell: single values, empty inputs, duplicates, runaway output

Nothing is believed but the record log, and that only as far as it agrees with itself. Whoever
rewrites log, manifest and summary alike, consistently, is not found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from harness.compare.audit.documents import audit_reports, audit_summary
from harness.compare.audit.finding import Finding, Severity, by_severity
from harness.compare.audit.folder import audit_folder, audit_sessions
from harness.compare.audit.records import audit_records
from harness.compare.audit.values import audit_rows, audit_values
from harness.errors import StoreError
from harness.schema import Caveat, Summary
from harness.store.find import list_runs
from harness.store.folder import MANIFEST, RECORDS
from harness.store.load import Run, load_run
from harness.text import one_line

__all__ = ["Audit", "Below", "Finding", "Severity", "audit_run", "below"]

Exporters = Mapping[str, Callable[[Any, BinaryIO], None]]


class Audit(Struct, frozen=True, kw_only=True):
    """What was found in one run, the worst first."""

    path: str
    run_id: str
    name: str
    state: str
    verdict: str
    """Of the run itself, by its records: `valid`, `doubtful`, `invalid`, or `unknown`."""
    imported: bool
    findings: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        """Nothing but notes."""
        return all(finding.severity == "note" for finding in self.findings)


def audit_run(
    ref: str | Path,
    *,
    exporters: Exporters | None = None,
    caveats: Callable[[Run], Iterable[Caveat]] | None = None,
) -> Audit:
    """Audit the run that `ref` names (as load_run takes it).

    exporters  file name in reports/ → what writes it; those files are derived again
    caveats    what plugins' hook says of a run: theirs cannot be derived without them

    Raises StoreError where there is no run at all.
    """
    run = load_run(ref, salvage=False)
    findings: list[Finding] = []
    derived: Summary | None = None
    try:
        derived, more = _derived(run, caveats)
        findings += more
    except StoreError as error:
        findings += _unreadable(error)
    findings += audit_folder(run, derived)
    if derived is not None:
        findings += audit_summary(run, derived)
        findings += audit_reports(run, _with(run, derived), exporters or {})
        findings += audit_records(run.manifest, run.records())
        findings += audit_rows(run.manifest, run.records())
        findings += _values(run, derived)
    findings += audit_sessions(run)
    manifest = run.manifest
    return Audit(
        path=str(run.path),
        run_id=manifest.run_id,
        name=manifest.name,
        state=derived.state if derived else manifest.state,
        verdict=derived.verdict.state if derived else "unknown",
        imported=manifest.spec.backend.name == "imported",
        findings=by_severity(_once(findings)),
    )


def _derived(
    run: Run, caveats: Callable[[Run], Iterable[Caveat]] | None
) -> tuple[Summary, list[Finding]]:
    """The summary by the records, as it was made when the run ended. Damage that came since is no
    part of it, and is told by audit_folder."""
    from harness.engine.summary import derive_summary

    findings: list[Finding] = []
    extra: list[Caveat] = []
    if run.manifest.state == "running":
        return run.summary, findings  # which load_run has just derived
    if caveats is not None:
        try:
            extra = list(caveats(run))
        except Exception as error:  # a stranger's hook
            findings.append(
                Finding(
                    code="caveats-unchecked",
                    severity="note",
                    message=f"a plugin's caveats cannot be found: {one_line(str(error), 200)}",
                )
            )
    return (
        derive_summary(run.manifest, run.records(), caveats=extra, sessions=run.sessions),
        findings,
    )


def _unreadable(error: StoreError) -> Iterator[Finding]:
    yield Finding(
        code="unreadable-log",
        severity="wrong",
        message=f"the records cannot be read, so no figure can be derived: {one_line(error.what)}",
        where=RECORDS,
        remedy=error.remedy or "restore the log from a copy",
    )


def _with(run: Run, summary: Summary) -> Run:
    """The same run with the summary that its records give."""
    from copy import copy

    other = copy(run)
    other.summary = summary
    return other


def _values(run: Run, derived: Summary) -> Iterator[Finding]:
    from harness.compare.measured import measured

    keys = [(arm.arm, arm.cell) for arm in derived.arms]
    try:
        yield from audit_values(run.manifest, measured(run, keys))
    except ValueError as error:  # records that no metric can be made of: told above
        yield Finding(
            code="no-figures",
            severity="wrong",
            message=f"no figures can be made of these records: {one_line(str(error), 200)}",
        )


def _once(findings: Iterable[Finding]) -> list[Finding]:
    kept: list[Finding] = []
    for finding in findings:
        if finding not in kept:
            kept.append(finding)
    return kept


# ---- folders


class Below(Struct, frozen=True, kw_only=True):
    """What lies below a folder."""

    runs: tuple[Path, ...]
    others: tuple[Path, ...]
    """Files and folders that belong to no run, and hold none."""


def below(root: Path) -> Below:
    """Every run below `root`, at any depth, oldest first; and what is none. Raises StoreError."""
    if not root.is_dir():
        raise StoreError("this is neither a run nor a folder", where=str(root))
    runs: list[Path] = []
    others: list[Path] = []
    _walk(root, runs, others)
    entries = [entry for folder in {run.parent for run in runs} for entry in list_runs(folder)]
    started = {entry.path: entry.started for entry in entries}
    runs.sort(key=lambda path: (started.get(path, ""), path))
    return Below(runs=tuple(runs), others=tuple(others))


def _walk(folder: Path, runs: list[Path], others: list[Path]) -> bool:
    """Whether a run is in there."""
    if (folder / MANIFEST).is_file() or (folder / RECORDS).is_file():
        runs.append(folder)
        return True
    found = False
    mine: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            before = len(others)
            if _walk(path, runs, others):
                found = True
            else:
                del others[before:]
                mine.append(path)
        else:
            mine.append(path)
    others += mine
    return found
