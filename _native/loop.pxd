# The reactor's thread: what happens to calls and connections, one function per event. Header-only.
#
# Strategy
#   run_loop waits in epoll; each round handles what is ready, then hands the calls that ended to
#   Python and goes back to wait. Nothing here takes the GIL, and nothing is decoded.
#   Functions never call back up: ending a call only marks its lane as ready, and serve_lanes starts
#   the successors when the event that ended it is dealt with.
#
# Stamps
#   conn_read takes the user-space stamp right after recvmsg and the kernel's from its control
#   message. A read that is not full has emptied the socket (level-triggered epoll tells us of more),
#   so the kernel's stamp is that of the last segment read.
#
# Pauses
#   Because the kernel holds the arrival times, the thread may sleep between rounds while many streams
#   run, and find several sockets ready when it wakes: fewer wake-ups, same stamps. See pause().

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from agenda cimport agenda_drop, agenda_free, agenda_put, agenda_reserve
from calls cimport (
    CALL_BACKOFF, CALL_BODY, CALL_CONNECTING, CALL_DUE, CALL_QUEUED, CALL_SEALED,
    CALL_WAITING, CONN_BUSY, CONN_CONNECTING, CONN_IDLE, address_t, call_free, call_t, conn_link,
    conn_t, conn_unlink, explain, idle_drop, idle_push, lane_drop, lane_push, lane_t, live_drop,
    live_push, loop_t, origin_t,
)
from linux cimport (
    AF_UNIX, EAGAIN, EINPROGRESS, EINTR, EMFILE, ENFILE, ENOMEM, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT,
    EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, POLLIN,
    PR_SET_TIMERSLACK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_ERROR, TCP_NODELAY,
    TFD_TIMER_ABSTIME, close, connect, count, epoll_ctl, epoll_event, epoll_wait, errno, getsockopt,
    iovec, itimerspec, monotonic_ns, msghdr, pollfd, ppoll, prctl, pthread_mutex_lock,
    pthread_mutex_unlock, read, recvmsg, send, setsockopt, sockaddr, socket, socklen_t, timerfd_settime, timespec,
    write,
)
from stamps cimport OFFSET_AGE_NS, SKEW_NS, ask_for_stamps, clockmap_refresh, stamp_of
from store cimport (
    OUT_CANCELLED, OUT_COMPLETE, OUT_CONNECT, OUT_EOF, OUT_NOT_SENT, OUT_PROTOCOL, OUT_RESET, OUT_SEND,
    OUT_TIMEOUT_CONNECT, OUT_TIMEOUT_FIRST_BYTE, OUT_TIMEOUT_PAYLOAD, OUT_TIMEOUT_TOTAL, OUT_TOO_LARGE,
    STORE_NAMED, STORE_UPPER_BOUND, STORE_USER_STAMP, store_append, store_seal, store_t,
)
from wire cimport (
    HTTP_DONE, HTTP_ERROR, HTTP_HEAD, MODE_NDJSON, MODE_SSE, MODE_WHOLE, WIRE_E_CHUNK,
    WIRE_E_FRAME_LIMIT, WIRE_E_HEADER, WIRE_E_HEAD_LIMIT, WIRE_E_MEMORY, WIRE_E_STATUS_LINE, buf_init,
    equals_nocase, http_eof, http_feed, http_free, http_init, is_ows, split_eof, split_feed, split_free,
    split_init,
)


cdef enum:
    EVENTS_MAX = 256
    FULL_READS_MAX = 4         # then the other sockets get a turn
    HEAD_LIMIT = 65536
    BACKOFF_NS = 1_000_000     # before a full backlog is tried again
    # Pauses. A window of a sixteenth of the gap between reads lets about 6 % of evenly spread jitter
    # reach the next chunk; under PAUSE_MIN the system call costs more than the wake-ups it saves.
    PAUSE_STREAMS_MIN = 8
    PAUSE_GAP_SHIFT = 4
    PAUSE_MIN_NS = 50_000
    PAUSE_MERGED_PPM_MAX = 50_000
    USER_STAMP_AGE_NS = 1_000_000_000


