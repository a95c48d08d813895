"""What rules of the spec decided while the run went on, and when it was taken up again."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from harness.protocols import RunData
from harness.report.figures import UNKNOWN, interval, moment, number, percent
from harness.report.grid import axes
from harness.report.page.figures import place_cells, place_columns
from harness.report.page.tables import Cell, Column, Table, as_cell, of_number, table
from harness.report.page.tables import label as text
from harness.schema import SearchResult, Summary, TrialRecord

__all__ = ["DECISIONS", "Found", "searches", "sessions_table", "skipped_table", "stopping_table"]


class Found(Struct, frozen=True, kw_only=True):
    """One arm's search, in a sentence and with all its probes."""

    sentence: str
    probes: Table


def searches(summary: Summary) -> list[Found]:
    return [Found(sentence=search_sentence(one), probes=_probes(one)) for one in summary.search]


def search_sentence(one: SearchResult) -> str:
    name = one.path.rpartition(".")[2]
    goal = f"{percent(one.share_min)} of requests within the SLO"
    if one.highest is None:
        return f"{one.arm}: no {name} was shown to keep {goal}"
    above = "" if one.next_higher is None else f"; {number(one.next_higher)} did not"
    return f"{one.arm}: {name} {number(one.highest)} was shown to keep {goal}{above}"


def _probes(one: SearchResult) -> Table:
    columns = [
        Column(head=one.path.rpartition(".")[2], title=one.path, numeric=True),
        Column(head="Decision"),
        Column(head="Good", numeric=True),
        Column(head="Requests", numeric=True),
        Column(
            head="95 % of the share of good ones",
            numeric=True,
            title="Clopper–Pearson, over all looks at a load together",
        ),
        Column(head="Trials", numeric=True),
        Column(head="Because"),
    ]
    rows = [
        [
            as_cell(probe.load),
            Cell(text=probe.decision, tone="bad" if probe.decision == "invalid" else ""),
            of_number(probe.good),
            of_number(probe.requests),
            _share(probe.share_low, probe.share_high),
            of_number(probe.trials),
            text(probe.because),
        ]
        for probe in sorted(one.probes, key=lambda probe: probe.load)
    ]
    return table(f"Loads that were tried, {one.arm}", columns, rows)


def _share(low: float | None, high: float | None) -> Cell:
    if low is None or high is None:
        return Cell(text=UNKNOWN, unknown=True)
    return Cell(text=f"{interval(low * 100, high * 100)} %", sort=low)


def stopping_table(summary: Summary) -> Table | None:
    """When each cell had enough, and how narrow its intervals had become."""
    if not summary.stopping:
        return None
    arms = list(dict.fromkeys(arm for one in summary.stopping for arm in one.relative_widths))
    swept = axes(summary.cells)
    columns = [
        *place_columns(swept)[1:],
        Column(head="Metric", code=True),
        Column(head="Decision"),
        Column(head="Trials", numeric=True),
        *(Column(head=f"± {arm}", numeric=True, title="Half the interval / mean") for arm in arms),
        Column(head="Bound", numeric=True),
    ]
    rows = [
        [
            *place_cells("", one.cell, summary)[1:],
            text(one.metric, code=True),
            Cell(text=DECISIONS[one.decision], tone="bad" if one.decision == "cap" else ""),
            of_number(one.trials),
            *(_width(one.relative_widths.get(arm)) for arm in arms),
            _width(one.bound),
        ]
        for one in summary.stopping
    ]
    return table("Stopping rule", columns, rows, max(len(swept), 1))


DECISIONS: Final = {
    "reached": "narrow enough",
    "cap": "not by the most trials allowed",
    "open": "open when the run ended",
}


def _width(share: float | None) -> Cell:
    return of_number(share, percent(share))


def skipped_table(run: RunData) -> Table | None:
    """Trials that a rule made unnecessary, with its reason, once per reason."""
    found: dict[tuple[str, str, str], int] = {}
    for record in run.records():
        if isinstance(record, TrialRecord) and record.status == "skipped":
            why = record.error.message if record.error else UNKNOWN
            key = (record.arm, record.cell, why)
            found[key] = found.get(key, 0) + 1
    if not found:
        return None
    columns = [
        *place_columns(axes(run.summary.cells)),
        Column(head="Trials", numeric=True),
        Column(head="Because"),
    ]
    rows = [
        [*place_cells(arm, cell, run.summary), of_number(count), text(why)]
        for (arm, cell, why), count in found.items()
    ]
    return table("Skipped trials", columns, rows)


def sessions_table(run: RunData) -> Table | None:
    """None where the run was made in one go."""
    if not run.sessions:
        return None
    columns = [
        Column(head="Taken up again"),
        Column(head="Trials that run again", title="They were cut short; what there was is void"),
        Column(head="Machine"),
    ]
    rows = [
        [
            text(moment(one.started)),
            text(", ".join(map(str, one.superseded)) or "none"),
            text("as before" if one.environment is None else "its conditions had changed"),
        ]
        for one in run.sessions
    ]
    return table("Sessions", columns, rows)
