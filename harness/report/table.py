"""The table that a run ends with on the terminal: at most 80 columns, one row per arm and cell.

Where it does not fit, columns go, not digits: first names are folded, then the p95 go, then what
E2E nearly says as well. An arm always keeps its name, and a cell its place: the axes of a sweep are
columns. A figure is marked as better or worse only where the comparison shows it.

Names and messages come from specs, servers and plugins; they are stripped of escapes and put into
`rich.text.Text`, so that neither the terminal nor rich takes them for commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from harness.report.aggregate import durations, label, metric
from harness.report.beside import beside
from harness.report.figures import UNKNOWN, number, short
from harness.report.grid import axes, level
from harness.report.own import makes_calls, own_table
from harness.schema import ArmSummary, Caveat, Comparison, Summary
from harness.text import listed, one_line

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
_FEWER_MAX: Final = 6
_BESIDE_MAX: Final = 12
_ARM_MIN: Final = 8
_ARM_MAX: Final = 14
_LEVEL_MAX: Final = 10
"""Characters of an axis' level in one line; longer ones are folded."""
ROWS_MAX: Final = 60
"""Of a sweep; the files have all of them."""

Marks: TypeAlias = Mapping[tuple[str, str, str], str]
"""(arm, cell, metric) → the sign behind its figure."""


class _Layout(Struct, frozen=True):
    """Which columns there are, and how wide that of the arm may get."""

    arm_max: int = _ARM_MAX
    tails: bool = True
    """p95 beside each median."""
    rest: bool = True
    """TPOT, tok/s and n."""


_LAYOUTS: Final = (
    _Layout(),
    _Layout(_ARM_MIN),
    _Layout(_ARM_MAX, tails=False),
    _Layout(_ARM_MIN, tails=False),
    _Layout(_ARM_MIN, tails=False, rest=False),
)
"""Tried in this order until one fits."""


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
    for part in _parts(summary, console, width, instrument, _marks(comparisons)):
        console.print(part, width=width, highlight=False, markup=False)


def _marks(comparisons: Iterable[Comparison]) -> Marks:
    signs = {"better": "✓", "worse": "✗"}
    return {
        (one.candidate.arm, one.candidate.cell, effect.metric): signs[effect.words]
        for one in comparisons
        for effect in one.effects
        if effect.words in signs
    }


def _parts(
    summary: Summary, console: Console, width: int, instrument: str | None, marks: Marks
) -> Iterator[RenderableType]:
    yield _title(summary)
    if any(caveat.code == "simulated" for caveat in summary.verdict.caveats):
        yield _text("SIMULATED: a stub was measured, no model server", "bold red")
    layout, table = _fitting(summary, console, width, marks)
    own, more = own_table(summary)
    calls = makes_calls(summary) or own is None
    if calls:
        yield table
    yield from (_text(line, "yellow") for line in _all_not_ok(summary))
    if own is not None:
        yield own
    if more:
        yield _text(f"and {more} more: `harness show --json` has them all", "dim")
    yield from map(_text, _beside(summary))
    yield from (_text(line, "dim") for line in _footnotes(summary, layout) if calls)
    if marks:
        yield _text("✓ better, ✗ worse than the baseline: shown, corrected for all tests", "dim")
    if instrument:
        yield _text(instrument, "dim")
    yield _verdict(summary)
    for caveat in summary.verdict.caveats:
        yield _caveat(caveat)


def _title(summary: Summary) -> Text:
    name = "" if summary.name == summary.scenario else summary.name
    names = [name, f"{summary.scenario} on {summary.backend}", summary.model or ""]
    what = " · ".join(one_line(name, 60) for name in names if name)
    return _text(f"{what} · {summary.state} in {number(summary.wall_s, 3)} s", "bold")


def _fitting(
    summary: Summary, console: Console, width: int, marks: Marks
) -> tuple[_Layout, Table]:
    """The first layout that fits; the smallest, if none does."""
    from rich.measure import Measurement

    for layout in _LAYOUTS:
        table = _table(summary, layout, marks)
        unlimited = console.options.update(width=10 * WIDTH)
        if Measurement.get(console, unlimited, table).maximum <= width:
            break
    return layout, table


