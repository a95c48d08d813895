"""The data summary: what the model gets to see of the corpus, within a bound.

Strategy. The summary is a list of lines, each with a rank: totals first, then one line per file,
then one line per column of figures. Lines are taken by rank until the bound is reached and printed
in their natural order. What had no room is counted, the summary itself says so in its last line,
and the run records it: nothing is cut in silence.

Columns are shown by min, mean and max over all of their cells, and by n where that is not the
number of rows. A sample would be shorter, and a single cell has more than once been reported as the
result of a whole table.
"""

from __future__ import annotations

from msgspec import Struct

from harness_single_agent.facts import aggregates
from harness_single_agent.ingest import Corpus, Source
from harness_single_agent.text import clean

__all__ = ["DataSummary", "summarise"]

_TITLES = {"csv": "CSV", "json": "JSON", "markdown": "Markdown"}
_TOTALS, _FILE, _COLUMN = range(3)
_ROOM_FOR_NOTICE_CHARS = 60


class DataSummary(Struct, frozen=True, kw_only=True):
    """The text, and what it leaves out."""

    text: str
    lines_left_out: int = 0
    files_left_out: int = 0
    """Of `lines_left_out`: files whose very name is missing."""

    @property
    def is_cut(self) -> bool:
        return self.lines_left_out > 0


def summarise(corpus: Corpus, chars_max: int) -> DataSummary | None:
    """The summary within `chars_max`; None where not even the totals have room."""
    lines = _lines(corpus)
    if sum(len(line) + 1 for _, line in lines) <= chars_max:
        return DataSummary(text="\n".join(line for _, line in lines))
    room = chars_max - _ROOM_FOR_NOTICE_CHARS
    taken: set[int] = set()
    for rank in (_TOTALS, _FILE, _COLUMN):
        for index, (line_rank, line) in enumerate(lines):
            if line_rank != rank:
                continue
            if len(line) + 1 > room:
                if rank == _TOTALS:
                    return None
                room = 0  # later lines would fit, but a list with holes reads as complete
                break
            room -= len(line) + 1
            taken.add(index)
    left_out = [rank for index, (rank, _) in enumerate(lines) if index not in taken]
    kept = [line for index, (_, line) in enumerate(lines) if index in taken]
    kept.append(f"[cut to fit: {len(left_out)} more lines]")
    return DataSummary(
        text="\n".join(kept),
        lines_left_out=len(left_out),
        files_left_out=left_out.count(_FILE),
    )


def _lines(corpus: Corpus) -> list[tuple[int, str]]:
    lines = [(_TOTALS, f"Total files analysed: {len(corpus.sources)}")]
    for kind, title in _TITLES.items():
        sources = [source for source in corpus.sources if source.kind == kind]
        if not sources:
            continue
        size = sum(source.size_bytes for source in sources)
        latest = max(source.modified for source in sources)
        lines.append((_TOTALS, f"{title} files ({len(sources)}): {size} bytes"))
        lines.append((_TOTALS, f"  Latest modified: {latest:%Y-%m-%d %H:%M:%S} UTC"))
        for source in sources:
            lines += _of_file(source)
    return lines


def _of_file(source: Source) -> list[tuple[int, str]]:
    counts = ", ".join(f"{count} {noun}" for noun, count in source.contents.counts.items())
    lines = [(_FILE, f"  - {_name(source.path)}: {counts}")]
    for name, values in source.contents.columns.items():
        figures = _figures(values, source.contents.counts.get("rows"))
        lines.append((_COLUMN, f"      {_name(name)}: {figures}"))
    return lines


def _figures(values: tuple[float, ...], rows: int | None) -> str:
    found = aggregates(values)
    n = "" if len(values) == rows else f"n {len(values)}, "
    if found["min"] == found["max"]:
        return f"{n}all {found['min']:.5g}" if len(values) > 1 else f"{found['min']:.5g}"
    return n + ", ".join(f"{key} {found[key]:.5g}" for key in ("min", "mean", "max"))


def _name(name: str) -> str:
    """One line, whatever the file system or the file calls itself."""
    return " ".join(clean(name).split())[:160] or "(no name)"
