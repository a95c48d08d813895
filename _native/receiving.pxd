# From recvmsg to stamped chunks. Header-only; part of the reactor's thread.
#
# conn_read takes the user-space stamp right after recvmsg, and the kernel's from its control
# message. A read that is not full has emptied the socket (level-triggered epoll tells us of more),
# so the kernel's stamp is that of the last segment read: true for the last chunk in it, and an
# upper bound for the ones before. Nothing is decoded: http_feed finds the body, split_feed the
# frames, and keep appends them to the store.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from buffers cimport buf_init
from calls cimport CALL_BODY, CALL_WAITING, CONN_BUSY, call_t, conn_t, explain, idle_push, loop_t
from characters cimport equals_nocase, is_ows
from connecting cimport conn_lost, enter_phase
from ending cimport conn_end, conn_release, refresh_clock, seal
from frames cimport split_eof, split_feed
from http cimport http_eof, http_feed
from http_state cimport HTTP_DONE, HTTP_ERROR, HTTP_HEAD
from linux cimport EAGAIN, EINTR, MSG_DONTWAIT, count, errno, iovec, monotonic_ns, msghdr, recvmsg
from stamps cimport OFFSET_AGE_NS, SKEW_NS, stamp_of
from store cimport (
    OUT_COMPLETE, OUT_EOF, OUT_PROTOCOL, OUT_RESET, OUT_SEND, OUT_TOO_LARGE, STORE_NAMED,
    STORE_UPPER_BOUND, STORE_USER_STAMP, store_append, store_t,
)
from wire cimport MODE_NDJSON, MODE_SSE, MODE_WHOLE, wire_error_text


cdef enum:
    FULL_READS_MAX = 4         # then the other sockets get a turn


cdef inline int64_t arrival(
    loop_t* loop, conn_t* conn, int64_t real_ns, int64_t user_ns, uint32_t* flags
) noexcept nogil:
    """The stamp of a read on CLOCK_MONOTONIC, never before that of the read before."""
    cdef int64_t earliest = max(conn.last_ns, conn.first_send_ns)
    cdef int64_t at
    cdef bint stepped
    flags[0] = 0
    if real_ns:
        if user_ns - loop.clock.sampled_ns > OFFSET_AGE_NS:
            refresh_clock(loop)
        at = real_ns - loop.clock.offset_ns
        if at > user_ns + SKEW_NS or at < earliest - SKEW_NS:
            stepped = refresh_clock(loop)
            at = real_ns - loop.clock.offset_ns
            if at > user_ns + SKEW_NS or (stepped and at < earliest - SKEW_NS):
                # Stamped before the step that we have just noticed, or by a clock unknown to us.
                conn.call.store.clock_stepped = True
                real_ns = 0
    if real_ns == 0:
        at = user_ns
        flags[0] = <uint32_t> STORE_USER_STAMP
        loop.user_stamp_ns = user_ns
        count(&loop.stats.user_stamps, 1)
    else:
        count(&loop.stats.kernel_stamps, 1)
        if at > user_ns:
            at = user_ns
    if at < conn.last_ns:
        at = conn.last_ns
    return at

cdef inline bint says_json(const char* p, size_t n) noexcept nogil:
    """Whether a response head has Content-Type: application/json."""
    cdef size_t i = 0
    cdef size_t end
    while i < n:
        end = i
        while end < n and p[end] != 10:
            end += 1
        if end - i > 13 and equals_nocase(p + i, 13, b"content-type:", 13):
            i += 13
            while i < end and is_ows(p[i]):
                i += 1
            if end - i >= 16 and equals_nocase(p + i, 16, b"application/json", 16):
                # Not application/json-seq and the like.
                return end - i == 16 or p[i + 16] == 59 or p[i + 16] == 13 or is_ows(p[i + 16])
        i = end + 1
    return False

cdef inline int keep(
    loop_t* loop, conn_t* conn, int64_t at_ns, int64_t user_ns, uint32_t flags
) noexcept nogil:
    """Append the frame that the splitter has ready."""
    if conn.split.named:
        flags |= <uint32_t> STORE_NAMED
    if store_append(
        conn.call.store, at_ns, user_ns, conn.split.frame.data, conn.split.frame.len, flags
    ):
        explain(conn.call, b"a frame is over 512 MiB, or there is no memory for it")
        return 1
    conn.call.phase_ns = user_ns
    count(&loop.stats.chunks, 1)
    if flags & <uint32_t> STORE_UPPER_BOUND:
        count(&loop.stats.merged_chunks, 1)
    return 0

