# When calls start, and when they have taken too long. Header-only; part of the reactor's thread.
#
# A call waits in the agenda until it is due and then in its lane until there is room; once started,
# its entry in the agenda is its nearest deadline. Payloads move deadlines without saying so, and
# the entry is looked at again when it comes up.

from libc.stdint cimport int64_t

from agenda cimport agenda_drop, agenda_put, agenda_reserve
from calls cimport (
    CALL_BACKOFF, CALL_BODY, CALL_CONNECTING, CALL_DUE, CALL_QUEUED, CALL_WAITING, call_t, conn_t,
    explain, idle_drop, lane_drop, lane_push, lane_t, live_push, loop_t,
)
from connecting cimport begin_connect, deadline, try_connect
from ending cimport conn_close, give_up, lane_ready, seal
from linux cimport ENOMEM, count, monotonic_ns
from sending cimport begin_request
from store cimport (
    OUT_NOT_SENT, OUT_TIMEOUT_CONNECT, OUT_TIMEOUT_FIRST_BYTE, OUT_TIMEOUT_PAYLOAD,
    OUT_TIMEOUT_TOTAL,
)


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
        call.store.due_ns = max(lane.freed_ns, call.submitted_ns)
    if conn == NULL:
        begin_connect(loop, call, now)
    else:
        idle_drop(loop, conn)
        begin_request(loop, conn, call, now)

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
