"""What the kernels cost, beside numpy and scipy in the same run.

    python benchmarks/kernels.py [--quick]

Each line: the best of many repetitions, in µs, and how many times faster the kernel is. Both do
the same work on the same data: a float64 array that is not sorted, and one with many ties (times
in whole ms). The mean is the one place where numpy is faster on long arrays: its sums are not
compensated. The bootstrap has no counterpart in scipy that resamples groups; it is set
against the flat one, written with numpy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.stats

from harness._native import kernels

Q = np.array([0.05, 0.5, 0.95, 0.99])
Pair = tuple[str, Callable[[], object], Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 ms for each figure, not 500")
    seconds = 0.05 if parser.parse_args().quick else 0.5
    print(f"numpy {np.__version__}, scipy {scipy.__version__}")
    print(f"{'':34} {'kernel µs':>12} {'library µs':>12} {'times':>7}")
    for name, ours, theirs in pairs():
        kernel_us, library_us = best_us(ours, seconds), best_us(theirs, seconds)
        print(f"{name:34} {kernel_us:12.1f} {library_us:12.1f} {library_us / kernel_us:7.1f}")


def pairs() -> Iterator[Pair]:
    rng = np.random.default_rng(1)
    for n in (20, 1_000, 100_000, 1_000_000):
        values = rng.lognormal(3.0, 0.5, n)
        yield from per_size(f"n = {n:,}", values)
    yield from per_size("n = 1,000,000, ties", np.round(rng.lognormal(3.0, 0.5, 1_000_000)))
    yield from bootstraps(rng)


def per_size(label: str, v: np.ndarray) -> Iterator[Pair]:
    yield f"4 quantiles, {label}", lambda: kernels.quantiles(v, Q), lambda: np.quantile(v, Q)
    yield f"median, {label}", lambda: kernels.median(v), lambda: np.median(v)
    yield (
        f"mean, variance, {label}",
        lambda: kernels.mean_variance(v),
        lambda: (np.mean(v), np.var(v, ddof=1)),
    )
    yield (
        f"MAD, {label}",
        lambda: kernels.mad(v),
        lambda: scipy.stats.median_abs_deviation(v),
    )


def bootstraps(rng: np.random.Generator) -> Iterator[Pair]:
    for groups, size in ((5, 20), (10, 100)):
        values = rng.lognormal(3.0, 0.5, groups * size)
        offsets = np.arange(0, groups * size + 1, size)

        def ours(values: np.ndarray = values, offsets: np.ndarray = offsets) -> object:
            return kernels.bootstrap_means(values, offsets, 2000, 1)

        def theirs(values: np.ndarray = values) -> object:
            drawn = rng.integers(0, len(values), (2000, len(values)))
            return values[drawn].mean(axis=1)

        yield f"2,000 resamples of {groups} × {size}", ours, theirs


def best_us(function: Callable[[], object], seconds: float) -> float:
    """The best time is the one that was disturbed least."""
    best, stop = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        function()
        end = time.perf_counter()
        best = min(best, end - start)
        if end > stop:
            return best * 1e6


if __name__ == "__main__":
    main()
