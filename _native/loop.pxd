# The reactor's thread. Header-only.
#
# Strategy
#   run_loop waits in epoll; each round handles what is ready, then hands the calls that ended to
#   Python and goes back to wait. Nothing takes the GIL, and nothing is decoded. What an event does
#   is in the files that this one builds on, in this order:
#     calls.pxd       what there is: calls, lanes, origins, connections
#     ending.pxd      how calls and connections end
#     connecting.pxd  getting a connection, and how long to wait for what
#     receiving.pxd   from recvmsg to stamped chunks
#     sending.pxd     from a connection to a request on the wire
#     starting.pxd    when calls start: due instants, lanes, deadlines
#
# Pauses
#   Because the kernel holds the arrival times, the thread may sleep between rounds while many
#   streams run, and find several sockets ready when it wakes: fewer wake-ups, same stamps.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free

from agenda cimport agenda_free
from calls cimport (
    CALL_SEALED, CONN_BUSY, CONN_CONNECTING, CONN_IDLE, call_free, call_t, conn_t, loop_t,
)
from ending cimport conn_close, give_up, refresh_clock
from linux cimport (
    EPOLLOUT, POLLIN, PR_SET_TIMERSLACK, TFD_TIMER_ABSTIME, count, epoll_event, epoll_wait,
    itimerspec, monotonic_ns, pollfd, ppoll, prctl, pthread_mutex_lock, pthread_mutex_unlock, read,
    timerfd_settime, timespec, write,
)
from receiving cimport conn_read
from sending cimport conn_send, on_connected
from starting cimport accept_call, serve_agenda, serve_lanes
from store cimport OUT_CANCELLED, OUT_NOT_SENT


cdef enum:
    EVENTS_MAX = 256
    # Pauses. A sixteenth of the gap between reads: a chunk must come 94 % too early to be merged.
    # Under PAUSE_MIN the system call costs more than the wake-ups it saves.
    PAUSE_STREAMS_MIN = 8
    PAUSE_GAP_SHIFT = 4
    PAUSE_MIN_NS = 50_000
    PAUSE_MERGED_PPM_MAX = 50_000
    USER_STAMP_AGE_NS = 1_000_000_000


cdef inline void conn_event(
    loop_t* loop, conn_t* conn, uint32_t events, int64_t now
) noexcept nogil:
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

cdef inline void pause(loop_t* loop, int64_t now) noexcept nogil:
    """Sleep a little, so that the next round finds several sockets ready; commands end the sleep.

    Only while many streams run, all with kernel stamps; far shorter than the gap between reads;
    never past the next due instant or deadline; not while a connection is being made, whose request
    waits for us; and not at all once reads begin to merge chunks.
    """
    cdef int64_t window = loop.gap_ns >> PAUSE_GAP_SHIFT
    cdef pollfd wait
    cdef timespec span
    if loop.streams < PAUSE_STREAMS_MIN or loop.connecting:
        return
    if loop.merged_ppm > PAUSE_MERGED_PPM_MAX:
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
    """Wake for the next entry of the agenda. Waking early is harmless, so it is never put off."""
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
