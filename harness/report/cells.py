"""Cells and sentences of the comparison report: one figure, caveat or iteration as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from harness.report.aggregate import Delta, Pair, durations, metric
from harness.report.figures import UNKNOWN, and_more, interval_of, number, percent, signed
from harness.report.iterations import IterationLine
from harness.report.sanitise import code, markdown
from harness.schema import ArmSummary, Caveat, MetricSummary, Summary

__all__ = [
    "change",
    "counts",
    "has",
    "interval_footer",
    "lag",
    "mean_change",
    "median",
    "metric_name",
    "of_arm",
    "pair_name",
    "run_row",
    "sentence",
    "table",
    "tail",
]


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(map(str, head)) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def of_arm(caveat: Caveat) -> str:
    if not caveat.arm:
        return ""
    cell = f" / {markdown(caveat.cell)}" if caveat.cell else ""
    more = and_more(caveat.more_cells, "cell")
    return f" ({markdown(caveat.arm)}{cell}{more})"


def sentence(caveat: Caveat) -> str:
    remedy = f" Remedy: {markdown(caveat.remedy)}." if caveat.remedy else ""
    return f"{markdown(caveat.message)}.{remedy}"


def has(summary: Summary, code_: str) -> bool:
    return any(caveat.code == code_ for caveat in summary.verdict.caveats)


def pair_name(pair: Pair) -> str:
    one, other = pair.baseline, pair.candidate
    cell = f" ({markdown(other.cell)})" if other.cell not in ("", "base") else ""
    if one.arm == other.arm:
        return f"{markdown(other.arm)}: {markdown(other.cell)} − {markdown(one.cell)}"
    return f"{markdown(other.arm)} − {markdown(one.arm)}{cell}"


def metric_name(ones: Iterable[MetricSummary | None], made_up: Collection[str] = ()) -> str:
    """`made_up`: names of those that were not measured, beside others that were."""
    one = next(one for one in ones if one is not None)
    better = "" if one.better == "neither" else f" ({one.better} is better)"
    bare = one.unit in ("", "1") or one.name.endswith(f"_{one.unit}")
    unit = "" if bare else f", {markdown(one.unit)}"
    mark = " **simulated**" if one.name in made_up else ""
    return f"{code(one.name)}{unit}{better}{mark}"


def median(one: MetricSummary | None) -> str:
    if one is None or not one.n:
        return UNKNOWN
    band = f"; {one.band}" if one.band else ""
    told = f"mean {number(one.mean)}, {interval_of(one)}, n = {one.n}{band}"
    return f"{number(one.median)} ({told})"


def change(pair: Pair, name: str) -> str:
    delta = next((one for one in pair.deltas if one.metric == name), None)
    if delta is None:
        return UNKNOWN
    return _with_percent(delta.median, delta.difference_unit, delta.median_percent)


def mean_change(delta: Delta) -> str:
    return _with_percent(delta.mean, delta.difference_unit, delta.mean_percent)


def _with_percent(difference: float | None, unit: str, relative_percent: float | None) -> str:
    relative = "" if relative_percent is None else f" ({signed(relative_percent, 3)} %)"
    return f"{signed(difference)}{'' if unit in ('', '1') else f' {markdown(unit)}'}{relative}"


def tail(one: MetricSummary, name: str) -> str:
    if name in one.needs:
        return f"{UNKNOWN} (n ≥ {one.needs[name]})"
    return number(getattr(one, name))


def counts(arm: ArmSummary) -> str:
    total = sum(arm.calls.values())
    statuses = ", ".join(f"{n} {status} ({percent(n / total)})" for status, n in arm.calls.items())
    return (
        f"{arm.trials} trials, {arm.iterations} measured iterations, {arm.planned} planned calls: "
        + (statuses or "none recorded")
    )


def run_row(line: IterationLine, summary: Summary) -> Sequence[Any]:
    cells = {arm.cell for arm in summary.arms}
    arm = line.arm if len(cells) < 2 else f"{line.arm} / {line.cell}"
    status = line.status if line.error is None else f"{line.status}: {line.error}"
    planned = UNKNOWN if line.planned_calls is None else line.planned_calls
    return (
        line.trial,
        line.iteration,
        markdown(arm),
        markdown(status, 200),
        f"{line.calls.get('ok', 0)} / {planned}",
        *(number(line.call_means.get(name)) for name in durations(summary)),
        *(
            number(line.figures.get(name))
            for name in ("throughput_tok_s", "output_tokens", "wall_ms")
        ),
    )


def lag(arm: ArmSummary) -> str:
    parts = []
    for name in ("client_lag_p50_us", "client_lag_p99_us", "client_lag_max_us"):
        one = metric(arm, name)
        if one is not None and one.n:
            parts.append(f"{code(name)}: median {number(one.median)}, worst {number(one.maximum)}")
    return "; ".join(parts) or "unknown"


def interval_footer(summary: Summary) -> str:
    """What the intervals of this run were drawn from, and so what they speak of; with a space
    behind it, or empty."""
    ones = [one for arm in summary.arms for one in arm.metrics if one.n]
    found = {one.ci_of for one in ones if one.ci_low is not None and one.ci_of}
    lacking = {
        f"{one.needs['ci']} {one.ci_of}" for one in ones if one.ci_low is None and "ci" in one.needs
    }
    says = {
        "trials": "trials are drawn with replacement, then values within each",
        "iterations": "iterations of the one trial are drawn, then values within each; another "
        "launch may differ by more",
        "calls": "calls of the one iteration are drawn; another launch may differ by more",
    }
    words = [f"over {unit}: {text}" for unit, text in says.items() if unit in found]
    how = "Intervals are 95 %, of the mean, by expanded percentile bootstrap "
    drawn = f"{how}{'; '.join(words)}. " if words else ""
    return drawn + (
        f"Means of fewer than {' or '.join(sorted(lacking))} have none. " if lacking else ""
    )
