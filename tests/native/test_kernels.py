"""The kernels against exact oracles and against numpy and scipy, at every size of number."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from harness._native import kernels
from tests.native import oracles_kernels as oracle

BIG = 1.7976931348623157e308
TINY = 5e-324


finite = st.floats(allow_nan=False, allow_infinity=False)
"""Zeros of both signs, subnormals and 1.8e308 included."""
tied = st.sampled_from([0.0, 1.0, 1.5, -2.0])
latencies = st.floats(min_value=1e-3, max_value=1e9)


def rows(elements, minimum=1):
    return st.lists(elements, min_size=minimum, max_size=60)


some_rows = rows(finite) | rows(tied) | rows(latencies)


def array(values):
    return np.array(values, dtype=np.float64)


def as_float(exact: Fraction) -> float:
    """Rounded once; inf where float64 ends."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def close(found: float, exact: Fraction, *, scale: float, ulps: float) -> bool:
    """Within so many roundings of numbers as large as `scale`."""
    wanted = as_float(exact)
    if found == wanted:
        return True
    if not math.isfinite(found):  # exact result at the very edge of the range
        return abs(wanted) > BIG * (1 - 1e-12)
    return abs(Fraction(found) - exact) <= Fraction(math.ulp(scale)) * Fraction(ulps)


# ----------------------------------------------------------------------------------- mean, variance


@given(some_rows)
@example([BIG, BIG, BIG])
@example([BIG, -BIG])
@example([TINY, 3 * TINY])
@example([1e16, 1.0, -1e16])
@example([1e154, -1e154, 3.0])
def test_mean_is_exact_to_a_rounding_or_two(values):
    mean, _ = kernels.mean_variance(array(values))
    assert min(values) <= mean <= max(values)
    # Compensated: the error is that of the result, plus n² ε² of the largest value.
    largest = max(map(abs, values))
    assert close(mean, oracle.mean(values), scale=mean, ulps=2) or close(
        mean, oracle.mean(values), scale=largest, ulps=1e-10
    )


@given(rows(finite, 2) | rows(tied, 2) | rows(latencies, 2))
@example([BIG, -BIG])
@example([1e153, -1e153])
@example([TINY, 0.0])
def test_variance_is_close_to_the_exact_one(values):
    _, variance = kernels.mean_variance(array(values))
    exact = oracle.variance(values)
    assert variance >= 0.0
    if math.isinf(variance):
        assert as_float(exact) > BIG * (1 - 1e-12)
        return
    # Relative, plus what the rounding of a deviation and the underflow of a square can cost.
    largest = max(map(abs, values))
    slack = Fraction(1, 10**12) * exact + (Fraction(math.ulp(largest)) * 2) ** 2
    assert abs(Fraction(variance) - exact) <= slack + Fraction(TINY) * len(values)


