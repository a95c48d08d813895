"""Dates in running text, in the spellings that people and models use.

A found date has one or more readings (year, month, day); None stands for a part that was not
given: `November 2025` has no day, the first half of `8 – 14 November 2025` takes its year from the
second. 11/10/2025 has two readings. Times of day and lone years are not dates.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import TypeAlias

from msgspec import Struct

__all__ = ["FoundDate", "Reading", "find_dates", "full_dates", "iso_dates", "matches"]

Reading: TypeAlias = tuple[int | None, int, int | None]

_MONTHS = {name: number for number, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name: number for number, name in enumerate(calendar.month_abbr) if name}
_MONTHS |= {"Sept": 9}
_MONTH = "(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"

_ISO = re.compile(r"(?<!\d)(?P<year>(?:19|20)\d\d)([-/])(?P<month>\d\d)\2(?P<day>\d\d)(?!\d)")
_COMPACT = re.compile(r"(?<![\d.])(?P<year>20\d\d)(?P<month>\d\d)(?P<day>\d\d)(?!\d|\.\d)")
_SLASHED = re.compile(rf"(?<![\d/.])(?P<one>\d{{1,2}})([/.])(?P<two>\d{{1,2}})\2{_YEAR}(?![\d/])")
_WRITTEN = [
    # November 14th, 2025 · Nov 14 · 14th of November 2025 · November 2025
    re.compile(rf"\b{_MONTH}\s+{_DAY}\b(?:\s*,?\s*{_YEAR}\b)?"),
    re.compile(rf"(?<![\d.,])\b{_DAY}(?:\s+of)?\s+{_MONTH}(?:\s*,?\s*{_YEAR}\b)?"),
    re.compile(rf"\b{_MONTH}\s*,?\s*{_YEAR}\b"),
]
_YEAR_NEARBY_CHARS = 40


class FoundDate(Struct, frozen=True):
    """One date, where it stands, and how it can be read."""

    start: int
    end: int
    readings: tuple[Reading, ...]


def iso_dates(text: str) -> Iterator[datetime.date]:
    """Full numeric dates, year first: what data files hold."""
    for pattern in (_ISO, _COMPACT):
        for found in pattern.finditer(text):
            if day := _valid(int(found["year"]), int(found["month"]), int(found["day"])):
                yield day


def find_dates(text: str) -> list[FoundDate]:
    """All dates, in order, not overlapping. Linear in the text, however many there are."""
    taken = bytearray(len(text))
    dates: list[FoundDate] = []
    for found in (*_numeric(text), *_written(text)):
        if not any(taken[found.start : found.end]):
            taken[found.start : found.end] = b"\x01" * (found.end - found.start)
            dates.append(found)
    dates.sort(key=lambda date: date.start)
    return [_with_year(date, after) for date, after in zip_longest(dates, dates[1:])]


def full_dates(text: str) -> Iterator[datetime.date]:
    """Every date with year, month and day, in any spelling."""
    for found in find_dates(text):
        for year, month, day in found.readings:
            if year and day and (whole := _valid(year, month, day)):
                yield whole


def matches(reading: Reading, day: datetime.date) -> bool:
    """Whether `day` is the date that was read, as far as it was given."""
    return all(
        said is None or said == is_
        for said, is_ in zip(reading, (day.year, day.month, day.day), strict=True)
    )


def _numeric(text: str) -> Iterator[FoundDate]:
    for found in (*_ISO.finditer(text), *_COMPACT.finditer(text)):
        year, month, day = int(found["year"]), int(found["month"]), int(found["day"])
        if _valid(year, month, day):
            yield FoundDate(found.start(), found.end(), ((year, month, day),))
    for found in _SLASHED.finditer(text):
        year, one, two = int(found["year"]), int(found["one"]), int(found["two"])
        pairs = {(one, two), (two, one)}
        readings = tuple((year, m, d) for m, d in sorted(pairs) if _valid(year, m, d))
        if readings:
            yield FoundDate(found.start(), found.end(), readings)


def _written(text: str) -> Iterator[FoundDate]:
    for pattern in _WRITTEN:
        for found in pattern.finditer(text):
            parts = found.groupdict()
            year = int(parts["year"]) if parts["year"] else None
            month = _MONTHS[parts["month"]]
            day = int(parts["day"]) if parts.get("day") else None
            if day is None or _valid(year or 2000, month, day):
                yield FoundDate(found.start(), found.end(), ((year, month, day),))


def _with_year(date: FoundDate, after: FoundDate | None) -> FoundDate:
    """The first half of a range takes the year of the second."""
    ((year, month, day), *_) = date.readings
    if year is not None or after is None or after.start - date.end > _YEAR_NEARBY_CHARS:
        return date
    return FoundDate(date.start, date.end, ((after.readings[0][0], month, day),))


def _valid(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None
