"""From runs to the figures of the table, and to the goals that ours has set itself. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks.peers.read import alike
from benchmarks.peers.rounds import Run

__all__ = ["Figures", "Goal", "figures_of", "goals", "marginal_cpu_us", "quantile"]

P99_NEEDS = 100


class Figures(NamedTuple):
    """One tool under one load. Times in the units of the names; None: unknown, or too few."""

    load: str
    cores: int
    tool: str
    runs: int
    outcomes: tuple[str, ...]
    """What went wrong, each once; empty: nothing."""
    n: int
    """Requests behind the quantiles."""
    unmatched: int
    failed: int
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    true_p50_ms: float | None
    true_p99_ms: float | None
    bias_p50_ms: float | None
    """Median reported − median true TTFT."""
    stamp_p50_us: float | None
    stamp_p99_us: float | None
    cpu_us_per_chunk: float | None
    """Marginal: between the two lengths."""
    start_s: float | None
    contact_s: float | None
    wall_s: float | None
    """Of the long runs."""
    rss_mb: float | None
    pss_mb: float | None
    processes: int
    noticed: tuple[str, ...]
    server_lateness_p99_us: float | None
    held_up: int


class Goal(NamedTuple):
    what: str
    value: float | None
    bound: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """None: there is no figure."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def quantile(values: Sequence[float], p: float) -> float | None:
    """By linear interpolation; p99 only of 100 and more."""
    if not values or (p >= 0.99 and len(values) < P99_NEEDS):
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * p
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def marginal_cpu_us(runs: Iterable[Run]) -> float | None:
    """Median over the rounds of (CPU of the long run − of the short) / (chunks − chunks)."""
    by_round: dict[int, dict[str, Run]] = {}
    for run in runs:
        if run.outcome == "ok":
            by_round.setdefault(run.round, {})[run.size] = run
    found = []
    for pair in by_round.values():
        if len(pair) == 2:
            short, long = pair["short"], pair["long"]
            found.append((long.cpu_ns - short.cpu_ns) / (long.chunks - short.chunks) / 1e3)
    return statistics.median(found) if found else None


def figures_of(runs: Sequence[Run]) -> list[Figures]:
    """One for each load, number of cores and tool, in the order of their first runs."""
    groups: dict[tuple[str, int, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.load, run.cores, run.tool), []).append(run)
    return [_figures(*key, group) for key, group in groups.items()]


def _figures(load: str, cores: int, tool: str, runs: list[Run]) -> Figures:
    long = [run for run in runs if run.size == "long"]
    reported = [x / 1e6 for run in long for x in run.reported_ns]
    true = [x / 1e6 for run in long for x in run.true_ns]
    errors = [x / 1e3 for run in long for x in run.stamp_error_ns]
    p50, true_p50 = quantile(reported, 0.5), quantile(true, 0.5)
    lateness = [r.server_lateness_p99_ns for r in long if r.server_lateness_p99_ns is not None]
    return Figures(
        load=load,
        cores=cores,
        tool=tool,
        runs=len(runs),
        outcomes=tuple(dict.fromkeys(r.outcome for r in runs if r.outcome != "ok")),
        n=len(reported),
        unmatched=sum(run.unmatched for run in long),
        failed=sum(run.failed or 0 for run in runs),
        ttft_p50_ms=p50,
        ttft_p99_ms=quantile(reported, 0.99),
        true_p50_ms=true_p50,
        true_p99_ms=quantile(true, 0.99),
        bias_p50_ms=None if p50 is None or true_p50 is None else p50 - true_p50,
        stamp_p50_us=quantile(errors, 0.5),
        stamp_p99_us=quantile(errors, 0.99),
        cpu_us_per_chunk=marginal_cpu_us(runs),
        start_s=_median(run.start_s for run in runs),
        contact_s=_median(run.contact_s for run in runs),
        wall_s=_median(run.wall_s for run in long if run.outcome == "ok"),
        rss_mb=max((run.rss_bytes for run in runs), default=0) / 1e6 or None,
        pss_mb=max((run.pss_bytes for run in runs), default=0) / 1e6 or None,
        processes=max(run.processes for run in runs),
        noticed=_noticed(runs),
        server_lateness_p99_us=max(lateness) / 1e3 if lateness else None,
        held_up=sum(run.held_up for run in long),
    )


def _noticed(runs: list[Run]) -> tuple[str, ...]:
    """Each kind of doubt once, as it was put first, and in how many of the runs it came."""
    first: dict[str, str] = {}
    times: dict[str, int] = {}
    for run in runs:
        for said in run.noticed:
            first.setdefault(alike(said), said)
        for kind in {alike(said) for said in run.noticed}:
            times[kind] = times.get(kind, 0) + 1
    return tuple(f"{said} ({times[kind]} of {len(runs)} runs)" for kind, said in first.items())


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def goals(figures: Sequence[Figures]) -> list[Goal]:
    """What ours is to reach in the same run as the others."""
    by = {(f.load, f.cores, f.tool): f for f in figures}

    def of(load: str, tool: str, name: str) -> float | None:
        found = by.get((load, 1, tool))
        value: float | None = getattr(found, name) if found else None
        return value

    peers = [of("64x100", tool, "cpu_us_per_chunk") for tool in ("aiperf", "guidellm")]
    known = [value for value in peers if value is not None]
    ours = of("64x100", "ours", "cpu_us_per_chunk")
    bias = of("64x100", "ours", "bias_p50_ms")
    off = None if bias is None else abs(bias)
    flat = of("flat", "ours", "cpu_us_per_chunk")
    return [
        Goal("64 × 100: stamp error of the first token, p99", of("64x100", "ours", "stamp_p99_us"),
             50, "µs"),
        Goal("64 × 100: median TTFT, reported − true, without sign", off, 0.3, "ms"),
        Goal("64 × 100: CPU per chunk / bare loop", _over(ours, of("64x100", "bare",
             "cpu_us_per_chunk")), 1.5, "×"),
        Goal("64 × 100: CPU per chunk / better peer", _over(ours, min(known, default=None)),
             1 / 8, "×"),
        Goal("1,000 × 100: stamp error of the first token, p99",
             of("1000x100", "ours", "stamp_p99_us"), 200, "µs"),
        Goal("1,000 × 100: sends that the client held up, calls not ok, own caveats",
             _slips(by.get(("1000x100", 1, "ours"))), 0, ""),
        Goal("flat out: chunks per CPU-second", 1e6 / flat if flat else None, 200_000, "/s",
             at_least=True),
        Goal("start-up, command to first request", of("64x100", "ours", "start_s"), 0.5, "s"),
    ]  # fmt: skip


def _over(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _slips(found: Figures | None) -> float | None:
    if found is None:
        return None
    return float(found.held_up + found.failed + len(found.outcomes) + len(found.noticed))
