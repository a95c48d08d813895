"""The table that a run ends with on the terminal: at most 80 columns, one row per arm.

Where it does not fit, columns go, not digits: first the arm's name is folded, then the p95 go, then
what E2E nearly says as well. An arm always keeps its name.

Names and messages come from specs, servers and plugins; they are stripped of escapes and put into
`rich.text.Text`, so that neither the terminal nor rich takes them for commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from harness.report.aggregate import durations, label, metric
from harness.report.figures import UNKNOWN, number, short
from harness.schema import ArmSummary, Caveat, Summary
from harness.text import one_line

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
_ARM_MIN: Final = 8
_ARM_MAX: Final = 14


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


def render_summary(summary: Summary, console: Console, *, instrument: str | None = None) -> None:
    """Print the summary of a run. Nothing but the console is touched. `instrument`: a line on the
    instrument's own error (see instrument.py)."""
    width = min(console.width, WIDTH)
    for part in _parts(summary, console, width, instrument):
        console.print(part, width=width, highlight=False, markup=False)


def _parts(
    summary: Summary, console: Console, width: int, instrument: str | None
) -> Iterator[RenderableType]:
    yield _title(summary)
    if any(caveat.code == "simulated" for caveat in summary.verdict.caveats):
        yield _text("SIMULATED: a stub was measured, no model server", "bold red")
    layout, table = _fitting(summary, console, width)
    yield table
    for arm in summary.arms:
        if line := _not_ok(arm, summary):
            yield _text(line, "yellow")
    yield from (_text(line, "dim") for line in _footnotes(summary, layout))
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


def _fitting(summary: Summary, console: Console, width: int) -> tuple[_Layout, Table]:
    """The first layout that fits; the smallest, if none does."""
    from rich.measure import Measurement

    for layout in _LAYOUTS:
        table = _table(summary, layout)
        unlimited = console.options.update(width=10 * WIDTH)
        if Measurement.get(console, unlimited, table).maximum <= width:
            break
    return layout, table


def _table(summary: Summary, layout: _Layout) -> Table:
    from rich import box
    from rich.table import Table

    names = [_text(label(arm, summary)) for arm in summary.arms]
    arm_chars = min(max((name.cell_len for name in names), default=3), layout.arm_max)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    table.add_column("arm", overflow="fold", min_width=arm_chars, max_width=arm_chars)
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
    for name, arm in zip(names, summary.arms, strict=True):
        table.add_row(name, *map(_text, _cells(arm, summary, layout)))
    return table


def _columns(summary: Summary, layout: _Layout) -> dict[str, str]:
    """Metric → heading; each gives a median and, where there is room, a p95."""
    shown = durations(summary)
    return shown if layout.rest else {k: v for k, v in shown.items() if k != "tpot_ms"}


def _cells(arm: ArmSummary, summary: Summary, layout: _Layout) -> Iterator[str]:
    ok, planned = arm.calls.get("ok", 0), max(arm.planned, sum(arm.calls.values()))
    yield str(ok) if ok == planned else f"{ok}/{planned}"
    for name in _columns(summary, layout):
        one = metric(arm, name)
        yield short(one.median if one else None)
        if layout.tails:
            yield short(one.p95 if one else None)
    if layout.rest:
        rate = metric(arm, "throughput_tok_s")
        yield short(rate.median if rate else None)
        first = metric(arm, "ttft_ms")
        yield str(first.n if first else 0)


def _not_ok(arm: ArmSummary, summary: Summary) -> str:
    bad = [f"{count} {status}" for status, count in arm.calls.items() if status != "ok"]
    return f"{label(arm, summary)}: {', '.join(bad)}" if bad else ""


def _footnotes(summary: Summary, layout: _Layout) -> Iterator[str]:
    if not layout.tails:
        yield "p95 left out for want of room: 80 columns have it"
    elif tails := _without_tails(summary):
        yield tails
    if layout.rest:
        if bare := [label(arm, summary) for arm in summary.arms if _has_no_tpot(arm)]:
            yield f"{UNKNOWN} TPOT needs time between tokens, and their count: {', '.join(bare)}"
        yield "n: ok calls with a first token; tok/s: tokens / wall time, over iterations"
    if summary.load_mode == "open":
        yield "open loop: latency runs from the instant at which a request was due"
        for arm in summary.arms:
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
