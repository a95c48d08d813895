"""A board as lines of text: as many, and as long, as the screen has room for.

Arms and cells have a line each while they fit. A long sweep does not: then each arm has one, with
all its cells together, and below them stand those cells to which something happened last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from harness.cli.estimate import in_words
from harness.cli.live.board import Board, Row, Running
from harness.cli.live.estimates import Estimate
from harness.report.figures import short
from harness.statistics import GROUPS_MIN
from harness.text import one_line

__all__ = ["Line", "now_lines", "progress_line", "table_lines"]

ARM_MAX: Final = 20
ARM_LEAST: Final = 12
CELL_MAX: Final = 36
FIGURE: Final = 15
"""Columns of a figure: `1234567 ±123456`."""
DOUBTS_MAX: Final = 4
RUNNING_MAX: Final = 4
LEAST: Final = 3
"""Rows that are shown however low the screen is."""


class Line(Struct, frozen=True):
    """Text without control characters, and a rich style."""

    text: str
    style: str = ""


def progress_line(board: Board, width: int) -> Line:
    """`tr108 · 37/90 trials · 41 % · 12 min left · 3 min so far`"""
    parts = [one_line(board.name, 30)] if board.name else []
    if board.total:
        parts.append(f"{board.done}/{board.total} trials")
        parts.append(f"{100 * board.done // board.total} %")
    left_s = board.left_s()
    if left_s is not None:
        parts.append(f"{in_words(left_s)} left{' at most' if board.open_end else ''}")
    parts.append(f"{in_words(board.clock_s() - board.began_s)} so far")
    return Line(_cut(" · ".join(parts), width), "bold")


def now_lines(board: Board, width: int) -> list[Line]:
    """What is under way: trial, phase, calls."""
    every = list(board.running.values())
    lines = [Line(_cut(_now(board, one), width)) for one in every[:RUNNING_MAX]]
    if len(every) > RUNNING_MAX:
        lines.append(Line(f"… and {len(every) - RUNNING_MAX} more", "dim"))
    return lines


def _now(board: Board, one: Running) -> str:
    cell = f" {one_line(one.planned.cell, CELL_MAX)}" if board.several_cells else ""
    text = f"▶ {one_line(one.planned.arm.name, ARM_MAX)}{cell} · trial {one.planned.trial + 1}"
    calls = f"{one.ok + one.failed}" + (f"/{one.calls}" if one.calls else "")
    made = f" · {calls} calls" if one.calls or one.ok or one.failed else ""
    bad = f", {one.failed} not ok" if one.failed else ""
    return f"{text} · {one.phase}{made}{bad}"


def table_lines(board: Board, width: int, height: int) -> list[Line]:
    """Progress and estimates by arm and cell, and the doubts: at most `height` lines, or a few more
    on a screen of less than ten."""
    doubts = [Line(_cut(f"! {one_line(text)}", width), "yellow") for text in board.doubts.lines()]
    doubts = doubts[:DOUBTS_MAX]
    skipped = sum(row.skipped for row in board.rows.values())
    notes = [Line(_cut(_skipped(board, skipped), width), "dim")] if skipped else []
    if any(one.trials > 1 for row in board.rows.values() for one in row.estimates().values()):
        what = f"mean over trials so far, ± half its 95 % interval from {GROUPS_MIN} trials on"
        notes.append(Line(_cut(what, width), "dim"))
    room = max(height - len(doubts) - len(notes) - 1, LEAST)
    rows = list(board.rows.values())
    if len(rows) <= room:
        shown = [(row, False) for row in rows]
    else:
        arms = _by_arm(rows)
        arms = arms if len(arms) <= room // 2 else []
        recent = sorted(rows, key=lambda row: -row.touched)[: max(room - len(arms) - 1, 1)]
        shown = [(row, True) for row in arms] + [(row, False) for row in recent]
        notes.insert(0, Line(_cut(f"the latest {len(recent)} of {len(rows)} cells", width), "dim"))
    return [*_table(board, shown, width), *notes, *doubts]


def _skipped(board: Board, skipped: int) -> str:
    reason = max(board.reasons, key=lambda one: board.reasons[one])
    return f"{skipped} trial{'s' * (skipped != 1)} skipped: {one_line(reason, 120)}"


def _by_arm(rows: list[Row]) -> list[Row]:
    """Counts alone: what is measured in different cells has no mean."""
    found: dict[str, Row] = {}
    for row in rows:
        whole = found.setdefault(row.arm, Row(arm=row.arm, cell="all cells"))
        whole.planned += row.planned
        whole.done += row.done
        whole.failed += row.failed
        whole.skipped += row.skipped
        whole.running += row.running
    return list(found.values())


def _table(board: Board, shown: list[tuple[Row, bool]], width: int) -> Iterator[Line]:
    columns = _columns(board)
    arms = [one_line(row.arm, ARM_MAX) for row, _ in shown]
    cells = [one_line(row.cell, CELL_MAX) for row, _ in shown] if board.several_cells else []
    head = "cell"
    trials = [_trials(row) for row, _ in shown]
    if _width(arms, cells, head, trials, columns) > width:
        head, cells = _values_alone(cells)
    if _width(arms, cells, head, trials, columns) > width:
        arms = [one_line(arm, ARM_LEAST) for arm in arms]
    while columns and _width(arms, cells, head, trials, columns) > width:
        columns.popitem()
    arm, cell = _widest(arms, "arm"), _widest(cells, head) if cells else 0
    count = _widest(trials, "trials")
    text = f"{'arm':{arm}} " + (f"{head:{cell}} " if cell else "") + f"{'trials':>{count}}  "
    text += " ".join(f"{title:>{FIGURE}}" for title in columns.values())
    yield Line(_cut(text.rstrip(), width), "dim")
    for at, (row, is_sum) in enumerate(shown):
        found = row.estimates()
        text = f"{arms[at]:{arm}} " + (f"{cells[at]:{cell}} " if cell else "")
        text += f"{trials[at]:>{count}}  "
        text += " ".join(f"{_figure(found.get(name)):>{FIGURE}}" for name in columns)
        style = "dim" if is_sum else "cyan" if row.running else ""
        yield Line(_cut(text.rstrip(), width), style)


def _width(
    arms: list[str], cells: list[str], head: str, trials: list[str], columns: dict[str, str]
) -> int:
    names = _widest(arms, "arm") + (_widest(cells, head) + 1 if cells else 0)
    return names + _widest(trials, "trials") + 4 + (FIGURE + 1) * len(columns)


def _widest(texts: list[str], head: str) -> int:
    return max([len(head), *map(len, texts)])


def _values_alone(cells: list[str]) -> tuple[str, list[str]]:
    """`num_ctx=512,num_gpu=80` as `512,80` below `num_ctx,num_gpu`, if all of them are alike."""
    parts = [[part.partition("=") for part in cell.split(",")] for cell in cells]
    named = [(cell, [key for key, _, _ in part]) for cell, part in zip(cells, parts, strict=True)
             if "=" in cell]  # fmt: skip
    keys = {",".join(names) for _, names in named}
    if len(keys) != 1:
        return "cell", cells
    head = keys.pop()
    return head, [
        ",".join(value for _, _, value in part) if "=" in cell else cell
        for cell, part in zip(cells, parts, strict=True)
    ]


def _columns(board: Board) -> dict[str, str]:
    """Those that have a figure; of a scenario with figures of its own, these."""
    known = dict.fromkeys(name for row in board.rows.values() for name in row.figures)
    ours = {name: title for name, title in board.columns.items() if name in known}
    if ours or not known:
        return ours or dict(board.columns)
    return {name: one_line(name, FIGURE) for name in list(known)[:3]}


def _trials(row: Row) -> str:
    mark = "▶ " if row.running else ""
    bad = f" ({row.failed} failed)" if row.failed else ""
    needed = row.planned - row.skipped
    return f"{mark}{row.done}/{needed}{bad}"


def _figure(one: Estimate | None) -> str:
    if one is None:
        return ""
    return short(one.mean) + ("" if one.half is None else f" ±{short(one.half)}")


def _cut(text: str, width: int) -> str:
    """To one column less than the terminal has: some break a full line."""
    room = max(width - 1, 1)
    return text if len(text) <= room else f"{text[: room - 1]}…"