# ------------------------------------------------------------------------------------ ending a call

cdef inline void lane_ready(loop_t* loop, lane_t* lane) noexcept nogil:
    if not lane.ready:
        lane.ready = True
        lane.next_ready = loop.ready
        loop.ready = lane

cdef inline bint refresh_clock(loop_t* loop) noexcept nogil:
    """Whether the wall clock was stepped. If so, every call in flight says so."""
    cdef call_t* call = loop.live
    if not clockmap_refresh(&loop.clock):
        return False
    count(&loop.stats.clock_steps, 1)
    while call != NULL:
        if call.state >= CALL_CONNECTING:
            call.store.clock_stepped = True
        call = call.next_live
    return True

cdef inline void seal(loop_t* loop, call_t* call, int outcome, int err, int64_t now) noexcept nogil:
    """The end of a call. Its connection must have let go of it."""
    cdef store_t* s = call.store
    if call.state == CALL_QUEUED:
        lane_drop(call.lane, call)
    if call.state <= CALL_QUEUED:
        count(&loop.stats.queued, -1)
    else:
        count(&loop.stats.in_flight, -1)
        call.lane.in_flight -= 1
        if call.lane.limit:
            call.lane.freed_ns = now
            lane_ready(loop, call.lane)
    if now - loop.clock.sampled_ns > OFFSET_AGE_NS:
        refresh_clock(loop)
    agenda_drop(&loop.agenda, &call.place)
    live_drop(loop, call)
    if s.due_ns == 0:
        s.due_ns = call.due_ns if call.due_ns else call.submitted_ns
    s.outcome = outcome
    s.err = err
    s.closed_ns = now
    s.realtime_offset_ns = loop.clock.offset_ns
    store_seal(s)
    free(call.request)
    call.request = NULL
    call.state = CALL_SEALED
    call.next = NULL
    if loop.done_last != NULL:
        loop.done_last.next = call
    else:
        loop.done = call
    loop.done_last = call

cdef inline void conn_release(loop_t* loop, conn_t* conn) noexcept nogil:
    """Part the connection from its call, which keeps what it learnt."""
    cdef call_t* call = conn.call
    if call == NULL:
        return
    call.store.comments = conn.split.comments
    if conn.streaming:
        conn.streaming = False
        loop.streams -= 1
    http_free(&conn.http)
    split_free(&conn.split)
    call.conn = NULL
    conn.call = NULL

cdef inline void conn_close(loop_t* loop, conn_t* conn) noexcept nogil:
    conn_release(loop, conn)
    if conn.state == CONN_IDLE:
        idle_drop(loop, conn)
    elif conn.state == CONN_CONNECTING:
        loop.connecting -= 1
    close(conn.fd)  # which takes it out of epoll, too
    conn.fd = -1
    conn_unlink(loop, conn)
    conn.next = loop.closed
    loop.closed = conn
    count(&loop.stats.connections, -1)

cdef inline void conn_end(
    loop_t* loop, conn_t* conn, int outcome, int err, int64_t now
) noexcept nogil:
    """The call cannot go on, and neither can its connection."""
    cdef call_t* call = conn.call
    conn_close(loop, conn)
    seal(loop, call, outcome, err, now)

cdef inline void conn_lost(loop_t* loop, conn_t* conn, int outcome, int err, int64_t now) noexcept nogil:
    """The server closed. If it had only grown tired of a pooled connection, ask again, once."""
    cdef call_t* call = conn.call
    if conn.served and conn.received == 0 and not call.fresh:
        conn_close(loop, conn)
        call.fresh = True
        call.store.reconnected = True
        call.store.sent_ns = 0
        count(&loop.stats.reconnects, 1)
        begin_connect(loop, call, now)
    else:
        conn_end(loop, conn, outcome, err, now)

