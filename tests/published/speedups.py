"""Did two agents at once pay off? TR115's five runtimes ran the same work at the same servers on
one day, and one of them, by its own locks, ran its agents one after another: the sequential
baseline that those reports never measured.

Work is compared as tokens over wall time, as no run was asked for a fixed number of tokens. One of
the six configurations is left out: its sequential runs ran at half their speed.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.statistics import describe
from tests.published.tables import by_cell

SERIAL = "async-std"
ANOMALY = "chimera_homo_gpu100_ctx512"
SYSTEM = "agents_throughput_tok_s"


class Row(NamedTuple):
    runtime: str
    published: float
    """What they call speed-up: median over runs."""
    balance: float
    """Times of both agents / wall time, recomputed: the same thing."""
    system_tok_s: float
    """Median over runs."""
    speedup: float
    """That / the same of the runtime whose agents work one after another."""
    low: float
    """The lowest and highest of five configurations, medians of five runs each."""
    high: float
    n: int


def rows() -> list[Row]:
    system = {key: of for key, of in by_cell("tr115", SYSTEM).items() if key[1] != ANOMALY}
    stated = by_cell("tr115", "legacy_speedup")
    balance = by_cell("tr115", "load_balance_ratio")
    arms = dict.fromkeys(arm for arm, _ in system)

    def median(of, arm):
        values = [value for key in system if key[0] == arm for value in of[key]]
        return describe(values).median, len(values)

    serial, _ = median(system, SERIAL)
    found = []
    for arm in arms:
        level, n = median(system, arm)
        by_configuration = [
            describe(of).median / describe(system[SERIAL, cell]).median
            for (other, cell), of in system.items()
            if other == arm
        ]
        found.append(
            Row(arm, median(stated, arm)[0], median(balance, arm)[0], level, level / serial,
                min(by_configuration), max(by_configuration), n)
        )  # fmt: skip
    return found


def table() -> str:
    lines = [
        "| runtime | published speed-up | Σ agents' times / wall | system tok/s | true speed-up "
        "| by configuration | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.runtime} | {r.published:.2f} | {r.balance:.2f} | {r.system_tok_s:.1f} "
        f"| {'1 (the sequential one)' if r.runtime == SERIAL else f'**{r.speedup:.2f}**'} "
        f"| {'' if r.runtime == SERIAL else f'{r.low:.2f} to {r.high:.2f}'} | {r.n} |"
        for r in rows()
    ]
    return "\n".join(lines)
