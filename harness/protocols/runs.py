"""What comes after a run: the run itself, loaded, and views of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO, Protocol

from harness.schema import Manifest, SessionRecord, Summary
from harness.schema.iteration import Record as LogRecord

__all__ = ["Exporter", "RunData", "Scorer"]


class RunData(Protocol):
    """A loaded run: manifest, summary, and its records as they were written."""

    manifest: Manifest
    summary: Summary
    sessions: tuple[SessionRecord, ...]
    """Empty, unless the run was resumed."""

    def records(self) -> Iterable[LogRecord]:
        """In the order of the log; can be iterated more than once."""


class Exporter(Protocol):
    """Writes one view of a run as bytes: a function of the run and nothing else."""

    def __call__(self, run: RunData, out: BinaryIO) -> None: ...


class Scorer(Protocol):
    """Grades a text against a reference. Registered and listed today, driven by later work."""

    def score(self, text: str, reference: Any) -> float: ...
