"""Arrival processes: seeded, of the stated mean."""

from __future__ import annotations

import itertools
import statistics

import pytest

from harness.engine.load import arrival_gaps_s, shortened
from harness.schema import ClosedLoad, OpenLoad


def gaps(n=20_000, seed=3, **fields):
    return list(itertools.islice(arrival_gaps_s(OpenLoad(**fields), seed), n))


@pytest.mark.parametrize(
    ("fields", "cv"),
    [
        ({"arrival": "constant"}, 0.0),
        ({"arrival": "poisson"}, 1.0),
        ({"arrival": "gamma", "shape": 4.0}, 0.5),
        ({"arrival": "gamma", "shape": 0.25}, 2.0),
    ],
)
def test_mean_and_spread(fields, cv):
    found = gaps(rate_per_s=50.0, **fields)
    assert statistics.fmean(found) == pytest.approx(0.02, rel=0.05)
    assert statistics.pstdev(found) / statistics.fmean(found) == pytest.approx(cv, abs=0.1)


def test_repeatable_from_the_seed():
    assert gaps(10, rate_per_s=1.0) == gaps(10, rate_per_s=1.0)
    assert gaps(10, rate_per_s=1.0) != gaps(10, seed=4, rate_per_s=1.0)


def test_warm_up_touches_every_slot_and_no_more():
    assert shortened(ClosedLoad(concurrency=8, requests=100)).requests == 8
    assert shortened(ClosedLoad(concurrency=8, requests=3)).requests == 3
    assert shortened(ClosedLoad(concurrency=1, requests=100)).requests == 2
    assert shortened(OpenLoad(rate_per_s=9, requests=100)).requests == 4
