# How far the values reach, and the scaling that keeps sums and squares of them finite. Header-only.
#
# Values beyond 2⁴⁸⁰ are scaled by 2⁻⁶⁰⁰ on the way in, so that no sum and no square overflows
# before the result does. A result that float64 cannot hold is inf, never nan and never wrong.

from libc.math cimport INFINITY, isfinite


cdef extern from *:
    """
    #define EXTENT_LARGE 0x1p480
    #define EXTENT_SHRINK 0x1p-600
    #define EXTENT_GROW 0x1p600
    """
    const double LARGE "EXTENT_LARGE"
    const double SHRINK "EXTENT_SHRINK"
    const double GROW "EXTENT_GROW"

ctypedef struct extent_t:
    double low
    double high
    Py_ssize_t bad         # index of the first value that is not finite; -1: none

cdef inline extent_t extent_of(const double* x, Py_ssize_t n) noexcept nogil:
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

cdef inline double scale_of(extent_t e) noexcept nogil:
    return SHRINK if e.high > LARGE or e.low < -LARGE else 1.0

cdef inline double unscale_of(extent_t e) noexcept nogil:
    return GROW if e.high > LARGE or e.low < -LARGE else 1.0

cdef inline double clamped(double x, extent_t e) noexcept nogil:
    # A mean lies among its values; rounding must not push it out (nor a constant off itself).
    return e.low if x < e.low else (e.high if x > e.high else x)
