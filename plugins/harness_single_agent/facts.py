"""What the corpus says, in the form in which a claim can be held against it."""

from __future__ import annotations

import datetime
import math
import statistics
from bisect import bisect_left
from collections.abc import Iterable
from itertools import combinations

from msgspec import Struct

from harness_single_agent.dates import Reading, iso_dates, matches
from harness_single_agent.ingest import Corpus, Source
from harness_single_agent.parsing import Kind

__all__ = ["Facts", "Figures", "aggregates"]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def aggregates(values: tuple[float, ...]) -> dict[str, float]:
    """n, sum, mean, median, sd (n − 1), min, max and linear quantiles of one column."""
    ordered = sorted(values)
    found = {
        "n": float(len(values)),
        "sum": math.fsum(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": ordered[0],
        "max": ordered[-1],
    }
    for share in _QUANTILES:
        place = (len(ordered) - 1) * share
        low = ordered[int(place)]
        high = ordered[min(int(place) + 1, len(ordered) - 1)]
        found[f"p{round(100 * share):02d}"] = low + (high - low) * (place - int(place))
    found["median"] = found["p50"]
    return found


class Figures(Struct, frozen=True):
    """All figures of the columns that share a name: every cell, and aggregates of each column and
    of all of them together."""

    ordered: tuple[float, ...]

    @classmethod
    def of(cls, columns: Iterable[tuple[float, ...]]) -> Figures:
        columns = list(columns)
        every = [value for column in columns for value in column]
        pooled = tuple(every)
        for column in {*columns, pooled}:
            every += aggregates(column).values()
        return cls(tuple(sorted(every)))

    def near(self, value: float, tolerance: float) -> bool:
        index = bisect_left(self.ordered, value - tolerance)
        return index < len(self.ordered) and self.ordered[index] <= value + tolerance


class Facts:
    """Counts, dates, shares and columns of a corpus."""

    def __init__(self, corpus: Corpus, today: datetime.date) -> None:
        self.corpus = corpus
        self.files = len(corpus.sources)
        self.by_kind: dict[Kind, int] = corpus.files_by_kind()
        self.dates = frozenset({today}.union(*map(_dates, corpus.sources)))
        self.written_percentages = tuple(
            p for source in corpus.sources for p in source.contents.percentages
        )
        self._columns = _by_name(corpus.sources)

    def knows_date(self, readings: tuple[Reading, ...]) -> bool:
        return any(matches(reading, day) for reading in readings for day in self.dates)

    def files_named(self, part: str) -> int:
        """Files whose path contains `part`."""
        return sum(part.lower() in source.path.lower() for source in self.corpus.sources)

    def files_of(self, kinds: Iterable[Kind]) -> int:
        return sum(self.by_kind[kind] for kind in set(kinds))

    def shares_percent(self, kinds: Iterable[Kind]) -> tuple[float, float]:
        """Share of these kinds in the files and in the bytes, in percent."""
        wanted = set(kinds)
        size = sum(s.size_bytes for s in self.corpus.sources if s.kind in wanted)
        of_bytes = 100 * size / self.corpus.size_bytes if self.corpus.size_bytes else 0.0
        return 100 * self.files_of(wanted) / self.files, of_bytes

    def all_shares_percent(self) -> list[float]:
        """Of every set of kinds."""
        kinds = list(self.by_kind)
        return [
            share
            for size in range(1, len(kinds) + 1)
            for group in combinations(kinds, size)
            for share in self.shares_percent(group)
        ]

    def kind_sums(self) -> set[int]:
        """Number of files in every set of kinds."""
        kinds = list(self.by_kind)
        groups = (g for size in range(1, len(kinds) + 1) for g in combinations(kinds, size))
        return {self.files_of(group) for group in groups}

    def counts(self, noun: str, within: str | None = None) -> set[int]:
        """How many `noun` (rows, columns, items …) there are: in each file whose path contains
        `within`, or, without that, in each file, in each kind, and in all."""
        if within is not None:
            chosen = [s for s in self.corpus.sources if within in s.path]
            return {s.contents.counts[noun] for s in chosen if noun in s.contents.counts}
        holders = [s for s in self.corpus.sources if noun in s.contents.counts]
        return {s.contents.counts[noun] for s in holders} | {
            sum(s.contents.counts[noun] for s in holders)
        }

    def columns_in(self, text: str, quoted: Iterable[str]) -> list[Figures]:
        """The columns that a text names: in quotes or backticks, or bare where the name could not
        be an ordinary word (it has an underscore)."""
        words = {word.strip("`'\"()[]:,;.|*").lower() for word in text.split()}
        named = {word for word in words if "_" in word} | {q.strip().lower() for q in quoted}
        return [self._columns[name] for name in sorted(named) if name in self._columns]


def _dates(source: Source) -> set[datetime.date]:
    return {source.modified.date(), *source.contents.dates, *iso_dates(source.path)}


def _by_name(sources: tuple[Source, ...]) -> dict[str, Figures]:
    """By full name, and for a JSON path by its last key as well."""
    columns: dict[str, list[tuple[float, ...]]] = {}
    for source in sources:
        for name, values in source.contents.columns.items():
            for key in {name.lower(), name.rpartition(".")[2].lower()}:
                columns.setdefault(key, []).append(values)
    return {name: Figures.of(found) for name, found in columns.items()}
