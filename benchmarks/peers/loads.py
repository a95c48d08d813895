"""What the truth server is asked for."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Load", "Plan", "plan"]


class Load(NamedTuple):
    """`streams` at a time, each of `waves` requests one after another."""

    name: str
    title: str
    streams: int
    waves: int
    gap_ms: float
    ttft: str
    """Law, as `harness sim` takes it. Spread over one gap, so that the phases of the streams do not
    depend on how a client happens to begin."""
    warmup: bool
    """One more request per stream before anything is measured."""
    lengths: dict[str, tuple[int, int]]
    """Output tokens of a short and a long run, by tool ("" is any other)."""
    limit_s: float
    """A run that takes longer is stopped, and the table says so."""

    @property
    def requests(self) -> int:
        return self.streams * self.waves

    def tokens(self, tool: str, size: str) -> int:
        short, long = self.lengths.get(tool, self.lengths[""])
        return short if size == "short" else long


class Plan(NamedTuple):
    """One load, and who runs it how often."""

    load: Load
    cores: int
    """For the client."""
    rounds: int
    tools: tuple[str, ...]
    sizes: tuple[str, ...]
    sizes_of_peers: tuple[str, ...]


STREAMS_64 = Load(
    name="64x100",
    title="64 streams × 100 tok/s",
    streams=64,
    waves=3,
    gap_ms=10,
    ttft="uniform:45,55",
    warmup=True,
    # A bare loop has one wave; longer answers make up for it.
    lengths={"": (50, 250), "bare": (50, 650)},
    limit_s=120,
)
STREAMS_1000 = Load(
    name="1000x100",
    title="1,000 streams × 100 tok/s",
    streams=1000,
    waves=1,
    gap_ms=10,
    ttft="uniform:1000,1010",  # the server makes 1,000 answers in the meantime
    warmup=False,
    lengths={"": (100, 200)},
    limit_s=150,
)
STREAMS_8 = Load(
    name="8x50",
    title="8 streams × 50 tok/s",
    streams=8,
    waves=6,
    gap_ms=20,
    ttft="uniform:40,60",
    warmup=True,
    lengths={"": (25, 75)},
    limit_s=90,
)
FLAT_OUT = Load(
    name="flat",
    title="flat out, 16 streams",
    streams=16,
    waves=1,
    gap_ms=0,
    ttft="1000",
    warmup=False,
    # A difference must be well above the chance in start-up: a tool that is quick needs more.
    lengths={"": (500, 2500), "ours": (2000, 20000), "bare": (2000, 20000)},
    limit_s=120,
)

PEERS = ("aiperf", "guidellm")
ALL = ("bare", "ours", *PEERS)
BOTH = ("short", "long")
LONG = ("long",)


def plan(quick: bool) -> list[Plan]:
    """In the order in which they run."""
    if quick:
        return [
            Plan(STREAMS_64, 1, 1, ALL, BOTH, BOTH),
            Plan(STREAMS_1000, 1, 1, ("bare", "ours"), BOTH, LONG),
            Plan(FLAT_OUT, 1, 1, ("bare", "ours", *PEERS), BOTH, BOTH),
        ]
    return [
        Plan(STREAMS_64, 1, 3, ALL, BOTH, BOTH),
        Plan(STREAMS_64, 2, 1, ("ours", *PEERS), LONG, LONG),
        Plan(STREAMS_8, 1, 1, ("ours", *PEERS), LONG, LONG),
        Plan(STREAMS_1000, 1, 1, ALL, BOTH, LONG),
        Plan(FLAT_OUT, 1, 1, ALL, BOTH, BOTH),
    ]
