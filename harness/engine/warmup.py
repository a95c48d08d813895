"""Where a warm-up ends, as the measured series themselves say: a hint, and no cut.

`iterations.warmup` drops the first so many iterations, whatever they were like. MSER-5 looks at the
values: it cuts where the rest has the least error of its mean. It always has an answer, and of
independent values a wrong one in one series of ten, so nothing is left out on its word; plots mark
the place, and the report names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from harness.metrics import call_metric
from harness.schema import CallRecord, IterationRecord, Load, OpenLoad, WarmupHint

__all__ = ["warmup_hints"]

ALIKE_SHARE = 0.9
"""Series shorter than this share of the longest are left out of the average."""


def warmup_hints(
    calls: Sequence[CallRecord], iterations: Sequence[IterationRecord], load: Load | None
) -> tuple[WarmupHint, ...]:
    """Of the measured records of one arm and cell: TTFT and TPOT in order of sending where a load
    drove the calls; for a workflow, whose calls differ by nature, the wall times of iterations."""
    if load is None:
        return tuple(_of_iterations(iterations))
    return tuple(_of_calls(calls, "ttft_from_due_ms" if isinstance(load, OpenLoad) else "ttft_ms"))


def _of_calls(calls: Sequence[CallRecord], ttft: str) -> Iterator[WarmupHint]:
    series: dict[tuple[int, int], list[CallRecord]] = defaultdict(list)
    for call in sorted(calls, key=lambda c: (c.instants.sent_ns or c.instants.due_ns, c.call_id)):
        if call.status == "ok":
            series[call.trial, call.iteration].append(call)
    for name in (ttft, "tpot_ms"):
        formula = call_metric(name).formula
        rows = [[x for call in row if (x := formula(call)) is not None] for row in series.values()]
        if any(rows):
            yield _hint(name, "calls", rows)


def _of_iterations(iterations: Sequence[IterationRecord]) -> Iterator[WarmupHint]:
    rows: dict[int, list[float]] = defaultdict(list)
    for one in sorted(iterations, key=lambda one: (one.trial, one.iteration)):
        if one.status == "ok" and not one.imported:
            rows[one.trial].append((one.end_ns - one.start_ns) / 1e6)
    if rows:
        yield _hint("wall_ms", "iterations", [*rows.values()])


def _hint(metric: str, of: str, rows: list[list[float]]) -> WarmupHint:
    import numpy as np

    from harness.statistics import mser5

    longest = max(map(len, rows))
    alike = [row for row in rows if len(row) >= ALIKE_SHARE * longest]
    n = min(map(len, alike))
    row = np.mean([row[:n] for row in alike], axis=0)
    found = mser5(row)
    keep_from = None if found is None or found > n // 2 else found
    return WarmupHint(
        metric=metric,
        of=of,  # type: ignore[arg-type]
        n=n,
        series=len(alike),
        keep_from=keep_from,
        mean=float(row.mean()),
        mean_kept=None if keep_from is None else float(row[keep_from:].mean()),
    )
