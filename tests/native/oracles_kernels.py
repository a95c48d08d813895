"""Readable twins of _native/kernels.pyx: plain Python, exact where the kernel may round.

Sums are taken with `fractions.Fraction`, so these say what the right answer is; the bootstrap twin
draws the very same numbers and rounds in the same places, so that results must be equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

MASK = 2**64 - 1


def mean(values: Sequence[float]) -> Fraction:
    return sum(map(Fraction, values), Fraction(0)) / len(values)


def variance(values: Sequence[float]) -> Fraction:
    """Sample variance; at least two values."""
    centre = mean(values)
    return sum(((Fraction(x) - centre) ** 2 for x in values), Fraction(0)) / (len(values) - 1)


def quantile(values: Sequence[float], q: float) -> Fraction:
    """Linear interpolation at h = (n − 1) q, where h is rounded as float64 rounds it."""
    ordered = sorted(values)
    h = Fraction((len(ordered) - 1) * q)
    low = int(h)
    high = min(low + 1, len(ordered) - 1)
    a, b = Fraction(ordered[low]), Fraction(ordered[high])
    return a + (b - a) * (h - low)


def median(values: Sequence[float]) -> Fraction:
    return quantile(values, 0.5)


def mad(values: Sequence[float]) -> Fraction:
    centre = median(values)
    deviations = sorted(abs(Fraction(x) - centre) for x in values)
    half = len(deviations) // 2
    if len(deviations) % 2:
        return deviations[half]
    return (deviations[half - 1] + deviations[half]) / 2


def splitmix64(state: int) -> Callable[[], int]:
    def draw() -> int:
        nonlocal state
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    return draw


def rotated(x: int, k: int) -> int:
    return ((x << k) | (x >> (64 - k))) & MASK


def xoshiro256ss(s: list[int]) -> Callable[[], int]:
    """`s` holds four 64-bit words and is changed in place."""

    def draw() -> int:
        result = (rotated((s[1] * 5) & MASK, 7) * 9) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotated(s[3], 45)
        return result

    return draw


def below(draw: Callable[[], int], bound: int) -> int:
    """Lemire: scale 32 random bits by `bound`; redraw where the low half falls into the part that
    would make some results likelier than others."""
    product = (draw() >> 32) * bound
    while product % 2**32 < (2**32 - bound) % bound:
        product = (draw() >> 32) * bound
    return product >> 32


def bootstrap_means(
    values: Sequence[float], offsets: Sequence[int], resamples: int, seed: int
) -> list[float]:
    seeder = splitmix64(seed)
    draw = xoshiro256ss([seeder() for _ in range(4)])
    groups = [values[a:b] for a, b in itertools.pairwise(offsets)]
    shrink = 2.0**-600 if max(map(abs, values)) > 2.0**480 else 1.0
    means = []
    for _ in range(resamples):
        total, count = 0.0, 0
        for _ in groups:
            group = groups[below(draw, len(groups))]
            for _ in group:
                total += group[below(draw, len(group))] * shrink
            count += len(group)
        means.append(min(max(total / count / shrink, min(values)), max(values)))
    return means
