"""What observes iterations from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from harness.schema import MetricValue

__all__ = ["Instrument", "InstrumentConfig", "InstrumentFactory", "Observation"]


class InstrumentConfig(Struct, frozen=True, kw_only=True):
    """What an instrument factory is given, in the process that executes the trial."""

    options: Any
    """An instance of the options Struct that the instrument registered."""
    arm: str
    cell: str
    trial: int
    urls: tuple[str, ...]
    """Of the backend, once it is open: where a local server's process is to be found."""


class Observation(Struct, frozen=True, kw_only=True):
    """What an instrument saw of one iteration."""

    metrics: tuple[MetricValue, ...] = ()
    """Names begin with the instrument's: `psutil.rss_max_bytes`. Unknown ones are left out …"""
    unknown: dict[str, str] = {}
    """… and named here, with the reason."""
    artifacts: tuple[tuple[str, str | bytes], ...] = ()
    """(file name, content); a profile, a series of samples."""


@runtime_checkable
class Instrument(Protocol):
    """Observes measured iterations from outside: CPU, memory, energy. One object serves one trial.

    The order of calls is: open, (start, stop) for each iteration, close; `close` also where `open`
    failed. What raises loses that instrument's figures, with the reason in the record; the
    iteration goes on. start and stop bracket the iteration as tightly as the order in the spec
    allows: the first instrument there is the innermost.
    """

    perturbing: bool
    """True: it slows down what it observes (a profiler). It then sees one `extra` iteration per
    trial, after the measured ones, whose figures count for nothing else."""

    def open(self) -> None:
        """Once per trial, when the backend is open. May be slow."""

    def start(self) -> None:
        """Must be quick."""

    def stop(self) -> Observation:
        """Must be quick to stop observing; what takes time comes after that."""

    def close(self) -> None: ...


InstrumentFactory: TypeAlias = Callable[[InstrumentConfig], Instrument]
"""Called when a run is planned (without urls), to see whether the instrument perturbs, and again
for each trial. Must be quick; a HarnessError that it raises in the plan refuses the run."""
