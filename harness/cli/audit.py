"""`harness audit`"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.compare.audit import Audit, Finding

SEVERITY_STYLES = {"wrong": "bold red", "doubtful": "yellow", "note": "dim"}
OTHERS_SHOWN = 8

EXAMPLES = """
\b
Examples:
  harness audit latest
  harness audit runs                    every run below a folder
  harness audit runs/load-20261120T101500Z-1a2b3c4d --json
"""


@click.command("audit", short_help="Derive every figure again.", epilog=EXAMPLES)
@click.argument("run", metavar="RUN|DIR", default="latest")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(run: str, as_json: bool) -> int:
    """Derive every figure of RUN again from its records, and say what does not follow: figures,
    counts, the plan, edited files, duplicates, instants and rates that cannot be. With a folder,
    every run below it. docs/auditing.md lists what is looked for.

    Exits with 0 where nothing was found (notes are nothing), with 1 where something was.
    """
    from harness.cli.harmless import print_json
    from harness.cli.status import DONE, FOUND

    audits, others = _audits(run)
    if as_json:
        print_json(
            {
                "audits": audits,
                "clean": all(audit.is_clean for audit in audits),
                "no_runs": [str(path) for path in others],
            },
            indent=2,
        )
    else:
        _print(audits, others)
    return DONE if all(audit.is_clean for audit in audits) else FOUND


def _audits(ref: str) -> tuple[list[Audit], Sequence[Path]]:
    from harness.cli import load_host
    from harness.compare.audit import audit_run, below
    from harness.errors import StoreError
    from harness.store.folder import RECORDS, is_run

    host = load_host()
    exporters = {entry.automatic: entry.factory for entry in host.exporters if entry.automatic}

    def audit(one: str | Path) -> Audit:
        return audit_run(one, exporters=exporters, caveats=host.find_caveats)

    path = Path(ref)
    if path.is_file() and path.suffix.lower() in (".csv", ".json") and path.name != "run.json":
        raise StoreError(
            "this is a table, and no run",
            where=ref,
            remedy=f"harness import {path.suffix[1:].lower()} {ref} --suggest",
        )
    if not path.is_dir() or is_run(path) or (path / RECORDS).is_file():
        return [audit(ref)], ()
    found = below(path)
    if not found.runs:
        what = f"what there is is {_names(found.others)}" if found.others else "it is empty"
        raise StoreError(f"there is no run below it; {what}", where=ref)
    return [*_each(found.runs, audit), *_copies(found.runs)], found.others


def _each(paths: Iterable[Path], audit: Any) -> Iterable[Audit]:
    """A run that cannot be opened at all is a finding of its own, not the end."""
    from harness.compare.audit import Audit, Finding
    from harness.errors import StoreError

    for path in paths:
        try:
            yield audit(path)
        except StoreError as error:
            finding = Finding(
                code="unreadable-run",
                severity="wrong",
                message=error.what,
                where=error.where or "",
                remedy=error.remedy or "",
            )
            yield Audit(
                path=str(path),
                run_id="",
                name=path.name,
                state="unknown",
                verdict="unknown",
                imported=False,
                findings=(finding,),
            )


def _copies(paths: Iterable[Path]) -> Iterable[Audit]:
    """One run that lies there twice counts twice in whatever is made of the folder."""
    from harness.compare.audit import Audit, Finding
    from harness.store.find import list_runs

    by_id: dict[str, list[Path]] = {}
    wanted = set(paths)
    for folder in {path.parent for path in wanted}:
        for entry in list_runs(folder):
            if entry.path in wanted:
                by_id.setdefault(entry.run_id, []).append(entry.path)
    for run_id, same in by_id.items():
        if len(same) > 1:
            finding = Finding(
                code="duplicate-runs",
                severity="doubtful",
                message=f"{len(same)} folders hold the same run",
                evidence={"paths": sorted(map(str, same))},
                remedy="keep one of them",
            )
            yield Audit(
                path=str(same[0].parent),
                run_id=run_id,
                name="copies",
                state="unknown",
                verdict="unknown",
                imported=False,
                findings=(finding,),
            )


def _print(audits: Sequence[Audit], others: Sequence[Path]) -> None:
    from harness.cli.terminal import console
    from harness.text import one_line

    out = console()
    for audit in audits:
        verdict = "" if audit.verdict == "unknown" else f", verdict {audit.verdict}"
        what = "imported" if audit.imported else audit.state
        title = f"{one_line(audit.name, 60)} · {what}{verdict} · {one_line(audit.path, 200)}"
        out.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
        if not audit.findings:
            out.print("  every figure follows from the records", markup=False, highlight=False)
        for finding in audit.findings:
            _print_one(out, finding)
        out.print()
    if others:
        text = f"no runs, not looked at: {_names(others)}"
        out.print(text, markup=False, highlight=False, style="dim")
    bad = sum(not audit.is_clean for audit in audits)
    if len(audits) > 1:
        out.print(f"{len(audits)} audited, {bad} with findings", markup=False, highlight=False)


def _print_one(out: Any, finding: Finding) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from harness.text import one_line

    where = f" ({one_line(finding.where, 80)})" if finding.where else ""
    style = SEVERITY_STYLES[finding.severity]
    line = Text(f"{finding.severity} {finding.code}{where}: ", style)
    line += Text(one_line(finding.message, 500))
    if finding.remedy:
        line += Text(f" → {one_line(finding.remedy, 300)}", "dim")
    out.print(Padding(line, (0, 0, 0, 2), expand=False))


def _names(paths: Sequence[Path]) -> str:
    from harness.text import one_line

    shown = ", ".join(one_line(path.name, 40) for path in paths[:OTHERS_SHOWN])
    more = len(paths) - OTHERS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
