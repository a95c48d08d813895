# Selection: the values of a few ranks go where sorting would put them. Header-only.
#
# Quantiles select, they do not sort: a summary asks for four or five of them, and putting ten ranks
# in their places is linear in n where sorting is n log n. (numpy's sort is as fast where it can use
# AVX-512 and several times slower elsewhere; this needs no vector unit.) Many ranks cost more
# passes, each over less. Partitioning is branch-free, because on random data a mispredicted branch
# costs more than the swap it avoids; runs of equal values are cut out whole, and a range that
# refuses to shrink is heap-sorted, so no input is quadratic.


cdef enum:
    INSERTION_MAX = 16   # below this, insertion sort beats another partition
    NINTHER_MIN = 128    # above this, the pivot is a median of medians of nine

cdef inline void swap(double* a, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    cdef double x = a[i]
    a[i] = a[j]
    a[j] = x

cdef inline void insertion_sort(double* a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double x
    for i in range(1, n):
        x = a[i]
        j = i
        while j > 0 and a[j - 1] > x:
            a[j] = a[j - 1]
            j -= 1
        a[j] = x

cdef inline void sift_down(double* a, Py_ssize_t root, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t child = 2 * root + 1
    while child < n:
        if child + 1 < n and a[child] < a[child + 1]:
            child += 1
        if not a[root] < a[child]:
            return
        swap(a, root, child)
        root = child
        child = 2 * root + 1

cdef inline void heap_sort(double* a, Py_ssize_t n) noexcept nogil:
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

cdef inline double pivot_of(const double* a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t step = n // 8
    if n < NINTHER_MIN:
        return middle(a[0], a[n // 2], a[n - 1])
    return middle(
        middle(a[0], a[step], a[2 * step]),
        middle(a[3 * step], a[4 * step], a[5 * step]),
        middle(a[6 * step], a[7 * step], a[n - 1]),
    )

cdef inline Py_ssize_t part_below(double* a, Py_ssize_t n, double pivot) noexcept nogil:
    """Values < pivot first; how many. Always swaps, never branches on the data."""
    cdef Py_ssize_t i, m = 0
    cdef double x
    for i in range(n):
        x = a[i]
        a[i] = a[m]
        a[m] = x
        m += x < pivot
    return m

cdef inline Py_ssize_t part_equal(double* a, Py_ssize_t n, double pivot) noexcept nogil:
    """The same for values ≤ pivot: in a range where none is below it, those equal to it."""
    cdef Py_ssize_t i, m = 0
    cdef double x
    for i in range(n):
        x = a[i]
        a[i] = a[m]
        a[m] = x
        m += x <= pivot
    return m

cdef inline Py_ssize_t ranks_below(
    const Py_ssize_t* ranks, Py_ssize_t k, Py_ssize_t bound
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < k and ranks[i] < bound:
        i += 1
    return i

cdef inline void select(
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