cdef inline void give_up(loop_t* loop, call_t* call, int outcome, int err, int64_t now) noexcept nogil:
    """End a call in whatever state it is."""
    if call.conn != NULL:
        conn_close(loop, call.conn)
    seal(loop, call, outcome, err, now)


# --------------------------------------------------------------------------------------- deadlines

cdef inline int64_t deadline(call_t* call) noexcept nogil:
    cdef int64_t total = call.started_ns + call.total_timeout_ns
    cdef int64_t part
    if call.state == CALL_CONNECTING or call.state == CALL_BACKOFF:
        part = call.attempt_ns
    elif call.state == CALL_WAITING:
        part = call.phase_ns + call.first_byte_timeout_ns
    else:
        part = call.phase_ns + call.payload_timeout_ns
    return part if part < total else total

cdef inline void enter_phase(loop_t* loop, call_t* call, int state, int64_t now) noexcept nogil:
    call.state = state
    call.phase_ns = now
    agenda_put(&loop.agenda, deadline(call), call.order, call, &call.place)

cdef inline void expire(loop_t* loop, call_t* call, int64_t now) noexcept nogil:
    if now >= call.started_ns + call.total_timeout_ns:
        give_up(loop, call, OUT_TIMEOUT_TOTAL, 0, now)
    elif call.state == CALL_WAITING:
        give_up(loop, call, OUT_TIMEOUT_FIRST_BYTE, 0, now)
    elif call.state == CALL_BODY:
        give_up(loop, call, OUT_TIMEOUT_PAYLOAD, 0, now)
    elif now >= call.phase_ns + call.connect_timeout_ns or call.address + 1 >= call.origin.count:
        give_up(loop, call, OUT_TIMEOUT_CONNECT, 0, now)
    else:
        if call.conn != NULL:
            conn_close(loop, call.conn)
        call.address += 1
        try_connect(loop, call, now)

cdef inline void serve_agenda(loop_t* loop, int64_t now) noexcept nogil:
    """Everything that is due by now: calls to start, deadlines to check."""
    cdef call_t* call
    cdef int64_t later
    while loop.agenda.len and loop.agenda.slots[0].at_ns <= now:
        call = <call_t*> loop.agenda.slots[0].what
        agenda_drop(&loop.agenda, &call.place)
        if call.state == CALL_DUE:
            enqueue(loop, call)
        elif call.state == CALL_BACKOFF and now < deadline(call):
            try_connect(loop, call, now)
        else:
            later = deadline(call)  # it may have moved since it was entered: payloads do not say so
            if later > now:
                agenda_put(&loop.agenda, later, call.order, call, &call.place)
            else:
                expire(loop, call, now)
        serve_lanes(loop)


# --------------------------------------------------------------------------------- starting a call

cdef inline void enqueue(loop_t* loop, call_t* call) noexcept nogil:
    call.state = CALL_QUEUED
    lane_push(call.lane, call)
    lane_ready(loop, call.lane)

cdef inline void accept_call(loop_t* loop, call_t* call, int64_t now) noexcept nogil:
    """A submitted call enters the thread."""
    live_push(loop, call)
    count(&loop.stats.queued, 1)
    if agenda_reserve(&loop.agenda, loop.live_count):
        explain(call, b"out of memory")
        seal(loop, call, OUT_NOT_SENT, ENOMEM, now)
    elif call.due_ns > now:
        call.state = CALL_DUE
        agenda_put(&loop.agenda, call.due_ns, call.order, call, &call.place)
    else:
        enqueue(loop, call)

cdef inline void serve_lanes(loop_t* loop) noexcept nogil:
    """Start the next calls of every lane that may have room."""
    cdef lane_t* lane
    cdef call_t* call
    while loop.ready != NULL:
        lane = loop.ready
        loop.ready = lane.next_ready
        lane.ready = False
        while lane.head != NULL and (lane.limit == 0 or lane.in_flight < lane.limit):
            call = lane.head
            lane_drop(lane, call)
            start(loop, call)

