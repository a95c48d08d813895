"""The configuration part of the comparison report: what was asked for, and what the backends said.

One row per field, arms side by side, fields in which the arms differ first: that is what a reader
needs in order to say what was compared. A field that changed from trial to trial shows every value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from harness.protocols import RunData
from harness.report.aggregate import label
from harness.report.figures import UNKNOWN
from harness.report.rows import effective_by_trial
from harness.report.sanitise import code, markdown
from harness.schema import Effective

__all__ = ["setup_lines"]

NO_TRIAL: Final = "unknown: no trial of this arm ended"
VALUES_MAX: Final = 4
"""Different values of one field in one arm that are written out."""


def setup_lines(run: RunData) -> Iterator[str]:
    """Markdown lines, without the section's heading."""
    arms = run.summary.arms
    yield from _asked(run)
    effective = effective_by_trial(run)
    by_arm = [
        _fields({t: e for (a, c, t), e in effective.items() if (a, c) == (arm.arm, arm.cell)})
        for arm in arms
    ]
    names = sorted({name for fields in by_arm for name in fields}, key=_rank)
    differ = [name for name in names if len({fields.get(name) for fields in by_arm}) > 1]
    alike = [name for name in names if name not in differ]
    heads = [markdown(label(arm, run.summary)) for arm in arms]
    if len(arms) > 1:
        yield ""
        yield "### What the arms differ in, as read back from the backend"
        yield ""
        if differ:
            yield from _table(["Field", *heads], differ, by_arm)
        else:
            yield "Nothing: the arms had the same effective configuration."
    yield ""
    yield "### What they have in common" if len(arms) > 1 else "### As read back from the backend"
    yield ""
    if alike:
        yield from _table(["Field", "Value"], alike, by_arm[:1])
    else:
        yield NO_TRIAL if not any(by_arm) else "Nothing."


def _asked(run: RunData) -> Iterator[str]:
    spec = run.manifest.spec
    yield (
        f"Base spec: backend {_json(spec.backend)}, scenario {_json(spec.scenario)}, load "
        f"{_json(spec.load)}; {spec.trials} trials per arm, each of {spec.iterations.warmup} "
        f"warm-up and {spec.iterations.measured} measured iterations; order {spec.order}, seed "
        f"{spec.seed}."
    )
    for name, arm in spec.arms.items():
        changes = {"backend": arm.backend, "scenario": arm.scenario}
        asked = {key: value for key, value in changes.items() if value}
        notes = f" {markdown(arm.notes)}" if arm.notes else ""
        yield f"- {markdown(name)}: {_json(asked) if asked else 'the base spec'}.{notes}"


def _fields(trials: dict[int, Effective]) -> dict[str, str]:
    """Field → its values in the trials of one arm, as a table cell."""
    flat = {trial: dict(_flat(effective)) for trial, effective in trials.items()}
    names = dict.fromkeys(name for fields in flat.values() for name in fields)
    return {
        name: _cell({trial: fields.get(name, UNKNOWN) for trial, fields in flat.items()})
        for name in names
    }


def _flat(effective: Effective) -> Iterator[tuple[str, str]]:
    """`options` and `details` key by key; what is unknown, with its reason."""
    for name, value in msgspec.structs.asdict(effective).items():
        if name == "unknown":
            yield from ((str(field), f"unknown: {markdown(why)}") for field, why in value.items())
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", _json(item)) for key, item in value.items())
        elif value is not None and value is not False:  # 0 layers on the GPU is a fact
            yield name, _json(value)


def _cell(by_trial: dict[int, str]) -> str:
    trials: dict[str, list[int]] = {}
    for trial, text in by_trial.items():
        trials.setdefault(text, []).append(trial)
    if len(trials) == 1:
        return next(iter(trials))
    shown = [f"{text} (trial {_some(of)})" for text, of in list(trials.items())[:VALUES_MAX]]
    more = len(trials) - len(shown)
    return "; ".join(shown) + (f"; {more} more values" if more else "")


def _some(trials: list[int]) -> str:
    more = ", …" if len(trials) > VALUES_MAX else ""
    return ", ".join(map(str, trials[:VALUES_MAX])) + more


def _rank(name: str) -> tuple[int, str]:
    """Fields of every backend first, then options, then what a server says besides."""
    group = name.partition(".")[0]
    return {"options": 1, "details": 2}.get(group, 0), name


def _table(head: list[str], names: list[str], by_arm: list[dict[str, str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    for name in names:
        cells = [fields.get(name, UNKNOWN if fields else NO_TRIAL) for fields in by_arm]
        yield f"| {code(name)} | {' | '.join(cells)} |"


def _json(value: Any) -> str:
    return code(msgspec.json.encode(value).decode(), 1000)
