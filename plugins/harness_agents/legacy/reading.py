"""From a file to its records: JSON as it was written, and which form it is, by its fields."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from harness.errors import StoreError
from harness.text import listed, one_line, without_surrogates
from harness_agents.legacy.fields import HeadPair, PythonPair, PythonRun, RustPair, RustSingle
from harness_agents.legacy.pairs import head_multi, python_multi, rust_multi, summary_of
from harness_agents.legacy.parts import typed
from harness_agents.legacy.records import LegacyMetrics, LegacySummary
from harness_agents.legacy.single import python_single, rust_single

__all__ = ["read_metrics", "read_summary"]

SIZE_MAX: Final = 64 * 2**20
"""Bytes; the largest known has 150 KB."""


def read_metrics(path: Path) -> LegacyMetrics:
    """A metrics.json of any of the forms. Raises StoreError with file and field."""
    return _of_its_form(_content(path), path)


def read_summary(path: Path) -> LegacySummary:
    """The summary.json of a folder of multi runs. Raises StoreError with file and field."""
    return summary_of(_content(path), path)


def _of_its_form(value: Any, path: Path) -> LegacyMetrics:
    if isinstance(value, list):
        return python_single(typed(value, list[PythonRun], path))
    keys = set(value) if isinstance(value, dict) else set()
    if {"baseline", "chimera"} <= keys:
        return rust_single(typed(value, RustSingle, path), path)
    if {"collector", "insight"} <= keys:
        first = value["collector"] if isinstance(value["collector"], dict) else {}
        if "result" in first:
            return rust_multi(typed(value, RustPair, path), path)
        if "aggregate_metrics" in first:
            return python_multi(typed(value, PythonPair, path))
        return head_multi(typed(value, HeadPair, path))
    raise _unlike(path, value)


def _unlike(path: Path, value: Any) -> StoreError:
    """It is none of the forms."""
    if isinstance(value, dict):
        what = f"an object with {listed([one_line(str(key), 40) for key in value]) or 'nothing'}"
    else:
        what = {list: "a list", str: "text", type(None): "null"}.get(type(value), "a number")
    return StoreError(
        f"{what} is none of the known forms of metrics.json",
        where=str(path),
        remedy="a list of runs, `baseline` and `chimera`, or `collector` and `insight`",
    )


# ---- JSON as it was written


def _content(path: Path) -> Any:
    """What the file holds: NaN and infinities as None, as they stand for nothing known."""
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(path)) from None
    if len(content) > SIZE_MAX:
        raise StoreError(f"it has more than {SIZE_MAX // 2**20} MiB", where=str(path))
    try:
        value = json.loads(
            content, parse_constant=lambda _: None, parse_float=_number, parse_int=_whole
        )
        return without_surrogates(value)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"not JSON: {one_line(str(error), 200)}", where=str(path)) from None


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _whole(text: str) -> int | float | None:
    """What no 64-bit program can have counted is no count."""
    return int(text) if len(text) < 19 else _number(text)
