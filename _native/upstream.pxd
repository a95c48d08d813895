# The tap's side to the server: connections, requests out, responses in. Header-only; part of the
# tap's thread.
#
# A response is taken apart exactly as the reactor does it (receiving.pxd), with the framing that its
# Content-Type names.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from agenda cimport agenda_drop, agenda_put
from buffers cimport buf_init
from calls cimport address_t
from exchanges cimport (
    ENDING_CLOSE, ENDING_RESET, FRAME_MAX, HEAD_MAX, HELD_MAX, READ_SIZE, UP_BACKOFF,
    UP_CONNECTING, UP_NONE, UP_READY, door_t, exchange_t, explain, pair_t, strlen, tap_t, waiting,
)
from frames cimport split_eof, split_feed
from handing cimport hand_on, note_chunk
from http cimport http_eof, http_feed
from http_state cimport HTTP_DONE, HTTP_ERROR, HTTP_HEAD
from linux cimport (
    AF_UNIX, EAGAIN, ECONNRESET, EINPROGRESS, EINTR, EPIPE, EPOLLIN, EPOLLOUT, EPOLLRDHUP,
    IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET,
    SO_ERROR, TCP_NODELAY, connect, count, errno, getsockopt, iovec, monotonic_ns, msghdr, recvmsg,
    send, setsockopt, sockaddr, socket, socklen_t,
)
from parting cimport arrival, close_up, over, watch
from stamps cimport ask_for_stamps, stamp_of
from store cimport (
    OUT_COMPLETE, OUT_CONNECT, OUT_EOF, OUT_PROTOCOL, OUT_RESET, OUT_SEND, OUT_TOO_LARGE,
    STORE_NAMED, STORE_UPPER_BOUND, STORE_USER_STAMP, store_append, store_t,
)
from wire cimport MODE_WHOLE, wire_error_text


cdef enum:
    FULL_READS_MAX = 4         # then the other sockets get a turn
    BACKOFF_NS = 1_000_000
    BACKOFF_MAX_NS = 10_000_000_000
    ATTEMPT_NS = 3_000_000_000  # for an address that is silent, if there is another

# -------------------------------------------------------------------------------------- connections

cdef inline int try_address(tap_t* t, pair_t* pair, address_t* address) noexcept nogil:
    """0 with a connection under way, or an errno."""
    cdef int one = 1
    cdef int err
    cdef int fd = socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return errno
    if address.family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if t.timestamps:
        ask_for_stamps(fd)
    pair.up.fd = fd
    pair.up.since = t.round
    if connect(fd, <sockaddr*> address.bytes, address.len) < 0 and errno != EINPROGRESS:
        err = errno
        close_up(t, pair)
        return err
    watch(t, &pair.up, EPOLLIN | EPOLLRDHUP | EPOLLOUT)
    return 0

cdef inline int go_on_connecting(tap_t* t, pair_t* pair, int64_t now) noexcept nogil:
    """To the next address that does not refuse at once. 0, or why there is none."""
    cdef door_t* door = <door_t*> pair.door
    cdef address_t* address
    cdef int err = 0
    while pair.tried < door.count:
        address = &door.addresses[(pair.first + pair.tried) % door.count]
        err = try_address(t, pair, address)
        if err == 0:
            pair.up_state = UP_CONNECTING
            pair.up.last_ns = 0
            if pair.tried + 1 < door.count:
                agenda_put(&t.agenda, now + ATTEMPT_NS, 0, pair, &pair.place)
            return 0
        if err == EAGAIN and address.family == AF_UNIX and now - pair.opened_ns < <int64_t> BACKOFF_MAX_NS:
            pair.up_state = UP_BACKOFF
            agenda_put(&t.agenda, now + BACKOFF_NS, 0, pair, &pair.place)
            return 0
        pair.tried += 1
    return err

cdef inline int open_up(tap_t* t, pair_t* pair, int64_t now) noexcept nogil:
    pair.first = (<door_t*> pair.door).preferred
    pair.tried = 0
    pair.served = False
    pair.opened_ns = now
    pair.connected_ns = 0
    return go_on_connecting(t, pair, now)

