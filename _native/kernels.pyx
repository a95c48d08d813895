# Numeric kernels: quantiles, mean and variance, MAD, hierarchical bootstrap of the mean.
#
# Strategy
#   A thin `def` makes a contiguous float64 view of its argument, refuses what is not finite, and
#   opens `nogil` around one whole loop. Python never sees an intermediate array.
#
#   Quantiles select, they do not sort: a summary asks for four or five of them, and putting ten
#   ranks in their places is linear in n where sorting is n log n. (numpy's sort is as fast where it
#   can use AVX-512 and several times slower elsewhere; this needs no vector unit.) Many q cost more
#   passes, each over less. Partitioning is branch-free, because on random data a mispredicted branch
#   costs more than the swap it avoids; runs of equal values are cut out whole, and a range that
#   refuses to shrink is heap-sorted, so no input is quadratic.
#
#   The mean is a compensated (Neumaier) sum; the variance takes a second pass over the deviations
#   from it, with the correction term for the mean's own rounding. Welford's one-pass update was
#   tried: the data are in memory, so its one merit is not needed, and it is less exact and has a
#   division in every step.
#
# Range
#   Values beyond 2⁴⁸⁰ are scaled by 2⁻⁶⁰⁰ on the way in, so that no sum and no square overflows
#   before the result does. A result that float64 cannot hold is inf, never nan and never wrong.
#
# Randomness
#   xoshiro256** (Blackman & Vigna 2018) seeded by splitmix64; bounded draws by Lemire's method
#   (2019) on the upper 32 bits, which needs no 128-bit product and so is the same on every compiler.
#   tests/native/oracles_kernels.py holds the readable twin of all of this.

from libc.math cimport INFINITY, NAN, fabs, floor, isfinite
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

cdef enum:
    INSERTION_MAX = 16   # below this, insertion sort beats another partition
    NINTHER_MIN = 128    # above this, the pivot is a median of medians of nine

cdef double LARGE = 2.0 ** 480
cdef double SHRINK = 2.0 ** -600
cdef double GROW = 2.0 ** 600


# ------------------------------------------------------------------------------------- what comes in

ctypedef struct extent_t:
    double low
    double high
    Py_ssize_t bad         # index of the first value that is not finite; -1: none


cdef extent_t extent_of(const double* x, Py_ssize_t n) noexcept nogil:
    cdef extent_t e
    cdef Py_ssize_t i
    e.low = INFINITY
    e.high = -INFINITY
    e.bad = -1
    for i in range(n):
        if not isfinite(x[i]):
            e.bad = i
            return e
        e.low = x[i] if x[i] < e.low else e.low
        e.high = x[i] if x[i] > e.high else e.high
    return e


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


cdef inline double scale_of(extent_t e) noexcept nogil:
    return SHRINK if e.high > LARGE or e.low < -LARGE else 1.0


cdef inline double clamped(double x, extent_t e) noexcept nogil:
    # A mean lies among its values; rounding must not push it out (nor a constant off itself).
    return e.low if x < e.low else (e.high if x > e.high else x)


# ----------------------------------------------------------------------------------- mean, variance

cdef inline void neumaier(double* sum, double* lost, double x) noexcept nogil:
    cdef double total = sum[0] + x
    if fabs(sum[0]) >= fabs(x):
        lost[0] += (sum[0] - total) + x
    else:
        lost[0] += (x - total) + sum[0]
    sum[0] = total


cdef void moments(
    const double* x, Py_ssize_t n, extent_t e, double* mean, double* variance
) noexcept nogil:
    cdef double scale = scale_of(e)
    cdef double unscale = 1.0 if scale == 1.0 else GROW
    cdef double sum = 0.0, lost = 0.0, centre, d, squares = 0.0, drift = 0.0
    cdef Py_ssize_t i
    for i in range(n):
        neumaier(&sum, &lost, x[i] * scale)
    mean[0] = clamped((sum + lost) / n * unscale, e)
    if n < 2:
        variance[0] = NAN
        return
    centre = mean[0] * scale
    for i in range(n):
        d = x[i] * scale - centre
        squares += d * d
        drift += d
    squares -= drift * drift / n
    variance[0] = squares / (n - 1) * unscale * unscale if squares > 0.0 else 0.0


def mean_variance(values):
    cdef const double[::1] view = view_of(values)
    cdef extent_t e = checked(view)
    cdef double mean, variance
    with nogil:
        moments(&view[0], view.shape[0], e, &mean, &variance)
    return mean, variance


# ---------------------------------------------------------------------------------------- selection

