# The things that the reactor moves about: calls, lanes, origins, connections. Header-only.
#
# Life of a call
#   NEW → (DUE) → QUEUED → CONNECTING ⇄ BACKOFF → WAITING → BODY → SEALED
# It is made by submit() with everything it will need, and belongs to the reactor thread until it
# is SEALED; drain() then takes its store and sends the husk back to be freed by the thread, which
# might still find it in a list of cancellations.
#
# Life of a connection: CONNECTING → BUSY ⇄ IDLE (in its origin's pool, last in first out) → closed
# (fd −1), and freed when the round of events in which it was closed is over.

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strlen

from agenda cimport agenda_t, nowhere
from buffers cimport buf_append
from frames cimport split_t
from http_state cimport http_t
from linux cimport pthread_mutex_t, socklen_t
from stamps cimport clockmap_t
from store cimport store_free, store_t


cdef enum call_state:
    CALL_NEW = 0
    CALL_DUE = 1           # in the agenda until its due time
    CALL_QUEUED = 2        # in its lane
    CALL_CONNECTING = 3
    CALL_BACKOFF = 4       # the listener's backlog is full (Unix sockets): connect again in a while
    CALL_WAITING = 5       # being sent, or sent: no body yet
    CALL_BODY = 6
    CALL_SEALED = 7

cdef enum conn_state:
    CONN_CONNECTING = 0
    CONN_BUSY = 1
    CONN_IDLE = 2

ctypedef struct call_t
ctypedef struct conn_t

ctypedef struct address_t:
    int family
    socklen_t len
    char bytes[128]        # struct sockaddr_storage

ctypedef struct lane_t:
    uint64_t limit         # 0: none
    uint64_t in_flight
    int64_t freed_ns       # when a slot last became free
    call_t* head           # waiting, first come first served
    call_t* tail
    bint ready             # in the list of lanes that may have room
    lane_t* next_ready

ctypedef struct origin_t:
    int count
    int preferred          # the address that worked last
    conn_t* idle           # most recently used first
    address_t* addresses

ctypedef struct call_t:
    uint64_t ident
    uint64_t order         # of submission
    origin_t* origin
    lane_t* lane
    int framing            # FRAMING_AUTO or MODE_*
    int state
    char* request
    size_t request_len
    int64_t due_ns         # 0: as soon as possible
    int64_t submitted_ns
    int64_t started_ns     # left its lane
    int64_t phase_ns       # began to wait for what it waits for now; moves with every payload
    int64_t attempt_ns     # when this connection attempt is given up for the next address
    int64_t connect_timeout_ns
    int64_t first_byte_timeout_ns
    int64_t payload_timeout_ns
    int64_t total_timeout_ns
    int first              # the origin's preferred address when connecting began; others may
    int address            # change that meanwhile. Being tried, counted from the first one
    bint fresh             # must not use a pooled connection (again)
    bint cancelled         # in the list of cancellations
    store_t* store
    conn_t* conn
    size_t place           # in the agenda
    call_t* next           # in whichever list its state says
    call_t* prev
    call_t* next_cancelled
    call_t* next_live      # every call from submission to sealing
    call_t* prev_live

ctypedef struct conn_t:
    int fd
    int state
    bint served            # has answered an earlier call: may have been closed under us
    bint want_out          # waits for room to send
    bint streaming         # counted in loop_t.streams
    origin_t* origin
    int address
    call_t* call
    http_t http
    split_t split
    size_t sent
    uint64_t received      # bytes, on this call
    int64_t first_send_ns  # of this call
    int64_t last_ns        # stamp of the last read
    conn_t* next           # all connections; or the closed ones
    conn_t* prev
    conn_t* next_idle
    conn_t* prev_idle

ctypedef struct stats_t:
    uint64_t reads
    uint64_t chunks
    uint64_t merged_chunks
    uint64_t bytes
    uint64_t wakeups
    uint64_t pauses
    uint64_t connections
    uint64_t reconnects
    uint64_t clock_steps
    uint64_t kernel_stamps
    uint64_t user_stamps
    uint64_t in_flight
    uint64_t queued

