"""What is said of a difference follows from trials, and from nothing else."""

from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.compare import compare_arms, parse_margin
from harness.compare.measured import measured
from harness.compare.work import unequal_output
from harness.schema import CallRecord, TrialRecord
from harness.statistics import paired_t, welch
from tests.compare.runs import compare_one, effect, place, run_of
from tests.store.builders import FakeRun

BASE = [50.0, 51.0, 49.5, 50.5, 52.0, 50.0]
MIRRORED = {"better": "worse", "worse": "better"}
figures = st.lists(st.floats(min_value=10, max_value=500, allow_nan=False), min_size=5, max_size=7)


def of_one_run(baseline, candidate, **asked):
    run = run_of({"baseline": baseline, "chimera": candidate})
    return effect(compare_one(place(run), place(run, "chimera"), **asked))


def of_two_runs(baseline, candidate, **asked):
    one, other = run_of({"baseline": baseline}), run_of({"baseline": candidate}, run_id="cafe")
    return effect(compare_one(place(one, name="one"), place(other, name="other"), **asked))


def test_a_slowdown_is_found_with_its_size_and_interval():
    slower = [55.5, 55.6, 54.4, 56.0, 57.1, 54.7]
    found = of_one_run(BASE, slower)
    assert found.words == "worse"
    assert found.share == pytest.approx(0.10, abs=1e-3)
    assert found.share_low < 0.1 < found.share_high
    assert found.sentence.startswith("slower by 10.0 % (95 % interval ")
    assert found.sentence.endswith("), 6 blocks")
    assert (found.n, found.values, found.paired) == ((6, 6), (18, 18), True)
    assert found.difference == pytest.approx(sum(slower) / 6 - sum(BASE) / 6)
    assert found.p_welch == pytest.approx(paired_t(BASE, slower).p_value)


def test_two_runs_are_compared_as_independent_trials():
    faster = [0.8 * x for x in BASE]
    found = of_two_runs(BASE, faster)
    assert (found.words, found.paired) == ("better", False)
    assert found.sentence.startswith("faster by 20.0 % (95 % interval ")
    assert found.sentence.endswith("), 6 trials each")
    assert found.p_welch == pytest.approx(welch(BASE, faster).p_value)
    low, high = map(float, found.sentence.split("interval ")[1].split(")")[0].split(" to "))
    assert low < 20 < high


def test_rates_are_higher_or_lower_and_it_is_said_whether_that_is_good():
    run = run_of({"baseline": BASE, "chimera": [2 * x for x in BASE]})
    found = compare_one(place(run), place(run, "chimera"), metrics=("requests_per_s",))
    assert effect(found, "requests_per_s").sentence.startswith("lower, worse, by ")
    (pair,) = compare_arms(run)
    assert [one.metric for one in pair.effects] == [
        *("ttft_ms", "tpot_ms", "e2e_ms", "throughput_tok_s")
    ]


@pytest.mark.parametrize("trials", [1, 2, 4])
def test_fewer_than_five_trials_say_how_many_more(trials):
    found = of_one_run(BASE[:trials], [2 * x for x in BASE[:trials]])
    assert found.words == "not enough data"
    assert found.more_trials >= 5 - trials
    assert f"not enough data: {found.more_trials} more trial" in found.sentence
    assert (found.share_low, found.p_welch, found.p_holm) == (None, None, None)
    assert found.share == pytest.approx(1.0)


def test_many_values_of_one_launch_are_one_trial():
    run = run_of({"baseline": [50.0], "chimera": [60.0]}, calls=100, spread_ms=0.01)
    found = effect(compare_one(place(run), place(run, "chimera")))
    assert found.sentence == (
        "not enough data: 4 more trials each (100 values of one launch say nothing of the next)"
    )


