# What happens next: a min-heap of calls by instant. Header-only.
#
# A call has at most one next instant (its due time, then its nearest deadline), and it knows its
# place in the heap, so that it can be taken out when it ends. Calls due at the same instant come in
# the order of `order`.

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport realloc, free


ctypedef struct slot_t:
    int64_t at_ns
    uint64_t order
    void* what
    size_t* place          # where `what` keeps its index here; AGENDA_NOWHERE when it is out

ctypedef struct agenda_t:
    slot_t* slots
    size_t len
    size_t cap

cdef inline size_t nowhere() noexcept nogil:
    return <size_t> -1

cdef inline int agenda_reserve(agenda_t* a, size_t n) noexcept nogil:
    """Room for n entries, so that agenda_put cannot fail. Non-zero when there is no memory."""
    cdef slot_t* grown
    cdef size_t cap = n + (n >> 1) + 64
    if n <= a.cap:
        return 0
    grown = <slot_t*> realloc(a.slots, cap * sizeof(slot_t))
    if grown == NULL:
        return 1
    a.slots = grown
    a.cap = cap
    return 0

cdef inline void agenda_free(agenda_t* a) noexcept nogil:
    free(a.slots)
    a.slots = NULL
    a.len = 0
    a.cap = 0

cdef inline bint before(slot_t* x, slot_t* y) noexcept nogil:
    return x.at_ns < y.at_ns or (x.at_ns == y.at_ns and x.order < y.order)

cdef inline void settle(agenda_t* a, size_t i, slot_t* entry) noexcept nogil:
    a.slots[i] = entry[0]
    entry.place[0] = i

cdef inline void sift(agenda_t* a, size_t i, slot_t entry) noexcept nogil:
    """Find the place of `entry`, beginning at the gap i."""
    cdef size_t up
    cdef size_t down
    while i > 0:
        up = (i - 1) // 2
        if not before(&entry, &a.slots[up]):
            break
        settle(a, i, &a.slots[up])
        i = up
    while True:
        down = 2 * i + 1
        if down >= a.len:
            break
        if down + 1 < a.len and before(&a.slots[down + 1], &a.slots[down]):
            down += 1
        if not before(&a.slots[down], &entry):
            break
        settle(a, i, &a.slots[down])
        i = down
    settle(a, i, &entry)

cdef inline void agenda_drop(agenda_t* a, size_t* place) noexcept nogil:
    """Take an entry out; nothing to do if it is out."""
    cdef size_t i = place[0]
    if i == nowhere():
        return
    place[0] = nowhere()
    a.len -= 1
    if i < a.len:
        sift(a, i, a.slots[a.len])

cdef inline void agenda_put(
    agenda_t* a, int64_t at_ns, uint64_t order, void* what, size_t* place
) noexcept nogil:
    """Enter `what`, or move it. Room must have been reserved."""
    cdef slot_t entry
    entry.at_ns = at_ns
    entry.order = order
    entry.what = what
    entry.place = place
    if place[0] == nowhere():
        place[0] = a.len
        a.len += 1
    sift(a, place[0], entry)
