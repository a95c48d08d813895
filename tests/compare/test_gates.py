"""Gates: how they are asked for, and how they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compare import Asked, compare, gate_status, parse_gate, parse_margin
from harness.errors import SpecError
from harness.statistics import gate
from tests.compare.runs import compare_one, place, run_of

BASE = [50.0, 51.0, 49.5, 50.5, 52.0, 50.0]
SLOWER = [55.2, 56.0, 54.4, 55.6, 57.1, 54.9]


def pair(candidate, **changes):
    run = run_of({"baseline": BASE, "chimera": candidate}, **changes)
    return place(run), place(run, "chimera")


def gated(candidate, *gates, **changes):
    found = compare_one(*pair(candidate, **changes), gates=tuple(map(parse_gate, gates)))
    return found.gates, gate_status([found])


def test_a_slowdown_is_a_regression_and_noise_is_none():
    (found,), status = gated(SLOWER, "ttft_ms=5%")
    assert (found.status, status) == ("regression", 1)
    assert found.sentence.startswith("ttft_ms: regression: worse by 10.0 %, margin 5.0 % (loss b")
    assert found.loss_low > 0.09
    (found,), status = gated([x + 0.1 for x in BASE], "ttft_ms=5%")
    assert (found.status, status) == ("no regression", 0)
    assert "a loss of 5.0 % is excluded" in found.sentence
    (found,), status = gated(SLOWER, "ttft_ms=20%")
    assert (found.status, status) == ("no regression", 0)
    (found,), status = gated([0.9 * x for x in BASE], "ttft_ms=5%")
    assert found.sentence.startswith("ttft_ms: no regression: better by 10.0 %")


def test_margins_may_be_amounts_and_figures_quantiles():
    assert gated(SLOWER, "ttft_ms=2ms")[1] == 1
    assert gated(SLOWER, "ttft_ms=0.002s")[1] == 1
    (found,), status = gated(SLOWER, "ttft_ms=20000us")
    assert (found.absolute, found.margin, status) == (True, 20.0, 0)
    (found,), status = gated(SLOWER, "median:ttft_ms=5%")
    assert (found.statistic, status) == ("median", 1)
    assert found.sentence.startswith("median of ttft_ms: regression")
    (found,), status = gated(SLOWER, "p95:ttft_ms=5%")
    assert (found.status, found.more_trials, status) == ("not enough data", None, 2)
    assert found.sentence == "p95 of ttft_ms: not enough data: p95 needs 20 values a trial"
    assert gated(SLOWER, "p95:ttft_ms=5%", calls=20, spread_ms=0.1)[1] == 1


def test_shares_have_margins_in_percentage_points():
    before, after = [0.9, 0.92, 0.91, 0.9, 0.92, 0.91], [0.8, 0.83, 0.81, 0.82, 0.8, 0.81]
    changes = {"own": {"baseline": before, "chimera": after}, "own_unit": "share"}
    (found,), status = gated(BASE, "right=5pp", **changes)
    assert (found.absolute, found.margin, status) == (True, 0.05, 1)
    assert "worse by 9.833 percentage points, margin 5 percentage points" in found.sentence
    assert gated(BASE, "right=20pp", **changes)[1] == 0


def test_scattered_figures_of_few_trials_are_few_before_all_else():
    found = gate([1.0, 90.0], [50.0, 60.0], margin=0.05, better="lower")
    assert (found.because, found.more_trials) == ("fewer than 5 trials an arm", 3)
    found = gate([0.0] * 6, [0.0] * 6, margin=0.05, better="lower")
    assert "not clearly above 0" in found.because


def test_few_trials_end_with_how_many_more():
    run = run_of({"baseline": BASE[:2], "chimera": SLOWER[:2]})
    found = compare_one(place(run), place(run, "chimera"), gates=(parse_gate("ttft_ms=5%"),))
    assert gate_status([found]) == 2
    (one,) = found.gates
    assert one.more_trials >= 3
    assert f"{one.more_trials} more trials each" in one.sentence


def test_the_level_of_a_false_alarm_is_shared_by_all_gates():
    near = [x + 0.3 + (-1) ** i * 0.149 for i, x in enumerate(BASE)]
    alone = gate(BASE, near, margin=0.001, better="lower", paired=True)
    assert alone.verdict == "regression"
    cells = {("baseline", f"c{i}"): BASE for i in range(8)}
    run = run_of({**cells, **{("chimera", f"c{i}"): near for i in range(8)}})
    pairs = [(place(run, cell=f"c{i}"), place(run, "chimera", f"c{i}")) for i in range(8)]
    (first, *_) = compare(pairs, Asked(gates=(parse_gate("ttft_ms=0.1%"),)))
    assert first.gates[0].status == "not enough data"
    assert first.gates[0].loss_high == pytest.approx(alone.loss_high)  # a miss is not shared
    assert first.gates[0].loss_low < alone.loss_low
    looked = compare_one(*pair(near), gates=(parse_gate("ttft_ms=0.1%"),), looks=8)
    assert looked.gates[0].loss_low == pytest.approx(first.gates[0].loss_low)


def test_what_is_not_of_the_same_work_is_not_gated():
    one = run_of({"baseline": BASE})
    other = run_of({"baseline": BASE}, run_id="cafe", tokens=8)
    gates = (parse_gate("e2e_ms=5%"), parse_gate("ttft_ms=5%"))
    found = compare_one(place(one, name="one"), place(other, name="other"), gates=gates)
    assert [one.status for one in found.gates] == ["not comparable", "no regression"]
    assert gate_status([found]) == 3
    assert "the outputs differ in length" in found.gates[0].sentence


def test_the_worst_decides():
    bad, few = gated(SLOWER, "ttft_ms=5%"), gated(SLOWER, "p95:ttft_ms=5%")
    assert (bad[1], few[1]) == (1, 2)
    assert gated(SLOWER, "p95:ttft_ms=5%", "ttft_ms=5%")[1] == 1
    assert gated(SLOWER, "p95:ttft_ms=5%", "tpot_ms=5%")[1] == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ttft_ms", "METRIC=MARGIN is expected"),
        ("=5%", "METRIC=MARGIN is expected"),
        ("ttft_ms=five%", "METRIC=MARGIN is expected"),
        ("ttft_ms=-5%", "METRIC=MARGIN is expected"),
        ("ttft_ms=0%", "more than 0"),
        ("ttft_ms=nan%", "METRIC=MARGIN is expected"),
        ("ttft_ms=0.05", r"has a unit.*ttft_ms=5%"),
        ("p59:ttft_ms=5%", "no statistic of a trial.*p99"),
        ("ttft_ms=5tok/s", "unit is ms, not tok/s"),
        ("output_tokens=5%", "neither direction"),
        ("ttfft_ms=5%", "there is no metric 'ttfft_ms'.*ttft_ms"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy(text, what):
    with pytest.raises(SpecError, match=what) as caught:
        gated(SLOWER, text)
    assert "\n" not in str(caught.value)


def test_of_nothing_there_are_no_shares_but_amounts():
    """A baseline of 0 stays 0 however many trials there are."""
    zero = {"own": {"baseline": [0.0] * 6, "chimera": [0.0] * 6}}
    (found,), status = gated(BASE, "right=5%", own_unit="1", **zero)
    assert (found.status, status) == ("not enough data", 2)
    assert found.sentence == (
        "right: not enough data: the baseline is not clearly above 0, so it has no shares; an "
        "amount can be asked for: --gate right=0.01"
    )
    for unit, amount in (("ms", "1ms"), ("share", "1pp"), ("", "0.01")):
        (found,), _ = gated(BASE, "median:right=5%", own_unit=unit, **zero)
        assert found.sentence.endswith(f": --gate median:right={amount}")
        gated(BASE, f"median:right={amount}", own_unit=unit, **zero)


@pytest.mark.parametrize("unit", ["", "1"])
def test_a_figure_without_a_unit_has_margins_without_one(unit):
    retries = [2.0, 2.0, 1.9, 2.0, 1.9, 2.0]
    counts = {"own": {"baseline": [2.0] * 6, "chimera": retries}}
    (found,), status = gated(BASE, "right=0.5", own_unit=unit, **counts)
    assert (found.absolute, found.margin) == (True, 0.5)
    assert (found.status, status) == ("no regression", 0)
    with pytest.raises(SpecError, match="amount without a unit"):
        gated(BASE, "right=5ms", own_unit=unit, **counts)


def test_what_one_side_lacks_is_said_and_the_others_go_on():
    run = run_of(
        {"baseline": BASE, "chimera": SLOWER, "other": BASE},
        own={"chimera": [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]},
    )
    asked = Asked(metrics=("right",), gates=(parse_gate("right=0.5"), parse_gate("ttft_ms=5%")))
    there, gone = compare(
        [(place(run), place(run, "chimera")), (place(run), place(run, "other"))], asked
    )
    assert [one.status for one in there.gates] == ["not comparable", "regression"]
    assert there.gates[0].sentence == "right: not comparable: the baseline has no such figure"
    assert [one.status for one in gone.gates] == ["not comparable", "no regression"]
    assert gone.gates[0].sentence == "right: not comparable: neither side has this figure"
    sentences = [one.effects[0].sentence for one in (there, gone)]
    assert sentences == [
        "not enough data: the baseline has no such figure",
        "not enough data: neither side has such a figure",
    ]
    with pytest.raises(SpecError, match=r"^--gate: there is no metric 'wrong'"):
        compare([(place(run), place(run, "other"))], Asked(gates=(parse_gate("wrong=1"),)))


def test_percentage_points_are_for_percentages():
    amount = parse_margin("accuracy=2pp")
    assert (amount.number, amount.unit) == (2.0, "pp")
    with pytest.raises(SpecError, match="not pp"):
        gated(SLOWER, "ttft_ms=2pp")


@given(st.text(max_size=30))
def test_no_text_breaks_the_parser(text):
    try:
        found = parse_gate(text)
    except SpecError as error:
        assert "\n" not in str(error)
    else:
        assert found.amount.number > 0
