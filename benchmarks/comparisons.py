"""Are comparisons right as often as they say? By simulation, where the truth is known.

    python benchmarks/comparisons.py [--quick] [--only PART] [--seed 1] [--json]

    A/A       identical arms: how often the loss's lower bound is above 0 ("bound"), how often the
              gate gives an alarm, and the same bound over all values, as if there were no trials
    loss      arms that differ by exactly the margin: how often the gate lets them pass
    power     what the gate says of losses of 2, 5 and 10 % after 5, 10 and 20 trials
    further   where it asked for more trials: how often that many brought an answer
    coverage  of every interval, at a nominal 95 %

Exits with 1 where a stated level is exceeded by more than 3 standard errors of the simulation
(--quick only has fewer rounds). Repeatable from --seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness._native import kernels
from harness.statistics import (
    clopper_pearson,
    gate,
    hodges_lehmann,
)
from harness.statistics.contrasts import difference_bounds, moments, ratio_bounds
from harness.statistics.gate import GATE_ALPHA, GATE_MISS, losses

Values = NDArray[np.float64]
Rng = np.random.Generator
Maker = Callable[[Rng, tuple[int, int, int]], Values]

SIZE = 40
"""Values of a trial."""
COVERED_MIN = 0.93

# ---- what is measured: (rounds, trials, values) around 100


def correlated(rng: Rng, shape: tuple[int, ...], rho: float = 0.9) -> Values:
    noise = rng.standard_normal(shape)
    for index in range(1, shape[-1]):
        noise[..., index] = rho * noise[..., index - 1] + sqrt(1 - rho**2) * noise[..., index]
    return noise


def launches(rng: Rng, shape: tuple[int, ...], sd: float) -> Values:
    return 1 + sd * rng.standard_normal((*shape[:2], 1))


def between(sd: float) -> Maker:
    return lambda rng, shape: (
        100 * launches(rng, shape, sd) * (1 + 0.1 * rng.standard_normal(shape))
    )


KINDS: dict[str, Maker] = {
    "normal, i.i.d.": between(0.0),
    "lognormal, i.i.d.": lambda rng, shape: 100 * rng.lognormal(0, 0.5, shape),
    "AR(1) 0.9 within": lambda rng, shape: 100 + 10 * correlated(rng, shape),
    "launches differ 1 %": between(0.01),
    "launches differ 3 %": between(0.03),
    "launches differ 5 %": between(0.05),
    "t3 within, 1 %": lambda rng, shape: (
        100 * launches(rng, shape, 0.01) * (1 + 0.1 * rng.standard_t(3, shape))
    ),
    "Pareto 2.5 within, 1 %": lambda rng, shape: (
        60 * launches(rng, shape, 0.01) * (1 + rng.pareto(2.5, shape))
    ),
    "launches differ, t3 3 %": lambda rng, shape: (
        100 + 3 * rng.standard_t(3, (*shape[:2], 1)) + 5 * rng.standard_normal(shape)
    ),
    "launches differ, Pareto 3 %": lambda rng, shape: (
        100 + 3 * rng.pareto(2.5, (*shape[:2], 1)) + 5 * rng.standard_normal(shape)
    ),
}


def verdicts(a: Values, b: Values, margin: float, paired: bool = False) -> tuple[Values, Values]:
    """(regression, no regression) of figures (rounds, trials): gate()'s rule on all at once."""
    found = losses(
        moments(a, b, paired=paired),
        better="lower",
        relative=True,
        alpha=GATE_ALPHA,
        miss=GATE_MISS,
    )
    alarm = (found.low > 0) & (found.loss >= margin)
    return alarm, (found.high < margin) & ~alarm


# ---- A/A


def naive_t(a: Values, b: Values) -> Values:
    """One-sided at the gate's alpha, over all values of the arms."""
    of = moments(a.reshape(len(a), -1), b.reshape(len(b), -1), paired=False)
    return np.asarray(difference_bounds(of, GATE_ALPHA, GATE_ALPHA)[0] > 0)


def naive_bootstrap(a: Values, b: Values, seed: int) -> Values:
    found = []
    for index, arms in enumerate(zip(a, b, strict=True)):
        draws = [
            kernels.bootstrap_means(
                arm.ravel(), np.array([0, arm.size], dtype=np.int64), 1000, seed + 2 * index + side
            )
            for side, arm in enumerate(arms)
        ]
        found.append(np.quantile(draws[1] - draws[0], GATE_ALPHA) > 0)
    return np.array(found)


