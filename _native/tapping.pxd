# The tap's thread. Header-only.
#
# Strategy
#   run_tap waits in epoll; each round handles what is ready, then hands what was sealed to Python.
#   Nothing takes the GIL. What an event does is in the files that this one builds on:
#     exchanges.pxd   what there is: doors, pairs of connections, exchanges
#     parting.pxd     stamps on our clock; how exchanges and connections end
#     handing.pxd     from the server's bytes to the agent
#     asking.pxd      a request's head, read and written again
#     upstream.pxd    the side to the server
#     entering.pxd    the side to the agents
#   There are no pauses as in the reactor's loop: a byte that waits here would be late for the agent.

from libc.stdint cimport int64_t, uint64_t

from agenda cimport agenda_drop
from entering cimport accept_some, close_door, on_down, on_time, on_up
from exchanges cimport (
    END_DOWN, END_INBOX, END_LISTENER, door_t, end_t, exchange_t, order_t, pair_t, tap_t,
)
from handover cimport __ATOMIC_ACQ_REL, link_t, put, swap_int, take_all
from linux cimport (
    EPOLLIN, PR_SET_TIMERSLACK, count, epoll_event, epoll_wait, monotonic_ns, prctl, read, write,
)
from libc.stdlib cimport free
from parting cimport cancel, pair_free, refresh_clock, wake_listeners, watch
from priority cimport ask_for_slice


cdef enum:
    EVENTS_MAX = 256
    SLICE_NS = 100_000


cdef inline door_t* door_of(tap_t* t, int ident) noexcept nogil:
    cdef door_t* door = t.doors
    while door != NULL and door.ident != ident:
        door = door.next
    return door

cdef inline void take_orders(tap_t* t) noexcept nogil:
    """What Python asked for since. At the end of a round, for what is freed here may have been in
    its events."""
    cdef uint64_t ignored
    cdef link_t* one
    cdef link_t* next
    cdef door_t* door
    read(t.inbox.fd, &ignored, sizeof(ignored))
    t.clock.offset_ns += swap_int(&t.nudge_ns, 0, __ATOMIC_ACQ_REL)
    one = take_all(&t.opened)
    while one != NULL:
        next = one.next
        door = <door_t*> one
        door.next = t.doors
        t.doors = door
        if not t.overfull:
            watch(t, &door.listener, EPOLLIN)
        one = next
    one = take_all(&t.orders)
    while one != NULL:
        next = one.next
        door = door_of(t, (<order_t*> one).door)
        if door != NULL and not door.closing:
            close_door(t, door)
        free(one)
        one = next

cdef inline void hand_over(tap_t* t) noexcept nogil:
    """Pass what was sealed in this round to Python, and forget what was closed in it."""
    cdef uint64_t one = 1
    cdef bint wake = False
    cdef exchange_t* ex = t.done
    cdef exchange_t* following
    cdef pair_t* pair
    while ex != NULL:
        following = <exchange_t*> ex.link.next
        wake = put(&t.results, &ex.link) or wake
        ex = following
    t.done = NULL
    t.done_last = NULL
    while t.dead != NULL:
        pair = t.dead
        t.dead = pair.next_dead
        pair_free(pair)
    if wake:
        write(t.outbox, &one, sizeof(one))

cdef inline int patience_ms(tap_t* t, int64_t now) noexcept nogil:
    """Until the next thing that takes too long, rounded up; −1: there is none."""
    cdef int64_t at = 0
    if t.agenda.len:
        at = t.agenda.slots[0].at_ns
    if t.overfull and (at == 0 or t.accept_again_ns < at):
        at = t.accept_again_ns
    if at == 0:
        return -1
    return 0 if at <= now else <int> ((at - now + 999_999) // 1_000_000)

cdef inline void keep_time(tap_t* t) noexcept nogil:
    cdef pair_t* pair
    cdef int64_t now
    if t.agenda.len == 0 and not t.overfull:
        return
    now = monotonic_ns()
    while t.agenda.len and t.agenda.slots[0].at_ns <= now:
        pair = <pair_t*> t.agenda.slots[0].what
        agenda_drop(&t.agenda, &pair.place)
        on_time(t, pair, now)
    if t.overfull and t.accept_again_ns <= now:
        wake_listeners(t)

cdef inline void stop(tap_t* t) noexcept nogil:
    """Everything that is still there ends at once."""
    cdef door_t* door = t.doors
    cdef door_t* following
    cdef pair_t* pair
    cdef pair_t* next
    while door != NULL:
        following = door.next
        pair = door.pairs
        if not door.closing:
            close_door(t, door)
        else:
            while pair != NULL:
                next = pair.next
                cancel(t, pair, b"the tap was closed")
                pair = next
        door = following
    while t.doors != NULL:  # of those that still had something to pass on
        pair = t.doors.pairs
        cancel(t, pair, b"the tap was closed")
    hand_over(t)

cdef inline void* run_tap(void* arg) noexcept nogil:
    cdef tap_t* t = <tap_t*> arg
    cdef epoll_event events[EVENTS_MAX]
    cdef end_t* end
    cdef int64_t now
    cdef bint orders
    cdef int n
    cdef int i
    prctl(PR_SET_TIMERSLACK, 1)
    if not t.realtime:
        # Turns that are short and come soon (Linux 6.12 and later; others ignore it, or refuse).
        ask_for_slice(SLICE_NS)
    refresh_clock(t)
    while not swap_int(&t.stopping, 0, __ATOMIC_ACQ_REL):
        n = epoll_wait(t.ep, events, EVENTS_MAX, patience_ms(t, monotonic_ns()))
        now = monotonic_ns()
        t.round += 1
        orders = False
        count(&t.stats.wakeups, 1)
        for i in range(n):
            end = <end_t*> events[i].data.ptr
            if end.kind == END_INBOX:
                orders = True
            elif end.fd < 0 or end.since == t.round:
                continue  # closed earlier in this round
            elif end.kind == END_LISTENER:
                accept_some(t, <door_t*> end.owner)
            elif end.kind == END_DOWN:
                on_down(t, <pair_t*> end.owner, events[i].events)
            else:
                on_up(t, <pair_t*> end.owner, events[i].events, now)
        keep_time(t)
        if orders:
            take_orders(t)
        hand_over(t)
    stop(t)
    return NULL
