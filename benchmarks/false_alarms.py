"""How often the validity rules are wrong, and how large a fault they need.

    python benchmarks/false_alarms.py --simulate [--rounds 2000]
        no-steady-state on series with nothing in them, by kind and length: share of series that get
        an alarm; and on ramps, steps and overload: share that is found
    python benchmarks/false_alarms.py --runs 200
        clean runs against truth servers, through the real engine: every caveat that they get
    python benchmarks/false_alarms.py --calibrate [--rounds 200000]
        the table BOUNDS of harness/statistics/steady.py

Add --json for one JSON object. Simulations are repeatable from --seed; runs take real time.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.engine.rules.steady import QUEUE_SHARE, ROUNDS_MIN
from harness.schema import ValiditySpec
from harness.statistics import drift, steady

Row = NDArray[np.float64]
Maker = Callable[[np.random.Generator, int], Row]

TESTS = 4
"""Two arms of two figures each: what a run that compares something mostly has."""
BOUND = ValiditySpec().drift_share_max

# ------------------------------------------------------------------- series with nothing in them


def correlated(rng: np.random.Generator, rho: float, shape: tuple[int, ...]) -> Row:
    """First-order autoregression along the last axis: mean 0, variance 1."""
    noise = rng.standard_normal(shape)
    step = np.sqrt(1 - rho * rho)
    for index in range(1, shape[-1]):
        noise[..., index] = rho * noise[..., index - 1] + step * noise[..., index]
    return noise


def autoregressive(rho: float) -> Maker:
    return lambda rng, n: 100 + 25 * correlated(rng, rho, (n,))


def bimodal(rng: np.random.Generator, n: int) -> Row:
    return np.where(rng.random(n) < 0.3, 300.0, 100.0) + 5 * rng.standard_normal(n)


def waves(concurrency: int) -> Maker:
    """Closed loop in step: within each wave, one waits behind the other."""
    return lambda rng, n: (
        20.0 + 10 * ((np.arange(n) + rng.integers(concurrency)) % concurrency) + rng.random(n)
    )


def closed_queue(concurrency: int, slots: int) -> Maker:
    """TTFT in a closed loop with fewer slots than streams; it begins with an empty queue."""

    def make(rng: np.random.Generator, n: int) -> Row:
        free, ready = [0.0] * slots, [0.0] * concurrency
        waited = np.empty(n)
        for index in range(n):
            sent = heapq.heappop(ready)
            start = max(sent, heapq.heappop(free))
            takes = 100 * rng.lognormal(0, 0.5)
            waited[index] = start - sent + 20
            heapq.heappush(free, start + takes)
            heapq.heappush(ready, start + takes)
        return waited

    return make


CLEAN: dict[str, tuple[Maker, int]] = {
    "normal": (lambda rng, n: rng.normal(100, 20, n), 1),
    "lognormal (CV 1.3)": (lambda rng, n: rng.lognormal(4, 1, n), 1),
    "gamma (CV 1)": (lambda rng, n: rng.gamma(1, 100, n), 1),
    "two modes": (bimodal, 1),
    "AR(1) 0.5": (autoregressive(0.5), 1),
    "AR(1) 0.8": (autoregressive(0.8), 1),
    "AR(1) 0.9": (autoregressive(0.9), 1),
    "waves of 16": (waves(16), 16),
    "closed, 8 on 4 slots": (closed_queue(8, 4), 8),
    "closed, 16 on 4 slots": (closed_queue(16, 4), 16),
    "closed, 32 on 4 slots": (closed_queue(32, 4), 32),
}
"""Name → series, and the concurrency of a closed loop."""

# ------------------------------------------------------------------------------- series that drift


def overload(load: float) -> Maker:
    """TTFT from due in an open loop of Poisson arrivals, at `load` times what the server can."""

    def make(rng: np.random.Generator, n: int) -> Row:
        waited, made = 0.0, np.empty(n)
        for index in range(n):
            made[index] = 20 + waited
            waited = max(
                0.0, waited + 100 * rng.lognormal(-0.02, 0.2) - rng.exponential(100 / load)
            )
        return made

    return make


def ramp(rise: float, noise: float) -> Maker:
    return lambda rng, n: 100 * (1 + np.linspace(0, rise, n) + noise * rng.standard_normal(n))


def step(height: float, noise: float) -> Maker:
    """In the middle of the second half."""
    return lambda rng, n: (
        100 * (1 + height * (np.arange(n) >= 0.75 * n) + noise * rng.standard_normal(n))
    )


DRIFTING: dict[str, Maker] = {
    "ramp +100 %, noise 10 %": ramp(1.0, 0.10),
    "ramp +50 %, noise 5 %": ramp(0.5, 0.05),
    "ramp +50 %, noise 20 %": ramp(0.5, 0.20),
    "step +20 %, noise 5 %": step(0.2, 0.05),
    "step +50 %, noise 10 %": step(0.5, 0.10),
    "step +50 %, noise 30 %": step(0.5, 0.30),
    "overload 1.2": overload(1.2),
    "overload 1.5": overload(1.5),
    "overload 3": overload(3.0),
}
LENGTHS = (40, 80, 160, 320, 640)

# ----------------------------------------------------------------------------------- what is done


def share(make: Maker, n: int, concurrency: int, rounds: int, rng: np.random.Generator) -> float:
    """Of the series: that are said to drift, as the rule says it (the floor in ms apart)."""
    together = -(-concurrency // QUEUE_SHARE)
    found = 0
    for _ in range(rounds):
        movement = drift([make(rng, n)], tests=TESTS, together=together)
        found += bool(movement and movement.significant and abs(movement.change_share) > BOUND)
    return found / rounds


def simulate(rounds: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    alarms: dict[str, dict[int, float]] = {}
    for name, (make, concurrency) in CLEAN.items():
        least = max(steady.DRIFT_NEEDS, ROUNDS_MIN * concurrency if concurrency > 1 else 0)
        lengths = [n for n in LENGTHS if n >= least]
        alarms[name] = {n: share(make, n, concurrency, rounds, rng) for n in lengths}
    power = {
        name: {n: share(make, n, 1, max(1, rounds // 5), rng) for n in LENGTHS}
        for name, make in DRIFTING.items()
    }
    late = sum((steady.mser5(rng.normal(100, 20, 100)) or 0) > 50 for _ in range(rounds)) / rounds
    worst = max(rate for row in alarms.values() for rate in row.values())
    return {
        "rounds": rounds,
        "seed": seed,
        "false_alarms_per_series": alarms,
        "worst_per_series": worst,
        "worst_per_run_at_most": 1 - (1 - worst) ** TESTS,
        "found": power,
        "mser5_cuts_over_half_of_100_normal_values": late,
    }


def calibrate(rounds: int, seed: int) -> dict[str, Any]:
    """Quantiles of both statistics, the worst of four autocorrelations at each length."""
    rng = np.random.default_rng(seed)
    table: dict[str, list[list[float]]] = {"trend": [], "shift": []}
    for m in steady.LENGTHS:
        worst = {kind: np.zeros(len(steady.LEVELS)) for kind in table}
        for rho in (0.0, 0.5, 0.8, 0.9):
            found: dict[str, list[Row]] = {kind: [] for kind in table}
            for _ in range(max(1, rounds // 10_000)):
                ranks = correlated(rng, rho, (10_000, m)).argsort(axis=1).argsort(axis=1)
                points = ranks - (m - 1) / 2
                found["trend"].append(steady.trend_statistic(points))
                found["shift"].append(steady.step_statistics(points).max(axis=-1))
            for kind, parts in found.items():
                at = np.quantile(np.concatenate(parts), [1 - level for level in steady.LEVELS])
                worst[kind] = np.maximum(worst[kind], at)
        for kind, row in worst.items():
            table[kind].append([round(float(value), 2) for value in row])
    bounds = {kind: [list(row) for row in zip(*rows, strict=True)] for kind, rows in table.items()}
    return {"rounds": rounds, "lengths": steady.LENGTHS, "levels": steady.LEVELS, "bounds": bounds}


def clean_runs(count: int, seed: int) -> dict[str, Any]:
    from tests.validity.clean import host, judge, servers, settle, specs

    codes: Counter[str] = Counter()
    false: Counter[str] = Counter()
    doubted, made_again, plugins = 0, 0, host()
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as logs:
        for number, raw in enumerate(specs(list(logs), count, seed), 1):
            made = settle(lambda raw=raw: judge(raw, plugins, logs))
            codes.update({caveat.code for caveat in made[0].caveats})
            false.update({alarm.code for alarm in made[-1].false_alarms})
            doubted += bool(made[0].alarms)
            made_again += len(made) - 1
            print(f"\r{number} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {
        "runs": count,
        "seed": seed,
        "runs_with_each_code": dict(codes.most_common()),
        "runs_with_an_alarm": doubted,
        "runs_made_again": made_again,
        "false_alarms": dict(false),
    }


# ------------------------------------------------------------------------------------- the output


def show(title: str, rows: dict[str, dict[int, float]]) -> None:
    print(f"\n{title:28}" + "".join(f"{f'n = {n}':>10}" for n in LENGTHS))
    for name, row in rows.items():
        cells = (f"{row[n]:10.2%}" if n in row else f"{'–':>10}" for n in LENGTHS)
        print(f"  {name:26}" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--simulate", action="store_true")
    what.add_argument("--calibrate", action="store_true")
    what.add_argument("--runs", type=int, metavar="N")
    parser.add_argument("--rounds", type=int, help="series per kind and length")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.simulate:
        figures = simulate(asked.rounds or 2000, asked.seed)
    elif asked.calibrate:
        figures = calibrate(asked.rounds or 200_000, asked.seed)
    else:
        figures = clean_runs(asked.runs, asked.seed)
    if asked.json or not asked.simulate:
        print(json.dumps(figures, indent=None if asked.json else 2))
        return
    print(
        f"no-steady-state, {figures['rounds']} series each ({figures['rounds'] // 5} of those that "
        f"drift), {TESTS} of them tested in a run, seed {figures['seed']}"
    )
    show("false alarms", figures["false_alarms_per_series"])
    show("found", figures["found"])
    print(
        f"\nworst per series {figures['worst_per_series']:.2%}, so per run of {TESTS} series at "
        f"most {figures['worst_per_run_at_most']:.2%}\n"
        "MSER-5 alone would cut off more than half of 100 independent values in "
        f"{figures['mser5_cuts_over_half_of_100_normal_values']:.1%} of series"
    )


if __name__ == "__main__":
    main()
