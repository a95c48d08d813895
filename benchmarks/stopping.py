"""Does adaptive stopping keep its intervals honest, and what does it cost?

    python benchmarks/stopping.py [--rounds 20000] [--seed 1] [--json]

Trial means are drawn from known distributions; trials are added until a stopping rule has enough
(or the cap); then Student's 95 % interval of all of them either holds the true mean or does not.
`sd` is that of trial means as a multiple of the width that is asked for, so that 1 needs some 6
trials and 3 some 37. Beside the rule that is used (harness/engine/stopping.py) stand others that
were rejected, and `fixed`: as many trials as the used rule takes on average, decided before.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.engine.stopping import LOOK_FROM, LOOKS_NEEDED

Rows = NDArray[np.float64]

BOUND = 0.05
SPREADS = (0.5, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0)
CAPS = (30, 100)


class Rule(NamedTuple):
    name: str
    look_from: int
    looks_needed: int


USED = Rule("used", LOOK_FROM, LOOKS_NEEDED)
RULES = (
    USED,
    Rule("from 5, one look", 5, 1),
    Rule("from 5, two looks", 5, 2),
    Rule("from 7, two looks", 7, 2),
    Rule("from 8, one look", 8, 1),
)


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    return rng.standard_normal(shape)


def of_calls(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """Means of 20 calls that are independent and lognormal, as latencies are."""
    calls = rng.lognormal(0.0, 0.5, (*shape, 20))
    return (calls.mean(axis=-1) - np.exp(0.125)) / np.sqrt((np.exp(0.25) - 1) * np.exp(0.25) / 20)


def of_launches(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """Each launch has a level of its own, which makes up nine tenths of the variance."""
    return np.sqrt(0.9) * rng.standard_normal(shape) + np.sqrt(0.1) * of_calls(rng, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """Trial means that are lognormal themselves: one value a trial, say."""
    draws = rng.lognormal(0.0, 0.5, shape)
    return (draws - np.exp(0.125)) / np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Rows]] = {
    "normal": normal,
    "20 independent calls": of_calls,
    "launches differ": of_launches,
    "skewed trials": skewed,
}


def widths(means: Rows) -> tuple[Rows, Rows]:
    """Shape (runs, trials) → running mean, and half the 95 % interval; NaN for the first trial."""
    n = np.arange(1, means.shape[1] + 1)
    running = means.cumsum(axis=1) / n
    squares = (means * means).cumsum(axis=1)
    variance = np.maximum(squares - n * running**2, 0.0) / np.maximum(n - 1, 1)
    t = np.array([np.nan, *stdtrit(n[1:] - 1, 0.975)])
    return running, t * np.sqrt(variance / n)


def stops_at(relative: Rows, rule: Rule, bound: float = BOUND) -> NDArray[np.int64]:
    """Trials taken by each run; the cap is the number of columns."""
    runs, cap = relative.shape
    found = np.full(runs, cap)
    streak = np.zeros(runs, int)
    for trials in range(rule.look_from, cap + 1):
        streak = np.where(relative[:, trials - 1] <= bound, streak + 1, 0)
        found = np.where((streak >= rule.looks_needed) & (found == cap), trials, found)
    return found


def simulate(kind: str, spread: float, cap: int, rounds: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, cap, int(spread * 10), list(KINDS).index(kind)])
    means = 1.0 + BOUND * spread * KINDS[kind](rng, (rounds, cap))
    running, half = widths(means)
    row = np.arange(rounds)
    found: dict[str, Any] = {"kind": kind, "sd": spread, "cap": cap}

    def covered(at: NDArray[np.int64]) -> float:
        return float((abs(running[row, at - 1] - 1.0) <= half[row, at - 1]).mean())

    for rule in RULES:
        at = stops_at(half / abs(running), rule)
        found[rule.name] = covered(at)
        if rule is USED:
            found["trials"] = float(at.mean())
    fixed = np.full(rounds, max(2, round(found["trials"])))
    found["fixed"] = covered(fixed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = [
        simulate(kind, spread, cap, asked.rounds, asked.seed)
        for kind in KINDS
        for cap in CAPS
        for spread in SPREADS
    ]
    if asked.json:
        print(json.dumps(rows, indent=1))
        return
    names = [*(rule.name for rule in RULES), "fixed"]
    print(
        f"share of runs whose 95 % interval holds the true mean, n = {asked.rounds} runs a figure"
    )
    print(f"the rule that is used: looks from {LOOK_FROM} trials on, {LOOKS_NEEDED} in succession")
    head = f"{'trial means':22}{'cap':>5}{'sd':>5}{'trials':>8}"
    print(head + "".join(f"{name:>21}" for name in names))
    for row in rows:
        left = f"{row['kind']:22}{row['cap']:>5}{row['sd']:>5}{row['trials']:>8.1f}"
        print(left + "".join(f"{row[name]:>21.3f}" for name in names))
    for kind in KINDS:
        least = min(row["used"] for row in rows if row["kind"] == kind)
        print(f"least of the rule that is used, {kind}: {least:.3f}")


if __name__ == "__main__":
    main()