cdef inline int on_body(
    loop_t* loop, conn_t* conn, const char* body, size_t n, size_t offset, size_t more,
    int64_t at_ns, int64_t user_ns, uint32_t flags,
) noexcept nogil:
    """One span of body bytes, `offset` bytes into the read. Non-zero ends the call as too large."""
    cdef call_t* call = conn.call
    cdef size_t i = 0
    cdef bint ready
    cdef uint32_t bits
    if conn.split.mode == MODE_WHOLE:
        call.phase_ns = user_ns  # the payload is under way
    while i < n:
        i += split_feed(&conn.split, body + i, n - i, &ready)
        if conn.split.error:
            explain(call, wire_error_text(conn.split.error))
            return 1
        if ready:
            bits = flags
            if offset + i < more:
                bits |= <uint32_t> STORE_UPPER_BOUND
            if keep(loop, conn, at_ns, user_ns, bits):
                return 1
    return 0

cdef inline void on_head(loop_t* loop, conn_t* conn, int64_t at_ns) noexcept nogil:
    """The head is complete: keep it, and choose how the body is split."""
    cdef store_t* s = conn.call.store
    cdef int mode = conn.http.mode
    s.headers_ns = at_ns
    s.http_status = conn.http.status
    s.head = conn.http.head
    buf_init(&conn.http.head)
    if s.http_status >= 400:
        mode = MODE_WHOLE  # an error is read whole, whatever it calls itself
    elif (
        mode == MODE_WHOLE
        and s.http_status // 100 == 2
        and (conn.call.framing == MODE_SSE or conn.call.framing == MODE_NDJSON)
        and not says_json(s.head.data, s.head.len)
    ):
        mode = conn.call.framing
    conn.split.mode = mode
    if mode != MODE_WHOLE:
        conn.streaming = True
        loop.streams += 1

cdef inline void on_malformed(loop_t* loop, conn_t* conn, int64_t now) noexcept nogil:
    explain(conn.call, wire_error_text(conn.http.error))
    conn_end(loop, conn, OUT_PROTOCOL, 0, now)

cdef inline void on_complete(
    loop_t* loop, conn_t* conn, bint nothing_left, int64_t at_ns, int64_t user_ns, uint32_t flags
) noexcept nogil:
    """The response is whole. Keep the connection if it may serve again."""
    cdef call_t* call = conn.call
    cdef bint again
    if split_eof(&conn.split):
        call.store.unterminated = conn.split.mode != MODE_WHOLE
        if keep(loop, conn, at_ns, user_ns, flags):
            conn_end(loop, conn, OUT_TOO_LARGE, 0, user_ns)
            return
    elif conn.split.error:
        # The frame that the end of the body left open was over the limit.
        explain(call, wire_error_text(conn.split.error))
        conn_end(loop, conn, OUT_TOO_LARGE, 0, user_ns)
        return
    call.store.body_end_ns = at_ns
    again = (
        conn.http.keep_alive
        and nothing_left
        and conn.sent == call.request_len
        and loop.idle_count < loop.idle_max
    )
    if again:
        conn_release(loop, conn)
        conn.served = True
        conn.last_ns = at_ns
        idle_push(loop, conn)
        seal(loop, call, OUT_COMPLETE, 0, user_ns)
    else:
        conn_end(loop, conn, OUT_COMPLETE, 0, user_ns)

cdef inline void on_eof(loop_t* loop, conn_t* conn, int send_error, int64_t now) noexcept nogil:
    if http_eof(&conn.http):
        # A body that only the end of the connection ends. No segment, no kernel stamp.
        on_complete(loop, conn, False, now, now, <uint32_t> STORE_USER_STAMP)
        return
    if conn.received == 0:
        explain(conn.call, b"the server closed the connection without a response")
    elif conn.http.phase == HTTP_HEAD:
        explain(conn.call, b"the server closed the connection within the response head")
    else:
        explain(conn.call, b"the server closed the connection within the response body")
    if send_error:
        conn_lost(loop, conn, OUT_SEND, send_error, now)
    else:
        conn_lost(loop, conn, OUT_EOF, 0, now)

