# The truth server's thread: accept, read requests, send what is due, note the instants. Header-only.
#
# Strategy: everything that is due goes out first, in order of due instants; then the sockets are
# looked at; then we sleep until the next due instant or the next socket event, whichever is first.
# A long queue of due pieces must not starve the sockets, so they get a look every SENDS_PER_ROUND.
# Falling asleep and waking cost more than SPIN_NS: for less than that we keep looking instead.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from accepting cimport accept_some, change_listener, wake_listener, want_writable
from agenda cimport agenda_drop
from answering cimport begin_plan, schedule, send_piece
from handover cimport __ATOMIC_ACQ_REL, link_t, swap_int, take_all
from linux cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, POLLIN, PR_SET_TIMERSLACK, count,
    epoll_event, epoll_wait, monotonic_ns, pollfd, ppoll, prctl, read, timespec,
)
from plans cimport LISTENER_KEPT, conn_free, conn_t, plan_t, serving_t
from priority cimport ask_for_slice
from reporting cimport hand_over
from requests cimport readable
from stamps cimport clockmap_refresh


cdef enum:
    SENDS_PER_ROUND = 64
    EVENTS_PER_ROUND = 256
    SLICE_NS = 100_000
    SPIN_NS = 10_000
    NOTHING_DUE = 3_600_000_000_000     # an hour: what is to be done wakes us


cdef inline void take_orders(serving_t* s) noexcept nogil:
    """What Python posted: plans, a listener, the wish for the log, the end."""
    cdef uint64_t ignored
    cdef link_t* one
    cdef link_t* next
    cdef int listener
    read(s.inbox, &ignored, sizeof(ignored))
    listener = swap_int(&s.listener, LISTENER_KEPT, __ATOMIC_ACQ_REL)
    if listener != LISTENER_KEPT:
        change_listener(s, listener)
    one = take_all(&s.plans)
    while one != NULL:
        next = one.next
        begin_plan(s, <plan_t*> one)
        one = next
    if swap_int(&s.flush, 0, __ATOMIC_ACQ_REL):
        hand_over(s)
    s.over = swap_int(&s.stopping, 0, __ATOMIC_ACQ_REL)

cdef inline void look(serving_t* s) noexcept nogil:
    """Whatever the sockets have for us, without waiting."""
    cdef epoll_event events[EVENTS_PER_ROUND]
    cdef conn_t* conn
    cdef int ready = epoll_wait(s.ep, events, EVENTS_PER_ROUND, 0)
    cdef int i
    for i in range(ready):
        if events[i].data.ptr == NULL:
            accept_some(s)
            continue
        if events[i].data.ptr == <void*> &s.inbox:
            take_orders(s)
            continue
        conn = <conn_t*> events[i].data.ptr
        if not conn.dead and events[i].events & EPOLLOUT and conn.writable_wanted:
            want_writable(s, conn, False)
            if conn.plan != NULL:
                schedule(s, conn)
        if not conn.dead and events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            readable(s, conn)
    while s.dead != NULL:
        conn = s.dead
        s.dead = conn.next
        conn_free(conn)

cdef inline void sleep_for(serving_t* s, int64_t span_ns) noexcept nogil:
    cdef pollfd wait
    cdef timespec span
    wait.fd = s.ep
    wait.events = POLLIN
    span.tv_sec = span_ns // 1_000_000_000
    span.tv_nsec = span_ns % 1_000_000_000
    count(&s.stats.wakeups, 1)
    if ppoll(&wait, 1, &span, NULL) == 1:
        look(s)

cdef inline void* run_serving(void* arg) noexcept nogil:
    cdef serving_t* s = <serving_t*> arg
    cdef conn_t* conn
    cdef int64_t now
    cdef int64_t left
    cdef int sends = 0
    prctl(PR_SET_TIMERSLACK, 1)     # wake on time
    if not s.realtime:
        # Turns that are short and come soon (Linux 6.12 and later; others ignore it, or refuse, and
        # nothing is lost).
        ask_for_slice(SLICE_NS)
    clockmap_refresh(&s.clock)
    while not s.over:
        now = monotonic_ns()
        left = s.agenda.slots[0].at_ns - now if s.agenda.len else NOTHING_DUE
        if left <= 0 and sends < SENDS_PER_ROUND:
            sends += 1
            conn = <conn_t*> s.agenda.slots[0].what
            agenda_drop(&s.agenda, &conn.place)
            send_piece(s, conn, now)
            continue
        sends = 0
        if s.overfull and s.accept_again_ns <= now:
            wake_listener(s)
        if s.overfull and s.accept_again_ns - now < left:
            left = s.accept_again_ns - now
        if left < SPIN_NS:
            look(s)
        else:
            sleep_for(s, left)
    hand_over(s)
    return NULL