def _table(summary: Summary, layout: _Layout, marks: Marks) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    arms = summary.arms[:ROWS_MAX]
    places = [_place(arm, summary) for arm in arms]
    for index, head in enumerate(_place_heads(summary)):
        names = [head] * bool(index) + [one[index] for one in places]
        longest = max((_text(name).cell_len for name in names), default=3)
        chars = min(longest, _LEVEL_MAX if index else layout.arm_max)
        table.add_column(_text(head), overflow="fold", min_width=chars, max_width=chars)
    table.add_column("ok", justify="right", no_wrap=True)
    for heading in _columns(summary, layout).values():
        quantity, _, since = heading.partition(" ")
        above = f"{quantity} ms\n{since}\n" if since else f"{quantity} ms\n"
        table.add_column(f"{above}median", justify="right", no_wrap=True)
        if layout.tails:
            table.add_column("\n" * above.count("\n") + "p95", justify="right", no_wrap=True)
    if layout.rest:
        table.add_column("\ntok/s", justify="right", no_wrap=True)
        table.add_column("\nn", justify="right", no_wrap=True)
    for place, arm in zip(places, arms, strict=True):
        table.add_row(*map(_text, (*place, *_cells(arm, summary, layout, marks))))
    return table


def _place_heads(summary: Summary) -> list[str]:
    return ["arm", *(axis.head for axis in axes(summary.cells))]


def _place(arm: ArmSummary, summary: Summary) -> list[str]:
    """The arm's name, then its levels; cells without axes are named with the arm."""
    swept = axes(summary.cells)
    if not swept:
        return [label(arm, summary)]
    return [arm.arm, *(level(summary.cells, arm.cell, axis) for axis in swept)]


def _columns(summary: Summary, layout: _Layout) -> dict[str, str]:
    """Metric → heading; each gives a median and, where there is room, a p95."""
    shown = durations(summary)
    return shown if layout.rest else {k: v for k, v in shown.items() if k != "tpot_ms"}


def _cells(arm: ArmSummary, summary: Summary, layout: _Layout, marks: Marks) -> Iterator[str]:
    def marked(name: str, figure: str) -> str:
        return figure + marks.get((arm.arm, arm.cell, name), "")

    ok, planned = arm.calls.get("ok", 0), max(arm.planned, sum(arm.calls.values()))
    yield str(ok) if ok == planned else f"{ok}/{planned}"
    for name in _columns(summary, layout):
        one = metric(arm, name)
        yield marked(name, short(one.median if one else None))
        if layout.tails:
            yield short(one.p95 if one else None)
    if layout.rest:
        rate = metric(arm, "throughput_tok_s")
        yield marked("throughput_tok_s", short(rate.median if rate else None))
        first = metric(arm, "ttft_ms")
        yield str(first.n if first else 0)


def _all_not_ok(summary: Summary) -> Iterator[str]:
    """Arms and cells with calls that did not end well: of many, those with the most."""
    found = [(_bad(arm), line) for arm in summary.arms if (line := _not_ok(arm, summary))]
    if len(found) > _FEWER_MAX:
        found.sort(key=lambda one: -one[0])
    yield from (line for _, line in found[:_FEWER_MAX])
    if len(found) > _FEWER_MAX:
        yield f"and {len(found) - _FEWER_MAX} more arms and cells with calls that are not ok"


def _bad(arm: ArmSummary) -> int:
    return sum(arm.calls.values()) - arm.calls.get("ok", 0)


def _not_ok(arm: ArmSummary, summary: Summary) -> str:
    bad = [f"{count} {status}" for status, count in arm.calls.items() if status != "ok"]
    return f"{label(arm, summary)}: {', '.join(bad)}" if bad else ""