cdef inline void start(loop_t* loop, call_t* call) noexcept nogil:
    cdef int64_t now = monotonic_ns()
    cdef lane_t* lane = call.lane
    cdef conn_t* conn = call.origin.idle
    lane.in_flight += 1
    count(&loop.stats.queued, -1)
    count(&loop.stats.in_flight, 1)
    call.state = CALL_CONNECTING
    call.started_ns = now
    call.store.due_ns = call.due_ns
    if call.due_ns == 0:
        # Closed loop: due when the slot became free. A lane that had room was free before.
        call.store.due_ns = lane.freed_ns if lane.freed_ns > call.submitted_ns else call.submitted_ns
    if conn == NULL:
        begin_connect(loop, call, now)
    else:
        idle_drop(loop, conn)
        begin_request(loop, conn, call, now)

cdef inline void begin_connect(loop_t* loop, call_t* call, int64_t now) noexcept nogil:
    call.address = 0
    call.phase_ns = now
    try_connect(loop, call, now)

cdef inline address_t* address_of(call_t* call) noexcept nogil:
    cdef origin_t* origin = call.origin
    return &origin.addresses[(origin.preferred + call.address) % origin.count]

cdef inline void try_connect(loop_t* loop, call_t* call, int64_t now) noexcept nogil:
    """Open a connection to the next address that does not refuse at once."""
    cdef int err = 0
    cdef int64_t end = call.phase_ns + call.connect_timeout_ns
    while call.address < call.origin.count:
        # Addresses that do not answer must leave time for the ones behind them.
        call.attempt_ns = now + (end - now) // (call.origin.count - call.address)
        err = open_connection(loop, call)
        if err == 0:
            call.state = CALL_CONNECTING
            agenda_put(&loop.agenda, deadline(call), call.order, call, &call.place)
            return
        if err == EAGAIN and address_of(call).family == AF_UNIX:
            call.state = CALL_BACKOFF
            call.attempt_ns = end
            agenda_put(&loop.agenda, now + BACKOFF_NS, call.order, call, &call.place)
            return
        call.address += 1
    seal(loop, call, OUT_CONNECT, err, now)

cdef inline int open_socket(loop_t* loop, int family) noexcept nogil:
    """A socket, or −errno. At the limit of open files an idle connection makes room."""
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    cdef conn_t* conn = loop.conns
    if fd < 0 and (errno == EMFILE or errno == ENFILE):
        while conn != NULL and conn.state != CONN_IDLE:
            conn = conn.next
        if conn != NULL:
            conn_close(loop, conn)
            fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    return fd if fd >= 0 else -errno

cdef inline int open_connection(loop_t* loop, call_t* call) noexcept nogil:
    """0 with a connection under way, or an errno."""
    cdef address_t* address = address_of(call)
    cdef int one = 1
    cdef int err
    cdef epoll_event event
    cdef conn_t* conn
    cdef int fd = open_socket(loop, address.family)
    if fd < 0:
        return -fd
    conn = <conn_t*> calloc(1, sizeof(conn_t))
    if conn == NULL:
        close(fd)
        return ENOMEM
    if address.family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if loop.timestamps:
        ask_for_stamps(fd)
    event.events = EPOLLOUT | EPOLLIN | EPOLLRDHUP
    event.data.ptr = conn
    if (
        connect(fd, <sockaddr*> address.bytes, address.len) < 0 and errno != EINPROGRESS
    ) or epoll_ctl(loop.ep, EPOLL_CTL_ADD, fd, &event) < 0:
        err = errno
        close(fd)
        free(conn)
        return err
    conn.fd = fd
    conn.state = CONN_CONNECTING
    conn.want_out = True
    conn.origin = call.origin
    conn.address = (call.origin.preferred + call.address) % call.origin.count
    conn.call = call
    call.conn = conn
    conn_link(loop, conn)
    loop.connecting += 1
    count(&loop.stats.connections, 1)
    return 0