def same(rng: Rng, rounds: int) -> Iterator[dict[str, Any]]:
    for name, make in KINDS.items():
        for n, m in ((5, 5), (20, 20), (5, 15)):
            alarms: dict[str, list[float]] = {}
            for start in range(0, rounds, 1000):
                size = min(1000, rounds - start)
                a, b = make(rng, (size, n, SIZE)), make(rng, (size, m, SIZE))
                few = max(1, size // 20)
                plain = [arm.mean(axis=-1) for arm in (a, b)]
                strict = [np.median(arm, axis=-1) for arm in (a, b)]
                blocks = verdicts(*strict, margin=1e-12, paired=True)[0] if n == m else [np.nan]
                seen = {
                    "bound, means": verdicts(*plain, margin=1e-12)[0],
                    "bound, medians": verdicts(*strict, margin=1e-12)[0],
                    "bound, blocks": np.asarray(blocks),
                    "gate 5 %, medians": verdicts(*strict, margin=0.05)[0],
                    "naive t": naive_t(a, b),
                    "naive bootstrap": naive_bootstrap(a[:few], b[:few], start),
                }
                for column, one in seen.items():
                    alarms.setdefault(column, []).extend(one.tolist())
            shares = {column: float(np.mean(one)) for column, one in alarms.items()}
            yield {"kind": name, "trials": f"{n} + {m}", **shares, "n": rounds}


def at_the_margin(rng: Rng, rounds: int) -> Iterator[dict[str, Any]]:
    for name, make in KINDS.items():
        row: dict[str, Any] = {"kind": name}
        for trials in (5, 10, 20):
            shape = (rounds, trials, SIZE)
            a = np.median(make(rng, shape), axis=-1)
            b = 1.05 * np.median(make(rng, shape), axis=-1)
            row[f"passed, {trials} trials"] = float(verdicts(a, b, margin=0.05)[1].mean())
        yield {**row, "n": rounds}


# ---- power


def power(rng: Rng, rounds: int) -> Iterator[dict[str, Any]]:
    for margin in (0.01, 0.05):
        for sd in (0.01, 0.03, 0.05):
            for trials in (5, 10, 20):
                row: dict[str, Any] = {"margin": margin, "launches": sd, "trials": trials}
                for shift in (0.0, 0.02, 0.05, 0.10):
                    shape = (rounds, trials, SIZE)
                    a = between(sd)(rng, shape).mean(axis=-1)
                    b = (1 + shift) * between(sd)(rng, shape).mean(axis=-1)
                    alarm, passed = verdicts(a, b, margin=margin)
                    row[f"{shift:.0%}"] = f"{alarm.mean():.2f} / {passed.mean():.2f}"
                yield {**row, "n": rounds}


def further(rng: Rng, rounds: int) -> Iterator[dict[str, Any]]:
    for sd in (0.03, 0.05):
        for shift in (0.0, 0.05, 0.10):
            asked, answered = [], 0
            while len(asked) < rounds:
                a = between(sd)(rng, (1, 5, SIZE)).mean(axis=-1)[0]
                b = (1 + shift) * between(sd)(rng, (1, 5, SIZE)).mean(axis=-1)[0]
                first = gate(a, b, margin=0.05, better="lower")
                if first.verdict != "not enough data" or first.more_trials is None:
                    continue
                asked.append(first.more_trials)
                more = (1, first.more_trials, SIZE)
                a = np.append(a, between(sd)(rng, more).mean(axis=-1)[0])
                b = np.append(b, (1 + shift) * between(sd)(rng, more).mean(axis=-1)[0])
                again = gate(a, b, margin=0.05, better="lower")
                answered += again.verdict != "not enough data"
            yield {
                "launches": sd,
                "shift": shift,
                "asked for, median": float(np.median(asked)),
                "answered": answered / rounds,
                "n": rounds,
            }


# ---- coverage


def covered(name: str, kind: str, trials: int, hits: list[bool] | Values) -> dict[str, Any]:
    share = float(np.mean(hits))
    return {"interval": name, "kind": kind, "trials": trials, "covered": share, "n": len(hits)}


def coverage(rng: Rng, rounds: int) -> Iterator[dict[str, Any]]:
    for kind, make in KINDS.items():
        for trials in (5, 10):
            shape = (40 * rounds, trials, SIZE)
            figures = np.concatenate(
                [
                    make(rng, (rounds, 2 * trials, SIZE)).mean(axis=-1).reshape(-1, 2, trials)
                    for _ in range(shape[0] // rounds)
                ]
            )
            a, b = figures[:, 0], figures[:, 1]
            for paired in (False, True):
                how = "blocks" if paired else "Welch"
                low, high = difference_bounds(moments(a, b + 5, paired=paired), 0.025, 0.025)
                yield covered(f"difference, {how}", kind, trials, (low <= 5) & (high >= 5))
                low, high = ratio_bounds(moments(a, 1.05 * b, paired=paired), 0.025, 0.025)
                yield covered(f"ratio, {how}", kind, trials, (low <= 1.05) & (high >= 1.05))
            yield from of_ranks(a[: 4 * rounds], b[: 4 * rounds], kind, trials)
    yield from of_shares(rng, rounds)


def of_ranks(a: Values, b: Values, kind: str, trials: int) -> Iterator[dict[str, Any]]:
    for paired in (False, True):
        if paired and trials < 6:
            continue
        found = [hodges_lehmann(x, y + 5, paired=paired) for x, y in zip(a, b, strict=True)]
        name = "Hodges–Lehmann, blocks" if paired else "Hodges–Lehmann"
        yield covered(name, kind, trials, [e.low <= 5 <= e.high for e in found])  # type: ignore[operator]


def of_shares(rng: Rng, rounds: int) -> Iterator[dict[str, Any]]:
    """Mean over true shares from 0.02 to 0.98: for a single share, counts are coarse."""
    for n in (20, 100):
        bounds = [clopper_pearson(k, n) for k in range(n + 1)]
        low, high = np.array([x.low for x in bounds]), np.array([x.high for x in bounds])
        truth = rng.uniform(0.02, 0.98, 20 * rounds)
        k = rng.binomial(n, truth)
        hits = (low[k] <= truth) & (truth <= high[k])
        yield covered(f"Clopper–Pearson, n = {n}", "shares", 0, hits)


# ---- the page

PARTS: dict[str, tuple[Callable[[Rng, int], Iterator[dict[str, Any]]], int]] = {
    "A/A": (same, 10_000),
    "loss": (at_the_margin, 10_000),
    "power": (power, 2000),
    "further": (further, 400),
    "coverage": (coverage, 400),
}
"""Each with its rounds; every part has its own random numbers, so that one alone repeats."""


def exceeded(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Promises that do not hold, by more than the simulation's own error (3 standard errors)."""
    wrong = []
    for row in found.get("A/A", []):
        for column in ("bound, means", "bound, medians", "bound, blocks", "gate 5 %, medians"):
            if row[column] > GATE_ALPHA + 3 * sqrt(GATE_ALPHA / row["n"]):
                wrong.append(f"{column}: {row[column]:.4f} alarms, {row['kind']}, {row['trials']}")
    for row in found.get("loss", []):
        for column, share in row.items():
            if column.startswith("passed") and share > GATE_MISS + 3 * sqrt(GATE_MISS / row["n"]):
                wrong.append(f"loss of the margin {column}: {share:.4f}, {row['kind']}")
    for row in found.get("coverage", []):
        if row["covered"] < COVERED_MIN - 3 * sqrt(0.05 / row["n"]):
            wrong.append(f"{row['interval']}, {row['kind']}, {row['trials']}: {row['covered']:.3f}")
    return wrong


def table(rows: list[dict[str, Any]]) -> str:
    cells = [list(rows[0])] + [
        [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row.values()]
        for row in rows
    ]
    wide = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        fitted = [cell.rjust(w) for cell, w in zip(row, wide, strict=True)]
        lines.append("  ".join([row[0].ljust(wide[0]), *fitted[1:]]))
    return "\n".join(lines)


def by_interval(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Least, mean and greatest coverage over kinds, with the kind that has the least."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["interval"], row["trials"]), []).append(row)
    return [
        {
            "interval": name,
            "trials": trials,
            "least": min(row["covered"] for row in group),
            "mean": float(np.mean([row["covered"] for row in group])),
            "greatest": max(row["covered"] for row in group),
            "n each": group[0]["n"],
            "least at": min(group, key=lambda row: row["covered"])["kind"],
        }
        for (name, trials), group in sorted(groups.items())
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be repeated")
    chosen = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    if not chosen.json:
        print(f"seed {chosen.seed}; {SIZE} values a trial; alpha {GATE_ALPHA}, miss {GATE_MISS}")
    for number, (title, (part, rounds)) in enumerate(PARTS.items()):
        if chosen.only and title not in chosen.only:
            continue
        rng = np.random.default_rng([chosen.seed, number])
        rows = found[title] = list(part(rng, rounds // 10 if chosen.quick else rounds))
        if not chosen.json:
            shown = by_interval(rows) if title == "coverage" else rows
            print(f"\n{title}\n{table(shown)}", flush=True)
    wrong = exceeded(found)
    if chosen.json:
        print(json.dumps({"seed": chosen.seed, **found, "exceeded": wrong}, indent=1))
    else:
        print("\nexceeded:", "\n".join(wrong) or "nothing")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
