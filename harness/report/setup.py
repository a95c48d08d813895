"""The configuration part of the comparison report: what was asked for, and what the backends said.

One row per field, arms side by side. Where there are too many of them for columns, one row per
value of a field, with the arms and cells that have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from harness.protocols import RunData
from harness.report.aggregate import label
from harness.report.configuration import NO_TRIAL, Field, find_setup, spread
from harness.report.grid import is_many
from harness.report.sanitise import code, markdown

__all__ = ["setup_lines"]


def setup_lines(run: RunData) -> Iterator[str]:
    """Markdown lines, without the section's heading."""
    summary = run.summary
    yield from _asked(run)
    setup = find_setup(run, code, markdown)
    heads = [markdown(label(arm, summary)) for arm in summary.arms]
    several = len(heads) > 1
    if several:
        yield from _heading("What the arms differ in, as read back from the backend")
        if setup.differ:
            yield from _fields(setup.differ, heads, is_many(summary))
        else:
            yield "Nothing: the arms had the same effective configuration."
    if setup.launch:
        yield from _heading("What changed from launch to launch")
        yield from _fields(setup.launch, heads, is_many(summary))
    yield from _heading("What they have in common" if several else "As read back from the backend")
    if setup.alike:
        yield from _fields(setup.alike, ["Value"], many=False)
    else:
        yield "Nothing." if setup.ended else NO_TRIAL
    if setup.hidden:
        yield ""
        yield f"{setup.hidden} more details of the server are in metrics.json."


def _heading(text: str) -> Iterator[str]:
    yield from ("", f"### {text}", "")


def _asked(run: RunData) -> Iterator[str]:
    spec = run.manifest.spec
    yield (
        f"Base spec: backend {_json(spec.backend)}, scenario {_json(spec.scenario)}, load "
        f"{_json(spec.load)}; {spec.trials} trials per arm{' and cell' if spec.sweep else ''}, "
        f"each of {_iterations(run)}; order {spec.order}, seed {spec.seed}."
    )
    for name, arm in spec.arms.items():
        changes = {"backend": arm.backend, "scenario": arm.scenario, "load": arm.load}
        asked = {key: value for key, value in changes.items() if value}
        apart = " Not swept." if spec.sweep is not None and not arm.swept else ""
        notes = f" {markdown(arm.notes)}" if arm.notes else ""
        yield f"- {markdown(name)}: {_json(asked) if asked else 'the base spec'}.{apart}{notes}"
    if spec.sweep is not None:
        for path, levels in spec.sweep.axes.items():
            yield f"- swept: {code(path)} over {_json(levels)}, {spec.sweep.strategy}."


def _iterations(run: RunData) -> str:
    one = run.manifest.spec.iterations
    cold = f"{one.cold} cold (by {one.cold_by}), " if one.cold else ""
    return f"{cold}{one.warmup} warm-up and {one.measured} measured iterations"


def _fields(fields: Sequence[Field], heads: list[str], many: bool) -> Iterator[str]:
    if many:
        yield from _row(["Field", "Value", "In", "Which"])
        yield "|" + " --- |" * 4
        for field in fields:
            for value, count, which in spread(field, heads):
                yield from _row([code(field.name), value, f"{count} of {len(heads)}", which])
        return
    yield from _row(["Field", *heads])
    yield "|" + " --- |" * (1 + len(heads))
    for field in fields:
        yield from _row([code(field.name), *field.values])


def _row(cells: Sequence[str]) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |"


def _json(value: Any, length_max: int = 1000) -> str:
    return code(msgspec.json.encode(value).decode(), length_max)
