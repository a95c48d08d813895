# Durations, counted in buckets of a fixed number: what costs nothing while it is measured.
# Header-only.
#
# Sixteen buckets to each power of two, so that a quantile is off by 3 % at most; the largest value is
# kept as it is. One thread counts, others may look on.

from libc.stdint cimport int64_t, uint64_t

from linux cimport count, counted

cdef extern from * nogil:
    int __builtin_clzll(unsigned long long x)


cdef enum:
    HISTOGRAM_SIZE = 976

ctypedef struct histogram_t:
    uint64_t total
    uint64_t largest
    uint64_t counts[HISTOGRAM_SIZE]

cdef inline void observe(histogram_t* h, int64_t ns) noexcept nogil:
    cdef uint64_t x = 0 if ns < 0 else <uint64_t> ns
    cdef int power
    cdef size_t at = <size_t> x
    if x >= 16:
        power = 63 - __builtin_clzll(x)
        at = 16 + 16 * <size_t> (power - 4) + ((x >> (power - 4)) & 15)
    count(&h.counts[at], 1)
    count(&h.total, 1)
    if x > h.largest:
        count(&h.largest, <int64_t> (x - h.largest))

cdef inline uint64_t quantile(histogram_t* h, double q) noexcept nogil:
    """The middle of the bucket that holds it; 0 where nothing was observed."""
    cdef uint64_t total = counted(&h.total)
    cdef uint64_t largest = counted(&h.largest)
    cdef uint64_t before = <uint64_t> (q * total)
    cdef uint64_t middle
    cdef uint64_t seen = 0
    cdef size_t at
    for at in range(<size_t> HISTOGRAM_SIZE):
        seen += counted(&h.counts[at])
        if seen > before:
            if at < 16:
                return at
            middle = ((2 * (16 + (at & 15)) + 1) << (at // 16 - 1)) >> 1
            return middle if middle < largest else largest
    return largest
