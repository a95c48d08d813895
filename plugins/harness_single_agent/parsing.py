"""Bytes of one file → what it holds: counts, columns of figures, dates, percentages.

Each parser raises UnreadableError with one line saying why; no bytes make it raise anything else.
Figures are kept whole, never sampled: a single cell must not stand for a column (the habit that
made one arbitrary `tokens_s` the result of a whole data set).
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from harness_single_agent.dates import full_dates, iso_dates

__all__ = ["PARSERS", "SUFFIXES", "Contents", "Kind", "UnreadableError"]

Kind: TypeAlias = Literal["csv", "json", "markdown"]

SUFFIXES: dict[str, Kind] = {
    ".csv": "csv",
    ".json": "json",
    ".md": "markdown",
    ".markdown": "markdown",
}

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_PERCENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s?(?:%|percent\b)")
_NUMBERS_MAX = 2_000_000
"""Figures per file; a file with more is refused rather than held in memory."""


class UnreadableError(ValueError):
    """A file that is not what its name says. `str()` is one line."""


class Contents(Struct, frozen=True, kw_only=True):
    """What one file holds."""

    counts: dict[str, int]
    """csv: rows, columns; json: items (elements of all lists), keys; markdown: lines, words,
    headings."""
    columns: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Column (csv) or path (json) → all of its figures, in file order."""
    names: tuple[str, ...] = ()
    """All columns or leaf paths, those without figures too."""
    dates: frozenset[datetime.date] = frozenset()
    percentages: tuple[float, ...] = ()
    """Written out as such in Markdown."""


def parse_csv(data: bytes) -> Contents:
    """The first row names the columns. A column has figures if every non-empty cell is one."""
    text = _decoded(data)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), _dialect(text)) if row]
    except csv.Error as error:
        raise UnreadableError(f"not a CSV table: {error}") from None
    if not rows:
        raise UnreadableError("no row in it")
    header, *body = rows
    if len(body) * len(header) > _NUMBERS_MAX:
        raise UnreadableError(f"more than {_NUMBERS_MAX} cells")
    columns: dict[str, tuple[float, ...]] = {}
    for index, name in enumerate(header):
        cells = [row[index].strip() for row in body if index < len(row)]
        figures = _figures([cell for cell in cells if cell])
        if figures:
            columns.setdefault(name.strip(), figures)
    return Contents(
        counts={"rows": len(body), "columns": len(header)},
        columns=columns,
        names=tuple(name.strip() for name in header),
        dates=frozenset(iso_dates(text)),
    )


def parse_json(data: bytes) -> Contents:
    """Every figure by its path, list positions left out: `results[].build_time`."""
    text = _decoded(data)
    try:
        value = json.loads(text, parse_constant=lambda _name: None)
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from None
    columns: dict[str, list[float]] = {}
    names: dict[str, None] = {}
    items = keys = 0
    moments: set[datetime.date] = set()
    for path, leaf in _leaves(value):
        if isinstance(leaf, dict):
            keys += len(leaf)
        elif isinstance(leaf, list):
            items += len(leaf)
        else:
            names[path] = None
            if isinstance(leaf, int | float) and not isinstance(leaf, bool):
                _keep(columns, path, leaf, moments)
    return Contents(
        counts={"items": items, "keys": keys},
        columns={path: tuple(values) for path, values in columns.items()},
        names=tuple(names),
        dates=frozenset(iso_dates(text)) | moments,
    )


def parse_markdown(data: bytes) -> Contents:
    text = _decoded(data)
    if not text.strip():
        raise UnreadableError("nothing in it")
    lines = text.split("\n")
    return Contents(
        counts={
            "lines": len(lines) - (not lines[-1]),
            "words": sum(any(map(str.isalnum, word)) for word in text.split()),
            "headings": sum(bool(re.match(r"#{1,6}\s", line)) for line in lines),
        },
        dates=frozenset(full_dates(text)),
        percentages=tuple(sorted({float(found) for found in _PERCENT.findall(text)})),
    )


PARSERS: dict[Kind, Callable[[bytes], Contents]] = {
    "csv": parse_csv,
    "json": parse_json,
    "markdown": parse_markdown,
}


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8 text (byte {error.start})") from None


def _dialect(text: str) -> type[csv.Dialect]:
    """The delimiter that the first line has most of; guessing from more goes wrong more often."""
    first = text[: text.find("\n")] if "\n" in text else text

    class Table(csv.excel):
        delimiter = max(",;\t|", key=first.count)

    return Table


def _figures(cells: list[str]) -> tuple[float, ...]:
    """The cells as figures, or nothing if one of them is not: float() alone would accept nan, inf
    and 1_000."""
    if not all(_NUMBER.fullmatch(cell) for cell in cells):
        return ()
    figures = tuple(float(cell) for cell in cells)
    return figures if all(map(math.isfinite, figures)) else ()


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Every container and every leaf with its path, without recursion."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        path, node = pending.pop()
        yield path, node
        if isinstance(node, dict):
            pending += [(f"{path}.{k}" if path else k, v) for k, v in reversed(node.items())]
        elif isinstance(node, list):
            inside = f"{path}[]"
            pending += [(inside, item) for item in reversed(node)]


def _keep(
    columns: dict[str, list[float]], path: str, leaf: float, moments: set[datetime.date]
) -> None:
    try:
        figure = float(leaf)
    except OverflowError:
        return
    if not math.isfinite(figure):
        return
    columns.setdefault(path, []).append(figure)
    # Unix seconds under a name that says so, between 2001 and 2065.
    if "timestamp" in path.lower() and 1e9 <= figure <= 3e9:
        moments.add(datetime.datetime.fromtimestamp(figure, datetime.UTC).date())