def test_a_side_without_figures_has_not_enough_data():
    run = run_of({"baseline": BASE, "chimera": []}, plan=(("chimera", "base", 99),))
    found = effect(compare_one(place(run), place(run, "chimera")))
    said = "not enough data: 5 more trials each (the candidate has none)"
    assert (found.n, found.sentence) == ((6, 0), said)  # though no block has both
    found = effect(compare_one(place(run), place(run, "chimera"), paired=False))
    assert (found.n, found.sentence) == ((6, 0), said)


def test_scatter_asks_for_trials_that_would_show_five_percent():
    found = of_two_runs([50, 60, 40, 55, 45], [51, 58, 42, 56, 47])
    assert found.words == "no difference shown"
    assert found.sentence.endswith(f"; {found.more_trials} more trials each would show one of 5 %")


def test_equivalence_needs_a_margin_and_data():
    close = [x + 0.05 for x in BASE]
    margins = (parse_margin("ttft_ms=5%"),)
    found = of_two_runs(BASE, close, margins=margins)
    assert (found.words, found.margin) == ("equivalent", 0.05)
    tested = r"equivalent within 5.0 % \(TOST, p = [0-9.e-]+\): 95 % interval "
    assert re.match(tested, found.sentence)
    assert of_two_runs(BASE, close).words == "no difference shown"
    absolute = of_two_runs(BASE, close, margins=(parse_margin("ttft_ms=2ms"),))
    assert (absolute.words, absolute.margin_absolute) == ("equivalent", True)
    assert "within 2 ms" in absolute.sentence
    apart = of_two_runs(BASE, [1.3 * x for x in BASE], margins=margins)
    assert apart.words == "worse"


def test_margins_may_be_stated_with_the_spec():
    close = [x + 0.05 * (-1) ** i for i, x in enumerate(BASE)]
    levels = {"baseline": BASE, "chimera": close}
    plain = run_of(levels)
    stated = {"ttft_ms": "5%", "of_nobody": "1"}
    run = run_of(levels, spec=replace(plain.manifest.spec, equivalent=stated))
    assert effect(compare_arms(plain)[0]).words == "no difference shown"
    assert effect(compare_arms(run)[0]).words == "equivalent"
    narrow = (parse_margin("ttft_ms=0.0001ms"),)
    asked = compare_one(place(run), place(run, "chimera"), margins=narrow)
    assert effect(asked).words == "no difference shown"


def test_a_family_is_corrected_over_everything_that_is_compared():
    one = run_of({("a", "x"): BASE, ("a", "y"): [x + 0.6 for x in reversed(BASE)]})
    alone = effect(compare_one(place(one, "a", "x"), place(one, "a", "y"), metrics=("ttft_ms",)))
    assert alone.p_holm == alone.p_welch
    cells = {("a", f"c{i}"): [x + 0.01 * i for x in BASE] for i in range(4)}
    pairs = compare_arms(run_of(cells))
    assert len(pairs) == 3
    every = [one for pair in pairs for one in pair.effects if one.p_holm is not None]
    assert len(every) > 6
    assert all(one.p_holm >= one.p_welch for one in every)


def test_what_is_only_significant_alone_says_so():
    other = [50.5, 51.4, 50.0, 51.3, 52.2, 50.9]
    run = run_of({"baseline": BASE, "chimera": other})
    alone = effect(compare_one(place(run), place(run, "chimera"), metrics=("ttft_ms",)))
    assert alone.words == "worse"
    noise = {("baseline", f"c{i}"): random.Random(i).sample(BASE, 6) for i in range(40)}
    crowd = run_of({**noise, ("chimera", "c0"): [x * 1.002 for x in BASE]})
    assert all(one.words != "worse" for pair in compare_arms(crowd) for one in pair.effects)


def test_outputs_of_other_length_are_no_faster_or_slower():
    one = run_of({"baseline": BASE})
    other = run_of({"baseline": BASE}, run_id="cafe", tokens=8)
    found = compare_one(place(one, name="one"), place(other, name="other"))
    e2e = effect(found, "e2e_ms")
    assert (e2e.words, effect(found).words) == ("changed", "no difference shown")
    assert e2e.sentence.endswith("; but the outputs differ in length: 5.0 and 8.0 tokens a call")


