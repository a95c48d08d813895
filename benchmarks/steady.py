"""Does a process stay as it is: memory, descriptors and threads, sampled as the work goes on.

Resident memory is judged by its trend. Samples are cut into ten blocks of equal work, a line is
laid through the medians of the blocks, and its slope has the 95 % interval of a straight line
through ten points (t, 8 degrees of freedom). Medians of blocks, because one sample sees whatever
happens to be in flight. Descriptors and threads are judged by counts at like instants (between two
trials, nothing open): the least of the last three must not exceed the least of the first three.
"""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import NamedTuple

BLOCKS = 10
T_95 = 2.306
"""Student's t, two-sided 95 %, for BLOCKS − 2 degrees of freedom."""


class Sample(NamedTuple):
    """What the system says of this process, after `work` units of work."""

    work: int
    rss_bytes: int
    descriptors: int
    threads: int


class Trend(NamedTuple):
    """Bytes per unit of work, with the half-width of the 95 % interval."""

    slope: float
    plus_minus: float
    highest_bytes: int
    """Of the samples that the trend is made of."""


def status(pid: int | str = "self") -> dict[str, str]:
    """/proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def rss_bytes(pid: int | str = "self", field: str = "VmRSS") -> int:
    """`VmHWM` is the peak."""
    return int(status(pid)[field].split()[0]) * 1024


def forget_peak() -> None:
    """VmHWM begins again at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def sample(work: int = 0) -> Sample:
    found = status()
    # One of the descriptors is the one that lists them.
    open_now = len([*Path("/proc/self/fd").iterdir()]) - 1
    return Sample(work, int(found["VmRSS"].split()[0]) * 1024, open_now, int(found["Threads"]))


def trend(samples: list[Sample], skip_share: float = 0.0) -> Trend:
    """Of the resident memory, without the first `skip_share` of the work."""
    start = samples[0].work + skip_share * (samples[-1].work - samples[0].work)
    kept = [one for one in samples if one.work >= start]
    if len(kept) < 3 * BLOCKS:
        raise ValueError(f"{len(kept)} samples are too few for a trend: {3 * BLOCKS} or more")
    edges = [len(kept) * n // BLOCKS for n in range(BLOCKS + 1)]
    blocks = [kept[low:high] for low, high in itertools.pairwise(edges)]
    x = [statistics.mean(one.work for one in block) for block in blocks]
    y = [statistics.median(one.rss_bytes for one in block) for block in blocks]
    slope, intercept = statistics.linear_regression(x, y)
    spread = sum((b - slope * a - intercept) ** 2 for a, b in zip(x, y, strict=True))
    wide = sum((a - statistics.mean(x)) ** 2 for a in x)
    error = (spread / (BLOCKS - 2) / wide) ** 0.5
    return Trend(slope, T_95 * error, max(one.rss_bytes for one in kept))


def kept_open(rests: list[Sample]) -> list[str]:
    """What is more at the end than in the beginning, of samples taken while nothing is open.

    The least of three, because a thread that was joined is listed for another moment.
    """
    if len(rests) < 6:
        raise ValueError(f"{len(rests)} instants of rest are too few: 6 or more")
    found = []
    for what in ("descriptors", "threads"):
        first = min(getattr(one, what) for one in rests[:3])
        last = min(getattr(one, what) for one in rests[-3:])
        if last > first:
            found.append(f"{what}: {first} between the first trials, {last} between the last")
    return found
