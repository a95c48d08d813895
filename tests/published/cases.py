"""What was published, beside what the published data give. Published figures are quoted as they
were printed; whether ours is the same is decided by printing it to as many digits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from harness._native import kernels
from harness.compare.factors import factors
from harness.schema import TrialRecord
from harness.statistics import cv_percent, describe, t_interval
from tests.published.tables import by_cell, config_means, imported, values, with_failed

EFFICIENCY, SPEEDUP = "legacy_efficiency_percent", "legacy_speedup"
CONTENTION = "legacy_contention"
RATE, TTFT = "legacy_throughput_tok_s", "legacy_ttft_ms"
RUN_RATE, RUN_TTFT = "legacy_run_throughput_tok_s", "legacy_run_ttft_ms"
PAIRS = ("baseline_vs_chimera", "chimera_hetero", "chimera_homo")


NOT_TOLD = "—"


class Case(NamedTuple):
    report: str
    figure: str
    published: str
    """As printed; its digits decide how ours is printed."""
    recomputed: float | str
    n: int
    note: str = ""

    @property
    def ours(self) -> str:
        if isinstance(self.recomputed, str):
            return self.recomputed
        return f"{self.recomputed:.{len(self.published.partition('.')[2])}f}"

    @property
    def verdict(self) -> str:
        if self.published == NOT_TOLD:
            return "not published"
        return "reproduced" if self.ours == self.published else "differs"


def cases() -> Iterator[Case]:
    yield from tr108()
    yield from tr109()
    yield from tr110()
    yield from tr111()
    yield from tr115()
    yield from agentfarm()


def quantile(sample: Iterable[float], q: float) -> float:
    return float(kernels.quantiles(np.array(list(sample), dtype=np.float64), np.array([q]))[0])


# ---- TR108: one model, three quantisations


def tr108() -> Iterator[Case]:
    rows = {
        "q4_0": ("76.59", "74.63", "78.00", "0.097", "0.130"),
        "q5_K_M": ("65.18", "64.88", "65.74", "1.354", "5.148"),
        "q8_0": ("46.57", "46.14", "46.84", "2.008", "7.718"),
    }
    few = "of five prompts; a report of ours withholds a p95 below n = 20"
    for arm, (mean, p05, p95, ttft, ttft_p95) in rows.items():
        rate = values("tr108", RATE, arms=[arm])
        first = [ms / 1e3 for ms in values("tr108", TTFT, arms=[arm])]
        n = len(rate)
        yield Case("TR108", f"{arm}, tok/s, mean", mean, describe(rate).mean, n)
        yield Case("TR108", f"{arm}, tok/s, p05", p05, quantile(rate, 0.05), n, few)
        yield Case("TR108", f"{arm}, tok/s, p95", p95, quantile(rate, 0.95), n, few)
        yield Case("TR108", f"{arm}, TTFT in s, mean", ttft, describe(first).mean, n,
                   "here, TTFT is load + prompt time as the server has it")  # fmt: skip
        yield Case("TR108", f"{arm}, TTFT in s, p95", ttft_p95, quantile(first, 0.95), n, few)


# ---- TR109: one agent, 18 configurations beside 18 baselines


def tr109() -> Iterator[Case]:
    best = "run_gpu60_ctx512_temp0p8"
    base = values("tr109", RUN_RATE, arms=["baseline"])
    chimera = values("tr109", RUN_RATE, arms=["chimera"])
    changes = _changes(RUN_RATE)
    n = len(base)
    yield Case("TR109", "baselines, tok/s, mean", "99.0418", describe(base).mean, n)
    yield Case("TR109", "chimera, tok/s, mean", "99.1356", describe(chimera).mean, n)
    yield Case("TR109", "mean change, %", "0.0952", describe(list(changes.values())).mean, n)
    up = sum(change > 0 for change in changes.values())
    yield Case("TR109", "configurations that were faster, %", "38.9", up / n * 100, n,
               f"{up} of {n}: the share of positive signs of noise around 0")  # fmt: skip
    yield Case("TR109", "best configuration, tok/s, change in %", "2.2", changes[best], 1,
               "one run against one run: "
               f"{_one('run_tokens', 'chimera', best):.0f} tokens against "
               f"{_one('run_tokens', 'baseline', best):.0f}")  # fmt: skip
    yield Case("TR109", "best configuration, TTFT, change in %", "-68.4",
               _changes(RUN_TTFT)[best], 1, "most likely a warm model")  # fmt: skip
    yield Case("TR109", "baseline, tok/s, mean", "99.16", describe(base).mean, n)
    yield Case("TR109", "baseline, tok/s, sd", "0.25", describe(base).sd, n)
    first = values("tr109", RUN_TTFT, arms=["baseline"])
    yield Case("TR109", "baseline, TTFT in ms, mean", "1437", describe(first).mean, n)
    yield Case("TR109", "baseline, TTFT in ms, sd", "75", describe(first).sd, n)
    files = values("tr109", "files")
    yield Case("TR109", "files analysed per run", "101", describe(files).maximum, len(files),
               "the input was empty in every run")  # fmt: skip
    runs = imported("tr109").manifest.plan
    yield Case("TR109", "runs of the sweep", "54",
               float(sum(arm == "chimera" for arm, _, _ in runs)), n,
               "one per configuration, not three")  # fmt: skip


def _changes(metric: str) -> dict[str, float]:
    base = by_cell("tr109", metric, arms=["baseline"])
    chimera = by_cell("tr109", metric, arms=["chimera"])
    return {cell: (chimera["chimera", cell][0] / of[0] - 1) * 100 for (_, cell), of in base.items()}


def _one(metric: str, arm: str, cell: str) -> float:
    return by_cell("tr109", metric, arms=[arm], cells=[cell])[arm, cell][0]


# ---- TR110: pairs of agents, 30 configurations of 5 runs


def tr110() -> Iterator[Case]:
    for test, published in (
        ("1", "1.598"), ("2", "1.463"), ("3", "1.707"), ("8", "1.455"), ("201", "1.981"),
        ("108", "1.985"),
    ):  # fmt: skip
        of = values("tr110", SPEEDUP, cells=[test])
        yield Case("TR110", f"test {test}, speed-up, mean", published, describe(of).mean, len(of))
    best = values("tr110", EFFICIENCY, cells=["108"])
    around = t_interval(best)
    assert around is not None
    half = (around.high - around.low) / 2
    yield Case("TR110", "test 108, efficiency, mean %", "99.251", describe(best).mean, 5)
    yield Case("TR110", "test 108, efficiency, sd", "0.380", describe(best).sd, 5)
    yield Case("TR110", "test 108, efficiency, t interval ±", "0.472", half, 5)
    for arm, published in zip(PAIRS, ("10/35", "7/35", "0/80"), strict=True):
        flags = values("tr110", CONTENTION, arms=[arm])
        yield Case("TR110", f"{arm}, runs with contention", published,
                   f"{sum(flags):.0f}/{len(flags)}", len(flags),
                   "the rule is speed-up < 1.5")  # fmt: skip
    homo = config_means("tr110", EFFICIENCY, arms=["chimera_homo"])
    yield Case("TR110", "chimera_homo, efficiency, mean of configurations, %", "98.1",
               describe(homo).mean, len(homo))  # fmt: skip
    yield Case("TR110", "chimera_homo, efficiency, sd of configurations", "0.9",
               describe(homo).sd, len(homo))  # fmt: skip
    yield Case("TR110", "chimera_homo, configurations over 95 %", "14/16",
               f"{sum(mean > 95 for mean in homo)}/{len(homo)}", len(homo))  # fmt: skip
    every = config_means("tr110", SPEEDUP)
    edges = (0.0, 1.6, 1.8, 1.95, np.inf)
    ours = [sum(low <= s < high for s in every) for low, high in pairwise(edges)]
    yield Case("TR110", "configurations by speed-up: < 1.6, < 1.8, < 1.95, above", "2/7/5/16",
               "/".join(map(str, ours)), len(every))  # fmt: skip
    runs = values("tr110", EFFICIENCY)
    yield Case("TR110", "all runs, efficiency, mean %", "95.8", describe(runs).mean, len(runs),
               "as a later report quotes it")  # fmt: skip
    yield Case("TR110", "all runs, efficiency, sd", "7.4", describe(runs).sd, len(runs),
               "as a later report quotes it")  # fmt: skip
    for test, published in (("108", "101.3"), ("202", "107.4")):
        wall = values("tr110", "wall_s", cells=[test])
        yield Case("TR110", f"test {test}, wall time in s", published, describe(wall).mean, 5)
    same = [describe(values("tr110", EFFICIENCY, cells=[test])).mean for test in ("3", "202")]
    yield Case("TR110", "different configurations", "30", float(_configurations("tr110")), 30,
               f"tests 3 and 202 are one of them: {same[0]:.1f} % and {same[1]:.1f} %")  # fmt: skip


def _configurations(table: str) -> int:
    run = imported(table)
    cells = {(arm, cell) for arm, cell, _ in run.manifest.plan}
    return len({(arm, repr(run.manifest.cells[cell])) for arm, cell in cells})


# ---- TR111: one agent in Rust, 19 folders of 3 runs of 2 calls


def tr111() -> Iterator[Case]:
    where = {"arms": ["baseline"], "cells": ["baseline_default"]}
    rate = values("tr111", RATE, **where)
    first = values("tr111", TTFT, **where)
    tokens = values("tr111", "generated_tokens", **where)
    n = len(rate)
    calls = "over calls, of two kinds; not over runs"
    yield Case("TR111", "baseline, tok/s, mean", "114.54", describe(rate).mean, n)
    yield Case("TR111", "baseline, tok/s, sd", "2.97", describe(rate).sd, n, calls)
    yield Case("TR111", "baseline, tok/s, CV in %", "2.6", cv_percent(rate), n, calls)
    yield Case("TR111", "baseline, TTFT in ms, mean", "603.53", describe(first).mean, n)
    yield Case("TR111", "baseline, TTFT in ms, sd", "61.16", describe(first).sd, n, calls)
    yield Case("TR111", "baseline, TTFT in ms, CV in %", "10.1", cv_percent(first), n, calls)
    yield Case("TR111", "baseline, tokens, sum", "7557", sum(tokens), n)
    chimera = with_failed("tr111", "generated_tokens", arm="chimera")
    largest = max(max(of) for of in chimera.values())
    means = {
        cell: describe(of).mean for cell, of in with_failed("tr111", RATE, arm="chimera").items()
    }
    spread = describe([mean for cell, mean in means.items() if cell != "baseline_default"])
    yield Case("TR111", "`per-config` table, configurations behind its 19 rows", "19",
               float(_baselines()), 19, "its rows are the baseline agents of each folder, with "
               "no options; the configurations' own means are "
               f"{spread.minimum:.2f} to {spread.maximum:.2f}")  # fmt: skip
    yield Case("TR111", "largest output of a call, tokens", NOT_TOLD, f"{largest:.0f}", 228,
               "no bound was set; the folder's sum is "
               f"{max(sum(of) for of in chimera.values()):.0f}")  # fmt: skip
    lowest = sorted(means.values())[:2]
    zero = sum(value == 0 for of in chimera.values() for value in of)
    yield Case("TR111", "calls of 0 tokens, averaged in", NOT_TOLD, f"{zero}", 228,
               "they pull two configurations to "
               + " and ".join(f"{mean:.2f}" for mean in lowest)
               + " tok/s")  # fmt: skip


def _baselines() -> int:
    """Different sets of options among the baseline agents."""
    trials = [r for r in imported("tr111").records if isinstance(r, TrialRecord)]
    return len({repr(r.effective.options) for r in trials if r.arm == "baseline"})


# ---- TR115: five runtimes, 6 configurations of 5 runs each


def tr115() -> Iterator[Case]:
    overall = {
        "tokio-default": ("98.72", "1.21", "94.80", "99.89"),
        "tokio-localset": ("97.95", "4.03", "81.03", "99.99"),
        "smol-1kb": ("98.61", "1.32", "94.98", "99.94"),
        "smol": ("97.72", "4.87", "72.80", "99.87"),
    }
    for arm, published in overall.items():
        of = describe(values("tr115", EFFICIENCY, arms=[arm]))
        figures = (of.mean, of.sd, of.minimum, of.maximum)
        names = ("mean %", "sd", "minimum", "maximum")
        for name, said, figure in zip(names, published, figures, strict=True):
            yield Case("TR115", f"{arm}, efficiency, {name}", said, figure, of.n)
    serial = values("tr115", EFFICIENCY, arms=["async-std"])
    yield Case("TR115", "async-std, efficiency, mean %", "50.00", describe(serial).mean,
               len(serial), "that build runs its agents one after another")  # fmt: skip
    for arm, cell, published in (
        ("tokio-localset", "chimera_homo_gpu80_ctx2048", "82.4"),
        ("smol-1kb", "chimera_homo_gpu80_ctx2048", "91.2"),
        ("tokio-default", "baseline_vs_chimera_gpu80_ctx512", "96.8"),
    ):
        of = values("tr115", EFFICIENCY, arms=[arm], cells=[cell])
        yield Case("TR115", f"{arm}, {cell}, efficiency, mean %", published, describe(of).mean,
                   len(of))  # fmt: skip
    runs = imported("tr115").manifest.plan
    yield Case("TR115", "runs", "750", float(len(runs)), len(runs))


# ---- AgentFarm's spatial benchmark


def agentfarm() -> Iterator[Case]:
    batch = values("agentfarm_spatial", "batch_speedup")
    for count, ours, published in zip(
        (100, 500, 1000), batch, ("0.02", "0.02", "0.03"), strict=True
    ):
        yield Case("AgentFarm", f"batch updates, {count} entities, immediate / batch", published,
                   ours, 1)  # fmt: skip
    steps = values("agentfarm_steps", "immediate_over_batch")
    for count, ours, published in zip((500, 1000), steps, ("0.70", "0.77"), strict=True):
        yield Case("AgentFarm", f"steps, {count} entities, immediate / batch", published, ours, 1)


# ---- what a factor does


METRIC_OF = {"tr109": RUN_RATE, "tr111": RATE}


class Effect(NamedTuple):
    table: str
    metric: str
    factor: str
    n: int
    spread_percent: float
    p_value: float


def effects() -> Iterator[Effect]:
    """Main effects in the two grids: of means per configuration. TR111's two calls of 0 tokens
    failed, and are in none."""
    for table in ("tr109", "tr111"):
        run = imported(table)
        options = {
            (r.arm, r.cell): r.effective.options for r in run.records if isinstance(r, TrialRecord)
        }
        grid = {
            key: [describe(of).mean]
            for key, of in by_cell(table, METRIC_OF[table], arms=["chimera"]).items()
            if options[key]
        }
        for one in factors({key: options[key] for key in grid}, grid):
            yield Effect(table, METRIC_OF[table], one.name, one.n, (one.spread_share or 0) * 100,
                         one.p_value or 0.0)  # fmt: skip
