# From a connection to a request on the wire. Header-only; part of the reactor's thread.

from libc.stdint cimport int64_t

from calls cimport CALL_WAITING, CONN_BUSY, call_t, conn_t, loop_t
from characters cimport equals_nocase
from connecting cimport enter_phase, try_connect
from ending cimport conn_close, seal
from frames cimport split_init
from http_state cimport http_init
from linux cimport (
    EAGAIN, EINTR, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_MOD, MSG_NOSIGNAL, SOL_SOCKET,
    SO_ERROR, epoll_ctl, epoll_event, errno, getsockopt, monotonic_ns, send, socklen_t,
)
from receiving cimport conn_read
from store cimport OUT_CONNECT
from wire cimport MODE_WHOLE


cdef enum:
    HEAD_LIMIT = 65536


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
    cdef int err
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
            err = errno
            watch_for_room(loop, conn, False)
            conn_read(loop, conn, err)
            return
    watch_for_room(loop, conn, False)

cdef inline void begin_request(
    loop_t* loop, conn_t* conn, call_t* call, int64_t now
) noexcept nogil:
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
