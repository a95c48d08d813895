"""What a check finds: the condensed SelfCheck that goes into every run, and all that it rests on.

Data alone. Times in ns, rates per second; None is unknown, and `withheld` says which n it takes.
"""

from __future__ import annotations

from msgspec import Struct, field

from harness.schema import SelfCheck, SelfCheckLoad
from harness.testing.sim import Spread

__all__ = ["Check", "Highest", "LoadFound", "Machine", "Step"]


class LoadFound(Struct, frozen=True, kw_only=True):
    """One load: its figures, and what they are to be held against."""

    name: str
    figures: SelfCheckLoad
    planned: int
    """Calls."""
    unnamed: int
    """Calls that the server's log does not have."""
    unequal: int
    """Calls with another number of chunks than were sent."""
    done_again: int = 0
    """Repeats that were done once more, as the server had been late; only the second counts."""
    withheld: dict[str, int] = field(default_factory=dict)
    """Figure → the n that its p99 takes, where there were fewer."""
    slipped: tuple[str, ...] = ()
    """Why the load was not held. Each begins with who slipped: `server:` or `client:`."""
    first_token: Spread
    chunks: Spread
    send: Spread
    """How long the server's sends took: an error cannot be known better than to this."""
    server_lateness: dict[str, int | None]
    """Of sends that a law of time governs: sends, p50_ns, p99_ns, max_ns, held_up."""
    ttft_bias: Spread
    ttft_reported_p50_ns: float
    ttft_true_p50_ns: float
    arrival_by_kernel: int
    """Calls whose arrival the server's kernel stamped."""
    chunks_per_s: float
    """Received, from the first to the last chunk, pauses between calls and all."""


class Step(Struct, frozen=True, kw_only=True):
    """One try on the way to the highest rate."""

    per_s: float
    """Asked for."""
    held: bool
    slipped: tuple[str, ...] = ()


class Highest(Struct, frozen=True, kw_only=True):
    """The search for the highest rate that is held."""

    per_s: float | None = None
    """None: not even the lowest that was tried."""
    more: bool = False
    """The highest that was tried was held too: there may be more."""
    steps: tuple[Step, ...] = ()


class Machine(Struct, frozen=True, kw_only=True):
    """Where it ran."""

    cpu: str | None
    kernel: str | None
    cores: int
    """That this process may use."""
    client_cores: tuple[int, ...] = ()
    """Empty: not pinned, as there is one core alone."""
    server_cores: tuple[int, ...] = ()
    load_average: float | None = None
    """Over the minute before the check: what other programs were at."""
    realtime: bool | None = None
    """The server's sending thread had real-time priority. None: not known, or not asked for as
    there is one core alone."""
    host_digest: str
    native_digest: str


class Check(Struct, frozen=True, kw_only=True):
    """Everything that `harness selfcheck --json` prints."""

    selfcheck: SelfCheck
    machine: Machine
    loads: tuple[LoadFound, ...]
    chunk_rate: Highest
    """`per_s` in chunks with content per second, all streams together."""
    request_rate: Highest
    seconds: float
    """What the check took."""
    left_out: tuple[str, ...] = ()
    """Loads for which the system allows too few open files."""
