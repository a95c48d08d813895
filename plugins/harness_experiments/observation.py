"""`observation_flow`: N agents on a grid, each of which looks at its surroundings at every step.

The world is an array (dense) or a mapping of its occupied cells (sparse); an observation is always
the same: a square array around the agent. A sample of them is compared between both, after the
clock has stopped.
"""

from __future__ import annotations

import random
import time
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.protocols import Context, ScenarioConfig
from harness_experiments.options import ObservationOptions

__all__ = ["ObservationFlow"]

View: TypeAlias = NDArray[np.float32]
Place: TypeAlias = tuple[int, int]


class ObservationFlow:
    """See harness.protocols.WorkflowScenario."""

    def __init__(self, config: ScenarioConfig) -> None:
        self.options: ObservationOptions = config.options
        self.start: list[Place] = []
        self.moves: list[list[Place]] = []

    async def setup(self, ctx: Context) -> None:
        """Where the agents begin, and where each goes at every step."""
        o = self.options
        self.start = [_anywhere(ctx.rng, o) for _ in range(o.agents)]
        self.moves = [
            [(ctx.rng.randint(-1, 1), ctx.rng.randint(-1, 1)) for _ in range(o.agents)]
            for _ in range(o.steps)
        ]

    async def execute(self, ctx: Context) -> None:
        o = self.options
        world = _Dense(o) if o.storage == "dense" else _Sparse(o)
        agents = list(self.start)
        steps_ns: list[int] = []
        for moves in self.moves:
            agents = [_moved(place, move, o) for place, move in zip(agents, moves, strict=True)]
            begin_ns = time.perf_counter_ns()
            world.place(agents)
            for place in agents:
                view = world.observe(place)
            steps_ns.append(time.perf_counter_ns() - begin_ns)
        self._prove(agents, ctx.rng)
        total_ns = sum(steps_ns)
        observed = o.agents * o.steps
        ctx.metric("observes_per_s", observed * 1e9 / total_ns, "observes/s", better="higher")
        ctx.metric("step_mean_ms", total_ns / len(steps_ns) / 1e6, "ms", better="lower")
        ctx.metric("step_p50_ms", float(np.median(steps_ns)) / 1e6, "ms", better="lower")
        if len(steps_ns) >= 20:  # fewer carry no p95
            p95_ms = float(np.quantile(steps_ns, 0.95)) / 1e6
            ctx.metric("step_p95_ms", p95_ms, "ms", better="lower")
        ctx.metric("view_bytes", view.nbytes, "bytes", better="lower")
        ctx.metric("world_bytes", world.size_bytes(), "bytes", better="lower")

    async def teardown(self, ctx: Context) -> None: ...

    def _prove(self, agents: list[Place], rng: random.Random) -> None:
        worlds = (_Dense(self.options), _Sparse(self.options))
        for world in worlds:
            world.place(agents)
        for place in rng.sample(agents, min(5, len(agents))):
            one, other = (world.observe(place) for world in worlds)
            if not np.array_equal(one, other):
                raise ScenarioError("the two kinds of world differ", where="observation_flow")


class _Dense:
    """An array with a margin of `radius` empty cells on all sides."""

    def __init__(self, options: ObservationOptions) -> None:
        self.radius = options.radius
        margin = 2 * options.radius
        self.cells = np.zeros((options.height + margin, options.width + margin), np.float32)

    def place(self, agents: list[Place]) -> None:
        self.cells[:] = 0
        for x, y in agents:
            self.cells[y + self.radius, x + self.radius] += 1

    def observe(self, place: Place) -> View:
        x, y = place
        side = 2 * self.radius + 1
        return self.cells[y : y + side, x : x + side].copy()

    def size_bytes(self) -> int:
        return self.cells.nbytes


class _Sparse:
    """Only cells with somebody in them."""

    def __init__(self, options: ObservationOptions) -> None:
        self.radius = options.radius
        self.cells: dict[Place, int] = {}

    def place(self, agents: list[Place]) -> None:
        self.cells = {}
        for place in agents:
            self.cells[place] = self.cells.get(place, 0) + 1

    def observe(self, place: Place) -> View:
        x, y = place
        r = self.radius
        side = 2 * r + 1
        view = np.zeros((side, side), np.float32)
        for row in range(side):
            for column in range(side):
                count = self.cells.get((x + column - r, y + row - r))
                if count:
                    view[row, column] = count
        return view

    def size_bytes(self) -> int:
        """Of the mapping and its keys; numbers below 257 are shared by the interpreter."""
        import sys

        return sys.getsizeof(self.cells) + sum(sys.getsizeof(key) for key in self.cells)


def _anywhere(rng: random.Random, options: ObservationOptions) -> Place:
    return rng.randrange(options.width), rng.randrange(options.height)


def _moved(place: Place, move: Place, options: ObservationOptions) -> Place:
    x, y = place[0] + move[0], place[1] + move[1]
    return min(max(x, 0), options.width - 1), min(max(y, 0), options.height - 1)
