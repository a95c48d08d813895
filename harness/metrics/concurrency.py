"""CONCURRENCY_METRICS: what it was worth that agents worked at once, from the records of a pair.

A speed-up is of the same work, done twice: together, and one after another. Whoever has only the
first can divide the agents' times by the wall time, and that is the load-balance ratio: between 1
and the number of agents whatever the server did, because a server that lets agents wait makes
their times longer in the numerator as well. It stands here under its own name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from harness.metrics.agents import Pair, contention_of, slowdowns, tokens_of
from harness.metrics.call import ttft
from harness.metrics.metric import Metric, definer, find
from harness.schema import CallRecord

__all__ = ["CONCURRENCY_METRICS", "SIGNALS", "SLOWDOWN", "concurrency_metric", "slowdown_of"]

LEGACY_MIN: Final = 1.5
"""Below it, older reports say `contention detected` of two agents."""
SLOWDOWN: Final = "slowdown."
"""Before the name of an agent: its own slowdown."""
SIGNALS: Final = ("contention", "contention_slowdown", "contention_queue", "legacy_contention")
"""Of an iteration 0 or 1; their mean is the share of iterations."""


def concurrency_metric(name: str) -> Metric[Pair]:
    """The metric of that name; SpecError if there is none."""
    return find(name, CONCURRENCY_METRICS)


def slowdown_of(agent: str) -> Callable[[Pair], float | None]:
    """The formula of `slowdown.<agent>`."""

    def formula(pair: Pair) -> float | None:
        found = slowdowns(pair)
        return None if found is None else found.get(agent)

    return formula


# ------------------------------------------------------------------------------------------- times


def agents_wall(pair: Pair) -> float | None:
    spans = pair.together()
    if spans is None:
        return None
    return (max(end for _, end in spans.values()) - min(start for start, _ in spans.values())) / 1e6


def solo_wall(pair: Pair) -> float | None:
    spans = pair.alone()
    return None if spans is None else sum(end - start for start, end in spans.values()) / 1e6


def speedup(pair: Pair) -> float | None:
    solo_ms, wall_ms = solo_wall(pair), agents_wall(pair)
    return None if solo_ms is None or not wall_ms else solo_ms / wall_ms


def efficiency(pair: Pair) -> float | None:
    times, spans = speedup(pair), pair.together()
    return None if times is None or not spans else times / len(spans)


def slowdown_max(pair: Pair) -> float | None:
    found = slowdowns(pair)
    return max(found.values()) if found else None


def slowdown_mean(pair: Pair) -> float | None:
    found = slowdowns(pair)
    return sum(found.values()) / len(found) if found else None


def jain(pair: Pair) -> float | None:
    """(Σx)² / (n Σx²) of x = solo / concurrent time (Jain, Chiu & Hawe 1984)."""
    found = slowdowns(pair)
    if not found:
        return None
    progress = [1 / one for one in found.values()]
    index = sum(progress) ** 2 / (len(progress) * sum(x * x for x in progress))
    return min(index, 1.0)  # equal shares may round to a little more


def load_balance_ratio(pair: Pair) -> float | None:
    spans, wall_ms = pair.together(), agents_wall(pair)
    if spans is None or not wall_ms:
        return None
    return sum(end - start for start, end in spans.values()) / 1e6 / wall_ms


# -------------------------------------------------------------------------------------------- work


def work_ratio(pair: Pair) -> float | None:
    if pair.alone() is None:
        return None
    together, alone = tokens_of(pair.calls), tokens_of(pair.solo_calls)
    return None if together is None or not alone else together / alone


def agents_throughput(pair: Pair) -> float | None:
    return _rate(pair.calls, agents_wall(pair))


def solo_throughput(pair: Pair) -> float | None:
    return _rate(pair.solo_calls, solo_wall(pair))


def _rate(calls: tuple[CallRecord, ...], wall_ms: float | None) -> float | None:
    tokens = tokens_of(calls)
    return None if tokens is None or not wall_ms else tokens * 1e3 / wall_ms


# -------------------------------------------------------------------------------------- contention


def queue_together(pair: Pair) -> float | None:
    return contention_of(pair).queue_together_ms


def queue_alone(pair: Pair) -> float | None:
    return contention_of(pair).queue_alone_ms


def queue_excess(pair: Pair) -> float | None:
    return contention_of(pair).queue_excess_ms


def contention(pair: Pair) -> float | None:
    return _signal(contention_of(pair).found)


def contention_slowdown(pair: Pair) -> float | None:
    return _signal(contention_of(pair).slowdown)


def contention_queue(pair: Pair) -> float | None:
    return _signal(contention_of(pair).queue)


def legacy_contention(pair: Pair) -> float | None:
    ratio, spans = load_balance_ratio(pair), pair.together()
    if ratio is None or spans is None or len(spans) != 2:
        return None  # the bound was made for two: three in perfect balance have 3
    return _signal(ratio < LEGACY_MIN)


def ttft_anomalies(pair: Pair) -> float | None:
    waits = [ms for call in pair.calls if call.status == "ok" and (ms := ttft(call)) is not None]
    if pair.ttft_median_ms is None or not waits:
        return None
    bound_ms = pair.ttft_median_ms + pair.bounds.ttft_anomaly_ms
    return float(sum(ms > bound_ms for ms in waits))


def _signal(found: bool | None) -> float | None:
    return None if found is None else float(found)


# ------------------------------------------------------------------------------------ the registry


_define = definer("iteration", Pair)


# fmt: off
CONCURRENCY_METRICS: Final[tuple[Metric[Pair], ...]] = (
    _define("speedup", "1", "higher", "measured", speedup,
            "Wall time of the work done by the agents one after another / wall time of the same "
            "work done at once."),
    _define("efficiency", "share", "higher", "measured", efficiency,
            "Parallel efficiency: speed-up / number of agents."),
    _define("agents_wall_ms", "ms", "lower", "measured", agents_wall,
            "Agents at once: from the start of the first to the end of the last."),
    _define("solo_wall_ms", "ms", "lower", "measured", solo_wall,
            "The same agents one after another: their times added up, what lies between two of "
            "them left out."),
    _define("slowdown_max", "1", "lower", "measured", slowdown_max,
            "Concurrent / solo time of the agent that was slowed down most."),
    _define("slowdown_mean", "1", "lower", "measured", slowdown_mean,
            "Mean over the agents of concurrent / solo time."),
    _define("jain", "1", "higher", "measured", jain,
            "Jain's fairness index of the agents' progress, solo / concurrent time: 1 is the same "
            "for all, 1/n is all for one."),
    _define("load_balance_ratio", "1", "neither", "measured", load_balance_ratio,
            "Sum of the agents' times while they worked at once / wall time: what older reports "
            "call concurrency speedup; blind to contention."),
    _define("agents_throughput_tok_s", "tok/s", "higher", "derived", agents_throughput,
            "System throughput: output tokens of all agents / their wall time at once."),
    _define("solo_throughput_tok_s", "tok/s", "higher", "derived", solo_throughput,
            "Output tokens of all agents / their wall time one after another."),
    _define("work_ratio", "1", "neither", "declared", work_ratio,
            "Output tokens of all agents at once / one after another: 1 is the same work."),
    _define("agents_queue_residual_ms", "ms", "lower", "derived", queue_together,
            "Median queue residual of the calls made at once."),
    _define("solo_queue_residual_ms", "ms", "lower", "derived", queue_alone,
            "Median queue residual of the calls made alone."),
    _define("queue_excess_ms", "ms", "lower", "derived", queue_excess,
            "Median queue residual at once minus that alone: the wait for the other agents."),
    _define("contention", "share", "lower", "derived", contention,
            "1 where agents held each other up, by their slowdown or by the queue residual; "
            "unknown without a slowdown."),
    _define("contention_slowdown", "share", "lower", "measured", contention_slowdown,
            "1 where an agent's slowdown exceeds `contention_slowdown_max`."),
    _define("contention_queue", "share", "lower", "derived", contention_queue,
            "1 where the queue excess exceeds `contention_queue_max_ms`."),
    _define("legacy_contention", "share", "neither", "measured", legacy_contention,
            "1 where the load-balance ratio of two agents is below 1.5: what older reports call "
            "contention."),
    _define("ttft_anomalies", "calls", "lower", "measured", ttft_anomalies,
            "Calls whose TTFT exceeds the arm's median by more than `ttft_anomaly_ms`."),
)
# fmt: on