def _beside(summary: Summary) -> Iterator[str]:
    """What the spec asked to be told of each arm, and what a table has no column for. The warm-up
    that the series suggest is for who looks closer."""
    lines = [
        f"{label(arm, summary)} {what}: {words}"
        for arm in summary.arms
        for what, words in beside(arm)
        if what != "warm-up"
    ]
    yield from lines[:_BESIDE_MAX]
    if len(lines) > _BESIDE_MAX:
        yield f"… {len(lines) - _BESIDE_MAX} more lines of this kind are in the report"


def _footnotes(summary: Summary, layout: _Layout) -> Iterator[str]:
    if len(summary.arms) > ROWS_MAX:
        yield f"{len(summary.arms) - ROWS_MAX} more arms and cells are in reports/cells.csv"
    if not layout.tails:
        yield "p95 left out for want of room: 80 columns have it"
    elif tails := _without_tails(summary):
        yield tails
    if layout.rest:
        if bare := [label(arm, summary) for arm in summary.arms if _has_no_tpot(arm)]:
            yield f"{UNKNOWN} TPOT needs time between tokens, and their count: {listed(bare, 4)}"
        yield "n: ok calls with a first token; tok/s: tokens / wall time, over iterations"
    if summary.load_mode == "open":
        yield "open loop: latency runs from the instant at which a request was due"
        for arm in summary.arms if len(summary.arms) <= _FEWER_MAX else ():
            yield f"{label(arm, summary)}: {_from_sent(arm)}"
    yield from _intervals(summary)


def _without_tails(summary: Summary) -> str:
    """Which p95 are missing, and whose n is not that of the last column."""
    needs, fewer = 0, []
    for arm in summary.arms:
        first = metric(arm, "ttft_ms")
        for name, heading in durations(summary).items():
            one = metric(arm, name)
            if one is None or not one.n or "p95" not in one.needs:
                continue
            needs = one.needs["p95"]
            if first is not None and one.n != first.n:
                fewer.append(f"{label(arm, summary)} has {heading.split()[0]} of {one.n} calls")
    more = [", …"] if len(fewer) > _FEWER_MAX else []
    parts = [f"{UNKNOWN} a p95 needs n = {needs}", *fewer[:_FEWER_MAX]]
    return "; ".join(parts) + "".join(more) if needs else ""


def _has_no_tpot(arm: ArmSummary) -> bool:
    first, tpot = metric(arm, "ttft_ms"), metric(arm, "tpot_ms")
    return bool(first and first.n) and (tpot is None or not tpot.n)


def _from_sent(arm: ArmSummary) -> str:
    """What an open loop hides if it is read from the instant of sending, and by how much."""
    lag, ttft = metric(arm, "send_lag_ms"), metric(arm, "ttft_ms")
    worst = short(lag.maximum if lag else None)
    return f"sent up to {worst} ms late; TTFT from sending: {short(ttft.median if ttft else None)}"


def _intervals(summary: Summary) -> Iterator[str]:
    """The report has the intervals; what they speak of, or lack, belongs beside the medians too."""
    name = next(iter(durations(summary)))
    ones = [one for arm in summary.arms if (one := metric(arm, name)) and one.n and one.ci_of]
    lacking = {f"{one.needs['ci']} {one.ci_of}" for one in ones if "ci" in one.needs}
    if lacking:
        yield f"no 95 % interval of a mean below {' or '.join(sorted(lacking))}"
    elif any(caveat.code == "single-launch" for caveat in summary.verdict.caveats):
        return  # which says it
    elif ones and any(one.ci_of != "trials" for one in ones):
        yield "95 % intervals (in the report) are of this launch; another may differ by more"


def _verdict(summary: Summary) -> Text:
    state = summary.verdict.state
    return _text("verdict: ") + _text(state, _STYLES[state])


def _caveat(caveat: Caveat) -> RenderableType:
    from rich.padding import Padding

    parts = [one_line(part, 60) for part in (caveat.arm, caveat.cell) if part]
    more = f", and {len(caveat.more_cells)} more cells" if caveat.more_cells else ""
    where = f" ({' / '.join(parts)}{more})" if parts else ""
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
