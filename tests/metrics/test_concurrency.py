"""Speed-up and its kin: of the same work done twice, or unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.errors import SpecError
from harness.metrics import CONCURRENCY_METRICS, Pair, all_series, concurrency_metric, summarise
from harness.metrics.agents import contention_of
from harness.metrics.summary import summarise_agents
from harness.schema import CallError, Span, ValiditySpec
from tests.metrics.agents import call_of, calls_of, of_agents, spans
from tests.metrics.records import MS, call, iteration

TOGETHER = {"a": (100.0, 1100.0), "b": (100.0, 1700.0)}
ALONE = {"a": (3000.0, 3800.0), "b": (4000.0, 4800.0)}
NAMES = [one.name for one in CONCURRENCY_METRICS]


def pair(together=TOGETHER, alone=ALONE, **changes):
    base = {
        "record": of_agents(together),
        "calls": tuple(calls_of(together)),
        "solo": of_agents(alone, "solo"),
        "solo_calls": tuple(calls_of(alone, "solo")),
        "ttft_median_ms": 50.0,
    }
    return Pair(**(base | changes))


def value(name, of):
    return concurrency_metric(name).formula(of)


def values(of):
    return {one.name: one.formula(of) for one in CONCURRENCY_METRICS}


def test_two_agents_by_hand():
    found = values(pair())
    assert found["agents_wall_ms"] == 1600 and found["solo_wall_ms"] == 1600
    assert found["speedup"] == 1.0 and found["efficiency"] == 0.5
    assert found["slowdown_max"] == 2.0 and found["slowdown_mean"] == pytest.approx(1.625)
    assert found["jain"] == pytest.approx((0.8 + 0.5) ** 2 / (2 * (0.8**2 + 0.5**2)))
    assert found["load_balance_ratio"] == pytest.approx(2600 / 1600)
    assert found["legacy_contention"] == 0.0, "blind to a slowdown of two"
    assert found["work_ratio"] == 1.0
    assert found["agents_throughput_tok_s"] == found["solo_throughput_tok_s"] == 12.5
    assert (found["contention"], found["contention_slowdown"]) == (1.0, 1.0)
    assert found["contention_queue"] == 0.0
    assert found["ttft_anomalies"] == 0.0


def test_the_old_formula_says_two_whatever_the_server_did():
    """Two agents on one slot: both wait, and both times are as long as the wall."""
    serial = pair({"a": (0.0, 1600.0), "b": (0.0, 1600.0)}, {"a": (0.0, 800.0), "b": (800, 1600)})
    assert value("load_balance_ratio", serial) == 2.0
    assert value("speedup", serial) == 1.0
    assert value("jain", serial) == 1.0


def test_rates_are_never_added_up():
    """10 tokens each, one in 0.1 s, one in 1 s: 20 tokens in a second, not 110 tok/s."""
    uneven = pair({"a": (0.0, 100.0), "b": (0.0, 1000.0)})
    assert value("agents_throughput_tok_s", uneven) == 20.0


def test_what_lies_between_two_agents_alone_is_no_work():
    gap = pair(alone={"a": (0.0, 800.0), "b": (60_000.0, 60_800.0)})
    assert value("speedup", gap) == 1.0


def test_contention_by_the_queue_alone_and_its_evidence():
    waiting = tuple(calls_of(TOGETHER, ttft_ms=2530.0))
    bounds = ValiditySpec(contention_slowdown_max=3.0)
    found = contention_of(pair(calls=waiting, bounds=bounds))
    assert (found.slowdown, found.queue, found.found) == (False, True, True)
    assert found.slowdowns == {"a": 1.25, "b": 2.0}
    assert (found.queue_together_ms, found.queue_alone_ms) == (2500.0, 20.0)
    assert found.queue_excess_ms == 2480.0
    looser = replace(bounds, contention_queue_max_ms=2480.0)
    assert contention_of(pair(calls=waiting, bounds=looser)).found is False


def test_a_server_that_does_not_tell_of_its_queue_leaves_the_slowdown_to_decide():
    silent = {
        "calls": tuple(calls_of(TOGETHER, prompt_ms=None)),
        "solo_calls": tuple(calls_of(ALONE, "solo", prompt_ms=None)),
    }
    found = values(pair(**silent))
    assert found["contention_queue"] is None and found["queue_excess_ms"] is None
    assert found["contention"] == 1.0
    calm = values(pair(bounds=ValiditySpec(contention_slowdown_max=2.0), **silent))
    assert calm["contention"] == 0.0, "2.0 is within a bound of 2.0"


def test_anomalies_are_over_the_arm_s_median():
    late = (call_of("a", TOGETHER["a"], ttft_ms=3050.0), call_of("b", TOGETHER["b"], ttft_ms=3051))
    assert value("ttft_anomalies", pair(calls=late)) == 1.0
    assert value("ttft_anomalies", pair(calls=late, ttft_median_ms=None)) is None


OF_A_PAIR = [
    *("speedup", "efficiency", "solo_wall_ms", "slowdown_max", "slowdown_mean", "jain"),
    *("work_ratio", "solo_throughput_tok_s", "contention", "contention_slowdown"),
    *("contention_queue", "agents_queue_residual_ms", "solo_queue_residual_ms", "queue_excess_ms"),
]
OF_ONE_SIDE = ["agents_wall_ms", "load_balance_ratio", "legacy_contention",
               "agents_throughput_tok_s"]  # fmt: skip
BROKEN = {
    "no solo iteration": {"solo": None, "solo_calls": ()},
    "a solo iteration that failed": {"solo": of_agents(ALONE, "solo", status="error")},
    "a call alone that failed": {
        "solo_calls": (call_of("a", ALONE["a"], "solo"),
                       call_of("b", ALONE["b"], "solo", status="truncated"))
    },
    "other agents": {"solo": of_agents({"a": (0, 800), "c": (800, 1600)}, "solo")},
    "an agent that worked twice": {
        "solo": of_agents(ALONE, "solo", spans=(*spans(ALONE), *spans({"a": (9000, 9100)})))
    },
    "a clock that stood still": {"solo": of_agents({"a": (0, 800), "b": (800, 800)}, "solo")},
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN.values(), ids=list(BROKEN))
def test_half_a_pair_has_no_speed_up(how):
    found = values(pair(**how))
    assert [found[name] for name in OF_A_PAIR] == [None] * len(OF_A_PAIR)
    assert None not in [found[name] for name in OF_ONE_SIDE], "which needs no solo arm"


@pytest.mark.parametrize(
    "how",
    [
        {"record": of_agents(TOGETHER, status="error")},
        {"calls": (call_of("a", TOGETHER["a"]), call_of("b", TOGETHER["b"], status="timeout"))},
        {"record": of_agents(TOGETHER, spans=())},
    ],
    ids=["iteration", "call", "no spans"],
)
def test_agents_that_failed_have_no_figure(how):
    found = values(pair(**how))
    assert {name for name in NAMES if found[name] is not None} <= {"ttft_anomalies"}


def test_a_call_that_was_not_needed_is_no_failure():
    spare = call(status="not_sent", error=CallError(code="not_needed"))
    whole = pair(calls=(*calls_of(TOGETHER), spare))
    assert value("speedup", whole) == 1.0 and value("work_ratio", whole) == 1.0


def test_unknown_tokens_leave_the_times_alone():
    found = values(pair(calls=tuple(calls_of(TOGETHER, tokens=None))))
    assert found["work_ratio"] is None and found["agents_throughput_tok_s"] is None
    assert found["speedup"] == 1.0


def test_the_legacy_rule_is_for_two_agents():
    three = {name: (0.0, 1000.0 if name == "a" else 10.0) for name in "abc"}
    assert value("legacy_contention", pair(three)) is None
    assert value("legacy_contention", pair({"a": (0.0, 1000.0), "b": (0.0, 10.0)})) == 1.0


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(SpecError, match="speed"):
        concurrency_metric("speed_up")


# What must hold, whatever the times are. ----------------------------------------------------------

LENGTHS = st.lists(
    st.tuples(st.integers(1, 10**7), st.integers(1, 10**7), st.integers(0, 10**6)),
    min_size=1,
    max_size=8,
)


def made(lengths, *, shift=0.0, order=None):
    """Of (together, alone, start) in ms/1000 for each agent."""
    agents = [f"agent-{i}" for i in range(len(lengths))]
    chosen = [*zip(agents, lengths, strict=True)]
    chosen = chosen if order is None else [chosen[i] for i in order]
    together, alone, at = {}, {}, shift
    for name, (beside, solo, start) in chosen:
        together[name] = (shift + start / 1000, shift + (start + beside) / 1000)
        alone[name] = (at, at + solo / 1000)
        at += solo / 1000 + 7
    return pair(together, alone)


@given(LENGTHS)
def test_bounds(lengths):
    n, found = len(lengths), values(made(lengths))
    slack = 1 + 1e-9
    assert 1 / n <= found["jain"] * slack and found["jain"] <= 1.0
    assert found["slowdown_mean"] <= found["slowdown_max"] * slack
    assert found["efficiency"] * n == pytest.approx(found["speedup"])
    assert 0 < found["load_balance_ratio"] <= n * slack
    # Nobody can be slowed down by less than the whole gains, nor the other way round.
    assert found["speedup"] <= n / min(b / s for b, s, _ in lengths) * slack
    longest = max(beside for beside, _, _ in lengths) / 1000
    assert found["speedup"] <= sum(solo for _, solo, _ in lengths) / 1000 / longest * slack


@given(LENGTHS, st.integers(0, 10**9), st.randoms())
def test_neither_the_clock_nor_the_order_of_agents_matters(lengths, shift, rng):
    order = rng.sample(range(len(lengths)), len(lengths))
    one, other = values(made(lengths)), values(made(lengths, shift=float(shift), order=order))
    assert set(one) == set(other)
    for name, figure in one.items():
        assert other[name] == (None if figure is None else pytest.approx(figure, rel=1e-6)), name


# From the records of an arm. ----------------------------------------------------------------------


def records(n=3, *, solo=True):
    iterations, calls = [], []
    for i in range(n):
        sides = [(TOGETHER, "measured")] + [(ALONE, "solo")] * solo
        for windows, phase in sides:
            iterations.append(of_agents(windows, phase, iteration=i))
            calls += [replace(one, iteration=i) for one in calls_of(windows, phase)]
    return calls, iterations


def found_in(calls, iterations, **how):
    return {one.name: one for one in all_series(calls, iterations, **how)}


def test_each_measured_iteration_finds_its_solo_one():
    calls, iterations = records()
    found = found_in(reversed(calls), reversed(iterations))
    assert found["speedup"].values == [1.0] * 3
    assert found["speedup"].places == [(0, 0), (0, 1), (0, 2)]
    assert found["slowdown.a"].values == [1.25] * 3 and found["slowdown.b"].values == [2.0] * 3
    assert found["span.a.agent_ms"].values == [1000.0] * 3 and "span.agent_ms" not in found
    assert found["ttft_ms"].missing == 0 and len(found["ttft_ms"].values) == 6, "of measured calls"


def test_a_pair_without_its_half_is_missing_and_no_zero():
    calls, iterations = records()
    lost = [one for one in iterations if (one.phase, one.iteration) != ("solo", 1)]
    found = found_in(calls, lost)["speedup"]
    assert (found.places, found.missing) == ([(0, 0), (0, 2)], 1)


def test_figures_of_one_trial_do_not_take_the_solo_half_of_another():
    calls, iterations = records(1)
    moved = [replace(one, trial=1) if one.phase == "solo" else one for one in iterations]
    assert found_in(calls, moved)["speedup"].values == []


def test_no_agents_is_no_such_metric():
    calls = [call(), call(phase="solo")]
    assert not set(NAMES) & set(found_in(calls, [iteration()]))
    alone = of_agents({"a": (0, 10)})
    assert not set(NAMES) & set(found_in([call(agent="a")], [alone]))


def test_without_a_solo_arm_there_is_no_slowdown_of_anybody():
    found = found_in(*records(solo=False))
    assert found["load_balance_ratio"].values and not found["speedup"].values
    assert not any(name.startswith("slowdown.") for name in found)


def test_the_solo_half_is_in_no_other_figure():
    calls, iterations = records()
    with_solo = {one.name: one for one in summarise(calls, iterations)}
    without = {one.name: one for one in summarise(*records(solo=False))}
    ours = {*NAMES, "slowdown.a", "slowdown.b"}
    assert {n: one for n, one in with_solo.items() if n not in ours} == {
        n: one for n, one in without.items() if n not in ours
    }


def test_simulated_figures_are_marked():
    found = found_in(*records(), simulated=True)
    assert {found[name].provenance for name in (*NAMES, "slowdown.a")} == {"simulated"}


def test_a_scenario_s_own_speedup_keeps_out_of_the_way():
    from harness.schema import MetricValue

    own = tuple(MetricValue(name=n, value=9.0, unit="x") for n in ("speedup", "slowdown.a"))
    calls, iterations = records(1)
    iterations = [replace(one, metrics=own) for one in iterations]
    found = found_in(calls, iterations)
    assert found["speedup"].values == [1.0] and found["scenario.speedup"].values == [9.0]
    assert found["slowdown.a"].values == [1.25] and found["scenario.slowdown.a"].values == [9.0]


def test_a_phase_of_an_agent_is_its_own():
    record = of_agents(TOGETHER)
    ingest = [Span(name="ingest", agent=name, start_ns=0, end_ns=n * MS) for name, n in
              (("a", 5), ("b", 9))]  # fmt: skip
    record = replace(
        record, spans=(*record.spans, *ingest, Span(name="all", start_ns=0, end_ns=MS))
    )
    found = found_in([], [record])
    assert found["span.a.ingest_ms"].values == [5.0] and found["span.b.ingest_ms"].values == [9.0]
    assert found["span.all_ms"].values == [1.0]


def test_each_agent_has_its_figures_alone_and_together():
    a, b = summarise_agents(*records())
    assert (a.agent, b.agent) == ("a", "b")
    names = [one.name for one in a.together]
    assert names == [one.name for one in a.alone]
    assert names[0] == "agent_ms" and "decode_rate_client_tok_s" in names
    assert (b.together[0].median, b.alone[0].median, b.alone[0].n) == (1600.0, 800.0, 3)
    (one, _) = summarise_agents(*records(solo=False))
    assert {of.n for of in one.alone} == {0}
    assert summarise_agents([call()], [iteration()]) == ()