ctypedef struct loop_t:
    # Set once
    int ep
    int timer
    int inbox              # eventfd: there are commands
    int outbox             # eventfd: there are sealed calls
    int hold               # keeps the kernel stamping
    bint timestamps
    int64_t batch_window_ns
    size_t read_size
    size_t frame_limit
    size_t idle_max
    uint64_t connections_max   # 0: as many as the system allows
    char* buffer
    # Under the lock
    pthread_mutex_t lock
    call_t* submitted
    call_t* submitted_last
    call_t* cancels
    call_t* husks
    call_t* sealed
    call_t* sealed_last
    int64_t clock_nudge_ns
    bint stopping
    # The thread's own
    agenda_t agenda
    call_t* live
    uint64_t live_count
    call_t* done           # sealed in this round, not handed over yet
    call_t* done_last
    lane_t* ready
    conn_t* conns
    conn_t* closed
    size_t idle_count
    int64_t timer_ns       # what the timer is set to; 0: unset
    clockmap_t clock
    uint64_t connecting    # connections under way
    uint64_t streams       # connections in the middle of an event stream
    int64_t gap_ns         # low estimate of the time between two reads of one stream
    int64_t merged_ppm     # moving share of reads with more than one chunk
    int64_t user_stamp_ns  # when a stamp was last missing
    stats_t stats


cdef inline call_t* call_new() noexcept nogil:
    cdef call_t* call = <call_t*> calloc(1, sizeof(call_t))
    if call != NULL:
        call.place = nowhere()
    return call

cdef inline void call_free(call_t* call) noexcept nogil:
    if call == NULL:
        return
    free(call.request)
    store_free(call.store)
    free(call)

cdef inline void lane_push(lane_t* lane, call_t* call) noexcept nogil:
    call.next = NULL
    call.prev = lane.tail
    if lane.tail != NULL:
        lane.tail.next = call
    else:
        lane.head = call
    lane.tail = call

cdef inline void lane_drop(lane_t* lane, call_t* call) noexcept nogil:
    if call.prev != NULL:
        call.prev.next = call.next
    else:
        lane.head = call.next
    if call.next != NULL:
        call.next.prev = call.prev
    else:
        lane.tail = call.prev
    call.next = NULL
    call.prev = NULL

cdef inline void live_push(loop_t* loop, call_t* call) noexcept nogil:
    call.prev_live = NULL
    call.next_live = loop.live
    if loop.live != NULL:
        loop.live.prev_live = call
    loop.live = call
    loop.live_count += 1

cdef inline void live_drop(loop_t* loop, call_t* call) noexcept nogil:
    if call.prev_live != NULL:
        call.prev_live.next_live = call.next_live
    else:
        loop.live = call.next_live
    if call.next_live != NULL:
        call.next_live.prev_live = call.prev_live
    loop.live_count -= 1

cdef inline void idle_push(loop_t* loop, conn_t* conn) noexcept nogil:
    cdef origin_t* origin = conn.origin
    conn.state = CONN_IDLE
    conn.prev_idle = NULL
    conn.next_idle = origin.idle
    if origin.idle != NULL:
        origin.idle.prev_idle = conn
    origin.idle = conn
    loop.idle_count += 1

cdef inline void idle_drop(loop_t* loop, conn_t* conn) noexcept nogil:
    if conn.prev_idle != NULL:
        conn.prev_idle.next_idle = conn.next_idle
    else:
        conn.origin.idle = conn.next_idle
    if conn.next_idle != NULL:
        conn.next_idle.prev_idle = conn.prev_idle
    conn.prev_idle = NULL
    conn.next_idle = NULL
    loop.idle_count -= 1

cdef inline void conn_link(loop_t* loop, conn_t* conn) noexcept nogil:
    conn.prev = NULL
    conn.next = loop.conns
    if loop.conns != NULL:
        loop.conns.prev = conn
    loop.conns = conn

cdef inline void conn_unlink(loop_t* loop, conn_t* conn) noexcept nogil:
    if conn.prev != NULL:
        conn.prev.next = conn.next
    else:
        loop.conns = conn.next
    if conn.next != NULL:
        conn.next.prev = conn.prev

cdef inline void explain(call_t* call, const char* text) noexcept nogil:
    """Set the record's detail. Without memory it stays empty."""
    call.store.detail.len = 0
    buf_append(&call.store.detail, text, strlen(text))
