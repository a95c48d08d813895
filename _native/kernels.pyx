# Numeric kernels: quantiles, mean and variance, MAD, hierarchical bootstrap of the mean.
#
# A thin `def` makes a contiguous float64 view of its argument, refuses what is not finite, and
# opens `nogil` around one whole loop. Python never sees an intermediate array. The loops,
# header-only:
#   extent.pxd      how far the values reach, and scaling against overflow
#   moments.pxd     mean and variance
#   selection.pxd   putting a few ranks in their places, for the quantiles
#   xoshiro.pxd     random numbers, for the bootstrap
# tests/native/oracles_kernels.py holds the readable twins.

from libc.math cimport INFINITY, fabs, floor
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

from extent cimport clamped, extent_of, extent_t, scale_of, unscale_of
from moments cimport moments
from selection cimport depth_of, select
from xoshiro cimport below, rng_init, rng_t


# ------------------------------------------------------------------------------------- what comes i

cdef const double[::1] view_of(values):
    # No dtype here: an int64 array of ns would be rounded silently, so it is refused instead.
    cdef const double[::1] view = np.asarray(values, order="C")
    if view.shape[0] == 0:
        raise ValueError("no values")
    return view


cdef extent_t checked(const double[::1] view) except *:
    cdef extent_t e
    with nogil:
        e = extent_of(&view[0], view.shape[0])
    if e.bad >= 0:
        raise ValueError(f"values[{e.bad}] is {view[e.bad]}: only finite values are taken")
    return e


# ----------------------------------------------------------------------------------- mean, variance

def mean_variance(values):
    cdef const double[::1] view = view_of(values)
    cdef extent_t e = checked(view)
    cdef double mean, variance
    with nogil:
        moments(&view[0], view.shape[0], e, &mean, &variance)
    return mean, variance


# ---------------------------------------------------------------------------------------- quantiles

def _selected(values, ranks, int depth):
    """A copy of `values` after `select`: for the tests, which thus reach the heap sort."""
    cdef const double[::1] view = view_of(values)
    cdef double[::1] scratch = np.array(view)
    cdef const Py_ssize_t[::1] wanted = np.asarray(ranks, dtype=np.intp)
    with nogil:
        select(&scratch[0], scratch.shape[0], &wanted[0], wanted.shape[0], 0, depth)
    return np.asarray(scratch)


cdef double between(double a, double b, double t) noexcept nogil:
    """a + t (b − a), for a ≤ b and 0 ≤ t < 1: from the nearer end (so that it is monotone in t and
    never leaves [a, b]), and without overflow."""
    cdef double width = b - a
    if t == 0.0 or a == b:
        return a
    if width == INFINITY:
        return 2.0 * between(a * 0.5, b * 0.5, t)
    return a + width * t if t < 0.5 else b - width * (1.0 - t)


cdef int quantile_each(
    double* a, Py_ssize_t n, const double* q, Py_ssize_t count, double* out
) except -1 nogil:
    """`a` is reordered. `q` ascends and lies in [0, 1]."""
    cdef Py_ssize_t* ranks = <Py_ssize_t*> malloc(2 * count * sizeof(Py_ssize_t))
    cdef Py_ssize_t i, low, k = 0
    cdef double h
    if ranks == NULL:
        with gil:
            raise MemoryError
    for i in range(count):
        low = <Py_ssize_t> floor((n - 1) * q[i])
        # 0.1, 0.1 asks for ranks (l, l+1, l, l+1): what is not ascending is there already.
        if k == 0 or low > ranks[k - 1]:
            ranks[k] = low
            k += 1
        if low + 1 < n and low + 1 > ranks[k - 1]:
            ranks[k] = low + 1
            k += 1
    select(a, n, ranks, k, 0, depth_of(n))
    for i in range(count):
        h = (n - 1) * q[i]
        low = <Py_ssize_t> floor(h)
        out[i] = between(a[low], a[low + 1 if low + 1 < n else low], h - low)
    free(ranks)
    return 0


