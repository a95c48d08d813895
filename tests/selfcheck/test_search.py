"""The search for the highest rate, the choice of cores, the plan."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.selfcheck import Step, plan_for
from harness.selfcheck.cores import siblings, split_cores
from harness.selfcheck.highest import search
from harness.selfcheck.server import on_cores

RATES = (1.0, 2.0, 4.0, 8.0)


def limit(most, tried=None):
    """Holds up to `most`."""

    def attempt(per_s):
        if tried is not None:
            tried.append(per_s)
        return () if per_s <= most else ("client: too much",)

    return attempt


def test_upwards_until_one_slips_twice():
    tried = []
    found = search(limit(3, tried), RATES)
    assert (found.per_s, found.more) == (2.0, False)
    assert tried == [1.0, 2.0, 4.0, 4.0]
    assert [step.held for step in found.steps] == [True, True, False]
    assert found.steps[-1].slipped == ("client: too much",)


def test_one_bad_moment_is_no_limit():
    answers = iter([(), ("server: late",), (), ()])
    found = search(lambda _: next(answers), (1.0, 2.0, 3.0))
    assert (found.per_s, found.more) == (3.0, True)


def test_nothing_held_and_nothing_tried():
    found = search(limit(0.5), RATES)
    assert (found.per_s, found.more) == (None, False) and len(found.steps) == 1
    assert search(limit(9), ()).per_s is None


@given(st.floats(1.0, 7.9))
def test_bisection_closes_in(most):
    found = search(limit(most), RATES, bisect=True, ratio=1.1)
    assert found.per_s <= most < 1.1 * found.per_s * 1.0001


def test_what_is_known_is_not_tried_again():
    tried = []
    known = (Step(per_s=1.0, held=True), Step(per_s=2.0, held=True))
    assert search(limit(5, tried), (4.0, 8.0), known=known).per_s == 4.0
    assert tried == [4.0, 8.0, 8.0]
    known = (Step(per_s=1.0, held=True), Step(per_s=2.0, held=False, slipped=("x",)))
    found = search(limit(5), (4.0,), known=known)
    assert (found.per_s, found.more, found.steps) == (1.0, False, known)


@pytest.mark.parametrize(
    ("allowed", "pairs", "client", "server"),
    [
        ([0], [], (), ()),
        ([0, 1], [], (0,), (1,)),
        ([0, 1], [(0, 1)], (0,), (1,)),
        ([0, 1, 2, 3], [(0, 2), (1, 3)], (0, 2), (1, 3)),
        ([2, 3, 7], [], (2, 3), (7,)),
        ([0, 1, 3], [(1, 3), (0, 2)], (0,), (1, 3)),
    ],
)
def test_the_server_gets_a_core_of_its_own(allowed, pairs, client, server):
    def of(core):
        return frozenset(next((pair for pair in pairs if core in pair), (core,)))

    assert split_cores(allowed, of) == (client, server)


def test_a_core_is_its_own_sibling():
    for core in os.sched_getaffinity(0):
        assert core in siblings(core)
    assert siblings(10**6) == {10**6}


def test_cores_are_given_back():
    before = os.sched_getaffinity(0)
    with on_cores([min(before)]):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
    with on_cores([]):
        assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_the_plan_carries_its_quantiles(mode):
    plan = plan_for(mode)
    for load in plan.loads:
        if load.rate_tok_s and (mode == "full" or load.streams >= 16):
            least = 300 if mode == "full" and load.streams >= 4 else 100
            assert load.requests * load.repeats >= least
        assert load.requests >= load.streams and load.tokens >= 32
    chosen = plan_for(mode, (8, 2, 8))
    assert [load.streams for load in chosen.loads] == [2, 8]
    assert chosen.request_rates == () and not chosen.bisect


class Scripted:
    """A bench whose loads come out as told."""

    def __init__(self):
        self.asked = []

    def load(self, load):
        self.asked.append(load)
        return len(self.asked), f"log {len(self.asked)}"


def test_a_load_is_done_again_only_where_the_server_was_late(monkeypatch):
    from harness.selfcheck import bench as page

    taken = []
    monkeypatch.setattr(page, "server_was_late", lambda driven, log: driven in (2, 6))
    monkeypatch.setattr(page, "merged", list)
    monkeypatch.setattr(
        page, "figures_of", lambda load, driven, log, done_again: taken.append((driven, done_again))
    )
    first = page.Load(streams=1, requests=1, tokens=1, repeats=2)
    second = page.Load(streams=2, requests=2, tokens=1)
    flat = page.Load(streams=3, requests=3, tokens=1, rate_tok_s=None)
    bench = Scripted()
    page._all_loads(page.Plan(mode="quick", loads=(first, second, flat)), bench)
    assert bench.asked == [first, second, second, flat, first]
    assert taken == [([1, 5], 0), ([3], 1), ([4], 0)]
