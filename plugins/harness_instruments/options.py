"""What the instruments can be asked for. Light on purpose: imported at every start."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

__all__ = ["CProfileOptions", "PsutilOptions", "PySpyOptions", "SamplerOptions"]

Positive: TypeAlias = Annotated[int, Meta(ge=1)]


class PsutilOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the instrument `psutil`."""

    interval_ms: Annotated[float, Meta(ge=5, le=60_000)] = 100.0
    """Between two samples of memory and threads. CPU time, I/O and network are counters, read as
    the iteration begins and ends: they need no samples."""
    uss: bool = False
    """Also the memory that would be free if the processes ended (unique set size), read once as the
    iteration ends. Costs the kernel a walk over every page of them."""
    samples: bool = True
    """Keep the samples as an artifact, `samples.csv`."""


class CProfileOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the instrument `cprofile`."""

    top: Positive = 40
    """Lines of the readable table; the whole profile is in the `.pstats` file."""
    sort: Literal["cumulative", "tottime", "ncalls"] = "cumulative"
    """What the table is sorted by."""


class SamplerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the instrument `sampler`."""

    interval_ms: Annotated[float, Meta(ge=1, le=10_000)] = 10.0
    """Between two samples. What it costs is recorded as `sampler.sampling_cpu_share`."""
    threads: Literal["all", "main"] = "all"
    """`main`: the thread that runs the scenario alone."""


class PySpyOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the instrument `pyspy`."""

    target: Literal["self", "server"] = "self"
    """Our own process, or the local server's, if that is a Python program."""
    rate_per_s: Annotated[int, Meta(ge=1, le=1000)] = 100
    """Samples a second."""
    children: bool = True
    """Their Python child processes too."""
    native: bool = False
    """Frames of compiled code too, such as those of an inference engine."""
    nonblocking: bool = False
    """Do not stop the process while it is sampled: perturbs less, and tears some stacks."""
