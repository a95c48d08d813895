# Mean and variance of a row of finite values. Header-only.
#
# The mean is a compensated (Neumaier) sum; the variance takes a second pass over the deviations
# from it, with the correction term for the mean's own rounding. Welford's one-pass update was
# tried: the data are in memory, so its one merit is not needed, and it is less exact and has a
# division in every step.

from libc.math cimport NAN, fabs

from extent cimport clamped, extent_t, scale_of, unscale_of


cdef inline void neumaier(double* sum, double* lost, double x) noexcept nogil:
    cdef double total = sum[0] + x
    if fabs(sum[0]) >= fabs(x):
        lost[0] += (sum[0] - total) + x
    else:
        lost[0] += (x - total) + sum[0]
    sum[0] = total

cdef inline void moments(
    const double* x, Py_ssize_t n, extent_t e, double* mean, double* variance
) noexcept nogil:
    cdef double scale = scale_of(e)
    cdef double unscale = unscale_of(e)
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
