# The truth server's answers: one piece at a time, each at its instant. Header-only.
#
# An instant is taken right before and right after each send(). On loopback the kernel delivers the
# bytes to the receiver within send(), so that the truth lies between the two.

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free

from accepting cimport client_gone, drop_conn, want_writable
from agenda cimport agenda_put
from linux cimport EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, count, errno, monotonic_ns, send
from plans cimport (
    ENDING_HOLD, ENDING_KEEP, ENDING_RESET, EVENT_FINISHED, conn_t, event_new, piece_t, plan_t,
    serving_t,
)
from reporting cimport note, post_event
from requests cimport next_request


cdef inline void schedule(serving_t* s, conn_t* conn) noexcept nogil:
    s.order += 1
    agenda_put(&s.agenda, conn.plan.pieces[conn.index].due_ns, s.order, conn, &conn.place)

cdef inline void finish(serving_t* s, conn_t* conn, int64_t now) noexcept nogil:
    """The last piece is out."""
    cdef int ending = conn.plan.ending
    free(conn.plan)
    free(conn.revision)
    conn.plan = conn.revision = NULL
    post_event(s, event_new(EVENT_FINISHED, conn, now, 0))
    if ending == ENDING_HOLD:
        return
    conn.serial = 0
    if ending != ENDING_KEEP:
        drop_conn(s, conn, ending == ENDING_RESET)
    elif not next_request(s, conn, now, 0):
        drop_conn(s, conn, False)

cdef inline void adopt(serving_t* s, conn_t* conn, plan_t* plan) noexcept nogil:
    """From the next piece on, which must not have been begun, by this plan."""
    plan.ending = conn.plan.ending
    free(conn.plan)
    conn.plan = plan
    conn.sent = plan.pieces[conn.index - 1].end if conn.index else 0
    schedule(s, conn)

cdef inline void send_piece(serving_t* s, conn_t* conn, int64_t now) noexcept nogil:
    """One piece, or as much of it as the socket takes; then the next one's turn is scheduled."""
    cdef plan_t* plan = conn.plan
    cdef piece_t* piece = &plan.pieces[conn.index]
    cdef int64_t begin = plan.pieces[conn.index - 1].end if conn.index else 0
    cdef int64_t after = now
    cdef Py_ssize_t n
    if conn.before_ns == 0:
        conn.before_ns = now
    if conn.sent < piece.end:
        n = send(
            conn.fd, plan.data + conn.sent, <size_t> (piece.end - conn.sent),
            MSG_NOSIGNAL | MSG_DONTWAIT,
        )
        after = monotonic_ns()
        conn.tries += 1
        if n < 0 and errno != EAGAIN and errno != EINTR:
            client_gone(s, conn)
            return
        if n > 0:
            conn.sent += n
            count(&s.stats.bytes, n)
        if conn.sent < piece.end:
            if conn.tries == 1:
                count(&s.stats.blocked, 1)
            want_writable(s, conn, True)
            return
    note(s, conn, after, piece.end - begin)
    count(&s.stats.pieces, 1)
    conn.index += 1
    conn.before_ns = 0
    conn.tries = 0
    if conn.index == plan.count:
        finish(s, conn, after)
    elif conn.revision != NULL:
        plan, conn.revision = conn.revision, NULL
        adopt(s, conn, plan)
    else:
        schedule(s, conn)

cdef inline void revise_plan(serving_t* s, conn_t* conn, plan_t* plan) noexcept nogil:
    """A piece that a full socket holds up is finished as it was begun."""
    if plan.count != conn.plan.count:
        free(plan)
    elif conn.before_ns:
        free(conn.revision)
        conn.revision = plan
    else:
        adopt(s, conn, plan)

cdef inline void begin_plan(serving_t* s, plan_t* plan) noexcept nogil:
    cdef size_t fd = <size_t> <uint32_t> plan.conn
    cdef conn_t* conn = s.conns[fd] if fd < s.conns_cap else NULL
    if (
        conn == NULL or conn.ident != plan.conn or conn.serial != plan.serial
        or (conn.plan != NULL) != plan.revises
    ):
        free(plan)      # the client did not wait for it; or there is nothing left to revise
        return
    if plan.revises:
        revise_plan(s, conn, plan)
        return
    conn.plan = plan
    conn.index = conn.sent = conn.before_ns = 0
    conn.tries = 0
    schedule(s, conn)
