"""What stands beside the figures of an arm: requests by the SLO, bands, cold starts, what it cost
in dollars and what a tap did in time, the warm-up that the series themselves suggest, and outliers.
Plain text: who writes Markdown or HTML escapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from harness.money import dollars, plain
from harness.money.amounts import added
from harness.report.aggregate import label, metric
from harness.report.energy import energy_words
from harness.report.figures import UNKNOWN, interval, number, percent
from harness.schema import (
    ArmSummary,
    CostSummary,
    Goodput,
    MetricSummary,
    Objective,
    Summary,
    WarmupHint,
)
from harness.text import listed

__all__ = [
    "band_words",
    "beside",
    "cold_words",
    "cost_of_all",
    "cost_words",
    "goodput_words",
    "outlier_words",
    "tap_words",
    "warmup_words",
]


def beside(arm: ArmSummary) -> Iterator[tuple[str, str]]:
    """(what, sentence) of all that this arm has."""
    if arm.goodput is not None:
        yield "goodput", goodput_words(arm.goodput)
    if words := band_words(arm):
        yield "bands", words
    if words := cold_words(arm):
        yield "cold", words
    if arm.cost is not None:
        yield "cost", cost_words(arm.cost)
    if words := energy_words(arm):
        yield "energy", words
    if words := tap_words(arm):
        yield "through the tap", words
    for hint in arm.warmup:
        if words := warmup_words(hint):
            yield "warm-up", words


def goodput_words(made: Goodput) -> str:
    """`96 % good (48 of 50; 95 %: 86.3 … 99.5 % by chance alone), 11.8/s; ttft_ms ≤ 200: 98 %`.
    By chance alone: what launches differ by is not in it."""
    if made.share is None:
        return "no request was planned"
    low, high = (None if x is None else 100 * x for x in (made.share_low, made.share_high))
    within = "" if made.ci_of == "trials" else " by chance alone"
    counted = f"{made.good} of {made.of}; 95 %: {interval(low, high, 3)} %{within}"
    rate = "" if made.per_s is None else f", {number(made.per_s, 3)}/s"
    unknown = f"; {made.unknown} unknown count as not good" if made.unknown else ""
    each = ", ".join(_objective(one, made.of) for one in made.objectives)
    return f"{percent(made.share)} good ({counted}){rate}; {each}{unknown}"


def _objective(one: Objective, of: int) -> str:
    sign = "≥" if one.better == "higher" else "≤"
    return f"{one.metric} {sign} {number(one.bound)}: {percent(one.met / of)}"


def band_words(arm: ArmSummary) -> str:
    """`ttft_ms excellent (median), e2e_ms — (p95: needs n = 20)`; empty without bands."""
    banded = [one for one in arm.metrics if one.band_by]
    return ", ".join(f"{one.name} {one.band or UNKNOWN} ({one.band_by})" for one in banded)


def cold_words(arm: ArmSummary) -> str:
    """Empty where nothing was started cold."""
    start = metric(arm, "cold_start_ms")
    if start is None:
        return ""
    if not start.n:
        return f"none of {start.missing} cold starts is known to have been one"
    load = metric(arm, "cold_load_ms")
    loaded = f", of which loading {number(load.median)} ms" if load and load.n else ""
    return f"{number(start.median)} ms to the first token{loaded} (median, n = {start.n})"


def cost_words(cost: CostSummary) -> str:
    """`$0.000123 for all its 6 calls, warm-up and failed ones included (by the
    provider's own account)`; what is unknown is said, and counted."""
    usd, own = Decimal(cost.usd), Decimal(cost.provider_usd)
    calls = f"all its {cost.calls} calls, warm-up and failed ones included"
    if cost.calls == 1:
        calls = "its one call"
    if cost.unknown:
        known = cost.calls - cost.unknown
        calls = f"{known} of {cost.calls} calls; what the other {cost.unknown} cost is unknown"
    if own == usd and usd:
        return f"{dollars(usd)} for {calls} (by the provider's own account)"
    by = "tokens at the price of the day"
    if own:
        by = f"{dollars(own)} of it by the provider's own account, the rest by {by}"
    return f"{dollars(usd)} for {calls} ({by})"


def cost_of_all(summary: Summary) -> str:
    """Of all arms and cells; empty where nothing costs anything, as far as anybody knows."""
    costs = [arm.cost for arm in summary.arms if arm.cost is not None]
    unpriced = {one.arm for one in summary.verdict.caveats if one.code == "unpriced"}
    silent = [arm for arm in summary.arms if arm.cost is None and arm.arm in unpriced]
    if not costs:
        return "unknown, of every call" if silent else ""
    sent = CostSummary(
        usd=plain(added(Decimal(one.usd) for one in costs)),
        calls=sum(one.calls for one in costs),
        unknown=sum(one.unknown for one in costs),
        provider_usd=plain(added(Decimal(one.provider_usd) for one in costs)),
    )
    names = listed([label(arm, summary) for arm in silent], 4)
    return cost_words(sent) + (f"; of all calls of {names} it is unknown" if silent else "")


def tap_words(arm: ArmSummary) -> str:
    """What the tap cost, and the agent's own runtime beside it; empty where nothing was tapped."""
    held = [metric(arm, f"tap_delay_{which}_us") for which in ("p50", "p99")]
    if not all(one is not None and one.n for one in held):
        return ""
    p50, p99 = (number(one.median, 3) if one else UNKNOWN for one in held)
    held_for = f"{p50} µs, at the p99 {p99} µs (medians of calls)"
    words = f"it held chunks for {held_for}, which is not in these figures"
    seen = metric(arm, "agent_first_token_delay_us")
    if seen is None or not seen.n:
        return words
    return f"{words}; agents saw a first token {number(seen.median, 3)} µs after that (median)"


def warmup_words(hint: WarmupHint) -> str:
    """Empty where the series starts at its level, or is too short to tell."""
    if not hint.keep_from:
        return ""
    moved = f"mean {number(hint.mean)} → {number(hint.mean_kept)}"
    cut = f"the first {hint.keep_from} of {hint.n} {hint.of}"
    return f"MSER-5 would leave out {cut} ({hint.metric}: {moved})"


def outlier_words(one: MetricSummary) -> str:
    """`2: mean 48.1, median 47.9 without`."""
    if one.outliers is None:
        return UNKNOWN
    if not one.outliers:
        return "0"
    mean, median = number(one.mean_without_outliers), number(one.median_without_outliers)
    return f"{one.outliers}: mean {mean}, median {median} without"
