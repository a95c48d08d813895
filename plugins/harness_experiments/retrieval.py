"""`index_retrieval`: radius and nearest-neighbour queries over points in the plane.

One set of points and one set of queries, made in setup from the block's seed, so that every index
answers the same. Its answers are compared with an exhaustive search after the clock has stopped.
"""

from __future__ import annotations

import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness_experiments.options import IndexOptions

__all__ = ["IndexRetrieval"]

Points: TypeAlias = NDArray[np.float64]
WORLD = 1000.0
CLUSTERS = 10


class IndexRetrieval:
    """See harness.protocols.WorkflowScenario."""

    def __init__(self, config: ScenarioConfig) -> None:
        self.options: IndexOptions = config.options
        self.points: Points = np.empty((0, 2))
        self.around: Points = self.points
        self.near: Points = self.points

    async def setup(self, ctx: Context) -> None:
        o = self.options
        rng = np.random.default_rng(ctx.rng.getrandbits(63))
        if o.layout == "uniform":
            self.points = rng.random((o.points, 2)) * WORLD
        else:
            centres = rng.random((CLUSTERS, 2)) * WORLD
            spread = rng.normal(0, WORLD / 50, (o.points, 2))
            self.points = np.clip(centres[rng.integers(CLUSTERS, size=o.points)] + spread, 0, WORLD)
        self.around = rng.random((o.radius_queries, 2)) * WORLD
        self.near = rng.random((o.nearest_queries, 2)) * WORLD

    async def execute(self, ctx: Context) -> None:
        o = self.options
        build = _BUILDERS[o.index]
        begin_ns = time.perf_counter_ns()
        index = build(self.points, o.radius)
        built_ns = time.perf_counter_ns()
        within = [index.within(query, o.radius) for query in self.around]
        found_ns = time.perf_counter_ns()
        nearest = [index.nearest(query) for query in self.near]
        end_ns = time.perf_counter_ns()
        self._prove(within, nearest)
        ctx.metric("build_ms", (built_ns - begin_ns) / 1e6, "ms", better="lower")
        ctx.metric("radius_us", (found_ns - built_ns) / 1e3 / len(within), "us", better="lower")
        ctx.metric("nearest_us", (end_ns - found_ns) / 1e3 / len(nearest), "us", better="lower")
        found = sum(len(some) for some in within) / len(within)
        ctx.metric("found_per_query", found, "points")
        # Apart, because watching allocations slows them down.
        ctx.metric("index_bytes", self._size_bytes(build), "bytes", better="lower")

    async def teardown(self, ctx: Context) -> None: ...

    def _prove(self, within: list[NDArray[np.int64]], nearest: list[int]) -> None:
        truth = _Exhaustive(self.points, self.options.radius)
        for query, found in zip(self.around, within, strict=True):
            if set(map(int, found)) != set(map(int, truth.within(query, self.options.radius))):
                raise ScenarioError("a radius query missed points", where="index_retrieval")
        for query, one in zip(self.near, nearest, strict=True):
            if _distance(self.points[one], query) > _distance(
                self.points[truth.nearest(query)], query
            ):
                raise ScenarioError("a nearest neighbour is not", where="index_retrieval")

    def _size_bytes(self, build: Callable[[Points, float], Any]) -> int:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            index = build(self.points, self.options.radius)
            after, _ = tracemalloc.get_traced_memory()
            del index
        finally:
            tracemalloc.stop()
        return max(0, after - before)


class _Exhaustive:
    """Every point, for every query."""

    def __init__(self, points: Points, radius: float) -> None:
        self.points = points

    def within(self, query: Points, radius: float) -> NDArray[np.int64]:
        return np.flatnonzero(((self.points - query) ** 2).sum(axis=1) <= radius * radius)

    def nearest(self, query: Points) -> int:
        return int(((self.points - query) ** 2).sum(axis=1).argmin())


class _KdTree:
    """scipy's."""

    def __init__(self, points: Points, radius: float) -> None:
        from scipy.spatial import cKDTree

        self.tree = cKDTree(points)

    def within(self, query: Points, radius: float) -> NDArray[np.int64]:
        return np.asarray(self.tree.query_ball_point(query, radius), dtype=np.int64)

    def nearest(self, query: Points) -> int:
        return int(self.tree.query(query)[1])


class _Grid:
    """Square buckets with the search radius as their side."""

    def __init__(self, points: Points, radius: float) -> None:
        self.points = points
        self.side = radius
        buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, (x, y) in enumerate(points):
            buckets[int(x // radius), int(y // radius)].append(index)
        self.buckets = dict(buckets)
        self.reach = int(WORLD // radius) + 1

    def within(self, query: Points, radius: float) -> NDArray[np.int64]:
        near = self._around(query, 1)
        away = ((self.points[near] - query) ** 2).sum(axis=1)
        found: NDArray[np.int64] = near[away <= radius * radius]
        return found

    def nearest(self, query: Points) -> int:
        """Rings outwards, until what is found is closer than anything further out can be."""
        for rings in range(self.reach + 2):
            near = self._around(query, rings)
            if not len(near):
                continue
            away = ((self.points[near] - query) ** 2).sum(axis=1)
            if away.min() <= (rings * self.side) ** 2 or rings > self.reach:
                return int(near[away.argmin()])
        return _Exhaustive(self.points, self.side).nearest(query)

    def _around(self, query: Points, rings: int) -> NDArray[np.int64]:
        x, y = int(query[0] // self.side), int(query[1] // self.side)
        found: list[int] = []
        for column in range(x - rings, x + rings + 1):
            for row in range(y - rings, y + rings + 1):
                found += self.buckets.get((column, row), ())
        return np.asarray(found, dtype=np.int64)


def _distance(one: Points, other: Points) -> float:
    return float(((one - other) ** 2).sum())


_BUILDERS: dict[str, Callable[[Points, float], Any]] = {
    "exhaustive": _Exhaustive,
    "kd_tree": _KdTree,
    "grid": _Grid,
}