cdef inline void on_connected(loop_t* loop, conn_t* conn, int64_t now) noexcept nogil:
    """A connection attempt has ended, well or badly."""
    cdef call_t* call = conn.call
    cdef int err = 0
    cdef socklen_t n = sizeof(err)
    if getsockopt(conn.fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0:
        err = errno
    if err:
        conn_close(loop, conn)
        call.address += 1
        if call.address < call.origin.count:
            try_connect(loop, call, now)
        else:
            seal(loop, call, OUT_CONNECT, err, now)
        return
    loop.connecting -= 1
    conn.origin.preferred = conn.address
    call.store.connected_ns = now
    conn.last_ns = now
    begin_request(loop, conn, call, now)


# ----------------------------------------------------------------------------------------- sending

cdef inline void begin_request(loop_t* loop, conn_t* conn, call_t* call, int64_t now) noexcept nogil:
    cdef const char* p = call.request
    conn.state = CONN_BUSY
    conn.call = call
    conn.sent = 0
    conn.received = 0
    conn.first_send_ns = 0
    call.conn = conn
    http_init(&conn.http, call.request_len >= 5 and equals_nocase(p, 5, b"head ", 5), HEAD_LIMIT)
    split_init(&conn.split, MODE_WHOLE, loop.frame_limit)
    enter_phase(loop, call, CALL_WAITING, now)
    conn_send(loop, conn)

cdef inline void watch_for_room(loop_t* loop, conn_t* conn, bint want) noexcept nogil:
    cdef epoll_event event
    if conn.want_out == want:
        return
    conn.want_out = want
    event.events = EPOLLIN | EPOLLRDHUP | (EPOLLOUT if want else 0)
    event.data.ptr = conn
    epoll_ctl(loop.ep, EPOLL_CTL_MOD, conn.fd, &event)

cdef inline void conn_send(loop_t* loop, conn_t* conn) noexcept nogil:
    cdef call_t* call = conn.call
    cdef Py_ssize_t n
    cdef int64_t now
    while conn.sent < call.request_len:
        now = monotonic_ns()
        n = send(conn.fd, call.request + conn.sent, call.request_len - conn.sent, MSG_NOSIGNAL)
        if n >= 0:
            if conn.first_send_ns == 0:
                conn.first_send_ns = now
            call.store.sent_ns = now
            conn.sent += <size_t> n
        elif errno == EAGAIN:
            watch_for_room(loop, conn, True)
            return
        elif errno != EINTR:
            # The server closed, but may have answered first: what it said is worth more than EPIPE.
            watch_for_room(loop, conn, False)
            conn_read(loop, conn, errno)
            return
    watch_for_room(loop, conn, False)


# --------------------------------------------------------------------------------------- receiving

cdef inline int64_t arrival(
    loop_t* loop, conn_t* conn, int64_t real_ns, int64_t user_ns, uint32_t* flags
) noexcept nogil:
    """The stamp of a read on CLOCK_MONOTONIC, never before that of the read before."""
    cdef int64_t earliest = conn.last_ns if conn.last_ns > conn.first_send_ns else conn.first_send_ns
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

cdef inline void on_bytes(
    loop_t* loop, conn_t* conn, const char* p, size_t n, int64_t at_ns, int64_t user_ns, uint32_t flags
) noexcept nogil:
    """One read: HTTP, then frames."""
    cdef const char* body
    cdef size_t body_len
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
            if on_body(loop, conn, body, body_len, <size_t> (body - p), more, at_ns, user_ns, flags):
                conn_end(loop, conn, OUT_TOO_LARGE, 0, user_ns)
                return
        if conn.http.phase == HTTP_DONE:
            note_read(loop, conn, at_ns, loop.stats.chunks - chunks_before)
            on_complete(loop, conn, i == n, at_ns, user_ns, flags)
            return
    note_read(loop, conn, at_ns, loop.stats.chunks - chunks_before)

cdef inline void on_malformed(loop_t* loop, conn_t* conn, int64_t now) noexcept nogil:
    cdef int error = conn.http.error
    if error == WIRE_E_STATUS_LINE:
        explain(conn.call, b"the response does not begin with an HTTP/1.x status line")
    elif error == WIRE_E_HEADER:
        explain(conn.call, b"a response header is malformed")
    elif error == WIRE_E_HEAD_LIMIT:
        explain(conn.call, b"the response head is over 64 KiB")
    elif error == WIRE_E_CHUNK:
        explain(conn.call, b"the chunked body is malformed")
    else:
        explain(conn.call, b"out of memory")
    conn_end(loop, conn, OUT_PROTOCOL, 0, now)

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
            explain(
                call,
                b"a frame is over the limit" if conn.split.error == WIRE_E_FRAME_LIMIT
                else b"out of memory",
            )
            return 1
        if ready:
            bits = flags
            if offset + i < more:
                bits |= <uint32_t> STORE_UPPER_BOUND
            if keep(loop, conn, at_ns, user_ns, bits):
                return 1
    return 0

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

cdef inline void conn_event(loop_t* loop, conn_t* conn, uint32_t events, int64_t now) noexcept nogil:
    if conn.fd < 0:
        return  # closed earlier in this round
    if conn.state == CONN_IDLE:
        conn_close(loop, conn)  # the server closed it, or talks out of turn
    elif conn.state == CONN_CONNECTING:
        on_connected(loop, conn, now)
    else:
        if conn.want_out and events & <uint32_t> EPOLLOUT:
            conn_send(loop, conn)
        if conn.state == CONN_BUSY and conn.fd >= 0 and events & ~<uint32_t> EPOLLOUT:
            conn_read(loop, conn, 0)


# ---------------------------------------------------------------------------------------- the loop

cdef inline void note_read(loop_t* loop, conn_t* conn, int64_t at_ns, uint64_t chunks) noexcept nogil:
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

cdef inline void pause(loop_t* loop, int64_t now) noexcept nogil:
    """Sleep a little, so that the next round finds several sockets ready; commands end the sleep.

    Only while many streams run, all with kernel stamps; far shorter than the gap between their reads;
    never past the next due instant or deadline; not while a connection is being made, whose request
    waits for us; and not at all once reads begin to merge chunks.
    """
    cdef int64_t window = loop.gap_ns >> PAUSE_GAP_SHIFT
    cdef pollfd wait
    cdef timespec span
    if loop.streams < PAUSE_STREAMS_MIN or loop.connecting or loop.merged_ppm > PAUSE_MERGED_PPM_MAX:
        return
    if loop.user_stamp_ns and now - loop.user_stamp_ns < USER_STAMP_AGE_NS:
        return
    if window > loop.batch_window_ns:
        window = loop.batch_window_ns
    if loop.agenda.len and loop.agenda.slots[0].at_ns - now < window:
        window = loop.agenda.slots[0].at_ns - now
    if window < PAUSE_MIN_NS:
        return
    wait.fd = loop.inbox
    wait.events = POLLIN
    span.tv_sec = 0
    span.tv_nsec = window
    count(&loop.stats.pauses, 1)
    ppoll(&wait, 1, &span, NULL)

cdef inline void set_timer(loop_t* loop) noexcept nogil:
    """Wake for the next entry of the agenda. Waking too early is harmless, so it is never put off."""
    cdef itimerspec to
    cdef int64_t at_ns
    if loop.agenda.len == 0:
        return
    at_ns = loop.agenda.slots[0].at_ns
    if loop.timer_ns and loop.timer_ns <= at_ns:
        return
    loop.timer_ns = at_ns
    to.it_interval.tv_sec = 0
    to.it_interval.tv_nsec = 0
    to.it_value.tv_sec = at_ns // 1_000_000_000
    to.it_value.tv_nsec = at_ns % 1_000_000_000
    timerfd_settime(loop.timer, TFD_TIMER_ABSTIME, &to, NULL)

cdef inline void cancel(loop_t* loop, call_t* call, int64_t now) noexcept nogil:
    cdef bint sent
    if call.state == CALL_SEALED:
        return
    sent = call.store.sent_ns or call.store.reconnected
    give_up(loop, call, OUT_CANCELLED if sent else OUT_NOT_SENT, 0, now)

cdef inline bint take_commands(loop_t* loop) noexcept nogil:
    """What Python asked for since. True to stop."""
    cdef uint64_t ignored
    cdef call_t* calls
    cdef call_t* cancels
    cdef call_t* husks
    cdef call_t* following
    cdef int64_t nudge
    cdef bint stopping
    cdef int64_t now
    read(loop.inbox, &ignored, sizeof(ignored))
    pthread_mutex_lock(&loop.lock)
    calls = loop.submitted
    cancels = loop.cancels
    husks = loop.husks
    nudge = loop.clock_nudge_ns
    stopping = loop.stopping
    loop.submitted = NULL
    loop.submitted_last = NULL
    loop.cancels = NULL
    loop.husks = NULL
    loop.clock_nudge_ns = 0
    pthread_mutex_unlock(&loop.lock)
    loop.clock.offset_ns += nudge
    now = monotonic_ns()
    while calls != NULL:
        following = calls.next
        accept_call(loop, calls, now)
        calls = following
    while cancels != NULL:
        following = cancels.next_cancelled
        cancel(loop, cancels, now)
        cancels = following
    # Last, for the list of cancellations may name calls that have been drained since.
    while husks != NULL:
        following = husks.next
        call_free(husks)
        husks = following
    serve_lanes(loop)
    return stopping

cdef inline void hand_over(loop_t* loop) noexcept nogil:
    """Pass what was sealed in this round to Python, and forget what was closed in it."""
    cdef uint64_t one = 1
    cdef conn_t* following
    while loop.closed != NULL:
        following = loop.closed.next
        free(loop.closed)
        loop.closed = following
    if loop.done == NULL:
        return
    pthread_mutex_lock(&loop.lock)
    if loop.sealed_last != NULL:
        loop.sealed_last.next = loop.done
    else:
        loop.sealed = loop.done
    loop.sealed_last = loop.done_last
    pthread_mutex_unlock(&loop.lock)
    loop.done = NULL
    loop.done_last = NULL
    write(loop.outbox, &one, sizeof(one))

cdef inline void stop(loop_t* loop) noexcept nogil:
    """End everything: what was sent as cancelled, the rest as not_sent."""
    cdef int64_t now = monotonic_ns()
    while loop.live != NULL:
        cancel(loop, loop.live, now)
    while loop.conns != NULL:
        conn_close(loop, loop.conns)
    hand_over(loop)
    agenda_free(&loop.agenda)

cdef inline void* run_loop(void* arg) noexcept nogil:
    cdef loop_t* loop = <loop_t*> arg
    cdef epoll_event events[EVENTS_MAX]
    cdef int64_t now
    cdef uint64_t ignored
    cdef uint64_t reads
    cdef bint stopping = False
    cdef int n
    cdef int i
    prctl(PR_SET_TIMERSLACK, 1)
    refresh_clock(loop)
    while not stopping:
        set_timer(loop)
        n = epoll_wait(loop.ep, events, EVENTS_MAX, -1)
        now = monotonic_ns()
        count(&loop.stats.wakeups, 1)
        reads = loop.stats.reads
        for i in range(n):
            if events[i].data.ptr == <void*> &loop.inbox:
                stopping = take_commands(loop)
            elif events[i].data.ptr == <void*> &loop.timer:
                read(loop.timer, &ignored, sizeof(ignored))
                loop.timer_ns = 0
            else:
                conn_event(loop, <conn_t*> events[i].data.ptr, events[i].events, now)
                serve_lanes(loop)
            if loop.agenda.len and loop.agenda.slots[0].at_ns <= now + (i << 10):
                # i << 10: about how long the events before this one have taken, without asking.
                serve_agenda(loop, monotonic_ns())
        hand_over(loop)
        if loop.stats.reads != reads and n < EVENTS_MAX:
            pause(loop, monotonic_ns())
    stop(loop)
    return NULL
