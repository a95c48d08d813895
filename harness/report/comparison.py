"""`comparison_report.md`: arms side by side. With one arm it is a report that compares nothing.

Written from the summary and the records alone. There is no conclusion in this file: what the report
says about a difference is decided by aggregate._reading from intervals, n and the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from harness.protocols import RunData
from harness.report.aggregate import (
    TRIALS_FOR_WORDS,
    Pair,
    deltas,
    durations,
    headlines,
    label,
    metric,
)
from harness.report.cells import (
    change,
    counts,
    has,
    interval_footer,
    lag,
    mean_change,
    median,
    metric_name,
    of_arm,
    pair_name,
    run_row,
    sentence,
    table,
    tail,
)
from harness.report.figures import UNKNOWN, interval_of, number
from harness.report.instrument import instrument_line
from harness.report.iterations import iteration_lines
from harness.report.sanitise import code, markdown
from harness.report.setup import setup_lines
from harness.schema import CallRecord

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
    if has(summary, "simulated"):
        yield "> **SIMULATED.** A stub was measured, no model server. These figures rank nothing."
        yield ""
    yield from table(
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
        yield f"- **{caveat.severity}** {code(caveat.code)}{of_arm(caveat)}: " + sentence(caveat)


def _side_by_side(run: RunData) -> Iterator[str]:
    summary = run.summary
    yield "## Aggregate performance"
    yield ""
    if not any(one.n for arm in summary.arms for one in arm.metrics):
        yield "No figure was measured."
        return
    yield (
        "Medians, with the mean, its 95 % interval (or what it would take) and n in brackets; over "
        "`ok` calls or iterations, warm-up left out."
    )
    if summary.load_mode == "open":
        yield ""
        yield (
            "An open loop: latencies from the due instant come first, because from the instant of "
            "sending they leave out the wait of requests that were sent late."
        )
    yield ""
    pairs = {(pair.candidate.arm, pair.candidate.cell): pair for pair in deltas(summary)}
    measured = dict.fromkeys(one.name for arm in summary.arms for one in arm.metrics if one.n)
    first = [name for name in headlines(summary) if name in measured]
    head = ["Metric"] + [markdown(label(arm, summary)) for arm in summary.arms]
    head += [f"Δ {pair_name(pair)}" for pair in pairs.values()]
    rows = []
    for name in dict.fromkeys([*first, *measured]):
        ones = [metric(arm, name) for arm in summary.arms]
        changes = [change(pair, name) for pair in pairs.values()]
        rows.append([metric_name(ones), *(median(one) for one in ones), *changes])
    yield from table(head, rows)
    if pairs:
        yield ""
        yield (
            "Δ is candidate − baseline, of the medians: positive means that the candidate's value "
            "is higher. Whether that is good is said beside the metric's name."
        )
        yield from _readings(pairs.values(), len(headlines(summary)))


def _readings(pairs: Iterable[Pair], count: int) -> Iterator[str]:
    for pair in pairs:
        yield ""
        yield f"### {pair_name(pair)}"
        yield ""
        rows = [
            (code(d.metric), mean_change(d), d.favours or UNKNOWN, d.reading)
            for d in pair.deltas
            if d.reading
        ]
        yield from table(("Metric", "Δ of the means", "Sign favours", "What the data allow"), rows)
    yield ""
    yield (
        f"Words need at least {TRIALS_FOR_WORDS} trials in each arm, and mean intervals that do "
        f"not overlap. {count} metrics are read, without a correction for their number."
    )


def _every_figure(run: RunData) -> Iterator[str]:
    yield "## Every figure"
    for arm in run.summary.arms:
        yield ""
        yield f"### {markdown(label(arm, run.summary))}"
        yield ""
        yield counts(arm)
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
                interval_of(one),
                tail(one, "p95"),
                tail(one, "p99"),
                f"{one.provenance}, per {one.of}",
            )
            for one in arm.metrics
            if one.n
        ]
        yield from table((*head, "p95", "p99", "Provenance"), rows)


def _runs(run: RunData) -> Iterator[str]:
    lines = [line for line in iteration_lines(run) if line.phase == "measured"]
    yield "## Run by run"
    yield ""
    yield "Each measured iteration; latencies are means over its `ok` calls, in ms."
    yield ""
    latencies = durations(run.summary).values()
    head = ("Trial", "Iteration", "Arm", "Status", "ok / planned", *latencies)
    rows = [run_row(line, run.summary) for line in lines[:ROWS_MAX]]
    yield from table((*head, "tok/s", "Tokens", "Wall, ms"), rows)
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
    rows += [(f"Client lag, {label(arm, run.summary)}", lag(arm)) for arm in run.summary.arms]
    if line := instrument_line(run.manifest, run.records()) or environment.selfcheck_unknown:
        said = line.removeprefix("instrument: ")
        known = environment.selfcheck is not None
        rows.append(("Own error", markdown(said if known else f"unknown: {said}")))
    rows += [
        ("Harness", markdown(environment.harness_version)),
        ("Python", markdown(environment.python)),
        ("System", markdown(environment.platform)),
        ("Processor", markdown(environment.cpu_model or UNKNOWN)),
        ("Processors", number(environment.cpu_count)),
        ("Clock source", markdown(environment.clocksource or UNKNOWN)),
    ]
    yield from table(("", ""), [(markdown(name), value) for name, value in rows])
    yield ""
    yield (
        "Quantiles are by linear interpolation; p95 is given from n = 20 and p99 from n = 100 on. "
        + interval_footer(run.summary)
        + "SD is spread, not an interval. Every figure can be derived again from the run's records."
    )
