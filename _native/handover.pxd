# What one thread makes and another takes: a pile without a lock. Header-only.
#
# Whoever puts never waits, and whoever takes takes everything at once. A lock would not do: a thread
# of low priority that is interrupted while it holds one keeps the sending thread waiting for as long
# as other programs have the core.

cdef struct link_s:
    link_s* next
ctypedef link_s link_t     # first member of whatever is handed over

cdef extern from * nogil:
    # GCC and Clang builtins.
    link_t* load_link "__atomic_load_n"(link_t** at, int order)
    link_t* swap_link "__atomic_exchange_n"(link_t** at, link_t* value, int order)
    bint replace_link "__atomic_compare_exchange_n"(
        link_t** at, link_t** expected, link_t* value, bint weak, int success, int failure
    )
    int swap_int "__atomic_exchange_n"(int* at, int value, int order)
    int __ATOMIC_RELAXED, __ATOMIC_ACQ_REL


cdef inline bint put(link_t** pile, link_t* one) noexcept nogil:
    """True if there was nothing: whoever takes is to be woken."""
    cdef link_t* top = load_link(pile, __ATOMIC_RELAXED)
    while True:
        one.next = top
        if replace_link(pile, &top, one, True, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED):
            return top == NULL

cdef inline link_t* take_all(link_t** pile) noexcept nogil:
    """Oldest first; NULL if there is nothing."""
    cdef link_t* one = swap_link(pile, NULL, __ATOMIC_ACQ_REL)
    cdef link_t* turned = NULL
    cdef link_t* next
    while one != NULL:
        next = one.next
        one.next = turned
        turned = one
        one = next
    return turned
