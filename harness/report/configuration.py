"""What the backends said of themselves, sorted by what it means for a comparison. Shared by the
Markdown and the HTML report.

    differ   what the arms differ in: that is what was compared
    launch   what changed from trial to trial, such as the time that loading took
    alike    what they have in common, each field once

Where a server tells much of itself, the third part holds what tells one configuration from another
(version, digest, context, layers, threads, quantisation …); metrics.json has all of it. What
differs is always shown, whatever it is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from harness.protocols import RunData
from harness.report.figures import UNKNOWN
from harness.report.rows import effective_by_trial
from harness.schema import Effective

__all__ = ["NO_TRIAL", "Field", "Setup", "find_setup", "spread"]

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
Quote: TypeAlias = Callable[[str, int], str]


class Field(Struct, frozen=True, kw_only=True):
    """One field: its value in each arm and cell, in the order of the summary."""

    name: str
    values: tuple[str, ...]


class Setup(Struct, frozen=True, kw_only=True):
    """The effective configurations of a run."""

    differ: tuple[Field, ...]
    launch: tuple[Field, ...]
    alike: tuple[Field, ...]
    """With a single value."""
    hidden: int
    """Details that are alike, and tell nothing."""
    ended: bool
    """Whether any trial did; without one nothing is known."""


class _Unknown(str):
    """Why a field could not be read, in place of its value."""


def find_setup(run: RunData, quote: Quote, plain: Callable[[str], str]) -> Setup:
    """`quote` makes a value (as JSON, with the most characters to show) fit for the report's
    format, and `plain` a sentence."""
    arms = run.summary.arms
    effective = effective_by_trial(run)
    by_arm = [
        _fields({t: e for (a, c, t), e in effective.items() if (a, c) == (arm.arm, arm.cell)})
        for arm in arms
    ]
    show = _Shown(quote, plain)
    names = sorted({name for fields in by_arm for name in fields}, key=_rank)
    launch = [name for name in names if _is_of_launch(name, by_arm, show)]
    cells = [{n: show.cell(fields[n]) for n in names if n in fields} for fields in by_arm]
    constant = [name for name in names if name not in launch]
    differ = [name for name in constant if len({fields.get(name) for fields in cells}) > 1]
    alike = [name for name in constant if name not in differ]
    shown = [name for name in alike if not name.startswith("details.") or _TELLING.search(name)]
    return Setup(
        differ=tuple(_field(name, cells) for name in differ),
        launch=tuple(_field(name, cells) for name in launch),
        alike=tuple(_field(name, cells[:1]) for name in shown),
        hidden=len(alike) - len(shown),
        ended=any(by_arm),
    )


def spread(field: Field, places: Sequence[str], most: int = 4) -> Iterator[tuple[str, int, str]]:
    """(value, how many arms and cells have it, which ones), for more of them than fit side by
    side."""
    by_value: dict[str, list[str]] = {}
    for value, where in zip(field.values, places, strict=True):
        by_value.setdefault(value, []).append(where)
    for value, found in by_value.items():
        more = f" and {len(found) - most} more" if len(found) > most else ""
        yield value, len(found), "; ".join(found[:most]) + more


def _field(name: str, cells: list[dict[str, str]]) -> Field:
    values = (fields.get(name, UNKNOWN if fields else NO_TRIAL) for fields in cells)
    return Field(name=name, values=tuple(values))


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


def _is_of_launch(name: str, by_arm: Sequence[dict[str, _Values]], show: _Shown) -> bool:
    """A figure of the server's that differs, but is none of its settings."""
    if not (name.startswith("details.") and _OF_A_LAUNCH.search(name)):
        return False
    seen = {show.text(value) for fields in by_arm for value in fields.get(name, {}).values()}
    return len(seen) > 1


def _rank(name: str) -> tuple[int, str]:
    """Fields of every backend first, then options, then what a server says besides."""
    group = name.partition(".")[0]
    return {"options": 1, "details": 2}.get(group, 0), name


class _Shown:
    """Values as text of the report's format."""

    def __init__(self, quote: Quote, plain: Callable[[str], str]) -> None:
        self._quote = quote
        self._plain = plain

    def cell(self, by_trial: _Values) -> str:
        """The value of one field in one arm, or its values, with their trials."""
        trials: dict[str, list[int]] = {}
        for trial, value in by_trial.items():
            trials.setdefault(self.text(value), []).append(trial)
        if len(trials) == 1:
            return next(iter(trials))
        numbers = [value for value in by_trial.values() if isinstance(value, int | float)]
        if len(numbers) == len(by_trial) and len(trials) > 2:
            low, high = self.text(min(numbers)), self.text(max(numbers))
            return f"{low} … {high} over {len(by_trial)} trials"
        shown = [f"{text} (trial {_some(of)})" for text, of in list(trials.items())[:VALUES_MAX]]
        more = len(trials) - len(shown)
        return "; ".join(shown) + (f"; {more} more values" if more else "")

    def text(self, value: Any) -> str:
        if value is None:
            return UNKNOWN
        if isinstance(value, _Unknown):
            return f"unknown: {self._plain(value)}"
        return self._quote(msgspec.json.encode(value).decode(), VALUE_CHARS)


def _some(trials: list[int]) -> str:
    more = ", …" if len(trials) > VALUES_MAX else ""
    return ", ".join(map(str, trials[:VALUES_MAX])) + more
