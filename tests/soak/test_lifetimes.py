"""What is opened and closed a thousand times leaves nothing behind; and what would, is seen."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import pytest

pytestmark = pytest.mark.quiet

GROWN_MAX_BYTES = 1_000_000
"""In the second half of the lives. Measured: 12 kB in 500 lives of a reactor or a native transport,
100 kB in those of the portable one, whose rise still flattens. Planted: 3 MB and more."""


def what_grew(kind: str, lives: int, *plant: str) -> list[str]:
    """From the middle of the lives to their end; least or median of ten samples each."""
    command = [sys.executable, "-m", "tests.soak.lifetimes", kind, str(lives), *plant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    samples = json.loads(done.stdout)
    assert len(samples) == 100
    _, rss, descriptors, threads = zip(*samples, strict=True)
    found = []
    grown = statistics.median(rss[-10:]) - statistics.median(rss[45:55])
    print(f"{kind}, {lives} lives: {grown} bytes in the second half, {samples[-1]}")
    if grown > GROWN_MAX_BYTES:
        found.append("memory")
    if min(descriptors[-10:]) > min(descriptors[45:55]):
        found.append("descriptors")
    if min(threads[-10:]) > min(threads[45:55]):
        found.append("threads")
    return found


@pytest.mark.parametrize(
    ("kind", "lives"), [("reactor", 1000), ("sender", 1000), ("native", 1000), ("portable", 300)]
)
def test_nothing_is_left_behind(kind, lives):
    assert what_grew(kind, lives) == []


@pytest.mark.parametrize(
    ("plant", "found"),
    [("memory", ["memory"]), ("descriptors", ["descriptors"])],
)
def test_what_is_left_behind_is_seen(plant, found):
    assert what_grew("reactor", 400, plant) == found


def test_a_thread_that_is_left_running_is_seen():
    found = what_grew("native", 100, "threads")
    assert {"descriptors", "threads"} <= set(found)
