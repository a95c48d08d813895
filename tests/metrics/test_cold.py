"""Cold starts: their own figures, of the first request alone, and only where they are known to
have been cold."""

from __future__ import annotations

import pytest

from harness.metrics import CALL_METRICS, COLD_METRICS, ITERATION_METRICS, summarise
from tests.metrics.records import MS, OLLAMA, call, instants, iteration

COLD = [metric.name for metric in COLD_METRICS]


def cold(**changes):
    """Begun at 20 ms, confirmed at 90; the first call goes out at 100.5, its token comes at 150."""
    base = {"phase": "cold", "start_ns": 20 * MS, "ready_ns": 90 * MS}
    return iteration(**(base | changes))


def first(**changes):
    return call(phase="cold", server=OLLAMA, **changes)


def found(calls, iterations, **how):
    return {one.name: one for one in summarise(calls, iterations, **how)}


def values(calls, iterations, **how):
    made = found(calls, iterations, **how)
    return [made[name].mean for name in COLD]


def test_unloaded_or_restarted():
    assert values([first()], [cold()]) == [49.5, 49.5, 10.0]
    assert values([first()], [cold()], cold_by="restart") == [130.0, 49.5, 10.0]


def test_nothing_cold_is_no_metric():
    assert not set(COLD) & set(found([call()], [iteration()]))


def test_cold_and_warm_are_kept_apart():
    calls = [first(), call(), call(iteration=1)]
    warm = [iteration(), iteration(iteration=1)]
    both, alone = found(calls, [cold(), *warm]), found(calls[1:], warm)
    assert {name: one for name, one in both.items() if name not in COLD} == alone
    assert both["ttft_ms"].n == 2
    assert both["cold_ttft_ms"].n == 1
    ours = {metric.name for metric in (*CALL_METRICS, *ITERATION_METRICS)}
    assert not ours & set(COLD)


def test_only_the_first_request_waits_for_the_load():
    later = instants(sent_ns=300 * MS, first_token_ns=301 * MS)
    assert values([first(instants=later), first()], [cold()])[1] == 49.5


@pytest.mark.parametrize(
    ("calls", "record"),
    [
        ([first()], cold(ready_ns=None)),
        ([first()], cold(ready_ns=101 * MS)),
        ([first(status="error")], cold()),
        ([first(instants=instants(sent_ns=None))], cold()),
        ([], cold()),
    ],
    ids=["unconfirmed", "sent too early", "failed", "never sent", "no call"],
)
def test_what_is_not_known_to_be_cold_has_no_figure(calls, record):
    made = found(calls, [record], cold_by="restart")
    assert [(made[name].n, made[name].missing) for name in COLD] == [(0, 1)] * 3


def test_a_clock_that_ran_backwards_is_no_cold_start():
    made = found([first()], [cold(start_ns=200 * MS)], cold_by="restart")
    assert made["cold_start_ms"].n == 0
    assert made["cold_ttft_ms"].n == 1


def test_a_cold_iteration_that_failed_has_no_figure():
    assert found([first()], [cold(status="error")])["cold_start_ms"].missing == 0
