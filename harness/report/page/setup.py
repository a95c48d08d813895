"""What was asked for, what the backends said of themselves, and the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.protocols import RunData
from harness.report.aggregate import label
from harness.report.configuration import Field, Setup, find_setup, spread
from harness.report.figures import UNKNOWN, number
from harness.report.grid import is_many
from harness.report.instrument import instrument_line
from harness.report.machine import machine_rows
from harness.report.page.overview import Fact
from harness.report.page.tables import Cell, Column, Table, of_number, table
from harness.report.page.tables import label as text
from harness.schema import CallRecord, Environment

__all__ = ["differences", "environment", "in_common", "measured", "plan_table", "setup_of"]

PLAN_MAX = 500


def setup_of(run: RunData) -> Setup:
    return find_setup(run, lambda found, length: _cut(found, length), str)


def _cut(found: str, length: int) -> str:
    return found if len(found) <= length else found[: length - 1] + "…"


def differences(fields: Sequence[Field], run: RunData, caption: str) -> Table:
    """Arms side by side; of many, one row per value with the arms and cells that have it."""
    heads = [label(arm, run.summary) for arm in run.summary.arms]
    if not is_many(run.summary):
        rows = [[text(one.name, code=True), *map(_code, one.values)] for one in fields]
        return table(caption, [Column(head="Field"), *(Column(head=head) for head in heads)], rows)
    columns = [Column(head="Field"), Column(head="Value"), Column(head="In", numeric=True)]
    found = [
        [
            text(one.name, code=True),
            _code(value),
            Cell(text=f"{count} of {len(heads)}", sort=count),
            text(which),
        ]
        for one in fields
        for value, count, which in spread(one, heads)
    ]
    return table(caption, [*columns, Column(head="Which")], found)


def in_common(fields: Sequence[Field]) -> Table:
    rows = [[text(one.name, code=True), _code(one.values[0])] for one in fields]
    return table("In common", [Column(head="Field"), Column(head="Value")], rows)


def _code(value: str) -> Cell:
    return text(value, code=True)


def plan_table(run: RunData) -> tuple[Table, int]:
    """The order in which trials were to run, and how many more there are."""
    plan = run.manifest.plan
    columns = [Column(head="Place", numeric=True), Column(head="Arm"), Column(head="Cell")]
    rows = [
        [of_number(place), text(arm), text(cell), of_number(trial)]
        for place, (arm, cell, trial) in enumerate(plan[:PLAN_MAX])
    ]
    columns.append(Column(head="Trial", numeric=True))
    return table("Order of the trials", columns, rows), max(len(plan) - PLAN_MAX, 0)


def environment(run: RunData) -> Iterator[Fact]:
    found = run.manifest.environment
    yield Fact(name="Harness", value=found.harness_version)
    yield Fact(name="Python", value=found.python)
    yield Fact(name="System", value=found.platform)
    yield Fact(name="Kernel", value=found.kernel or UNKNOWN)
    yield Fact(name="Processor", value=_processor(found))
    yield Fact(name="Governor", value=found.cpu_governor or UNKNOWN)
    yield Fact(name="Memory", value=_gib(found.memory_bytes))
    yield Fact(name="GPUs", value=_gpus(found))
    yield Fact(name="Clock source", value=found.clocksource or UNKNOWN)
    yield Fact(name="Load average before", value=_load(found))
    for what, said in machine_rows(found):
        yield Fact(name=what, value=said)


def _processor(found: Environment) -> str:
    count = "" if found.cpu_count is None else f"{found.cpu_count} × "
    return f"{count}{found.cpu_model or UNKNOWN}"


def _gib(size_bytes: int | None) -> str:
    return UNKNOWN if size_bytes is None else f"{number(size_bytes / 2**30, 3)} GiB"


def _gpus(found: Environment) -> str:
    names = [str(gpu.get("name", "unnamed")) for gpu in found.gpus]
    return ", ".join(names) or (f"unknown: {found.gpus_unknown}" if found.gpus_unknown else "none")


def _load(found: Environment) -> str:
    return UNKNOWN if not found.load_average else " / ".join(map(number, found.load_average))


def measured(run: RunData) -> Iterator[Fact]:
    """How the stamps came about, and how late the client was."""
    sources: Counter[str] = Counter()
    for record in run.records():
        if isinstance(record, CallRecord) and record.phase == "measured" and record.chunks.count:
            sources[record.stamp_source] += 1
    stamps = ", ".join(f"{source}: {n:,} calls" for source, n in sources.most_common())
    yield Fact(name="Stamp source of the first token", value=stamps or "none")
    found = run.manifest.environment
    line = instrument_line(run.manifest, run.records())
    said = line.removeprefix("instrument: ") if line else None
    if said is None and found.selfcheck_unknown:
        said = f"unknown: {found.selfcheck_unknown}"
    if said is not None:
        yield Fact(name="Own error", value=said)