def test_variance_survives_a_large_common_offset():
    values = array([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    assert kernels.mean_variance(values) == (1e9 + 10, 30.0)


def test_variance_of_one_value_is_nan():
    mean, variance = kernels.mean_variance(array([3.0]))
    assert mean == 3.0
    assert math.isnan(variance)


def test_a_constant_has_itself_as_mean_and_no_variance():
    for x in (0.1, BIG, -BIG, TINY, 1 / 3):
        assert kernels.mean_variance(np.full(7, x)) == (x, 0.0)


def test_results_beyond_float64_are_infinite_and_never_nan():
    assert kernels.mean_variance(array([BIG, -BIG])) == (0.0, math.inf)
    assert kernels.mean_variance(array([1e160, -1e160])) == (0.0, math.inf)
    assert kernels.mad(array([-BIG, 0.0, BIG])) == BIG
    assert kernels.mad(array([-BIG, -BIG, BIG])) == 0.0
    # Half of the deviations are 0, half are 2 BIG: their middle is BIG although 2 BIG is not there.
    assert kernels.mad(array([-BIG, BIG])) == BIG
    assert kernels.mad(array([-BIG, -BIG, -BIG, BIG, BIG, BIG, BIG])) == 0.0
    assert kernels.quantiles(array([-BIG, BIG]), array([0.25, 0.5])).tolist() == [-BIG / 2, 0.0]


@given(rows(latencies, 2))
def test_mean_and_variance_agree_with_numpy(values):
    mean, variance = kernels.mean_variance(array(values))
    assert mean == pytest.approx(np.mean(values), rel=1e-12)
    assert variance == pytest.approx(
        np.var(values, ddof=1), rel=1e-9, abs=np.max(values) ** 2 * 1e-28
    )


# -------------------------------------------------------------------------------- quantiles, median


@given(some_rows, st.lists(st.floats(0.0, 1.0), max_size=8))
@example([1.0, 2.0], [1.0, 0.0, 0.5, 0.5])
@example([BIG, -BIG], [0.3, 0.7])
@example([3.0], [0.2])
def test_quantiles_are_interpolated_between_order_statistics(values, q):
    found = kernels.quantiles(array(values), array(q))
    assert found.shape == (len(q),)
    for one_q, one in zip(q, found, strict=True):
        exact = oracle.quantile(values, one_q)
        assert min(values) <= one <= max(values)
        assert close(one, exact, scale=max(map(abs, values)), ulps=2)


@given(rows(finite, 1) | rows(tied) | rows(latencies), st.lists(st.floats(0.0, 1.0), max_size=8))
def test_quantiles_equal_numpys_to_the_bit(values, q):
    if max(values) - min(values) > BIG:
        return  # numpy overflows to inf or nan here, and warns
    assert kernels.quantiles(array(values), array(q)).tolist() == np.quantile(values, q).tolist()


@pytest.mark.parametrize("n", [1, 2, 16, 17, 18, 127, 128, 129, 1000, 5000])
@pytest.mark.parametrize("kind", ["random", "few", "ascending", "descending", "organ", "constant"])
def test_quantiles_equal_numpys_on_large_and_awkward_orders(n, kind):
    rng = np.random.default_rng(n)
    values = {
        "random": rng.lognormal(size=n),
        "few": rng.integers(0, 3, n).astype(float),
        "ascending": np.arange(n, dtype=float),
        "descending": np.arange(n, dtype=float)[::-1],
        "organ": np.abs(np.arange(n) - n / 2),
        "constant": np.full(n, 2.5),
    }[kind]
    before = values.copy()
    q = np.array([0.99, 0.0, 0.05, 0.5, 0.95, 1.0, 0.5, 0.999])
    assert kernels.quantiles(values, q).tolist() == np.quantile(values, q).tolist()
    assert np.array_equal(values, before), "the argument must not be reordered"


@given(some_rows)
@example([BIG, BIG])
@example([-BIG, BIG, BIG, BIG])
def test_median_and_mad_are_close_to_the_exact_ones(values):
    largest = max(map(abs, values))
    assert close(kernels.median(array(values)), oracle.median(values), scale=largest, ulps=2)
    assert close(kernels.mad(array(values)), oracle.mad(values), scale=largest, ulps=6)


@given(rows(latencies))
def test_median_and_mad_agree_with_the_libraries(values):
    assert kernels.median(array(values)) == pytest.approx(statistics.median(values), rel=1e-15)
    scipys = scipy.stats.median_abs_deviation(values)
    assert kernels.mad(array(values)) == pytest.approx(scipys, rel=1e-12, abs=max(values) * 1e-15)


@given(
    st.lists(finite | tied, min_size=1, max_size=400),
    st.data(),
    st.integers(0, 6),
)
def test_selection_puts_the_ranks_where_sorting_would(values, data, depth):
    """With so few partitions allowed, the heap sort has to take over at every stage."""
    ranks = sorted(data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1, max_size=6)))
    placed = kernels._selected(array(values), ranks, depth)
    assert sorted(placed) == sorted(values)
    assert [placed[r] for r in ranks] == [sorted(values)[r] for r in ranks]


# ---------------------------------------------------------------------------------------- bootstrap


def test_the_generator_twins_match_the_published_vectors():
    assert [f() for f in [oracle.splitmix64(1234567)] * 5] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [f() for f in [oracle.xoshiro256ss([1, 2, 3, 4])] * 5] == [
        11520,
        0,
        1509978240,
        1215971899390074240,
        1216172134540287360,
    ]


