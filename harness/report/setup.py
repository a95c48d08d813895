"""The configuration part of the comparison report: what was asked for, and what the backends said.

One row per field, arms side by side, in three parts:

    differ   what the arms differ in: that is what was compared
    launch   what changed from trial to trial, such as the time that loading took
    alike    what they have in common, each field once

Where a server tells much of itself, the third part shows what tells one configuration from another
(version, digest, context, layers, threads, quantisation …); metrics.json has all of it. What
differs is always shown, whatever it is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

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
VALUE_CHARS: Final = 160
"""Of one value that was read back; a model's digest takes 71."""

_TELLING: Final = re.compile(
    r"(?i)version|build|commit|digest|sha|revision|context|ctx|layer|block_count|thread|quant"
    r"|f_?type|family|architecture|param|parallel|slot|batch|gpu|device|dtype|capabilities"
)
_OF_A_LAUNCH: Final = re.compile(r"(?i)(_n?s|_ms|_us)$|(^|[._])(pid|port|uptime|started|created)$")
"""Differs between any two launches and configures nothing: measured times, process numbers."""

_Values: TypeAlias = dict[int, Any]
"""Trial → value of one field; a trial without it is missing."""


class _Unknown(str):
    """Why a field could not be read, in place of its value."""


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
    launch = [name for name in names if _is_of_launch(name, by_arm)]
    cells = [{name: _cell(fields[name]) for name in names if name in fields} for fields in by_arm]
    constant = [name for name in names if name not in launch]
    differ = [name for name in constant if len({fields.get(name) for fields in cells}) > 1]
    alike = [name for name in constant if name not in differ]
    heads = [markdown(label(arm, run.summary)) for arm in arms]
    if len(arms) > 1:
        yield from _heading("What the arms differ in, as read back from the backend")
        if differ:
            yield from _table(["Field", *heads], differ, cells)
        else:
            yield "Nothing: the arms had the same effective configuration."
    if launch:
        yield from _heading("What changed from launch to launch")
        yield from _table(["Field", *heads], launch, cells)
    yield from _heading(
        "What they have in common" if len(arms) > 1 else "As read back from the backend"
    )
    shown = [name for name in alike if not name.startswith("details.") or _TELLING.search(name)]
    if shown:
        yield from _table(["Field", "Value"], shown, cells[:1])
    else:
        yield NO_TRIAL if not any(by_arm) else "Nothing."
    if len(shown) < len(alike):
        yield ""
        yield f"{len(alike) - len(shown)} more details of the server are in metrics.json."


def _heading(text: str) -> Iterator[str]:
    yield from ("", f"### {text}", "")


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


def _fields(trials: dict[int, Effective]) -> dict[str, _Values]:
    """Field → its values in the trials of one arm. A field that only some trials have is unknown in
    the others."""
    flat = {trial: dict(_flat(effective)) for trial, effective in trials.items()}
    names = dict.fromkeys(name for fields in flat.values() for name in fields)
    return {name: {t: fields.get(name) for t, fields in flat.items()} for name in names}


def _flat(effective: Effective) -> Iterator[tuple[str, Any]]:
    """`options` and `details` key by key; what is unknown, with its reason."""
    for name, value in msgspec.structs.asdict(effective).items():
        if name == "unknown":
            yield from ((str(field), _Unknown(why)) for field, why in value.items())
        elif name == "details":
            yield from _deep(name, value)
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", item) for key, item in value.items())
        elif value is not None and value is not False:  # 0 layers on the GPU is a fact
            yield name, value


def _deep(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Servers nest what they say of themselves; every leaf is a field of its own."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _deep(f"{name}.{key}", item)
    else:
        yield name, value


def _is_of_launch(name: str, by_arm: Sequence[dict[str, _Values]]) -> bool:
    """A figure of the server's that differs, but is none of its settings."""
    seen = {_text(value) for fields in by_arm for value in fields.get(name, {}).values()}
    return len(seen) > 1 and name.startswith("details.") and bool(_OF_A_LAUNCH.search(name))


def _cell(by_trial: _Values) -> str:
    trials: dict[str, list[int]] = {}
    for trial, value in by_trial.items():
        trials.setdefault(_text(value), []).append(trial)
    if len(trials) == 1:
        return next(iter(trials))
    numbers = [value for value in by_trial.values() if isinstance(value, int | float)]
    if len(numbers) == len(by_trial) and len(trials) > 2:
        return f"{_text(min(numbers))} … {_text(max(numbers))} over {len(by_trial)} trials"
    shown = [f"{text} (trial {_some(of)})" for text, of in list(trials.items())[:VALUES_MAX]]
    more = len(trials) - len(shown)
    return "; ".join(shown) + (f"; {more} more values" if more else "")


def _text(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, _Unknown):
        return f"unknown: {markdown(value)}"
    return _json(value, VALUE_CHARS)


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


def _json(value: Any, length_max: int = 1000) -> str:
    return code(msgspec.json.encode(value).decode(), length_max)
