# A buffer that grows: by half, by realloc. Whoever holds one calls buf_free. Header-only.

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy


ctypedef struct buf_t:
    char* data
    size_t len
    size_t cap

cdef inline void buf_init(buf_t* b) noexcept nogil:
    b.data = NULL
    b.len = 0
    b.cap = 0

cdef inline void buf_free(buf_t* b) noexcept nogil:
    free(b.data)
    buf_init(b)

cdef inline int buf_append(buf_t* b, const char* p, size_t n) noexcept nogil:
    """0; non-zero, and the buffer is as it was, when there is no memory."""
    cdef size_t need = b.len + n
    cdef size_t cap
    cdef char* grown
    if n == 0:
        return 0
    if need > b.cap:
        cap = b.cap + (b.cap >> 1) + 256
        if cap < need:
            cap = need
        grown = <char*> realloc(b.data, cap)
        if grown == NULL:
            return 1
        b.data = grown
        b.cap = cap
    memcpy(b.data + b.len, p, n)
    b.len = need
    return 0

cdef inline void buf_trim(buf_t* b) noexcept nogil:
    """Give back what was grown for and not used."""
    cdef char* less
    if b.len and b.cap > b.len:
        less = <char*> realloc(b.data, b.len)
        if less != NULL:
            b.data = less
            b.cap = b.len
