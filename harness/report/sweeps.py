"""The comparison report of many arms and cells: rows for them, and their axes as columns.

What is told one by one for two arms would be a page for each of eighteen. So the figures that come
first stand in one table, the differences in another, and the rest is named with its file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.compare.watermark import made_up
from harness.protocols import RunData
from harness.report.aggregate import headlines, metric
from harness.report.cells import median, metric_name, table
from harness.report.figures import UNKNOWN, interval, number, percent, signed
from harness.report.grid import Axis, axes, level
from harness.report.page.decisions import DECISIONS, search_sentence
from harness.report.page.figures import bound_name
from harness.report.sanitise import code, markdown
from harness.schema import ArmSummary, Comparison, Effect, Summary, TrialRecord

__all__ = ["cells", "cold", "decisions", "differences", "first_names", "goodput"]

COLD = "cold"


def first_names(summary: Summary) -> list[str]:
    """The metrics that every row shows: headlines, and what SLOs and bands say."""
    known = {one.name for arm in summary.arms for one in arm.metrics if one.n}
    also = ("goodput_share", "wall_ms")
    found = [name for name in (*headlines(summary), *also) if name in known]
    return list(dict.fromkeys(found))


def cells(summary: Summary) -> Iterator[str]:
    yield from _by_cell(summary, first_names(summary))


def goodput(summary: Summary) -> Iterator[str]:
    """Requests by the SLO; nothing, where the spec has none."""
    made = [(arm, arm.goodput) for arm in summary.arms if arm.goodput is not None]
    if not made:
        return
    swept = axes(summary.cells)
    bounds = list(dict.fromkeys(bound_name(one) for _, found in made for one in found.objectives))
    yield from ("", "### Goodput", "")
    yield "Requests that ended well and met every bound of the SLO, of all that were planned."
    yield ""
    head = ["Arm", *(code(axis.head) for axis in swept), "Good", "Share", "Good per second"]
    rows = [
        [
            *_place(arm.arm, arm.cell, summary, swept),
            f"{found.good} / {found.of}",
            f"{percent(found.share)} ({_of_share(found.share_low, found.share_high)})",
            number(found.per_s),
            *(
                {bound_name(one): one.met for one in found.objectives}.get(b, UNKNOWN)
                for b in bounds
            ),
        ]
        for arm, found in made
    ]
    yield from table([*head, *map(code, bounds)], rows)


def cold(summary: Summary) -> Iterator[str]:
    """Nothing, where no trial began with a cold start."""
    known = [one.name for arm in summary.arms for one in arm.metrics if one.n]
    names = [name for name in dict.fromkeys(known) if name.startswith(COLD)]
    if names:
        yield from ("", "### Cold starts", "")
        yield "Apart from everything above: no cold figure is averaged into a warm one."
        yield ""
        yield from _by_cell(summary, names)


def _by_cell(summary: Summary, names: Sequence[str]) -> Iterator[str]:
    swept = axes(summary.cells)
    ones = {name: [metric(arm, name) for arm in summary.arms] for name in names}
    head = ["Arm", *(code(axis.head) for axis in swept), "ok"]
    fake = made_up(summary)
    rows = [
        [
            *_place(arm.arm, arm.cell, summary, swept),
            _ok(arm),
            *(median(metric(arm, name)) for name in names),
        ]
        for arm in summary.arms
    ]
    yield from table([*head, *(metric_name(ones[name], fake) for name in names)], rows)


def _place(arm: str, cell: str, summary: Summary, swept: Sequence[Axis]) -> list[str]:
    return [markdown(arm), *(markdown(level(summary.cells, cell, axis)) for axis in swept)]


def _ok(arm: ArmSummary) -> str:
    planned = max(arm.planned, sum(arm.calls.values()))
    skipped = f", {arm.skipped} trials skipped" if arm.skipped else ""
    return f"{arm.calls.get('ok', 0)} / {planned}{skipped}"


# ------------------------------------------------------------------------------------- differences


def differences(summary: Summary, comparisons: Sequence[Comparison]) -> Iterator[str]:
    """One row per comparison and metric, in words."""
    swept = axes(summary.cells)
    words = [effect.words for one in comparisons for effect in one.effects]
    tally = "; ".join(f"{words.count(word)} × {word}" for word in dict.fromkeys(words))
    if tally:
        yield f"In all: {tally}."
        yield ""
    head = ["Candidate − baseline", *(code(axis.head) for axis in swept), "Metric"]
    rows = [
        [
            _pair(one),
            *_place("", one.candidate.cell, summary, swept)[1:],
            code(effect.metric),
            _share(effect),
            markdown(effect.sentence),
        ]
        for one in comparisons
        for effect in one.effects
    ]
    yield from table([*head, "Difference", "What the data allow"], rows)
    for one in comparisons:
        if not one.comparable:
            why = "; ".join(c.why for c in one.conditions if c.weight == "forbids")
            yield ""
            yield f"{_pair(one)} ({markdown(one.candidate.cell)}): not comparable: {markdown(why)}."


def _pair(one: Comparison) -> str:
    same = one.candidate.cell == one.baseline.cell
    if same or (one.baseline.cell == "base" and one.candidate.arm != one.baseline.arm):
        return f"{markdown(one.candidate.arm)} − {markdown(one.baseline.arm)}"
    return f"{markdown(one.candidate.label)} − {markdown(one.baseline.label)}"


def _share(effect: Effect) -> str:
    if effect.share is None:
        return f"{signed(effect.difference)} {markdown(effect.unit)}"
    found = f"{signed(effect.share * 100, 3)} %"
    if effect.share_low is None or effect.share_high is None:
        return found
    return f"{found} ({interval(effect.share_low * 100, effect.share_high * 100, 3)})"


# --------------------------------------------------------------------------------------- decisions


def decisions(run: RunData) -> Iterator[str]:
    """What rules of the spec decided, and when the run was taken up again: nothing, without any."""
    lines = [*_searches(run.summary), *_stopping(run.summary), *_skipped(run), *_sessions(run)]
    if lines:
        yield from ("## Decisions", *lines)


def _searches(summary: Summary) -> Iterator[str]:
    for one in summary.search:
        yield from ("", f"{markdown(search_sentence(one))}.", "")
        head = ("Load", "Decision", "Good", "Requests", "95 % of the share", "Trials", "Because")
        rows = [
            (
                number(probe.load),
                probe.decision,
                probe.good,
                probe.requests,
                _of_share(probe.share_low, probe.share_high),
                probe.trials,
                markdown(probe.because),
            )
            for probe in sorted(one.probes, key=lambda probe: probe.load)
        ]
        yield from table(head, rows)


def _of_share(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return UNKNOWN
    return f"{interval(low * 100, high * 100)} %"


def _stopping(summary: Summary) -> Iterator[str]:
    if not summary.stopping:
        return
    yield ""
    yield (
        "Trials were added until half the 95 % interval of every arm's mean was narrow enough, as "
        "a share of the mean."
    )
    yield ""
    rows = [
        (
            markdown(one.cell),
            code(one.metric),
            one.trials,
            DECISIONS[one.decision],
            "; ".join(f"{markdown(a)} ± {percent(w)}" for a, w in one.relative_widths.items()),
            percent(one.bound),
        )
        for one in summary.stopping
    ]
    yield from table(("Cell", "Metric", "Trials", "Decision", "Reached", "Bound"), rows)


def _skipped(run: RunData) -> Iterator[str]:
    found: dict[str, int] = {}
    for record in run.records():
        if isinstance(record, TrialRecord) and record.status == "skipped":
            why = record.error.message if record.error else "no reason was recorded"
            found[why] = found.get(why, 0) + 1
    for why, count in found.items():
        yield ""
        yield f"- {count} trial{'s' * (count != 1)} skipped: {markdown(why)}."


def _sessions(run: RunData) -> Iterator[str]:
    for one in run.sessions:
        again = ", ".join(map(str, one.superseded)) or "none"
        changed = "" if one.environment is None else "; the machine's conditions had changed"
        yield ""
        yield f"- Taken up again {markdown(one.started)}; trials run again: {again}{changed}."