cdef inline void swap(double* a, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    cdef double x = a[i]
    a[i] = a[j]
    a[j] = x


cdef void insertion_sort(double* a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double x
    for i in range(1, n):
        x = a[i]
        j = i
        while j > 0 and a[j - 1] > x:
            a[j] = a[j - 1]
            j -= 1
        a[j] = x


cdef void sift_down(double* a, Py_ssize_t root, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t child = 2 * root + 1
    while child < n:
        if child + 1 < n and a[child] < a[child + 1]:
            child += 1
        if not a[root] < a[child]:
            return
        swap(a, root, child)
        root = child
        child = 2 * root + 1


cdef void heap_sort(double* a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n // 2 - 1, -1, -1):
        sift_down(a, i, n)
    for i in range(n - 1, 0, -1):
        swap(a, 0, i)
        sift_down(a, 0, i)


cdef inline double middle(double x, double y, double z) noexcept nogil:
    if x > y:
        x, y = y, x
    if y > z:
        y = z
    return x if x > y else y


cdef double pivot_of(const double* a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t step = n // 8
    if n < NINTHER_MIN:
        return middle(a[0], a[n // 2], a[n - 1])
    return middle(
        middle(a[0], a[step], a[2 * step]),
        middle(a[3 * step], a[4 * step], a[5 * step]),
        middle(a[6 * step], a[7 * step], a[n - 1]),
    )


cdef Py_ssize_t part_below(double* a, Py_ssize_t n, double pivot) noexcept nogil:
    """Values < pivot first; how many. Always swaps, never branches on the data."""
    cdef Py_ssize_t i, m = 0
    cdef double x
    for i in range(n):
        x = a[i]
        a[i] = a[m]
        a[m] = x
        m += x < pivot
    return m


cdef Py_ssize_t part_equal(double* a, Py_ssize_t n, double pivot) noexcept nogil:
    """The same for values ≤ pivot: in a range where none is below it, those equal to it."""
    cdef Py_ssize_t i, m = 0
    cdef double x
    for i in range(n):
        x = a[i]
        a[i] = a[m]
        a[m] = x
        m += x <= pivot
    return m


cdef Py_ssize_t ranks_below(const Py_ssize_t* ranks, Py_ssize_t k, Py_ssize_t bound) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < k and ranks[i] < bound:
        i += 1
    return i


cdef void select(
    double* a, Py_ssize_t n, const Py_ssize_t* ranks, Py_ssize_t k, Py_ssize_t base, int depth
) noexcept nogil:
    """Put the values of `ranks` where sorting would put them. Ranks ascend and count from `base`
    before a[0]; all lie in this range. `depth` partitions are allowed before it is heap-sorted."""
    cdef Py_ssize_t m, left
    cdef double pivot
    while k > 0 and n > INSERTION_MAX:
        if depth == 0:
            heap_sort(a, n)
            return
        depth -= 1
        pivot = pivot_of(a, n)
        m = part_below(a, n, pivot)
        left = ranks_below(ranks, k, base + m)
        select(a, m, ranks, left, base, depth)
        a += m
        n -= m
        base += m
        ranks += left
        k -= left
        # A pivot among the smallest means ties, or bad luck: cut out all that equal it. At least
        # one value does, so the range shrinks every time.
        if k > 0 and m < n // 8:
            m = part_equal(a, n, pivot)
            left = ranks_below(ranks, k, base + m)
            a += m
            n -= m
            base += m
            ranks += left
            k -= left
    if k > 0:
        insertion_sort(a, n)


cdef inline int depth_of(Py_ssize_t n) noexcept nogil:
    cdef int depth = 4
    while n > 0:
        n >>= 1
        depth += 2
    return depth


def _selected(values, ranks, int depth):
    """A copy of `values` after `select`: for the tests, which thus reach the heap sort."""
    cdef const double[::1] view = view_of(values)
    cdef double[::1] scratch = np.array(view)
    cdef const Py_ssize_t[::1] wanted = np.asarray(ranks, dtype=np.intp)
    with nogil:
        select(&scratch[0], scratch.shape[0], &wanted[0], wanted.shape[0], 0, depth)
    return np.asarray(scratch)


# ---------------------------------------------------------------------------------------- quantiles

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

ctypedef struct rng_t:
    uint64_t s0
    uint64_t s1
    uint64_t s2
    uint64_t s3


cdef inline uint64_t splitmix64(uint64_t* state) noexcept nogil:
    cdef uint64_t z
    state[0] += <uint64_t> 0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint64_t rotated(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


cdef inline uint64_t next64(rng_t* r) noexcept nogil:
    cdef uint64_t result = rotated(r.s1 * 5, 7) * 9
    cdef uint64_t t = r.s1 << 17
    r.s2 ^= r.s0
    r.s3 ^= r.s1
    r.s1 ^= r.s2
    r.s0 ^= r.s3
    r.s2 ^= t
    r.s3 = rotated(r.s3, 45)
    return result


cdef inline uint32_t below(rng_t* r, uint32_t bound) noexcept nogil:
    """Uniform on [0, bound), without bias; bound > 0."""
    cdef uint64_t product = (next64(r) >> 32) * bound
    cdef uint32_t threshold
    if <uint32_t> product < bound:
        threshold = <uint32_t> (0 - bound) % bound
        while <uint32_t> product < threshold:
            product = (next64(r) >> 32) * bound
    return <uint32_t> (product >> 32)


cdef void resample(
    const double* x, const int64_t* offsets, Py_ssize_t groups, extent_t e,
    uint64_t seed, double* out, Py_ssize_t resamples,
) noexcept nogil:
    cdef rng_t r
    cdef double scale = scale_of(e)
    cdef double unscale = 1.0 if scale == 1.0 else GROW
    cdef double sum
    cdef int64_t count, g, start
    cdef uint32_t size, j
    cdef Py_ssize_t b, drawn
    r.s0 = splitmix64(&seed)
    r.s1 = splitmix64(&seed)
    r.s2 = splitmix64(&seed)
    r.s3 = splitmix64(&seed)
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
