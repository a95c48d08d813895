"""A first draft of a mapping for a table (`harness import csv FILE --suggest`)."""

from __future__ import annotations

import json
import math
from pathlib import Path

from harness.tables import Table

__all__ = ["suggestion"]


def suggestion(table: Table) -> str:
    """Columns of numbers as metrics, of few texts as factors. Units are for a person."""
    numbers = [name for name in table.columns if _numeric(table, name)]
    texts = [name for name in table.columns if name not in numbers]
    few = [name for name in texts if 1 < len({r.fields[name] for r in table.rows}) <= 20]
    lines = [
        f"# A draft for {table.file}: {len(table.rows)} rows. Edit it: units, what is better,",
        "# which numbers are factors or names and not figures.",
        f"name: {Path(table.file).stem}",
        "source: who measured this, where it was published, under which licence",
        "# arm: {column: agent}        # or a name for all rows",
        "# trial: run                  # column(s): rows alike are one launch",
    ]
    if few:
        lines += ["cell:", *(f"  {_quoted(name)}: {_quoted(name)}" for name in few)]
    lines.append("metrics:")
    for name in numbers:
        unit, better = _guess(name)
        lines.append(
            f"  {_quoted(name)}: {{column: {_quoted(name)}, unit: {_quoted(unit)}, "
            f"better: {better}}}"
        )
    return "\n".join(lines)


def _numeric(table: Table, name: str) -> bool:
    found = [text for row in table.rows if (text := row.fields[name].strip())]
    try:
        return bool(found) and all(map(_finite, found))
    except ValueError:
        return False


def _finite(text: str) -> bool:
    return math.isfinite(float(text))


def _quoted(text: str) -> str:
    return text if text.isidentifier() else json.dumps(text)


def _guess(name: str) -> tuple[str, str]:
    low = name.lower()
    for end, unit, better in (
        ("tok_s", "tok/s", "higher"),
        ("tokens_s", "tok/s", "higher"),
        ("per_s", "1/s", "higher"),
        ("_ms", "ms", "lower"),
        ("_us", "us", "lower"),
        ("_s", "s", "lower"),
        ("_seconds", "s", "lower"),
        ("_time", "s", "lower"),
        ("_bytes", "B", "lower"),
        ("_percent", "%", "neither"),
        ("tokens", "tok", "neither"),
    ):
        if low.endswith(end):
            return unit, better
    return "?", "neither"
