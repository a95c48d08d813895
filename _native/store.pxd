# The block behind a Record: stamps and payloads of one call. Header-only; recorder.pyx gives it a
# Python face, reactor.pyx fills it without the GIL and hands it over in a capsule named
# "harness.store" (whoever unwraps the capsule owns the block and calls store_free).
#
# Memory
#   A chunk is int64 arrival, uint32 lag, uint32 size|flags: 16 bytes in an array that grows by an
#   eighth. Payloads lie one after another in segments, each a 64th of what is held already (2 KB to
#   256 KB), and a segment that is left gives its rest back; no payload straddles two. So the slack
#   is a few bytes a chunk while the call is in flight and none once it is sealed. One buffer that
#   grows by half was rejected: it wastes a third of the payload, and copies it again and again.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from buffers cimport buf_free, buf_t, buf_trim


cdef enum:
    STORE_UPPER_BOUND = 0x80000000
    STORE_USER_STAMP = 0x40000000
    STORE_NAMED = 0x20000000
    STORE_SIZE_MASK = 0x1FFFFFFF

cdef enum:
    SEGMENT_MIN = 2048
    SEGMENT_MAX = 262144
    SEGMENT_SLACK = 32  # a rest smaller than this is not worth a realloc

cdef enum outcome_t:
    OUT_COMPLETE = 0
    OUT_CONNECT = 1
    OUT_SEND = 2
    OUT_RESET = 3
    OUT_EOF = 4
    OUT_PROTOCOL = 5
    OUT_TOO_LARGE = 6
    OUT_TIMEOUT_CONNECT = 7
    OUT_TIMEOUT_FIRST_BYTE = 8
    OUT_TIMEOUT_PAYLOAD = 9
    OUT_TIMEOUT_TOTAL = 10
    OUT_CANCELLED = 11
    OUT_NOT_SENT = 12

ctypedef struct chunk_t:
    int64_t arrival_ns
    uint32_t lag_ns
    uint32_t size_flags

ctypedef struct segment_t:
    segment_t* next
    size_t used            # payload bytes, which begin right behind this header
    size_t cap

ctypedef struct store_t:
    chunk_t* chunks
    size_t count
    size_t cap
    segment_t* first
    segment_t* before_last # whose `next` is to be mended when the last segment moves
    segment_t* last
    size_t payload_len     # sum of the payload sizes
    buf_t head             # the response head
    buf_t detail           # utf-8, what went wrong
    int outcome
    int err                # errno
    int http_status
    int64_t due_ns
    int64_t connected_ns
    int64_t sent_ns
    int64_t headers_ns
    int64_t first_byte_ns
    int64_t body_end_ns
    int64_t closed_ns
    int64_t realtime_offset_ns
    uint64_t comments
    bint clock_stepped
    bint reconnected
    bint unterminated
    bint dropped

cdef inline store_t* store_new(int64_t due_ns, size_t reserve) noexcept nogil:
    """NULL when there is no memory."""
    cdef store_t* s = <store_t*> calloc(1, sizeof(store_t))
    if s == NULL:
        return NULL
    s.due_ns = due_ns
    if reserve:
        s.chunks = <chunk_t*> malloc(reserve * sizeof(chunk_t))
        if s.chunks == NULL:
            free(s)
            return NULL
        s.cap = reserve
    return s

cdef inline void store_drop(store_t* s) noexcept nogil:
    """Forget the payloads; sizes and stamps stay."""
    cdef segment_t* g = s.first
    cdef segment_t* following
    while g != NULL:
        following = g.next
        free(g)
        g = following
    s.first = NULL
    s.before_last = NULL
    s.last = NULL
    s.dropped = True

cdef inline void store_free(store_t* s) noexcept nogil:
    if s == NULL:
        return
    store_drop(s)
    free(s.chunks)
    buf_free(&s.head)
    buf_free(&s.detail)
    free(s)

cdef inline char* segment_data(segment_t* g) noexcept nogil:
    return <char*> g + sizeof(segment_t)

cdef inline void store_trim(store_t* s) noexcept nogil:
    """Give back what the last segment does not use."""
    cdef segment_t* g = s.last
    cdef segment_t* less
    if g == NULL or g.cap - g.used < SEGMENT_SLACK:
        return
    less = <segment_t*> realloc(g, sizeof(segment_t) + g.used)
    if less == NULL:
        return
    less.cap = less.used
    s.last = less
    if s.before_last != NULL:
        s.before_last.next = less
    else:
        s.first = less

cdef inline int store_segment(store_t* s, size_t n) noexcept nogil:
    """A fresh last segment with room for n bytes; non-zero when there is no memory."""
    cdef segment_t* g
    cdef size_t cap = s.payload_len >> 6
    if cap < SEGMENT_MIN:
        cap = SEGMENT_MIN
    elif cap > SEGMENT_MAX:
        cap = SEGMENT_MAX
    if cap < n:
        cap = n
    store_trim(s)
    g = <segment_t*> malloc(sizeof(segment_t) + cap)
    if g == NULL:
        return 1
    g.next = NULL
    g.used = 0
    g.cap = cap
    if s.last != NULL:
        s.last.next = g
    else:
        s.first = g
    s.before_last = s.last
    s.last = g
    return 0

cdef inline int store_append(
    store_t* s, int64_t arrival_ns, int64_t user_ns, const char* p, size_t n, uint32_t flags
) noexcept nogil:
    """One chunk. 0, or non-zero when there is no memory or the payload is over STORE_SIZE_MASK."""
    cdef size_t cap
    cdef chunk_t* grown
    cdef int64_t lag = user_ns - arrival_ns
    cdef int64_t lag_max = <int64_t> <uint32_t> -1
    if n > <size_t> STORE_SIZE_MASK:
        return 1
    if s.count == s.cap:
        cap = s.cap + (s.cap >> 3) + 8
        grown = <chunk_t*> realloc(s.chunks, cap * sizeof(chunk_t))
        if grown == NULL:
            return 1
        s.chunks = grown
        s.cap = cap
    if n:
        if (s.last == NULL or s.last.cap - s.last.used < n) and store_segment(s, n):
            return 1
        memcpy(segment_data(s.last) + s.last.used, p, n)
        s.last.used += n
        s.payload_len += n
    if lag < 0:
        lag = 0
    elif lag > lag_max:
        lag = lag_max
    s.chunks[s.count].arrival_ns = arrival_ns
    s.chunks[s.count].lag_ns = <uint32_t> lag
    s.chunks[s.count].size_flags = <uint32_t> n | flags
    s.count += 1
    return 0

cdef inline void store_seal(store_t* s) noexcept nogil:
    """Give all slack back: nothing will be appended."""
    cdef chunk_t* smaller
    if s.count == 0:
        free(s.chunks)
        s.chunks = NULL
        s.cap = 0
    elif s.cap > s.count:
        smaller = <chunk_t*> realloc(s.chunks, s.count * sizeof(chunk_t))
        if smaller != NULL:
            s.chunks = smaller
            s.cap = s.count
    store_trim(s)
    buf_trim(&s.head)
    buf_trim(&s.detail)

cdef inline size_t store_nbytes(store_t* s) noexcept nogil:
    """What the block holds in memory: capacity, not length."""
    cdef size_t total = sizeof(store_t) + s.cap * sizeof(chunk_t) + s.head.cap + s.detail.cap
    cdef segment_t* g = s.first
    while g != NULL:
        total += sizeof(segment_t) + g.cap
        g = g.next
    return total