def test_right_and_wrong_are_compared_question_by_question():
    run = run_of(
        {"baseline": [50.0] * 12, "chimera": [50.0] * 12},
        own={"baseline": [0.0] * 11 + [1.0], "chimera": [1.0] * 12},
    )
    found = effect(compare_one(place(run), place(run, "chimera"), metrics=("right",)), "right")
    assert found.p_mcnemar == pytest.approx(2 * 0.5**11)
    assert found.words == "better"
    assert found.sentence == (
        "higher, better: 1 against 0.0833, the same questions, McNemar p = 0.00098"
    )
    timed = effect(compare_one(place(run), place(run, "chimera")))
    assert timed.p_mcnemar is None


def test_a_percentage_differs_by_percentage_points():
    run = run_of(
        {"baseline": BASE, "chimera": BASE},
        own={"baseline": [40.0, 41.0, 39.5, 40.0, 40.5, 40.0], "chimera": [43.0] * 6},
        own_unit="%",
    )
    found = effect(compare_one(place(run), place(run, "chimera"), metrics=("right",)), "right")
    assert found.share is None
    assert re.fullmatch(
        r"higher, better, by 2\.833 percentage points \(95 % interval [\d.]+ to [\d.]+\), 6 blocks",
        found.sentence,
    )


# ---- properties


@settings(max_examples=20, deadline=None)
@given(figures, figures)
def test_swapping_the_sides_negates_the_difference(one, other):
    there, back = of_two_runs(one, other), of_two_runs(other, one)
    assert there.difference == pytest.approx(-back.difference, abs=1e-9)
    assert back.words == MIRRORED.get(there.words, there.words)
    assert there.p_welch == pytest.approx(back.p_welch)
    assert there.difference_low == pytest.approx(-back.difference_high, abs=1e-7)
    assert there.cliffs_delta == pytest.approx(-back.cliffs_delta)


@settings(max_examples=20, deadline=None)
@given(figures, figures, st.randoms(use_true_random=False))
def test_the_order_of_trials_does_not_matter(one, other, rng):
    there = of_two_runs(one, other)
    shuffled = of_two_runs(rng.sample(one, len(one)), rng.sample(other, len(other)))
    assert shuffled.words == there.words
    assert shuffled.share == pytest.approx(there.share, abs=1e-9)
    assert shuffled.p_welch == pytest.approx(there.p_welch)


@settings(max_examples=20, deadline=None)
@given(figures)
def test_a_side_beside_itself_shows_no_difference(one):
    for found in (of_one_run(one, one), of_two_runs(one, one)):
        assert found.words == "no difference shown"
        assert found.difference == 0
        assert found.difference_low <= 0 <= found.difference_high
        assert found.share_low is None or found.share_low <= 0 <= found.share_high


@settings(max_examples=20, deadline=None)
@given(figures, figures)
def test_words_agree_with_the_interval(one, other):
    found = of_two_runs(one, other, metrics=("ttft_ms",))
    leaves_out_0 = found.difference_low > 0 or found.difference_high < 0
    if not math.isclose(found.p_welch, 0.05, rel_tol=1e-6):
        assert (found.words in MIRRORED) == leaves_out_0 == (found.p_holm < 0.05)


def test_goodput_is_no_answer_to_a_question():
    """All requests good in one arm and none in the other: 1 and 0, but nothing for McNemar."""
    run = run_of({"baseline": BASE[:5], "chimera": [x + 100 for x in BASE[:5]]})
    made = replace(run.manifest, spec=replace(run.manifest.spec, slo={"ttft_ms": 100.0}))
    run = FakeRun(made, list(run.records()), run.summary)
    names = ("goodput_share", "slo.ttft_ms_share")
    found = compare_one(place(run), place(run, "chimera"), metrics=names)
    for name in names:
        one = effect(found, name)
        assert (one.p_mcnemar, one.words, one.share) == (None, "worse", None)
        assert one.sentence.startswith("lower, worse, by 100 percentage points (")


