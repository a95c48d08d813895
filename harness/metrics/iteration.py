"""ITERATION_METRICS: every figure of one execution of the scenario, from its record and calls."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from harness.metrics import server
from harness.metrics.cost import cost_per_1k, iteration_cost
from harness.metrics.metric import Metric, definer, find
from harness.metrics.slo import Slo, Tally, tally
from harness.metrics.window import held_window_ns, requests_per_s, span_ns, throughput_tok_s
from harness.schema import CallRecord, IterationRecord, Load

__all__ = ["GOODPUT", "ITERATION_METRICS", "IterationView", "iteration_metric"]

GOODPUT: Final = ("goodput_share", "goodput_per_s")
"""These are of iterations that failed as well: what they were to do was not done."""


class IterationView(Struct, frozen=True, kw_only=True):
    """One iteration with its calls, as iteration metrics look at it."""

    record: IterationRecord
    calls: tuple[CallRecord, ...]
    load: Load | None = None
    """What drove it; None for a workflow, which offers no load."""
    slo: Slo | None = None
    """What makes a request good; None: nothing does, and there is no goodput."""
    cold_by: Literal["unload", "restart"] = "unload"
    """How a cold iteration was made so."""

    def tally(self) -> Tally | None:
        """Its requests by the SLO; None without one."""
        if self.slo is None:
            return None
        return tally(self.calls, self.slo, planned=self.record.planned_calls)


def iteration_metric(name: str) -> Metric[IterationView]:
    """The iteration metric of that name; SpecError if there is none."""
    return find(name, ITERATION_METRICS)


def wall(view: IterationView) -> float | None:
    duration_ns = view.record.end_ns - view.record.start_ns
    return duration_ns / 1e6 if duration_ns >= 0 else None


def throughput(view: IterationView) -> float | None:
    return throughput_tok_s(view.calls)


def held_throughput(view: IterationView) -> float | None:
    window = None if view.load is None else held_window_ns(view.calls, view.load)
    return None if window is None else throughput_tok_s(view.calls, window)


def requests(view: IterationView) -> float | None:
    return requests_per_s(view.calls)


def output_tokens(view: IterationView) -> float | None:
    counts = [server.output_tokens(call) for call in view.calls if call.status == "ok"]
    known = [count for count in counts if count is not None]
    return float(sum(known)) if known and len(known) == len(counts) else None


def goodput_share(view: IterationView) -> float | None:
    found = view.tally()
    return found.good / found.of if found and found.of else None


def goodput_per_s(view: IterationView) -> float | None:
    found, window = view.tally(), span_ns(view.calls)
    return found.good * 1e9 / (window[1] - window[0]) if found and window else None


def iteration_cost_usd(view: IterationView) -> float | None:
    cost = iteration_cost(view.calls)
    return None if cost is None else float(cost)


def cost_per_1k_output_tokens(view: IterationView) -> float | None:
    return cost_per_1k(view.calls)


_define = definer("iteration", IterationView)


# fmt: off
ITERATION_METRICS: Final[tuple[Metric[IterationView], ...]] = (
    _define("wall_ms", "ms", "lower", "measured", wall,
            "Wall time of one execution of the scenario."),
    _define("throughput_tok_s", "tok/s", "higher", "derived", throughput,
            "System throughput: output tokens of the iteration's ok calls / time from the first "
            "request sent to the last call done."),
    _define("held_throughput_tok_s", "tok/s", "higher", "derived", held_throughput,
            "System throughput over the window in which the offered load was held."),
    _define("requests_per_s", "req/s", "higher", "measured", requests,
            "Ok calls / time from the first request sent to the last call done."),
    _define("output_tokens", "tok", "neither", "declared", output_tokens,
            "Output tokens of the iteration's ok calls, as the server counts them."),
    _define("goodput_share", "share", "higher", "measured", goodput_share,
            "Requests that met every bound of the SLO / planned requests, failed ones included."),
    _define("goodput_per_s", "req/s", "higher", "measured", goodput_per_s,
            "Requests that met every bound of the SLO / time from the first request sent to the "
            "last call done."),
    _define("iteration_cost_usd", "USD", "lower", "derived", iteration_cost_usd,
            "What all calls of the iteration that were sent cost, failed ones included; unknown if "
            "that of any is."),
    _define("cost_usd_per_1k_output_tokens", "USD/1000 tok", "lower", "derived",
            cost_per_1k_output_tokens,
            "What the iteration cost / its output tokens, times 1,000: prompts and failed calls "
            "are paid for as well."),
)
# fmt: on
