"""How often are comparisons and gates of shares wrong, by the scatter of trials alone and as used?

    python benchmarks/shares.py [--rounds 40000] [--seed 1] [--json]

Requests are good independently, each trial has equally many of them, and a trial's figure is the
share that was good. Equal arms: how often is p < 0.05, and how often does the gate (1 %) call a
regression? A candidate that is worse by the margin of 2 percentage points: how often does the gate
(5 %) pass it? `used` is with the least error that harness/compare/spread.py gives to shares.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.compare.spread import chance_variance
from harness.statistics.contrasts import Moments, at_least, moments, t_of_contrast
from harness.statistics.gate import GATE_ALPHA, GATE_MISS, losses

MARGIN: Final = 0.02
SHARES: Final = (0.5, 0.9, 0.95, 0.99, 0.998)
SIZES: Final = ((5, 4), (5, 20), (10, 20), (5, 100))
"""(trials, requests of each)"""


def floor(figures: NDArray[np.float64], requests: int) -> float:
    answers = dict.fromkeys(range(figures.size), requests)
    return chance_variance(dict(enumerate(figures.tolist())), answers)


def floored(a: NDArray[np.float64], b: NDArray[np.float64], requests: int, paired: bool) -> Moments:
    """Row by row as `harness compare` does; equal means have equal floors, so each is made once."""
    known: dict[float, float] = {}

    def of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        for row, mean in zip(rows, rows.mean(axis=1), strict=True):
            if mean not in known:
                known[mean] = floor(row, requests)
        return np.array([known[mean] for mean in rows.mean(axis=1)])

    return at_least(moments(a, b, paired=paired), (of(a), of(b)))


def wrong(equal: Moments, worse: Moments) -> dict[str, float]:
    with np.errstate(all="ignore"):
        t, df = t_of_contrast(equal)
    p = 2 * stdtr(df, -np.abs(t))
    of = {"better": "higher", "relative": False, "alpha": GATE_ALPHA, "miss": GATE_MISS}
    alarm, missed = losses(equal, **of), losses(worse, **of)  # type: ignore[arg-type]
    return {
        "p < 0.05": float((p < 0.05).mean()),
        "false alarm": float(((alarm.low > 0) & (alarm.loss >= MARGIN)).mean()),
        "missed loss": float((missed.high < MARGIN).mean()),
    }


def simulate(
    trials: int, requests: int, share: float, *, paired: bool, rounds: int, seed: int
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, trials, requests, round(share * 1000), paired])
    a, b, c = (
        rng.binomial(requests, p, (rounds, trials)) / requests
        for p in (share, share, share - MARGIN)
    )
    found: dict[str, Any] = {
        "trials": trials, "requests": requests, "share": share, "paired": paired,
    }  # fmt: skip
    plain = wrong(moments(a, b, paired=paired), moments(a, c, paired=paired))
    used = wrong(floored(a, b, requests, paired), floored(a, c, requests, paired))
    found |= {f"scatter: {name}": value for name, value in plain.items()}
    return found | {f"used: {name}": value for name, value in used.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = [
        simulate(trials, requests, share, paired=paired, rounds=asked.rounds, seed=asked.seed)
        for paired in (False, True)
        for trials, requests in SIZES
        for share in SHARES
    ]
    if asked.json:
        print(json.dumps(rows, indent=1))
        return
    names = ("p < 0.05", "false alarm", "missed loss")
    print(f"wrong answers in %, n = {asked.rounds} comparisons a figure; margin {MARGIN:g}")
    print(f"{'':32}|{'by the scatter alone':^36}|{'as used':^36}")
    print(
        f"{'arms':8}{'trials':>7}{'requests':>9}{'share':>8}"
        + f"|{''.join(f'{n:>12}' for n in names)}" * 2
    )
    for row in rows:
        line = f"{'blocks' if row['paired'] else 'apart':8}{row['trials']:>7}{row['requests']:>9}"
        line += f"{row['share']:>8}"
        for kind in ("scatter", "used"):
            line += "|" + "".join(f"{100 * row[f'{kind}: {name}']:>12.2f}" for name in names)
        print(line)
    for kind in ("scatter", "used"):
        most = ", ".join(f"{n} {100 * max(r[f'{kind}: {n}'] for r in rows):.1f} %" for n in names)
        print(f"most, {kind}: {most}")


if __name__ == "__main__":
    main()
