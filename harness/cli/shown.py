"""The result of a run, on the terminal: its table, its models, its files, and what to type next."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.harmless import print_json
from harness.cli.smoke import TAG as SMOKE
from harness.cli.terminal import console
from harness.errors import HarnessError, StoreError
from harness.schema import Comparison, Summary
from harness.store import Run

if TYPE_CHECKING:
    from harness.report.models import ModelRow

__all__ = ["following", "show"]


def show(run: Run, as_json: bool) -> None:
    """Print it; its records are read only where a line needs them."""
    summary, path = run.summary, Path(run.path)
    if as_json:
        print_json(summary, indent=2)
        return
    from harness.report.instrument import instrument_line
    from harness.report.model_lines import model_lines
    from harness.report.table import render_summary

    out = console()
    line: str | None = None
    if run.manifest.environment.selfcheck is not None:
        with contextlib.suppress(StoreError):  # a damaged log: the summary is still shown
            line = instrument_line(run.manifest, run.records())
    render_summary(summary, out, instrument=line, comparisons=_comparisons(run))
    rows = _models(run)
    for told, style in model_lines(rows, out.width) if rows else ():
        out.print(told, style=style, markup=False, highlight=False, soft_wrap=True)
    if run.manifest.spec.budget_usd is not None and _is_free(summary):
        out.print("the budget held nothing: no call has a price (docs/money.md)", style="yellow")
    out.print(f"\n{path}", markup=False, highlight=False, soft_wrap=True)
    reports = path / "reports"
    made_now = [reports / "comparison_report.md", path / "artifacts"]
    for made in [*made_now, *([reports / "scaling_comparison.csv"] if rows else [])]:
        if made.exists():
            out.print(f"{made}", markup=False, highlight=False, soft_wrap=True)
    if SMOKE in run.manifest.spec.tags and summary.verdict.state != "invalid":
        out.print("next: the same command without --smoke", markup=False, highlight=False)
    for command in following(summary, path, rows):
        out.print(f"next: harness {command}", markup=False, highlight=False, soft_wrap=True)


def _is_free(summary: Summary) -> bool:
    """Whether calls were made, and not one was held to a budget."""
    ended = any(caveat.code == "budget" for caveat in summary.verdict.caveats)
    free = all(arm.cost is None for arm in summary.arms)
    return free and not ended and any(arm.calls for arm in summary.arms)


def _models(run: Run) -> list[ModelRow]:
    """Of a run over several models; otherwise none, and nothing is read."""
    from harness.report.models import is_over_models, model_rows

    if not is_over_models(run):
        return []
    try:
        return model_rows(run)
    except StoreError:  # a damaged log: the summary is still shown
        return []


def following(summary: Summary, path: Path, rows: Sequence[ModelRow] = ()) -> Iterator[str]:
    """What somebody would type next."""
    run = shlex.quote(str(path))
    if summary.state == "interrupted":
        yield f"run --resume {run}"
        return
    if any("error" in row.trials for row in rows):
        yield f"run --resume {run} --retry-failed"
    repeated = sum(arm.trials >= 2 for arm in summary.arms) >= 2
    if repeated and not summary.search:  # whose loads are decided already, and not in turns
        yield f"compare {run}"
    yield f"export {run} --format html --out report.html"


def _comparisons(run: Run) -> tuple[Comparison, ...]:
    """What the table may mark. Nothing is read where no arm has trials enough for words."""
    from harness.report.aggregate import TRIALS_FOR_WORDS

    if sum(arm.trials >= TRIALS_FOR_WORDS for arm in run.summary.arms) < 2:
        return ()
    from harness.compare import compare_arms

    try:
        return compare_arms(run)
    except HarnessError:  # a damaged log: the summary is still shown
        return ()
