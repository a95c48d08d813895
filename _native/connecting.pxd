# Getting a connection, and how long to wait for what. Header-only; part of the reactor's thread.
#
# An origin's addresses are tried in order, beginning with the one that worked last. One that
# refuses costs nothing, and one that is silent gets its share of the connect timeout.

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from agenda cimport agenda_put
from calls cimport (
    CALL_BACKOFF, CALL_CONNECTING, CALL_WAITING, CONN_CONNECTING, CONN_IDLE, address_t, call_t,
    conn_link, conn_t, loop_t, origin_t,
)
from ending cimport conn_close, conn_end, seal
from linux cimport (
    AF_UNIX, EAGAIN, EINPROGRESS, EMFILE, ENFILE, ENOMEM, EPOLLIN, EPOLLOUT, EPOLLRDHUP,
    EPOLL_CTL_ADD, IPPROTO_TCP, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, TCP_NODELAY, close,
    connect, count, epoll_ctl, epoll_event, errno, setsockopt, sockaddr, socket,
)
from stamps cimport ask_for_stamps
from store cimport OUT_CONNECT


cdef enum:
    BACKOFF_NS = 1_000_000     # before a full backlog is tried again


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

cdef inline address_t* address_of(call_t* call) noexcept nogil:
    cdef origin_t* origin = call.origin
    return &origin.addresses[(call.first + call.address) % origin.count]

cdef inline int one_more(loop_t* loop, int family) noexcept nogil:
    """As `socket`, but −errno, and within our own bound: the rest of the process needs files too."""
    cdef int fd
    if loop.connections_max and loop.stats.connections >= loop.connections_max:
        return -EMFILE
    fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    return fd if fd >= 0 else -errno

cdef inline int open_socket(loop_t* loop, int family) noexcept nogil:
    """A socket, or −errno. At the limit of open files an idle connection makes room."""
    cdef conn_t* conn = loop.conns
    cdef int fd = one_more(loop, family)
    if fd == -EMFILE or fd == -ENFILE:
        while conn != NULL and conn.state != CONN_IDLE:
            conn = conn.next
        if conn != NULL:
            conn_close(loop, conn)
            fd = one_more(loop, family)
    return fd

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
    conn.address = (call.first + call.address) % call.origin.count
    conn.call = call
    call.conn = conn
    conn_link(loop, conn)
    loop.connecting += 1
    count(&loop.stats.connections, 1)
    return 0

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

cdef inline void begin_connect(loop_t* loop, call_t* call, int64_t now) noexcept nogil:
    call.first = call.origin.preferred
    call.address = 0
    call.phase_ns = now
    try_connect(loop, call, now)

cdef inline void conn_lost(
    loop_t* loop, conn_t* conn, int outcome, int err, int64_t now
) noexcept nogil:
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