cdef inline void note_read(
    loop_t* loop, conn_t* conn, int64_t at_ns, uint64_t chunks
) noexcept nogil:
    """Learn the rhythm of the streams, for pause()."""
    cdef int64_t gap = at_ns - conn.last_ns
    cdef int64_t gap_max = 8 * loop.gap_ns + 100_000  # the wait for a first token is no rhythm
    if not conn.streaming or chunks == 0:
        return
    if gap < loop.gap_ns:
        loop.gap_ns -= (loop.gap_ns - gap) >> 4
    else:
        loop.gap_ns += ((gap if gap < gap_max else gap_max) - loop.gap_ns) >> 8
    loop.merged_ppm += ((1_000_000 if chunks > 1 else 0) - loop.merged_ppm) // 256

cdef inline void on_bytes(
    loop_t* loop, conn_t* conn, const char* p, size_t n,
    int64_t at_ns, int64_t user_ns, uint32_t flags,
) noexcept nogil:
    """One read: HTTP, then frames."""
    cdef const char* body
    cdef size_t body_len
    cdef size_t offset
    cdef size_t i = 0
    cdef size_t more = n  # a chunk that ends before this offset was followed by more than line ends
    cdef uint64_t chunks_before = loop.stats.chunks
    if n < loop.read_size:
        while more and (p[more - 1] == 10 or p[more - 1] == 13):
            more -= 1
    else:
        more = n + 1  # the socket was not emptied
    conn.received += n
    while i < n:
        i += http_feed(&conn.http, p + i, n - i, &body, &body_len)
        if conn.http.phase == HTTP_ERROR:
            on_malformed(loop, conn, user_ns)
            return
        if conn.http.status and conn.call.store.headers_ns == 0 and conn.http.phase != HTTP_HEAD:
            on_head(loop, conn, at_ns)
        if body_len:
            if conn.call.state == CALL_WAITING:
                conn.call.store.first_byte_ns = at_ns
                enter_phase(loop, conn.call, CALL_BODY, user_ns)
            offset = <size_t> (body - p)
            if on_body(loop, conn, body, body_len, offset, more, at_ns, user_ns, flags):
                conn_end(loop, conn, OUT_TOO_LARGE, 0, user_ns)
                return
        if conn.http.phase == HTTP_DONE:
            note_read(loop, conn, at_ns, loop.stats.chunks - chunks_before)
            on_complete(loop, conn, i == n, at_ns, user_ns, flags)
            return
    note_read(loop, conn, at_ns, loop.stats.chunks - chunks_before)

cdef inline void conn_read(loop_t* loop, conn_t* conn, int send_error) noexcept nogil:
    """Empty the socket. `send_error`: why sending failed, if it did; then the call ends here."""
    cdef msghdr message
    cdef iovec part
    cdef char control[128]
    cdef Py_ssize_t n
    cdef int64_t user_ns
    cdef int64_t at_ns
    cdef uint32_t flags
    cdef int full_reads = 0
    part.iov_base = loop.buffer
    part.iov_len = loop.read_size
    memset(&message, 0, sizeof(message))
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    while True:
        message.msg_controllen = sizeof(control)
        n = recvmsg(conn.fd, &message, MSG_DONTWAIT)
        user_ns = monotonic_ns()
        if n > 0:
            at_ns = arrival(loop, conn, stamp_of(&message), user_ns, &flags)
            count(&loop.stats.reads, 1)
            count(&loop.stats.bytes, n)
            on_bytes(loop, conn, loop.buffer, <size_t> n, at_ns, user_ns, flags)
            if conn.fd < 0 or conn.state != CONN_BUSY:
                return
            conn.last_ns = at_ns
            if send_error == 0:
                if <size_t> n < loop.read_size:
                    return
                full_reads += 1
                if full_reads == FULL_READS_MAX:
                    return
        elif n == 0:
            on_eof(loop, conn, send_error, user_ns)
            return
        elif errno == EAGAIN:
            if send_error:
                conn_lost(loop, conn, OUT_SEND, send_error, user_ns)
            return
        elif errno != EINTR:
            conn_lost(loop, conn, OUT_SEND if send_error else OUT_RESET, errno, user_ns)
            return
