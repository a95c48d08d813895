# From the server's bytes to the agent, and when each chunk went. Header-only; part of the tap's
# thread.
#
# A read is handed on before it is looked into: the chunks in it are found afterwards, and told the
# instant right before the send that took their last byte. What the agent does not take at once is
# held, and the chunks in it are told later.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memmove

from buffers cimport buf_append, buf_free
from exchanges cimport exchange_t, pair_t, tap_t, waiting
from histogram cimport observe
from linux cimport EAGAIN, EINTR, MSG_NOSIGNAL, errno, monotonic_ns, send
from store cimport store_t


cdef enum:
    NEVER_SENT = 0xFFFFFFFF
    HELD_KEPT = 1048576


cdef inline size_t send_down(pair_t* pair, const char* p, size_t n) noexcept nogil:
    """Without waiting; how much went."""
    cdef Py_ssize_t went = -1
    cdef int64_t before
    if pair.gone:
        return 0
    while went < 0:
        before = monotonic_ns()
        went = send(pair.down.fd, p, n, MSG_NOSIGNAL)
        if went < 0 and errno != EINTR:
            pair.gone = errno != EAGAIN
            return 0
    pair.before_ns = before
    pair.passed += <uint64_t> went
    return <size_t> went

cdef inline void hand_on(pair_t* pair, const char* p, size_t n) noexcept nogil:
    cdef size_t went = 0
    if waiting(pair) == 0:
        pair.held.len = 0
        pair.held_at = 0
        went = send_down(pair, p, n)
    elif pair.held_at:
        memmove(pair.held.data, pair.held.data + pair.held_at, waiting(pair))
        pair.held.len -= pair.held_at
        pair.held_at = 0
    if went < n and buf_append(&pair.held, p + went, n - went):
        pair.gone = True  # no memory: the agent cannot be told the rest

cdef inline void set_lag(tap_t* t, store_t* s, size_t index, int64_t before_ns) noexcept nogil:
    cdef int64_t lag = before_ns - s.chunks[index].arrival_ns
    if lag < 0:
        lag = 0  # the end of a body is an event of its own, after its last byte
    elif lag >= NEVER_SENT:
        lag = NEVER_SENT - 1
    s.chunks[index].lag_ns = <uint32_t> lag
    observe(&t.chunk_delay, lag)

cdef inline void note_chunk(tap_t* t, pair_t* pair, uint64_t end) noexcept nogil:
    """The store has a new last chunk, whose last byte is at `end` of the response."""
    cdef store_t* s = pair.exchange.store
    cdef int64_t at = <int64_t> end
    if end <= pair.passed and pair.ends.len == 0:
        set_lag(t, s, s.count - 1, pair.before_ns)
        return
    s.chunks[s.count - 1].lag_ns = <uint32_t> NEVER_SENT
    if pair.ends.len == 0:
        pair.unsent = s.count - 1
    if buf_append(&pair.ends, <char*> &at, sizeof(at)):
        pair.gone = True

cdef inline void flush(tap_t* t, pair_t* pair) noexcept nogil:
    """The agent takes more: hand on what was held."""
    cdef int64_t* ends
    cdef size_t went = 1
    while waiting(pair) and went:
        went = send_down(pair, pair.held.data + pair.held_at, waiting(pair))
        pair.held_at += went
        if pair.exchange == NULL:
            continue
        ends = <int64_t*> pair.ends.data
        while pair.ends_at < pair.ends.len // sizeof(int64_t):
            if <uint64_t> ends[pair.ends_at] > pair.passed:
                break
            set_lag(t, pair.exchange.store, pair.unsent, pair.before_ns)
            pair.unsent += 1
            pair.ends_at += 1
        if pair.ends_at == pair.ends.len // sizeof(int64_t):
            pair.ends.len = 0
            pair.ends_at = 0
    if waiting(pair) == 0 and pair.held.cap > HELD_KEPT:
        buf_free(&pair.held)
        pair.held_at = 0
