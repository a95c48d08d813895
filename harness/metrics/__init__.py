"""One definition per metric: name, unit, which way is better, where it comes from, and a formula.

metric.py    what a metric is
server.py    the server's own figures, under whichever names it gave them
chunks.py    gaps between chunks, and when they are gaps between tokens
tapped.py    what an agent program says beside what the tap saw
call.py      CALL_METRICS: formulas over one CallRecord
window.py    how much work a span of time held
slo.py       which requests were good; goodput.py: their shares and rates
cost.py      what calls cost, one by one and together
iteration.py ITERATION_METRICS: formulas over one IterationRecord and its calls
energy.py    ENERGY_METRICS: joules per request, token and right answer, where an instrument counted
cold.py      COLD_METRICS: the same, of cold starts
agents.py    agents that worked at once, beside the same agents one after another
concurrency.py CONCURRENCY_METRICS: speed-up, fairness, contention of such a pair
by_agent.py  the figures of each agent, together and alone
sessions.py  which trials were recorded by one process, and so on one clock
machines.py  on which machine a trial ran
series.py    all_series: records of one arm and cell → the values of every metric, with their places
summary.py   summarise: those → MetricSummary; bands.py: what such a figure is called

Every formula reads records and nothing else, so every figure can be derived again. None means
unknown; it is never replaced by 0. docs/measuring.md has an example of each, which a test executes.
A package and not the one file of the first plan: the formulas alone fill several pages.
"""

from harness.metrics.agents import Pair
from harness.metrics.call import CALL_METRICS, call_metric
from harness.metrics.chunks import (
    Condensed,
    Gaps,
    condense,
    gaps,
    inter_chunk_ns,
    itl_ns,
    itl_unknown_because,
)
from harness.metrics.cold import COLD_METRICS
from harness.metrics.concurrency import CONCURRENCY_METRICS, concurrency_metric
from harness.metrics.energy import ENERGY_METRICS, energy_metric
from harness.metrics.iteration import ITERATION_METRICS, IterationView, iteration_metric
from harness.metrics.machines import MACHINE_KIND, gpu_models, machine_kind
from harness.metrics.metric import Metric
from harness.metrics.series import Series, all_series
from harness.metrics.sessions import session_of
from harness.metrics.slo import check_slo, good_requests
from harness.metrics.summary import summarise
from harness.metrics.window import (
    held_window_ns,
    requests_per_s,
    span_ns,
    throughput_tok_s,
)

__all__ = [
    "CALL_METRICS",
    "COLD_METRICS",
    "CONCURRENCY_METRICS",
    "ENERGY_METRICS",
    "ITERATION_METRICS",
    "MACHINE_KIND",
    "Condensed",
    "Gaps",
    "IterationView",
    "Metric",
    "Pair",
    "Series",
    "all_series",
    "call_metric",
    "check_slo",
    "concurrency_metric",
    "condense",
    "energy_metric",
    "gaps",
    "good_requests",
    "gpu_models",
    "held_window_ns",
    "inter_chunk_ns",
    "iteration_metric",
    "itl_ns",
    "itl_unknown_because",
    "machine_kind",
    "requests_per_s",
    "session_of",
    "span_ns",
    "summarise",
    "throughput_tok_s",
]
