# How calls and connections end. Header-only; part of the reactor's thread (loop.pxd).
#
# Ending a call never starts another: it only marks its lane as ready, and serve_lanes starts the
# successors when the event that ended it is dealt with. So nothing here is re-entered.

from libc.stdint cimport int64_t
from libc.stdlib cimport free

from agenda cimport agenda_drop
from calls cimport (
    CALL_CONNECTING, CALL_QUEUED, CALL_SEALED, CONN_CONNECTING, CONN_IDLE, call_t, conn_t,
    conn_unlink, idle_drop, lane_drop, lane_t, live_drop, loop_t,
)
from frames cimport split_free
from http_state cimport http_free
from linux cimport EPOLL_CTL_DEL, close, count, epoll_ctl, epoll_event
from stamps cimport OFFSET_AGE_NS, clockmap_refresh
from store cimport store_seal, store_t


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
    cdef epoll_event none  # kernels before 2.6.9 want one
    conn_release(loop, conn)
    if conn.state == CONN_IDLE:
        idle_drop(loop, conn)
    elif conn.state == CONN_CONNECTING:
        loop.connecting -= 1
    # Closing alone would not take it out of epoll while a child, just forked, holds a copy of the
    # descriptor: an event could then name a connection that is no longer there.
    epoll_ctl(loop.ep, EPOLL_CTL_DEL, conn.fd, &none)
    close(conn.fd)
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

cdef inline void give_up(
    loop_t* loop, call_t* call, int outcome, int err, int64_t now
) noexcept nogil:
    """End a call in whatever state it is."""
    if call.conn != NULL:
        conn_close(loop, call.conn)
    seal(loop, call, outcome, err, now)
