# What the truth server's clients ask: bytes in, whole requests out. Header-only.
#
# Only as much of HTTP/1.1 is read here as tells where a request ends: the blank line and
# Content-Length. The rest is for Python, which is handed head and body.

from libc.stdint cimport int64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memmove, memset

from accepting cimport client_gone
from linux cimport (
    EAGAIN, EINTR, MSG_DONTWAIT, count, errno, iovec, monotonic_ns, msghdr, recvmsg,
)
from plans cimport BODY_MAX, EVENT_REQUEST, HEAD_MAX, conn_t, event_new, event_t, serving_t
from reporting cimport post_event
from stamps cimport OFFSET_AGE_NS, clockmap_refresh, stamp_of

cdef extern from *:
    """
    #include <string.h>
    extern void *memmem(const void *, size_t, const void *, size_t);
    extern int strncasecmp(const char *, const char *, size_t);
    """
    void* memmem(const void* where, size_t n, const void* what, size_t m) noexcept nogil
    int strncasecmp(const char* a, const char* b, size_t n) noexcept nogil


cdef enum:
    READ_SIZE = 262144


cdef inline int64_t content_length(const char* head, size_t n) noexcept nogil:
    """0 without one; −1 for one that is no number, or too large."""
    cdef const char* line = head
    cdef const char* end = head + n
    cdef int64_t value
    while line < end:
        if end - line > 15 and strncasecmp(line, b"content-length:", 15) == 0:
            line += 15
            while line < end and (line[0] == c' ' or line[0] == c'\t'):
                line += 1
            if line[0] < c'0' or line[0] > c'9':
                return -1
            value = 0
            while c'0' <= line[0] <= c'9':
                value = 10 * value + (line[0] - c'0')
                if value > BODY_MAX:
                    return -1
                line += 1
            return value
        while line < end and line[0] != c'\n':
            line += 1
        line += 1
    return 0

cdef inline bint grow_input(conn_t* conn, size_t room) noexcept nogil:
    cdef char* grown
    cdef size_t cap = conn.input_cap
    if conn.input_len + room <= cap:
        return True
    while cap < conn.input_len + room:
        cap = 2 * cap + 4096
    grown = <char*> realloc(conn.input, cap)
    if grown == NULL:
        return False
    conn.input = grown
    conn.input_cap = cap
    return True

cdef inline bint next_request(serving_t* s, conn_t* conn, int64_t at_ns, int64_t kernel_ns) noexcept nogil:
    """Post the request at the front of the input, if it is complete. False: it never can be."""
    cdef event_t* event
    cdef char* blank
    cdef int64_t length
    if conn.serial or conn.input_len == 0:
        return True
    if conn.head_len == 0:
        blank = <char*> memmem(conn.input, conn.input_len, b"\r\n\r\n", 4)
        if blank == NULL:
            return conn.input_len <= HEAD_MAX
        conn.head_len = <size_t> (blank - conn.input) + 4
        length = content_length(conn.input, conn.head_len)
        if length < 0 or conn.head_len > HEAD_MAX:
            return False
        conn.need = conn.head_len + <size_t> length
    if conn.input_len < conn.need:
        return True
    s.serials += 1
    count(&s.stats.requests, 1)
    conn.serial = s.serials
    event = event_new(EVENT_REQUEST, conn, at_ns, conn.need)
    if event == NULL:
        return False
    event.kernel_ns = kernel_ns
    event.head_len = conn.head_len
    memcpy(event.data, conn.input, conn.need)
    conn.input_len -= conn.need
    memmove(conn.input, conn.input + conn.need, conn.input_len)
    conn.head_len = conn.need = 0
    post_event(s, event)
    return True

cdef inline int64_t mapped(serving_t* s, int64_t stamp_ns, int64_t at_ns) noexcept nogil:
    """A receive stamp on our clock; 0 where there is none that can be true."""
    if stamp_ns == 0:
        return 0
    if at_ns - s.clock.sampled_ns > OFFSET_AGE_NS:
        clockmap_refresh(&s.clock)
    stamp_ns -= s.clock.offset_ns
    return stamp_ns if at_ns - 1_000_000_000 < stamp_ns <= at_ns else 0

cdef inline void readable(serving_t* s, conn_t* conn) noexcept nogil:
    """Take what is there; one read a round, so that nobody keeps the others from their turn."""
    cdef char control[128]
    cdef msghdr message
    cdef iovec part
    cdef Py_ssize_t n
    cdef int64_t at_ns
    memset(&message, 0, sizeof(message))
    part.iov_base = s.buffer
    part.iov_len = READ_SIZE
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    message.msg_controllen = sizeof(control)
    n = recvmsg(conn.fd, &message, MSG_DONTWAIT)
    at_ns = monotonic_ns()
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            client_gone(s, conn)
        return
    if n == 0:
        # Our clients never half-close: whoever closes his side does not want the rest.
        client_gone(s, conn)
        return
    if conn.input_len + n > BODY_MAX + HEAD_MAX or not grow_input(conn, n):
        client_gone(s, conn)
        return
    memcpy(conn.input + conn.input_len, s.buffer, n)
    conn.input_len += n
    if not next_request(s, conn, at_ns, mapped(s, stamp_of(&message), at_ns)):
        client_gone(s, conn)
