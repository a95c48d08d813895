"""`comparison_report.md`: arms side by side. With one arm it is a report that compares nothing.

Written from the summary and the records alone. There is no conclusion in this file: what the report
says about a difference is decided by aggregate._reading from intervals, n and the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from harness.protocols import RunData
from harness.report.aggregate import (
    HEADLINES,
    TRIALS_FOR_WORDS,
    Delta,
    IterationLine,
    Pair,
    deltas,
    iteration_lines,
    label,
    metric,
)
from harness.report.figures import UNKNOWN, interval, number, percent, signed
from harness.report.sanitise import code, markdown
from harness.report.setup import setup_lines
from harness.schema import (
    ArmSummary,
    CallRecord,
    Caveat,
    MetricSummary,
    Summary,
)

__all__ = ["write"]

ROWS_MAX: Final = 200
"""Iterations listed one by one; metrics.json has all of them."""


def write(run: RunData, out: BinaryIO) -> None:
    for section in (_header, _verdict, _side_by_side, _every_figure, _runs, _setup, _measured):
        out.write("".join(f"{line}\n" for line in (*section(run), "")).encode())


# ---------------------------------------------------------------------------------------- sections


def _header(run: RunData) -> Iterator[str]:
    summary, manifest = run.summary, run.manifest
    yield f"# Comparison report: {markdown(summary.name)}"
    yield ""
    if _has(summary, "simulated"):
        yield "> **SIMULATED.** A stub was measured, no model server. These figures rank nothing."
        yield ""
    yield from _table(
        ("", ""),
        [
            ("Run", code(summary.run_id)),
            ("Started", markdown(summary.started)),
            ("Ended", markdown(manifest.ended or UNKNOWN)),
            ("State", summary.state),
            ("Scenario", code(summary.scenario)),
            ("Backend", code(summary.backend)),
            ("Model", code(summary.model or "")),
            ("Wall time", f"{number(summary.wall_s)} s"),
            ("Spec digest", code(summary.spec_digest)),
            *([("Error", markdown(manifest.error))] if manifest.error else []),
        ],
    )


def _verdict(run: RunData) -> Iterator[str]:
    verdict = run.summary.verdict
    yield f"## Verdict: {verdict.state}"
    yield ""
    if not verdict.caveats:
        yield "No rule found a reason to doubt the figures."
    for caveat in verdict.caveats:
        yield f"- **{caveat.severity}** {code(caveat.code)}{_of_arm(caveat)}: " + _sentence(caveat)


def _side_by_side(run: RunData) -> Iterator[str]:
    summary = run.summary
    yield "## Aggregate performance"
    yield ""
    if not any(one.n for arm in summary.arms for one in arm.metrics):
        yield "No figure was measured."
        return
    yield (
        "Medians, with the mean, its 95 % interval and n in brackets; over `ok` calls or "
        "iterations, warm-up left out."
    )
    yield ""
    pairs = {(pair.candidate.arm, pair.candidate.cell): pair for pair in deltas(summary)}
    names = dict.fromkeys(one.name for arm in summary.arms for one in arm.metrics if one.n)
    head = ["Metric"] + [markdown(label(arm, summary)) for arm in summary.arms]
    head += [f"Δ {_pair_name(pair)}" for pair in pairs.values()]
    rows = []
    for name in names:
        ones = [metric(arm, name) for arm in summary.arms]
        changes = [_change(pair, name) for pair in pairs.values()]
        rows.append([_metric_name(ones), *(_median(one) for one in ones), *changes])
    yield from _table(head, rows)
    if pairs:
        yield ""
        yield (
            "Δ is candidate − baseline, of the medians: positive means that the candidate's value "
            "is higher. Whether that is good is said beside the metric's name."
        )
        yield from _readings(pairs.values())


def _readings(pairs: Iterable[Pair]) -> Iterator[str]:
    for pair in pairs:
        yield ""
        yield f"### {_pair_name(pair)}"
        yield ""
        rows = [
            (code(d.metric), _mean_change(d), d.favours or UNKNOWN, d.reading)
            for d in pair.deltas
            if d.reading
        ]
        yield from _table(("Metric", "Δ of the means", "Sign favours", "What the data allow"), rows)
    yield ""
    yield (
        f"Words need at least {TRIALS_FOR_WORDS} trials in each arm, and mean intervals that do "
        f"not overlap. {len(HEADLINES)} metrics are read, without a correction for their number."
    )


def _every_figure(run: RunData) -> Iterator[str]:
    yield "## Every figure"
    for arm in run.summary.arms:
        yield ""
        yield f"### {markdown(label(arm, run.summary))}"
        yield ""
        yield _counts(arm)
        yield ""
        head = ("Metric", "Unit", "n", "Missing", "Median", "Mean", "SD", "95 % of the mean")
        rows = [
            (
                code(one.name),
                markdown(one.unit),
                one.n,
                one.missing,
                number(one.median),
                number(one.mean),
                number(one.sd),
                interval(one.ci_low, one.ci_high),
                _tail(one, "p95"),
                _tail(one, "p99"),
                f"{one.provenance}, per {one.of}",
            )
            for one in arm.metrics
            if one.n
        ]
        yield from _table((*head, "p95", "p99", "Provenance"), rows)


def _runs(run: RunData) -> Iterator[str]:
    lines = [line for line in iteration_lines(run) if line.phase == "measured"]
    yield "## Run by run"
    yield ""
    yield "Each measured iteration; TTFT, TPOT and E2E are means over its `ok` calls, in ms."
    yield ""
    head = ("Trial", "Iteration", "Arm", "Status", "ok / planned", "TTFT", "TPOT", "E2E")
    rows = [_run_row(line, run.summary) for line in lines[:ROWS_MAX]]
    yield from _table((*head, "tok/s", "Tokens", "Wall, ms"), rows)
    if len(lines) > ROWS_MAX:
        yield ""
        yield f"{len(lines) - ROWS_MAX} more are in metrics.json."


def _setup(run: RunData) -> Iterator[str]:
    yield "## Configuration"
    yield ""
    yield from setup_lines(run)


def _measured(run: RunData) -> Iterator[str]:
    environment = run.manifest.environment
    sources: Counter[str] = Counter()
    for record in run.records():
        if isinstance(record, CallRecord) and record.phase == "measured" and record.chunks.count:
            sources[record.stamp_source] += 1
    stamps = ", ".join(f"{source}: {n} calls" for source, n in sources.most_common()) or "none"
    yield "## How it was measured"
    yield ""
    rows = [("Stamp source of the first token", stamps)]
    rows += [(f"Client lag, {label(arm, run.summary)}", _lag(arm)) for arm in run.summary.arms]
    rows += [
        ("Harness", markdown(environment.harness_version)),
        ("Python", markdown(environment.python)),
        ("System", markdown(environment.platform)),
        ("Processor", markdown(environment.cpu_model or UNKNOWN)),
        ("Processors", number(environment.cpu_count)),
        ("Clock source", markdown(environment.clocksource or UNKNOWN)),
    ]
    yield from _table(("", ""), [(markdown(name), value) for name, value in rows])
    yield ""
    yield (
        "Quantiles are by linear interpolation; p95 is given from n = 20 and p99 from n = 100 on. "
        "Intervals are of the mean, by bootstrap over trials, then iterations. SD is spread, not "
        "an interval. Every figure can be derived again from the run's records."
    )


# ------------------------------------------------------------------------------------------- cells


def _table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(map(str, head)) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def _of_arm(caveat: Caveat) -> str:
    return f" ({markdown(caveat.arm)})" if caveat.arm else ""


def _sentence(caveat: Caveat) -> str:
    remedy = f" Remedy: {markdown(caveat.remedy)}." if caveat.remedy else ""
    return f"{markdown(caveat.message)}.{remedy}"


def _has(summary: Summary, code_: str) -> bool:
    return any(caveat.code == code_ for caveat in summary.verdict.caveats)


def _pair_name(pair: Pair) -> str:
    cell = f" ({markdown(pair.baseline.cell)})" if pair.baseline.cell not in ("", "base") else ""
    return f"{markdown(pair.candidate.arm)} − {markdown(pair.baseline.arm)}{cell}"


def _metric_name(ones: Iterable[MetricSummary | None]) -> str:
    one = next(one for one in ones if one is not None)
    better = "" if one.better == "neither" else f" ({one.better} is better)"
    unit = "" if one.name.endswith(f"_{one.unit}") else f", {markdown(one.unit)}"
    return f"{code(one.name)}{unit}{better}"


def _median(one: MetricSummary | None) -> str:
    if one is None or not one.n:
        return UNKNOWN
    spread = interval(one.ci_low, one.ci_high)
    return f"{number(one.median)} (mean {number(one.mean)}, {spread}, n = {one.n})"


def _change(pair: Pair, name: str) -> str:
    delta = next((one for one in pair.deltas if one.metric == name), None)
    if delta is None:
        return UNKNOWN
    return _signed(delta.median, delta.difference_unit, delta.median_percent)


def _mean_change(delta: Delta) -> str:
    return _signed(delta.mean, delta.difference_unit, delta.mean_percent)


def _signed(difference: float | None, unit: str, relative_percent: float | None) -> str:
    relative = "" if relative_percent is None else f" ({signed(relative_percent, 3)} %)"
    return f"{signed(difference)} {markdown(unit)}{relative}"


def _tail(one: MetricSummary, name: str) -> str:
    if name in one.needs:
        return f"{UNKNOWN} (n ≥ {one.needs[name]})"
    return number(getattr(one, name))


def _counts(arm: ArmSummary) -> str:
    total = sum(arm.calls.values())
    statuses = ", ".join(f"{n} {status} ({percent(n / total)})" for status, n in arm.calls.items())
    return (
        f"{arm.trials} trials, {arm.iterations} measured iterations, {arm.planned} planned calls: "
        + (statuses or "none recorded")
    )


def _run_row(line: IterationLine, summary: Summary) -> Sequence[Any]:
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
        *(number(line.call_means.get(name)) for name in ("ttft_ms", "tpot_ms", "e2e_ms")),
        *(
            number(line.figures.get(name))
            for name in ("throughput_tok_s", "output_tokens", "wall_ms")
        ),
    )


def _lag(arm: ArmSummary) -> str:
    parts = []
    for name in ("client_lag_p50_us", "client_lag_p99_us", "client_lag_max_us"):
        one = metric(arm, name)
        if one is not None and one.n:
            parts.append(f"{code(name)}: median {number(one.median)}, worst {number(one.maximum)}")
    return "; ".join(parts) or "unknown"