def test_questions_too_few_for_mcnemar_are_left_to_trials():
    run = run_of(
        {"baseline": BASE[:5], "chimera": BASE[:5]},
        own={"baseline": [0.0] * 5, "chimera": [1.0] * 5},
    )
    found = effect(compare_one(place(run), place(run, "chimera"), metrics=("right",)), "right")
    assert (found.p_mcnemar, found.words) == (None, "better")
    assert found.sentence == "higher, better, by 1 (95 % interval 0.3855 to 1), 5 blocks"


@pytest.mark.parametrize(
    ("baseline", "candidate", "words"),
    [
        ([88, 64, 118, 62, 116, 51], [124, 118, 103, 155, 112, 115, 101, 94], "worse"),
        ([89, 107, 114, 85, 157], [55, 85, 54, 70, 109, 79], "no difference shown"),
    ],
)
def test_the_interval_in_words_agrees_with_the_test(baseline, candidate, words):
    """Fieller's interval has not quite the degrees of freedom of Welch's test. Where the one leaves
    0 out and the other does not, the interval of the difference is given, which agrees with it."""
    sides = [[float(x) for x in figures] for figures in (baseline, candidate)]
    found = of_two_runs(*sides, metrics=("ttft_ms",))
    assert (found.share_low <= 0 <= found.share_high) == (found.p_welch < 0.05)
    assert found.words == words
    assert " ms" in found.sentence
    low, high = re.search(r"interval (\S+) to ([^ )]+)", found.sentence).groups()
    ends = sorted(float(end.replace("−", "-")) for end in (low, high))
    assert (ends[0] <= 0 <= ends[1]) == (words == "no difference shown")
    if words == "worse":
        assert ends[0] <= found.difference <= ends[1]


def test_trials_that_were_cut_short_are_no_trials():
    """Few calls, and the quick ones, that would weigh as much as a whole launch."""

    def cut(record):
        is_last = isinstance(record, TrialRecord) and record.trial == 13
        return replace(record, status="cancelled") if is_last else record

    figures = {"baseline": [*BASE, 50.0], "chimera": [*BASE, 1.0]}
    run = run_of(figures, change=cut)
    found = compare_one(place(run), place(run, "chimera"))
    assert effect(found).n == (6, 6)
    assert effect(found).difference == pytest.approx(0.0)
    assert (found.baseline.trials, found.candidate.trials) == (7, 6)


def test_a_trial_in_the_midst_that_failed_leaves_its_block_out():
    def failed(record):
        is_third = isinstance(record, CallRecord) and record.trial == 5
        return replace(record, status="error") if is_third else record

    slower = [x + 1 for x in BASE]
    run = run_of({"baseline": BASE, "chimera": slower}, change=failed)
    found = effect(compare_one(place(run), place(run, "chimera")))
    assert (found.n, found.paired) == ((5, 5), True)
    assert found.difference == pytest.approx(1.0)
    assert found.difference_high - found.difference_low < 1e-5


def test_an_answer_of_no_tokens_is_other_work():
    one = run_of({"baseline": BASE})
    none = run_of({"baseline": BASE}, run_id="cafe", change=without_tokens)
    found = effect(compare_one(place(one, name="one"), place(none, name="none")), "e2e_ms")
    assert unequal_output(*(measured_of(run) for run in (one, none))).startswith("the outputs")
    assert found.words in ("changed", "no difference shown")


def without_tokens(record):
    is_call = isinstance(record, CallRecord)
    return replace(record, usage=replace(record.usage, output_tokens=0)) if is_call else record


def measured_of(run):
    return measured(run, [("baseline", "base")])["baseline", "base"]
