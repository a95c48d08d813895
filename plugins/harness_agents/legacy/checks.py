"""Which figures of a legacy file its own data contradict: both are told, and ours is derived from
the data. Each is recomputed by the definition that the program had, which differ between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from harness.protocols import Stated
from harness_agents.legacy.records import LegacyCall, LegacyPair, Told, Ttft
from harness_agents.legacy.sums import (
    CONTENTION_BELOW,
    RATE,
    TOKENS,
    TTFT,
    mean,
    minus,
    over,
    rate_of,
    sd,
    sequential_s_of,
    server_ms_of,
    times,
    total,
    ttft_of,
)

__all__ = [
    "disagreeing_agent",
    "disagreeing_call",
    "disagreeing_delta",
    "disagreeing_means",
    "disagreeing_pair",
]

TOLERANCE: Final = 1e-6
"""Relative. Sums in another order differ by 1e-12, figures printed to four decimals by 1e-4; those
carry their own."""


def disagreeing_call(call: LegacyCall, file: str, tolerance: float = TOLERANCE) -> list[Stated]:
    if call.failed or not call.tokens or not call.eval_ms:
        return []
    of = Told(figures=_known({"throughput": call.throughput_tok_s}), place=call.place)
    return _against(of, {"throughput": call.tokens / call.eval_ms * 1e3}, file, tolerance)


def disagreeing_agent(told: Told, calls: Sequence[LegacyCall], file: str) -> list[Stated]:
    """What is stated of several calls together: means against those that went well, sums against
    all."""
    went = [call for call in calls if not call.failed]
    rates = [call.throughput_tok_s for call in went]
    waits = [call.ttft_ms for call in went]
    return _against(
        told,
        {
            RATE: mean(rates),
            TTFT: mean(waits),
            "stddev_throughput": sd(rates),
            "stddev_ttft": sd(waits),
            TOKENS: total(*(call.tokens for call in calls)),
            "total_duration_ms": total(*(call.total_ms for call in calls)),
            "load_duration_ms": total(*(call.load_ms for call in calls)),
            "prompt_eval_duration_ms": total(*(call.prompt_ms for call in calls)),
            "eval_duration_ms": total(*(call.eval_ms for call in calls)),
        },
        file,
    )


def disagreeing_delta(told: Told, baseline: Told, chimera: Told, file: str) -> list[Stated]:
    """Of the two agents of a single form. Their two differences have opposite signs."""
    rate = [one.figures.get(RATE) for one in (baseline, chimera)]
    wait = [one.figures.get(TTFT) for one in (baseline, chimera)]
    return _against(
        told,
        {
            "baseline_throughput": rate[0],
            "chimera_throughput": rate[1],
            "baseline_ttft_ms": wait[0],
            "chimera_ttft_ms": wait[1],
            "throughput_delta_absolute": minus(rate[1], rate[0]),
            "ttft_delta_absolute_ms": minus(wait[0], wait[1]),
            "throughput_improvement_percent": times(over(minus(rate[1], rate[0]), rate[0]), 100),
            "ttft_reduction_percent": times(over(minus(wait[0], wait[1]), wait[0]), 100),
        },
        file,
    )


def disagreeing_pair(pair: LegacyPair, ttft: Ttft, file: str) -> list[Stated]:
    told = pair.told.figures
    speedup = over(sequential_s_of(pair.told), pair.wall_s)
    found: dict[str, float | None] = {
        "concurrency_speedup": speedup,
        "efficiency_percent": times(told.get("concurrency_speedup"), 50),
    }
    if pair.agents is not None:
        a, b = pair.agents
        head = ttft == "prompt"  # which adds up what the servers report, and turns this delta round
        estimate = [server_ms_of(one) if head else one.execution_s for one in (a, b)]
        for name in ("sequential_estimated_s", "sequential_estimated_time"):
            found[name] = total(*estimate)
        found["sequential_estimate_ms"] = total(*estimate)
        found["throughput_delta"] = minus(rate_of(b), rate_of(a))
        found["ttft_delta_ms"] = minus(
            *((ttft_of(b), ttft_of(a)) if head else (ttft_of(a), ttft_of(b)))
        )
        for first, second in (("collector", "insight"), ("baseline", "chimera")):
            found |= {f"{first}_throughput": rate_of(a), f"{second}_throughput": rate_of(b)}
            found |= {f"{first}_ttft_ms": ttft_of(a), f"{second}_ttft_ms": ttft_of(b)}
    wrong = _against(pair.told, found, file)
    if pair.contention is not None and (stated := told.get("concurrency_speedup")) is not None:
        ruled = stated < CONTENTION_BELOW
        if ruled is not pair.contention:
            wrong.append(_stated("resource_contention_detected", pair.contention, ruled,
                                 pair.told.place, file))  # fmt: skip
    return wrong


def disagreeing_means(told: Told, pairs: Sequence[LegacyPair], file: str) -> list[Stated]:
    """Of a summary.json, against the runs."""

    def over_runs(name: str) -> float | None:
        return mean([pair.told.figures.get(name) for pair in pairs])

    flags = [pair.contention for pair in pairs if pair.contention is not None]
    return _against(
        told,
        {
            "average_concurrency_speedup": over_runs("concurrency_speedup"),
            "average_efficiency": times(over_runs("concurrency_speedup"), 50),
            "average_throughput_delta": over_runs("throughput_delta"),
            "average_ttft_delta_ms": over_runs("ttft_delta_ms"),
            "average_wall_time": mean([pair.wall_s for pair in pairs]),
            "contention_detected_runs": float(sum(flags)) if len(flags) == len(pairs) else None,
        },
        file,
    )


def _against(
    told: Told, found: Mapping[str, float | None], file: str, tolerance: float = TOLERANCE
) -> list[Stated]:
    return [
        _stated(name, stated, value, told.place, file)
        for name, value in found.items()
        if value is not None
        and (stated := told.figures.get(name)) is not None
        and not math.isclose(stated, value, rel_tol=tolerance, abs_tol=_slack(told, name))
    ]


def _slack(told: Told, name: str) -> float:
    """A small difference of two large figures has their rounding errors."""
    if "delta" not in name and "percent" not in name and not name.startswith("stddev"):
        return 0.0
    return TOLERANCE * max((abs(value) for value in told.figures.values()), default=0.0)


def _stated(figure: str, stated: float, found: float, place: str, file: str) -> Stated:
    where = f"{file} {place}".strip()
    return Stated(figure=figure, stated=float(stated), found=float(found), place=where)


def _known(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}
