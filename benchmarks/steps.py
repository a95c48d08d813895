"""Does `harness history` find steps, and none where there are none; does `harness recommend` keep
the best? By simulation, where the truth is known.

    python benchmarks/steps.py [--quick] [--seed 1] [--json]

    false alarms  series without a step: how often one is found, at the stated level
    autoregressive  the same where neighbours resemble one another: not held, and said so
    power         series with one step, in the middle or near the end: how often it is found within
                  one run of where it is
    best          equal options, 5 trials each: how often a given one is called beaten
    winner        one option is better by so much: how often it alone is recommended

Exits with 1 where a stated level is exceeded by more than 3 standard errors of the simulation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.statistics import GROUPS_MIN, STEP_ALPHA, find_steps, welch

Rng = np.random.Generator
Values = NDArray[np.float64]

LENGTHS = (11, 20, 50)
SHUFFLES = 999


class Row(NamedTuple):
    part: str
    what: str
    share: float
    rounds: int
    level: float | None = None
    """The share must not exceed it."""

    @property
    def is_too_often(self) -> bool:
        if self.level is None:
            return False
        return self.share > self.level + 3 * sqrt(self.level * (1 - self.level) / self.rounds)


KINDS: dict[str, Callable[[Rng, int], Values]] = {
    "normal": lambda rng, n: rng.normal(100, 3, n),
    "t3": lambda rng, n: 100 + 3 * rng.standard_t(3, n),
    "lognormal": lambda rng, n: 100 * rng.lognormal(0, 0.5, n),
    "two levels at random": lambda rng, n: 100 + 5 * rng.integers(0, 2, n) + rng.normal(0, 1, n),
}


def autoregressive(rng: Rng, n: int, rho: float) -> Values:
    row = rng.standard_normal(n)
    for index in range(1, n):
        row[index] = rho * row[index - 1] + sqrt(1 - rho**2) * row[index]
    return 100 + 3 * row


def found_in(row: Values, seed: int) -> list[int]:
    return [step.at for step in find_steps(row, shuffles=SHUFFLES, seed=seed).steps]


def false_alarms(rng: Rng, rounds: int) -> Iterator[Row]:
    for name, make in KINDS.items():
        for n in LENGTHS:
            alarms = sum(bool(found_in(make(rng, n), seed)) for seed in range(rounds))
            yield Row("false alarms", f"{name}, {n} runs", alarms / rounds, rounds, STEP_ALPHA)
    for rho in (0.3, 0.6):
        alarms = sum(bool(found_in(autoregressive(rng, 20, rho), seed)) for seed in range(rounds))
        yield Row("autoregressive", f"rho {rho}, 20 runs", alarms / rounds, rounds)


def power(rng: Rng, rounds: int) -> Iterator[Row]:
    for n, behind in ((12, 6), (20, 10), (20, 5), (30, 3), (30, 2)):
        for size in (2, 3, 5):
            hits = 0
            for seed in range(rounds):
                row = rng.normal(100, 1, n) + np.r_[np.zeros(n - behind), np.full(behind, size)]
                hits += any(abs(at - (n - behind)) <= 1 for at in found_in(row, seed))
            what = f"{size} sd, {behind} of {n} runs behind it"
            yield Row("power", what, hits / rounds, rounds)


def beaten(figures: Values) -> list[bool]:
    """The rule of harness.compare.recommend, for one objective of which more is better."""
    k = len(figures)
    means = figures.mean(axis=1)
    lost = [False] * k
    for i in range(k):
        for j in range(k):
            if means[i] < means[j] and not lost[i]:
                p = welch(figures[i], figures[j]).p_value
                lost[i] = p is not None and p * (k - 1) < 0.05
    return lost


def best(rng: Rng, rounds: int) -> Iterator[Row]:
    for k in (2, 4, 10):
        lost = sum(beaten(rng.normal(100, 3, (k, GROUPS_MIN)))[0] for _ in range(rounds))
        yield Row("best", f"{k} equal options", lost / rounds, rounds, 0.05)
    for k, size in ((2, 10), (4, 10), (4, 20), (10, 20)):
        won = 0
        for _ in range(rounds):
            figures = rng.normal(100, 3, (k, GROUPS_MIN))
            figures[0] += size
            won += beaten(figures) == [False] + [True] * (k - 1)
        yield Row("winner", f"{size / 3:.1f} sd better than {k - 1} others", won / rounds, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rounds = 300 if asked.quick else 3000
    rows: list[Row] = []
    for part in (false_alarms, power, best):
        rows += part(np.random.default_rng(asked.seed), rounds)
    if asked.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        print(f"{rounds} rounds each; steps at {STEP_ALPHA:.0%}, options at 5 %")
        for row in rows:
            level = "" if row.level is None else f"  (at most {row.level:.0%})"
            flag = "  TOO OFTEN" if row.is_too_often else ""
            print(f"{row.part:15} {row.what:32} {row.share:7.1%}{level}{flag}")
    return int(any(row.is_too_often for row in rows))


if __name__ == "__main__":
    sys.exit(main())
