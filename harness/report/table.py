"""The table that a run ends with on the terminal: at most 80 columns, one row per arm and cell.

Where it does not fit, columns go, not digits: first names are folded, then the p95 go, then what
E2E nearly says as well. An arm always keeps its name, and a cell its place: the axes of a sweep are
columns. A figure is marked as better or worse only where the comparison shows it.

Names and messages come from specs, servers and plugins; they are stripped of escapes and put into
`rich.text.Text`, so that neither the terminal nor rich takes them for commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from harness.compare.watermark import MADE_UP, made_up, watermark
from harness.report.aggregate import label
from harness.report.beside import beside, cost_of_all
from harness.report.columns import WIDTH, Marks, fitting, marks_of, text
from harness.report.decided import decided
from harness.report.figures import and_more, number
from harness.report.footnotes import footnotes, not_ok
from harness.report.own import MARK, makes_calls, own_table
from harness.report.together import agents_table, gains
from harness.schema import Caveat, Comparison, Summary
from harness.text import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

__all__ = ["render_summary"]

_STYLES: Final = {
    "valid": "green",
    "note": "dim",
    "doubtful": "yellow",
    "invalid": "bold red",
}
GAIN_STYLES: Final = {"pays off": "green", "a loss": "yellow"}
_BESIDE_MAX: Final = 12


def render_summary(
    summary: Summary,
    console: Console,
    *,
    instrument: str | None = None,
    comparisons: Iterable[Comparison] = (),
) -> None:
    """Print the summary of a run. Nothing but the console is touched.

    instrument    a line on the instrument's own error (see instrument.py)
    comparisons   what harness.compare says of the arms; without it nothing is marked
    """
    width = min(console.width, WIDTH)
    for part in _parts(summary, console, width, instrument, marks_of(comparisons)):
        console.print(part, width=width, highlight=False, markup=False)


def _parts(
    summary: Summary, console: Console, width: int, instrument: str | None, marks: Marks
) -> Iterator[RenderableType]:
    yield _title(summary)
    if said := watermark(summary):
        yield text(f"SIMULATED: {said}", "bold red")
    layout, table = fitting(summary, console, width, marks)
    own, more = own_table(summary, console, width, marks)
    calls = makes_calls(summary) or own is None
    if calls:
        yield table
    yield from (text(line, "yellow") for line in not_ok(summary))
    if own is not None:
        yield own
        if made_up(summary):
            yield text(f"{MARK} {MADE_UP}", "bold red")
    if more:
        yield text(f"and {more} more: `harness show --json` has them all", "dim")
    yield from _agents(summary, console, width)
    yield from map(text, decided(summary))
    yield from map(text, _beside(summary))
    if len(summary.arms) > 1 and any(arm.cost is not None for arm in summary.arms):
        yield text(f"the run cost {cost_of_all(summary)}")
    yield from (text(line, "dim") for line in footnotes(summary, layout) if calls)
    if marks:
        yield text("✓ better, ✗ worse than the baseline: shown, corrected for all tests", "dim")
    if instrument:
        yield text(instrument, "dim")
    yield _verdict(summary)
    for caveat in summary.verdict.caveats:
        yield _caveat(caveat)


def _agents(summary: Summary, console: Console, width: int) -> Iterator[RenderableType]:
    """Of several agents: each alone and together, and whether it pays off."""
    table, more = agents_table(summary, console, width)
    if table is None:
        return
    yield table
    if more:
        yield text(f"and {more} more rows: `harness show --json` has them all", "dim")
    several = len(summary.arms) > 1
    for said in gains(summary):
        name = f"{one_line(said.label, 60)}: " if several else ""
        yield text(f"{name}{said.gain.sentence}", GAIN_STYLES.get(said.gain.words, ""))
        yield text(f"  {said.details}", "dim")


def _title(summary: Summary) -> Text:
    name = "" if summary.name == summary.scenario else summary.name
    names = [name, f"{summary.scenario} on {summary.backend}", summary.model or ""]
    what = " · ".join(one_line(name, 60) for name in names if name)
    took = "" if summary.wall_s is None else f" in {number(summary.wall_s, 3)} s"
    return text(f"{what} · {summary.state}{took}", "bold")


def _beside(summary: Summary) -> Iterator[str]:
    """What the spec asked to be told of each arm, and what a table has no column for. The warm-up
    that the series suggest is for who looks closer."""
    said: dict[tuple[str, str], list[str]] = {}
    for arm in summary.arms:
        for what, words in beside(arm):
            if what != "warm-up":
                said.setdefault((what, words), []).append(label(arm, summary))
    lines, common = [], []
    for (what, words), arms in said.items():
        if len(arms) == len(summary.arms) > 1:
            common.append(f"all arms and cells {what}: {words}")
        else:
            lines += [f"{arm} {what}: {words}" for arm in arms]
    lines = [*common, *lines]
    yield from lines[:_BESIDE_MAX]
    if len(lines) > _BESIDE_MAX:
        yield f"… {len(lines) - _BESIDE_MAX} more lines of this kind are in the report"


def _verdict(summary: Summary) -> Text:
    state = summary.verdict.state
    return text("verdict: ") + text(state, _STYLES[state])


def _caveat(caveat: Caveat) -> RenderableType:
    from rich.padding import Padding

    parts = [one_line(part, 60) for part in (caveat.arm, caveat.cell) if part]
    more = and_more(caveat.more_cells, "cell")
    where = f" ({' / '.join(parts)}{more})" if parts else ""
    line = text(f"{caveat.severity} {caveat.code}{where}: ", _STYLES[caveat.severity])
    line += text(one_line(caveat.message))
    if caveat.remedy:
        line += text(f" → {one_line(caveat.remedy)}", "dim")
    return Padding(line, (0, 0, 0, 2), expand=False)
