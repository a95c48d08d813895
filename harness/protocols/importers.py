"""Results that others measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from harness.schema import MetricValue

__all__ = ["ImportedRow", "ImportedRows", "Importer", "ImporterFactory", "Stated", "Suggests"]


class Stated(Struct, frozen=True, kw_only=True):
    """A figure that a source states, and that its own data contradict."""

    figure: str
    stated: float
    found: float
    """What its data give."""
    place: str = ""
    """Where it is stated: a file, a field of it."""


class ImportedRow(Struct, frozen=True, kw_only=True):
    """One thing that somebody measured: a call, an agent's run, a pair of agents. Becomes one
    iteration."""

    arm: str = "default"
    cell: str = "base"
    launch: tuple[str, ...]
    """Rows alike in arm, cell and this are iterations of one launch."""
    place: int | str
    """Where it stands: the line of a table, a file and a field. For messages and evidence."""
    metrics: tuple[MetricValue, ...]
    """`imported` as the source has them, `derived` what follows from those. None for what is
    unknown."""
    kind: str = ""
    """Where rows of several kinds are in one launch, such as `run` and `call`: a metric is unknown
    only in rows of its own kind."""
    factors: dict[str, Any] = {}
    """Of its cell: factor (a path into the spec, where it is one) → level."""
    options: dict[str, Any] | None = None
    """What its launch was configured with. None: the factors."""
    model: str | None = None
    failed: str = ""
    """Why it failed. Its figures then count for nothing, and it is counted."""
    disagrees: tuple[Stated, ...] = ()
    data: dict[str, Any] = {}
    """What else is worth keeping."""


class ImportedRows(Struct, frozen=True, kw_only=True):
    """What an importer made of a file or folder."""

    name: str
    """Of the run."""
    file: str
    """Name alone: a path tells of the machine."""
    sha256: str
    """Of all that was read."""
    rows: tuple[ImportedRow, ...]
    of: int
    """Rows that were there, those included that were left out."""
    source: str = ""
    """Who measured it, where it was published, under which licence."""
    model: str | None = None
    baseline: str | None = None
    """The arm that the others are compared to. None: that of the first row."""
    started: str | None = None
    """ISO 8601; None: unknown."""
    gaps: tuple[str, ...] = ()
    """What should have been there and is not: a planned run without a result."""
    bounds: dict[str, tuple[float | None, float | None]] = {}
    """Metric → what arithmetic or physics allow. `harness audit` lists the rows beyond."""
    about: dict[str, Any] = {}
    """How it was read: kept with the run."""
    remarks: tuple[str, ...] = ()
    """For `--dry-run`, a line each."""


class Importer(Protocol):
    """Reads somebody's results, so that every command works on them."""

    def read(self, path: Path) -> ImportedRows:
        """Raise StoreError with file and place for what cannot be read, SpecError for a mistake in
        the options. What is unknown is left out, never 0."""


@runtime_checkable
class Suggests(Protocol):
    """An importer that can draft the options that it needs (`harness import … --suggest`)."""

    def suggest(self, path: Path) -> str: ...


ImporterFactory: TypeAlias = Callable[[Any], Importer]
"""Called with an instance of the options Struct that was registered."""