@given(
    st.lists(rows(finite) | rows(latencies), min_size=1, max_size=6),
    st.integers(1, 5),
    st.integers(0, 2**64 - 1),
)
@example([[BIG], [BIG, BIG]], 3, 0)
def test_bootstrap_equals_its_twin_to_the_bit(groups, resamples, seed):
    values = [x for group in groups for x in group]
    offsets = [0, *np.cumsum([len(g) for g in groups]).tolist()]
    found = kernels.bootstrap_means(array(values), np.array(offsets), resamples, seed)
    assert found.tolist() == oracle.bootstrap_means(values, offsets, resamples, seed)
    assert all(min(values) <= x <= max(values) for x in found)


def test_bootstrap_is_pinned_for_a_seed():
    """A change of these numbers changes every published interval: say so in CHANGELOG.md."""
    values, offsets = array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([0, 2, 5])
    assert kernels.bootstrap_means(values, offsets, 4, 7).tolist() == [10.0, 8.6, 3.8, 5.4]


def test_bootstrap_spread_is_that_of_the_groups():
    """Between-group spread must show: 12 groups of 50 equal values carry 12 figures, not 600."""
    rng = np.random.default_rng(5)
    centres = rng.normal(100.0, 3.0, 12)
    values, offsets = np.repeat(centres, 50), np.arange(0, 601, 50)
    spread = kernels.bootstrap_means(values, offsets, 4000, 1).std()
    expected = centres.std() / math.sqrt(12)
    assert spread == pytest.approx(expected, rel=0.1)
    flat = kernels.bootstrap_means(values, np.array([0, 600]), 4000, 1).std()
    assert flat == pytest.approx(centres.std() / math.sqrt(600), rel=0.1)


def test_bootstrap_draws_every_value_equally_often():
    """Means of one draw from [0 … 6): a chi-square over 60,000 draws, far from significance."""
    draws = kernels.bootstrap_means(np.arange(6.0), np.arange(7), 60_000, 3) * 6
    # The sum of six draws: compare its distribution's mean and variance with the exact ones.
    assert draws.mean() == pytest.approx(15.0, abs=4 * math.sqrt(6 * 35 / 12 / 60_000))
    assert draws.var() == pytest.approx(6 * 35 / 12, rel=0.03)


# ----------------------------------------------------------------------------------------- refusals


FUNCTIONS = {
    "mean_variance": kernels.mean_variance,
    "median": kernels.median,
    "mad": kernels.mad,
    "quantiles": lambda v: kernels.quantiles(v, array([0.5])),
    "bootstrap_means": lambda v: kernels.bootstrap_means(v, np.array([0, len(v)]), 1, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_with_its_place(name, bad):
    with pytest.raises(ValueError, match=r"values\[2\] is -?(nan|inf): only finite"):
        FUNCTIONS[name](array([1.0, 2.0, bad, bad]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_values_are_refused(name):
    with pytest.raises(ValueError, match="no values"):
        FUNCTIONS[name](array([]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_types_and_shapes_are_refused_not_rounded(name):
    with pytest.raises(ValueError, match="dtype"):
        FUNCTIONS[name](np.array([2**63 - 1, 1]))
    with pytest.raises(ValueError, match="dimensions"):
        FUNCTIONS[name](np.zeros((2, 2)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_strided_and_read_only_views_are_taken(name):
    values = np.arange(20.0)
    view = values[::-3]
    values.flags.writeable = False
    assert np.all(np.asarray(FUNCTIONS[name](view)) == np.asarray(FUNCTIONS[name](view.copy())))


@pytest.mark.parametrize("q", [[-0.1], [1.1], [math.nan], [[0.5]], 0.5])
def test_q_outside_its_range_is_refused(q):
    with pytest.raises(ValueError, match="q must be"):
        kernels.quantiles(array([1.0]), np.array(q))


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0], "start at 0"),
        ([0, 2], "start at 0"),
        ([1, 3], "start at 0"),
        ([0, 0, 3], "group 0 is empty"),
        ([0, 2, 1, 3], "group 1 is empty"),
    ],
)
def test_offsets_must_cover_the_values(offsets, message):
    with pytest.raises(ValueError, match=message):
        kernels.bootstrap_means(array([1.0, 2.0, 3.0]), np.array(offsets), 1, 0)


def test_bootstrap_refuses_bad_counts_and_seeds():
    values, offsets = array([1.0]), np.array([0, 1])
    with pytest.raises(ValueError, match="resamples"):
        kernels.bootstrap_means(values, offsets, 0, 0)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="seed"):
            kernels.bootstrap_means(values, offsets, 1, seed)
