"""The short form of `make soak`, and the proof that it can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from steady import Sample, kept_open, trend  # noqa: E402

WARM = 0.4
GROWN_MAX_BYTES = 10_000_000
"""From WARM to the end. In a second's work the heap has not settled: good runs come out at anything
up to 6 MB where the machine is busy. Payloads never let go are 200 bytes a chunk: 18 MB."""


def soak(chunks: int, *words: str) -> tuple[int, dict]:
    bound = GROWN_MAX_BYTES / ((1 - WARM) * chunks)
    short = ["--warm", str(WARM), "--patience", "1", "--bound", str(bound), "--json"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/soak.py"), "--chunks", str(chunks), *short, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    print({key: found[key] for key in ("chunks", "calls", "trend", "problems", "transport")})
    return done.returncode, found


@pytest.mark.quiet
@pytest.mark.parametrize(("transport", "chunks"), [("native", 200_000), ("portable", 100_000)])
def test_a_short_soak_is_steady(transport, chunks):
    status, found = soak(chunks, "--transport", transport)
    assert (status, found["problems"]) == (0, [])
    assert sum(found["calls"].values()) == found["planned"]
    assert found["calls"]["ok"] > 0 and len(found["calls"]) > 1
    assert len(found["rests"]) == 8  # as many transports were opened and closed


@pytest.mark.quiet
@pytest.mark.parametrize(("plant", "said"), [("memory", "memory grows"), ("threads", "threads: ")])
def test_a_planted_leak_is_found(plant, said):
    status, found = soak(150_000, "--plant", plant)
    assert status == 1
    assert any(said in problem for problem in found["problems"])


def samples(rss):
    return [Sample(n * 100, round(bytes_), 5, 2) for n, bytes_ in enumerate(rss)]


def test_the_trend_is_that_of_a_straight_line():
    found = trend(samples(1e6 + 7 * 100 * n for n in range(50)))
    assert found.slope == pytest.approx(7)
    assert found.plus_minus < 1e-6
    assert found.highest_bytes == 1e6 + 7 * 100 * 49


def test_one_high_sample_in_each_block_moves_nothing():
    found = trend(samples(9e6 if n % 5 == 1 else 1e6 for n in range(50)))
    assert (found.slope, found.plus_minus, found.highest_bytes) == (0, 0, 9e6)


def test_what_lies_before_the_warm_share_does_not_count():
    rising = [n * 1e6 for n in range(40)] + [40e6] * 60
    assert trend(samples(rising)).slope > 0
    assert trend(samples(rising), 0.4).slope == 0


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="too few"):
        trend(samples([1] * 29))
    with pytest.raises(ValueError, match="too few"):
        kept_open(samples([1] * 5))


def test_a_thread_that_is_listed_a_moment_longer_is_no_leak():
    rests = samples([1] * 9)
    assert kept_open([*rests[:-1], rests[-1]._replace(threads=3)]) == []
    found = kept_open([*rests[:6], *(one._replace(threads=3) for one in rests[6:])])
    assert found == ["threads: 2 between the first trials, 3 between the last"]
