"""What stands below the terminal's table: what it leaves out, and what its figures lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from harness.report.aggregate import durations, label, metric
from harness.report.columns import ROWS_MAX, Layout
from harness.report.figures import UNKNOWN, short
from harness.schema import ArmSummary, Summary
from harness.text import listed

__all__ = ["footnotes", "not_ok"]

_FEWER_MAX: Final = 6


def not_ok(summary: Summary) -> Iterator[str]:
    """Arms and cells with calls that did not end well: of many, those with the most."""
    found = [(_bad(arm), line) for arm in summary.arms if (line := _ends(arm, summary))]
    if len(found) > _FEWER_MAX:
        found.sort(key=lambda one: -one[0])
    yield from (line for _, line in found[:_FEWER_MAX])
    if len(found) > _FEWER_MAX:
        yield f"and {len(found) - _FEWER_MAX} more arms and cells with calls that are not ok"


def _bad(arm: ArmSummary) -> int:
    return sum(arm.calls.values()) - arm.calls.get("ok", 0)


def _ends(arm: ArmSummary, summary: Summary) -> str:
    bad = [f"{count} {status}" for status, count in arm.calls.items() if status != "ok"]
    return f"{label(arm, summary)}: {', '.join(bad)}" if bad else ""


def footnotes(summary: Summary, layout: Layout) -> Iterator[str]:
    if len(summary.arms) > ROWS_MAX:
        yield f"{len(summary.arms) - ROWS_MAX} more arms and cells are in reports/cells.csv"
    if not layout.tails:
        where = "reports/cells.csv has it" if summary.cells else "80 columns have it"
        yield f"p95 left out for want of room: {where}"
    elif tails := _without_tails(summary):
        yield tails
    if silent := [label(arm, summary) for arm in summary.arms if _sees_no_first(arm)]:
        why = "`no_first_token` in a jsonl export says why"
        yield f"{UNKNOWN} TTFT: no first token is known of {listed(silent, 4)}; {why}"
    if layout.rest:
        if bare := [label(arm, summary) for arm in summary.arms if _has_no_tpot(arm)]:
            yield f"{UNKNOWN} TPOT needs time between tokens, and their count: {listed(bare, 4)}"
        yield "n: ok calls with a first token; tok/s: tokens / wall time, over iterations"
    if summary.load_mode == "open":
        yield "open loop: latency runs from the instant at which a request was due"
        for arm in summary.arms if len(summary.arms) <= _FEWER_MAX else ():
            yield f"{label(arm, summary)}: {_from_sent(arm)}"
    yield from _intervals(summary)


def _without_tails(summary: Summary) -> str:
    """Which p95 are missing, and whose n is not that of the last column."""
    needs, fewer = 0, []
    for arm in summary.arms:
        first = metric(arm, "ttft_ms")
        for name, heading in durations(summary).items():
            one = metric(arm, name)
            if one is None or not one.n or "p95" not in one.needs:
                continue
            needs = one.needs["p95"]
            if first is not None and one.n != first.n:
                fewer.append(f"{label(arm, summary)} has {heading.split()[0]} of {one.n} calls")
    more = [", …"] if len(fewer) > _FEWER_MAX else []
    parts = [f"{UNKNOWN} a p95 needs n = {needs}", *fewer[:_FEWER_MAX]]
    return "; ".join(parts) + "".join(more) if needs else ""


def _sees_no_first(arm: ArmSummary) -> bool:
    first = metric(arm, "ttft_ms")
    return first is not None and not first.n and first.missing > 0


def _has_no_tpot(arm: ArmSummary) -> bool:
    first, tpot = metric(arm, "ttft_ms"), metric(arm, "tpot_ms")
    return bool(first and first.n) and (tpot is None or not tpot.n)


def _from_sent(arm: ArmSummary) -> str:
    """What an open loop hides if it is read from the instant of sending, and by how much."""
    lag, ttft = metric(arm, "send_lag_ms"), metric(arm, "ttft_ms")
    worst = short(lag.maximum if lag else None)
    return f"sent up to {worst} ms late; TTFT from sending: {short(ttft.median if ttft else None)}"


def _intervals(summary: Summary) -> Iterator[str]:
    """The report has the intervals; what they speak of, or lack, belongs beside the medians too."""
    name = next(iter(durations(summary)))
    ones = [one for arm in summary.arms if (one := metric(arm, name)) and one.n and one.ci_of]
    lacking = {f"{one.needs['ci']} {one.ci_of}" for one in ones if "ci" in one.needs}
    if lacking:
        yield f"no 95 % interval of a mean below {' or '.join(sorted(lacking))}"
    elif any(caveat.code == "single-launch" for caveat in summary.verdict.caveats):
        return  # which says it
    elif ones and any(one.ci_of != "trials" for one in ones):
        yield "95 % intervals (in the report) are of this launch; another may differ by more"
