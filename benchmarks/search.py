"""How often does a search say the wrong thing of a load, having looked after each trial?

    python benchmarks/search.py [--rounds 100000] [--seed 1] [--json]

Requests are good or not, independently, with a probability just below `share_min`, well below it,
at it, or above. After each trial the interval is looked at, up to `trials_max` times, as
harness/engine/search.py does. "meets" below share_min is wrong, and "fails" at it or above. Beside
the rule that is used stands the plain 95 % interval at each look. Requests of a server that is
overloaded are not independent: what that does to the error is not in here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.engine.search import LEVEL, level_of_look

SHARES_MIN: Final = (0.75, 0.9, 0.99)
REQUESTS: Final = (40, 150, 400, 2000)
"""Of a trial."""
TRIALS_MAX: Final = (1, 3, 5, 10, 20)
MEETS, FAILS = 1, -1


def decided(good: NDArray[np.int64], requests: int, share_min: float, level: float) -> Any:
    """Good requests of each trial, shape (rounds, trials) → (decision: 1 meets, −1 fails, 0
    neither; trials taken), shape (rounds,) each."""
    rounds, trials = good.shape
    decision, taken = np.zeros(rounds, int), np.full(rounds, trials)
    sums = good.cumsum(axis=1)
    for trial in range(trials):
        n = requests * (trial + 1)
        low, high = bounds(n, level)
        now = np.where(low >= share_min, MEETS, np.where(high < share_min, FAILS, 0))[
            sums[:, trial]
        ]
        first = (decision == 0) & (now != 0)
        decision[first], taken[first] = now[first], trial + 1
    return decision, taken


def bounds(n: int, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Clopper and Pearson's for every k of n."""
    k, tail = np.arange(n + 1.0), (1 - level) / 2
    low, high = np.zeros(n + 1), np.ones(n + 1)
    low[1:] = betaincinv(k[1:], n - k[1:] + 1, tail)
    high[:-1] = betaincinv(k[:-1] + 1, n - k[:-1], 1 - tail)
    return low, high


def simulate(
    share_min: float, requests: int, trials: int, rounds: int, seed: int
) -> dict[str, Any]:
    """The share of rounds with a wrong answer at shares at, below and above `share_min`."""
    rng = np.random.default_rng([seed, round(share_min * 1000), requests, trials])
    error = np.sqrt(share_min * (1 - share_min) / requests)
    shares = {
        "just below": share_min - 1e-9,
        "at": share_min,
        "1 SE below": share_min - error,
        "1 SE above": min(share_min + error, 1.0),
    }
    found: dict[str, Any] = {"share_min": share_min, "requests": requests, "trials_max": trials}
    for name, level in (("plain", LEVEL), ("used", level_of_look(trials))):
        for where, share in shares.items():
            good = rng.binomial(requests, share, (rounds, trials))
            decision, taken = decided(good, requests, share_min, level)
            found[f"{name}: meets, {where}"] = float((decision == MEETS).mean())
            found[f"{name}: fails, {where}"] = float((decision == FAILS).mean())
            found[f"{name}: trials, {where}"] = float(taken.mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = [
        simulate(share, requests, trials, asked.rounds, asked.seed)
        for trials in TRIALS_MAX
        for share in SHARES_MIN
        for requests in REQUESTS
    ]
    if asked.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"wrong answers in %, of n = {asked.rounds} rounds a figure; requests are independent")
    print("`meets` of a share just below share_min, `fails` of share_min itself; mean trials taken")
    print(
        "1 SE: one standard error of a trial's share away; there, `right` is the share of answers"
    )
    head = f"{'share_min':>9}{'requests':>9}{'trials_max':>11} |"
    print(head + 2 * f"{'meets':>7}{'fails':>7}{'trials':>7}{'right -':>9}{'right +':>9} |")
    for row in rows:
        line = f"{row['share_min']:>9}{row['requests']:>9}{row['trials_max']:>11} |"
        for name in ("plain", "used"):
            line += f"{100 * row[f'{name}: meets, just below']:>7.1f}"
            line += f"{100 * row[f'{name}: fails, at']:>7.1f}{row[f'{name}: trials, at']:>7.1f}"
            line += f"{100 * row[f'{name}: fails, 1 SE below']:>9.1f}"
            line += f"{100 * row[f'{name}: meets, 1 SE above']:>9.1f} |"
        print(line)
    for trials in TRIALS_MAX:
        ones = [row for row in rows if row["trials_max"] == trials]
        print(f"most of {trials:>2} trials at most:" + "".join(
            f"  {name} meets {100 * max(row[f'{name}: meets, just below'] for row in ones):.1f} %,"
            f" fails {100 * max(row[f'{name}: fails, at'] for row in ones):.1f} %"
            for name in ("plain", "used")
        ))  # fmt: skip


if __name__ == "__main__":
    main()