cdef inline int connected(tap_t* t, pair_t* pair, int64_t now) noexcept nogil:
    """A connection attempt has ended. 0, or why there is none."""
    cdef door_t* door = <door_t*> pair.door
    cdef int err = 0
    cdef socklen_t n = sizeof(err)
    if getsockopt(pair.up.fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0:
        err = errno
    if err == 0:
        door.preferred = (pair.first + pair.tried) % door.count
        agenda_drop(&t.agenda, &pair.place)
        pair.up_state = UP_READY
        pair.connected_ns = now
        return 0
    close_up(t, pair)
    pair.tried += 1
    if pair.tried < door.count:
        return go_on_connecting(t, pair, now)
    return err

cdef inline void lost(tap_t* t, pair_t* pair, int outcome, int err) noexcept nogil:
    """The server closed. If it had only grown tired of a connection, ask again, once."""
    cdef exchange_t* ex = pair.exchange
    close_up(t, pair)
    if pair.received == 0 and pair.served:
        ex.store.detail.len = 0
        ex.store.reconnected = True
        ex.store.sent_ns = 0
        ex.out_sent = 0
        pair.first_send_ns = 0
        count(&t.stats.reconnects, 1)
        return  # the connection is opened again as for a new exchange
    over(pair, outcome, err)
    pair.ending = ENDING_CLOSE if outcome == OUT_EOF else ENDING_RESET

# ---------------------------------------------------------------------------------------- responses

cdef inline int keep(
    tap_t* t, pair_t* pair, uint64_t end, int64_t at_ns, int64_t user_ns, uint32_t flags
) noexcept nogil:
    """Append the frame that the splitter has ready, which ends at byte `end` of the response."""
    if pair.split.named:
        flags |= <uint32_t> STORE_NAMED
    if store_append(
        pair.exchange.store, at_ns, user_ns, pair.split.frame.data, pair.split.frame.len, flags
    ):
        explain(pair.exchange, b"a frame is over 512 MiB, or there is no memory for it")
        return 1
    note_chunk(t, pair, end)
    count(&t.stats.chunks, 1)
    return 0

cdef inline void abandon(tap_t* t, pair_t* pair, int outcome, const char* why) noexcept nogil:
    explain(pair.exchange, why)
    close_up(t, pair)
    over(pair, outcome, 0)
    pair.ending = ENDING_CLOSE

cdef inline void on_head(pair_t* pair, int64_t at_ns) noexcept nogil:
    cdef store_t* s = pair.exchange.store
    s.headers_ns = at_ns
    s.http_status = pair.http.status
    s.head = pair.http.head
    buf_init(&pair.http.head)
    # An error is read whole, whatever it calls itself.
    pair.split.mode = MODE_WHOLE if s.http_status >= 400 else pair.http.mode

cdef inline bint on_body(
    tap_t* t, pair_t* pair, const char* body, size_t n, uint64_t offset, uint64_t more,
    int64_t at_ns, int64_t user_ns, uint32_t flags,
) noexcept nogil:
    """One span of body bytes, `offset` bytes into the response. False ends it as too large."""
    cdef size_t i = 0
    cdef bint ready
    cdef uint32_t bits
    while i < n:
        i += split_feed(&pair.split, body + i, n - i, &ready)
        if pair.split.error:
            explain(pair.exchange, wire_error_text(pair.split.error))
            return False
        if ready:
            bits = flags
            if offset + i < more:
                bits |= <uint32_t> STORE_UPPER_BOUND
            if keep(t, pair, offset + i, at_ns, user_ns, bits):
                return False
    return True

cdef inline void on_complete(
    tap_t* t, pair_t* pair, bint nothing_left, int64_t at_ns, int64_t user_ns, uint32_t flags
) noexcept nogil:
    cdef exchange_t* ex = pair.exchange
    if split_eof(&pair.split):
        ex.store.unterminated = pair.split.mode != MODE_WHOLE
        if keep(t, pair, pair.received, at_ns, user_ns, flags):
            abandon(t, pair, OUT_TOO_LARGE, b"there is no memory for a frame")
            return
    elif pair.split.error:
        abandon(t, pair, OUT_TOO_LARGE, wire_error_text(pair.split.error))
        return
    ex.store.body_end_ns = at_ns
    over(pair, OUT_COMPLETE, 0)
    if not (
        pair.http.keep_alive and nothing_left and ex.keep and ex.asked_all
        and ex.out_sent == ex.out.len
    ):
        close_up(t, pair)
        pair.ending = ENDING_CLOSE

cdef inline void on_bytes(
    tap_t* t, pair_t* pair, const char* p, size_t n, int64_t at_ns, int64_t user_ns,
    uint32_t flags,
) noexcept nogil:
    """One read, which has been handed on: HTTP, then frames."""
    cdef uint64_t before = pair.received
    cdef uint64_t more = before + n  # a chunk that ends before this was followed by more
    cdef size_t i = 0
    cdef size_t line_ends = n
    cdef const char* body
    cdef size_t body_len
    cdef store_t* s = pair.exchange.store
    if n < READ_SIZE:
        while line_ends and (p[line_ends - 1] == 10 or p[line_ends - 1] == 13):
            line_ends -= 1
        more = before + line_ends
    else:
        more += 1  # the socket was not emptied
    pair.received += n
    while i < n:
        i += http_feed(&pair.http, p + i, n - i, &body, &body_len)
        if pair.http.phase == HTTP_ERROR:
            abandon(t, pair, OUT_PROTOCOL, wire_error_text(pair.http.error))
            return
        if pair.http.status and s.headers_ns == 0 and pair.http.phase != HTTP_HEAD:
            on_head(pair, at_ns)
        if body_len:
            if s.first_byte_ns == 0:
                s.first_byte_ns = at_ns
            if not on_body(
                t, pair, body, body_len, before + <uint64_t> (body - p), more, at_ns, user_ns,
                flags,
            ):
                close_up(t, pair)
                over(pair, OUT_TOO_LARGE, 0)
                pair.ending = ENDING_CLOSE
                return
        if pair.http.phase == HTTP_DONE:
            on_complete(t, pair, i == n, at_ns, user_ns, flags)
            return

cdef inline void on_eof(tap_t* t, pair_t* pair, int send_error, int64_t now) noexcept nogil:
    if http_eof(&pair.http):
        # A body that only the end of the connection ends. No segment, no kernel stamp.
        on_complete(t, pair, False, now, now, <uint32_t> STORE_USER_STAMP)
        return
    if pair.received == 0:
        explain(pair.exchange, b"the server closed the connection without a response")
    elif pair.http.phase == HTTP_HEAD:
        explain(pair.exchange, b"the server closed the connection within the response head")
    else:
        explain(pair.exchange, b"the server closed the connection within the response body")
    lost(t, pair, OUT_SEND if send_error else OUT_EOF, send_error)

cdef inline void read_up(tap_t* t, pair_t* pair, int send_error, size_t held_max) noexcept nogil:
    """Empty the socket, but for what the agent would have to be spared. `send_error`: why sending
    failed, if it did; then the response ends here."""
    cdef msghdr message
    cdef iovec part
    cdef char control[128]
    cdef Py_ssize_t n
    cdef int64_t user_ns
    cdef int64_t at_ns
    cdef bint by_kernel
    cdef int full_reads = 0
    if pair.exchange == NULL or pair.exchange.over:
        close_up(t, pair)  # the server closed it, or talks out of turn
        return
    part.iov_base = t.buffer
    part.iov_len = READ_SIZE
    memset(&message, 0, sizeof(message))
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    while True:
        message.msg_controllen = sizeof(control)
        n = recvmsg(pair.up.fd, &message, MSG_DONTWAIT)
        user_ns = monotonic_ns()
        if n > 0:
            hand_on(pair, t.buffer, <size_t> n)
            at_ns = arrival(
                t, pair, &pair.up, max(pair.up.last_ns, pair.first_send_ns), stamp_of(&message),
                user_ns, &by_kernel,
            )
            count(&t.stats.bytes, n)
            on_bytes(
                t, pair, t.buffer, <size_t> n, at_ns, user_ns,
                0 if by_kernel else <uint32_t> STORE_USER_STAMP,
            )
            if pair.exchange.over or pair.gone:
                return
            if send_error == 0:
                if <size_t> n < READ_SIZE or waiting(pair) >= held_max:
                    return
                full_reads += 1
                if full_reads == FULL_READS_MAX:
                    return
        elif n == 0:
            on_eof(t, pair, send_error, user_ns)
            return
        elif errno == EAGAIN:
            if send_error:
                lost(t, pair, OUT_SEND, send_error)
            return
        elif errno != EINTR:
            lost(t, pair, OUT_SEND if send_error else OUT_RESET, send_error or errno)
            return

# ----------------------------------------------------------------------------------------- requests

cdef inline void send_up(tap_t* t, pair_t* pair) noexcept nogil:
    """What there is of the request, without waiting."""
    cdef exchange_t* ex = pair.exchange
    cdef Py_ssize_t n
    cdef int64_t now
    while ex.out_sent < ex.out.len:
        now = monotonic_ns()
        n = send(pair.up.fd, ex.out.data + ex.out_sent, ex.out.len - ex.out_sent, MSG_NOSIGNAL)
        if n >= 0:
            if pair.first_send_ns == 0:
                pair.first_send_ns = now
            ex.store.sent_ns = now
            ex.out_sent += <size_t> n
        elif errno == EAGAIN:
            return
        elif errno != EINTR:
            # The server closed, but may have answered first: what it said is worth more than EPIPE.
            read_up(t, pair, errno, HELD_MAX)
            return