cdef double middle_of(double* a, Py_ssize_t n) except? -1.0 nogil:
    """The median; `a` is reordered."""
    cdef double q = 0.5, result
    quantile_each(a, n, &q, 1, &result)
    return result


def quantiles(values, q):
    cdef const double[::1] view = view_of(values)
    wanted = np.asarray(q)
    if wanted.ndim != 1 or not np.all((wanted >= 0.0) & (wanted <= 1.0)):
        raise ValueError("q must be one row of numbers between 0 and 1")
    checked(view)
    out = np.empty(len(wanted))
    if len(wanted) == 0:
        return out
    order = np.argsort(wanted, kind="stable")
    cdef double[::1] scratch = np.array(view)
    cdef const double[::1] ascending = wanted[order]
    cdef double[::1] result = np.empty(len(wanted))
    with nogil:
        quantile_each(
            &scratch[0], scratch.shape[0], &ascending[0], ascending.shape[0], &result[0]
        )
    out[order] = result
    return out


def median(values):
    cdef const double[::1] view = view_of(values)
    checked(view)
    cdef double[::1] scratch = np.array(view)
    cdef double result
    with nogil:
        result = middle_of(&scratch[0], scratch.shape[0])
    return result


def mad(values):
    cdef const double[::1] view = view_of(values)
    cdef extent_t e = checked(view)
    cdef double[::1] scratch = np.array(view)
    # Halved only where a deviation could overflow: two of them may have a middle that does not.
    cdef double scale = 0.5 if e.high - e.low == INFINITY else 1.0
    cdef double centre, result
    cdef Py_ssize_t i
    with nogil:
        centre = middle_of(&scratch[0], scratch.shape[0]) * scale
        for i in range(scratch.shape[0]):
            scratch[i] = fabs(scratch[i] * scale - centre)
        result = middle_of(&scratch[0], scratch.shape[0]) / scale
    return result


# ---------------------------------------------------------------------------------------- bootstrap

cdef void resample(
    const double* x, const int64_t* offsets, Py_ssize_t groups, extent_t e,
    uint64_t seed, double* out, Py_ssize_t resamples,
) noexcept nogil:
    cdef rng_t r
    cdef double scale = scale_of(e)
    cdef double unscale = unscale_of(e)
    cdef double sum
    cdef int64_t count, g, start
    cdef uint32_t size, j
    cdef Py_ssize_t b, drawn
    rng_init(&r, seed)
    for b in range(resamples):
        sum = 0.0
        count = 0
        for drawn in range(groups):
            g = below(&r, <uint32_t> groups)
            start = offsets[g]
            size = <uint32_t> (offsets[g + 1] - start)
            for j in range(size):
                sum += x[start + below(&r, size)] * scale
            count += size
        out[b] = clamped(sum / count * unscale, e)


cdef int check_offsets(const int64_t[::1] offsets, Py_ssize_t n) except -1:
    cdef Py_ssize_t i, last = offsets.shape[0] - 1
    if last < 1 or offsets[0] != 0 or offsets[last] != n:
        raise ValueError(f"offsets must start at 0 and end at the number of values, {n}")
    for i in range(last):
        if offsets[i + 1] <= offsets[i]:
            raise ValueError(f"group {i} is empty: offsets must ascend")
    return 0


def bootstrap_means(values, offsets, resamples, seed):
    cdef const double[::1] view = view_of(values)
    cdef const int64_t[::1] bounds = np.ascontiguousarray(offsets)
    if view.shape[0] >= 2 ** 32:
        raise ValueError("more than 2³²−1 values")
    if resamples < 1:
        raise ValueError("resamples must be at least 1")
    if not 0 <= seed < 2 ** 64:
        raise ValueError("seed must lie in [0, 2⁶⁴)")
    check_offsets(bounds, view.shape[0])
    cdef extent_t e = checked(view)
    out = np.empty(resamples)
    cdef double[::1] result = out
    cdef uint64_t state = seed
    with nogil:
        resample(
            &view[0], &bounds[0], bounds.shape[0] - 1, e, state, &result[0], result.shape[0]
        )
    return out
