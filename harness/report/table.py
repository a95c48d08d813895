"""The table that a run ends with on the terminal: at most 80 columns, one row per arm.

Names and messages come from specs, servers and plugins; they are stripped of escapes and put into
`rich.text.Text`, so that neither the terminal nor rich takes them for commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from harness.report.aggregate import label, metric
from harness.report.figures import UNKNOWN, number, short
from harness.report.sanitise import one_line
from harness.schema import ArmSummary, Caveat, Summary

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["render_summary"]

WIDTH: Final = 80
_STYLES: Final = {
    "valid": "green",
    "note": "dim",
    "doubtful": "yellow",
    "invalid": "bold red",
}
# Metric, heading with unit; each gives a median and a p95 column.
_DURATIONS: Final = (("ttft_ms", "TTFT ms"), ("tpot_ms", "TPOT ms"), ("e2e_ms", "E2E ms"))

_FEWER_MAX: Final = 6


def render_summary(summary: Summary, console: Console) -> None:
    """Print the summary of a run. Nothing but the console is touched."""
    for part in _parts(summary):
        console.print(part, width=min(console.width, WIDTH), highlight=False, markup=False)


def _parts(summary: Summary) -> Iterator[RenderableType]:
    yield _title(summary)
    if any(caveat.code == "simulated" for caveat in summary.verdict.caveats):
        yield _text("SIMULATED: a stub was measured, no model server", "bold red")
    yield _table(summary)
    for arm in summary.arms:
        if line := _not_ok(arm, summary):
            yield _text(line, "yellow")
    yield from (_text(line, "dim") for line in _footnotes(summary))
    yield _verdict(summary)
    for caveat in summary.verdict.caveats:
        yield _caveat(caveat)


def _title(summary: Summary) -> Text:
    name = "" if summary.name == summary.scenario else summary.name
    names = [name, f"{summary.scenario} on {summary.backend}", summary.model or ""]
    what = " · ".join(one_line(name, 60) for name in names if name)
    return _text(f"{what} · {summary.state} in {number(summary.wall_s, 3)} s", "bold")


def _table(summary: Summary) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    table.add_column("arm", overflow="fold", max_width=14)
    table.add_column("ok", justify="right", no_wrap=True)
    for _, heading in _DURATIONS:
        table.add_column(f"{heading}\nmedian", justify="right", no_wrap=True)
        table.add_column("\np95", justify="right", no_wrap=True)
    table.add_column("\ntok/s", justify="right", no_wrap=True)
    table.add_column("\nn", justify="right", no_wrap=True)
    for arm in summary.arms:
        table.add_row(_text(label(arm, summary)), *map(_text, _cells(arm)))
    return table


def _cells(arm: ArmSummary) -> Iterator[str]:
    ok, planned = arm.calls.get("ok", 0), max(arm.planned, sum(arm.calls.values()))
    yield str(ok) if ok == planned else f"{ok}/{planned}"
    for name, _ in _DURATIONS:
        one = metric(arm, name)
        yield short(one.median if one else None)
        yield short(one.p95 if one else None)
    rate = metric(arm, "throughput_tok_s")
    yield short(rate.median if rate else None)
    first = metric(arm, "ttft_ms")
    yield str(first.n if first else 0)


def _not_ok(arm: ArmSummary, summary: Summary) -> str:
    bad = [f"{count} {status}" for status, count in arm.calls.items() if status != "ok"]
    return f"{label(arm, summary)}: {', '.join(bad)}" if bad else ""


def _footnotes(summary: Summary) -> Iterator[str]:
    needs, fewer = 0, []
    for arm in summary.arms:
        first = metric(arm, "ttft_ms")
        for name, heading in _DURATIONS:
            one = metric(arm, name)
            if one is None or not one.n or "p95" not in one.needs:
                continue
            needs = one.needs["p95"]
            if first is not None and one.n != first.n:
                fewer.append(f"{label(arm, summary)} has {heading.split()[0]} of {one.n} calls")
    if needs:
        more = [", …"] if len(fewer) > _FEWER_MAX else []
        yield "; ".join([f"{UNKNOWN} a p95 needs n = {needs}", *fewer[:_FEWER_MAX]]) + "".join(more)
    yield "n: calls with a first token; tok/s: output tokens / wall time, over iterations"


def _verdict(summary: Summary) -> Text:
    state = summary.verdict.state
    return _text("verdict: ") + _text(state, _STYLES[state])


def _caveat(caveat: Caveat) -> RenderableType:
    from rich.padding import Padding

    where = f" ({one_line(caveat.arm, 40)})" if caveat.arm else ""
    line = _text(f"{caveat.severity} {caveat.code}{where}: ", _STYLES[caveat.severity])
    line += _text(one_line(caveat.message))
    if caveat.remedy:
        line += _text(f" → {one_line(caveat.remedy)}", "dim")
    return Padding(line, (0, 0, 0, 2), expand=False)


def _text(content: str, style: str = "") -> Text:
    """One line, harmless; a space at either end is kept, for parts of a line."""
    from rich.text import Text

    before = " " if content.startswith(" ") else ""
    behind = " " if content.endswith(" ") else ""
    return Text(f"{before}{one_line(content, 400)}{behind}", style=style)
