# What the truth server's thread and its Python face hand each other. Header-only.
#
# A plan is a whole response, made before it is due: bytes cut into pieces, an absolute instant for
# each, and what becomes of the connection afterwards. So nothing is decided while sending. A plan may
# be revised by another for the same answer, which takes its place for the pieces not begun. Requests
# and ends of plans come back as events; every piece that was sent leaves a row in the log.
#
# Who owns what: a posted plan belongs to the thread, a posted event to whoever drains it. Both are
# one malloc each, header and bytes together.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from agenda cimport agenda_t
from handover cimport link_t
from stamps cimport clockmap_t


cdef enum:
    # Endings: what happens to the connection when the last piece is sent.
    ENDING_KEEP = 0
    ENDING_CLOSE = 1
    ENDING_RESET = 2       # RST instead of FIN
    ENDING_HOLD = 3        # nothing more, until the client goes away

    # Events.
    EVENT_REQUEST = 0
    EVENT_FINISHED = 1     # every piece sent and the ending carried out (held: begun)
    EVENT_GONE = 2         # the client went away before that

    LISTENER_KEPT = -2

    ROWS_PER_BLOCK = 512
    HEAD_MAX = 65536
    BODY_MAX = 268435456

ctypedef struct piece_t:
    int64_t due_ns
    int64_t end            # offset behind its last byte; as the one before: nothing is sent
    uint32_t kind

ctypedef struct plan_t:
    link_t link
    uint64_t conn
    int64_t serial
    int64_t count
    int ending
    bint revises           # what is left of the plan under way
    piece_t* pieces        # both in the same allocation, behind the header
    char* data

ctypedef struct event_t:
    link_t link
    int what
    uint64_t conn
    int64_t serial
    int64_t at_ns
    int64_t kernel_ns      # receive stamp of the read that completed the request; 0: none
    size_t head_len
    size_t len
    char* data             # head and body; behind the header

# One row of the log; docs/sim.md describes it for readers.
ctypedef struct row_t:
    int64_t serial
    int64_t due_ns
    int64_t before_ns
    int64_t after_ns
    uint32_t index
    uint32_t size
    uint32_t kind
    uint32_t tries         # calls of send(): more than one means that the client read too slowly

ctypedef struct block_t:
    link_t link
    size_t count
    row_t rows[ROWS_PER_BLOCK]

cdef struct conn_s:
    conn_s* next           # of those that are to be freed
    int fd
    uint64_t ident         # generation << 32 | fd: a plan for a connection of the past finds none
    char* input
    size_t input_len
    size_t input_cap
    size_t head_len        # of the request at the front; 0: not complete yet
    size_t need            # head and body
    int64_t serial         # of the request being answered; 0: none
    bint ending            # the client said that it sends no more
    bint writable_wanted
    bint dead
    plan_t* plan
    plan_t* revision       # to be adopted when the piece at hand, begun, is out
    int64_t index
    int64_t sent           # of the data
    int64_t before_ns      # first try to send the piece at hand; 0: not tried
    uint32_t tries
    size_t place
ctypedef conn_s conn_t

ctypedef struct stats_t:
    uint64_t connections
    uint64_t requests
    uint64_t pieces
    uint64_t bytes
    uint64_t blocked       # pieces that a slow client held up
    uint64_t wakeups
    uint64_t lost_rows     # no memory for the log; the sends went on

ctypedef struct serving_t:
    int ep
    int inbox              # eventfds
    int outbox
    int hold               # keeps kernel stamps on
    bint realtime          # granted; set before the thread starts
    bint over              # the thread's own: it has been told to stop
    conn_t** conns         # by descriptor
    size_t conns_cap
    conn_t* dead           # freed after the round: events of the same round may point to them
    uint64_t generation
    int64_t serials
    agenda_t agenda
    uint64_t order
    clockmap_t clock
    stats_t stats
    block_t* block         # being filled; the thread's own
    char* buffer
    int listening          # the listener in use
    bint overfull          # no descriptors left: not listening until a connection closes,
    int64_t accept_again_ns  # or until then
    # Between the thread and Python:
    link_t* plans          # piles; see handover.pxd
    link_t* events
    link_t* full           # blocks of the log
    int stopping
    int flush              # hand the block over although it is not full
    int listener           # to be listened on from now on; -1: none; LISTENER_KEPT: as it is

cdef inline plan_t* plan_new(int64_t count, size_t len) noexcept nogil:
    cdef plan_t* plan = <plan_t*> malloc(sizeof(plan_t) + count * sizeof(piece_t) + len)
    if plan != NULL:
        plan.count = count
        plan.revises = False
        plan.pieces = <piece_t*> (plan + 1)
        plan.data = <char*> (plan.pieces + count)
    return plan

cdef inline event_t* event_new(int what, conn_t* conn, int64_t at_ns, size_t len) noexcept nogil:
    cdef event_t* event = <event_t*> malloc(sizeof(event_t) + len)
    if event != NULL:
        event.what = what
        event.conn = conn.ident
        event.serial = conn.serial
        event.at_ns = at_ns
        event.kernel_ns = 0
        event.head_len = 0
        event.len = len
        event.data = <char*> (event + 1)
    return event

cdef inline void conn_free(conn_t* conn) noexcept nogil:
    free(conn.plan)
    free(conn.revision)
    free(conn.input)
    free(conn)
