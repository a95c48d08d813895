"""`comparison_report.md`: arms side by side. With one arm it is a report that compares nothing.

Written from the summary and the records alone. There is no conclusion in this file: what the report
says about a difference is decided by harness.compare, from trials, their scatter and conditions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from harness.compare import compare_arms, why_not
from harness.compare.watermark import is_stub, made_up, watermark
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
from harness.report.beside import beside, cost_of_all, outlier_words
from harness.report.cells import (
    change,
    counts,
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
from harness.report.grid import is_many
from harness.report.instrument import instrument_line
from harness.report.iterations import iteration_lines
from harness.report.machine import machine_rows
from harness.report.sanitise import code, markdown
from harness.report.setup import setup_lines
from harness.report.sweeps import cells, cold, decisions, differences, goodput
from harness.report.together_md import agents
from harness.schema import CallRecord, Comparison, Summary

__all__ = ["write"]

ROWS_MAX: Final = 200
"""Iterations listed one by one; metrics.json has all of them."""


def write(run: RunData, out: BinaryIO) -> None:
    sections = (
        *(_header, _verdict, _aggregate, agents, decisions),
        *(_every_figure, _runs, _setup, _measured),
    )
    for section in sections:
        if lines := list(section(run)):
            out.write("".join(f"{line}\n" for line in (*lines, "")).encode())


# ---------------------------------------------------------------------------------------- sections


def _header(run: RunData) -> Iterator[str]:
    summary, manifest = run.summary, run.manifest
    yield f"# Comparison report: {markdown(summary.name)}"
    yield ""
    if is_stub(summary):
        yield "> **SIMULATED.** A stub was measured, no model server. These figures rank nothing."
        yield ""
    elif said := watermark(summary):
        yield f"> **SIMULATED FIGURES:** {markdown(said, 400)}. They rank nothing."
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
            *([("Cost", markdown(cost, 400))] if (cost := cost_of_all(summary)) else []),
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


def _aggregate(run: RunData) -> Iterator[str]:
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
    comparisons = compare_arms(run)
    if not is_many(summary):
        yield from _side_by_side(summary, comparisons)
        return
    yield from cells(summary)
    yield from goodput(summary)
    yield from cold(summary)
    if comparisons:
        yield from ("", "## Differences", "")
        yield from differences(summary, comparisons)
        yield from ("", _how_compared(comparisons))


def _side_by_side(summary: Summary, comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A column per arm, a row per metric."""
    pairs = {
        (pair.candidate.arm, pair.candidate.cell): pair for pair in deltas(summary, comparisons)
    }
    measured = dict.fromkeys(one.name for arm in summary.arms for one in arm.metrics if one.n)
    first = [name for name in headlines(summary) if name in measured]
    head = ["Metric"] + [markdown(label(arm, summary)) for arm in summary.arms]
    head += [f"Δ {pair_name(pair)}" for pair in pairs.values()]
    rows = []
    fake = made_up(summary)
    for name in dict.fromkeys([*first, *measured]):
        ones = [metric(arm, name) for arm in summary.arms]
        changes = [change(pair, name) for pair in pairs.values()]
        rows.append([metric_name(ones, fake), *(median(one) for one in ones), *changes])
    yield from table(head, rows)
    if pairs:
        yield ""
        yield (
            "Δ is candidate − baseline, of the medians: positive means that the candidate's value "
            "is higher. Whether that is good is said beside the metric's name."
        )
        yield from _readings(pairs.values(), comparisons)


def _readings(pairs: Iterable[Pair], comparisons: Sequence[Comparison]) -> Iterator[str]:
    stopped = {(one.candidate.arm, one.candidate.cell): why_not(one) for one in comparisons}
    for pair in pairs:
        yield ""
        yield f"### {pair_name(pair)}"
        yield ""
        if why := stopped.get((pair.candidate.arm, pair.candidate.cell)):
            yield f"Nothing is said of differences: {markdown(why)}."
            continue
        head = ("Metric", "Δ of the means over trials", "Sign favours", "What the data allow")
        said = [delta for delta in pair.deltas if delta.effect is not None]
        rows = [
            (code(d.metric), mean_change(d), d.favours or UNKNOWN, markdown(d.reading))
            for d in said
        ]
        yield from table(head, rows)
    yield ""
    yield _how_compared(comparisons)


def _how_compared(comparisons: Sequence[Comparison]) -> str:
    tests = sum(effect.p_holm is not None for one in comparisons for effect in one.effects)
    return (
        f"Words need at least {TRIALS_FOR_WORDS} trials in each arm: a trial counts once, with the "
        f"mean of its values. Intervals are 95 %, by Student's t; {tests} tests were made, and "
        "their p-values corrected for that number (Holm)."
    )


def _every_figure(run: RunData) -> Iterator[str]:
    yield "## Every figure"
    if is_many(run.summary):
        known = sum(1 for arm in run.summary.arms for one in arm.metrics if one.n)
        yield ""
        yield (
            f"{known} figures of {len(run.summary.arms)} arms and cells are in cells.csv and "
            "metrics.json, with n, interval and provenance; `harness export RUN --format html` "
            "makes one page of them."
        )
        return
    for arm in run.summary.arms:
        yield ""
        yield f"### {markdown(label(arm, run.summary))}"
        yield ""
        yield counts(arm)
        for what, words in beside(arm):
            yield ""
            yield f"{what[0].upper()}{what[1:]}: {markdown(words, 2000)}."
        yield ""
        head = ("Metric", "Unit", "n", "n_eff", "Missing", "Median", "Mean", "SD")
        rows = [
            (
                code(one.name),
                markdown(one.unit),
                one.n,
                number(one.n_eff, 3),
                one.missing,
                number(one.median),
                number(one.mean),
                number(one.sd),
                interval_of(one),
                tail(one, "p95"),
                tail(one, "p99"),
                outlier_words(one),
                f"{one.provenance}, per {one.of}",
            )
            for one in arm.metrics
            if one.n
        ]
        more = ("95 % of the mean", "p95", "p99", "Outliers", "Provenance")
        yield from table((*head, *more), rows)


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
    lags = run.summary.arms if not is_many(run.summary) else ()
    rows += [(f"Client lag, {label(arm, run.summary)}", lag(arm)) for arm in lags]
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
        *((what, markdown(said)) for what, said in machine_rows(environment)),
    ]
    yield from table(("", ""), [(markdown(name), value) for name, value in rows])
    yield ""
    yield (
        "Quantiles are by linear interpolation; p95 is given from n = 20 and p99 from n = 100 on. "
        + interval_footer(run.summary)
        + "SD is spread, not an interval. Every figure can be derived again from the run's records."
    )
