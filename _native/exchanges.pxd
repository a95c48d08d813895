# The things that the tap's thread moves about: doors, pairs of connections, exchanges. Header-only.
#
# Life of a pair
#   It is an agent's connection (down) and the one to the server that goes with it (up). The latter is
#   opened when the agent connects, so that it stands when the request comes, and again if the server
#   closes it between two requests. A pair is freed after the round of events in which it ended.
#
# Life of an exchange
#   Made when a request's head is complete; over when the response is, or when a side is lost; sealed
#   when, besides, the agent has been handed everything. It is then Python's, which frees it.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free

from agenda cimport agenda_t
from buffers cimport buf_append, buf_free, buf_t
from calls cimport address_t
from frames cimport split_t
from handover cimport link_t
from histogram cimport histogram_t
from http_state cimport http_free, http_t
from stamps cimport clockmap_t
from store cimport store_free, store_t

cdef extern from "<string.h>" nogil:
    size_t strlen(const char* text)


cdef enum:
    END_INBOX = 0
    END_LISTENER = 1
    END_DOWN = 2
    END_UP = 3

    UP_NONE = 0
    UP_CONNECTING = 1
    UP_BACKOFF = 2         # the listener's backlog is full (Unix sockets): connect again in a while
    UP_READY = 3

    # What becomes of the agent's connection once everything is sent.
    ENDING_NONE = 0
    ENDING_CLOSE = 1
    ENDING_RESET = 2

    READ_SIZE = 262144
    HEAD_MAX = 65536
    BODY_MAX = 268435456
    HELD_MAX = 262144      # bytes that wait for one side before the other is not read any more
    FRAME_MAX = 67108864

# A socket that epoll knows.
ctypedef struct end_t:
    int kind
    int fd
    uint32_t mask          # what epoll is asked for; 0: it does not know the socket
    int64_t last_ns        # stamp of the last read
    uint64_t since         # round in which it was opened: events of that round are another's
    void* owner

ctypedef struct exchange_t:
    link_t link
    int door
    bint note              # no exchange: the door is closed
    store_t* store
    buf_t asked            # the request's head, as the agent sent it
    buf_t out              # the request as it is passed on; kept, for it may have to be sent again
    size_t out_head
    size_t out_sent
    buf_t body             # of a chunked request, decoded
    bint chunked
    bint asked_all
    bint keep              # the agent wants to keep its connection
    http_t asking
    int64_t request_ns
    bint by_kernel
    bint over              # nothing more will come from the server; outcome and err say why
    int outcome
    int err
    int64_t end_sent_ns

ctypedef struct pair_t:
    pair_t* next           # of the door
    pair_t* prev
    pair_t* next_dead
    void* door
    end_t down
    end_t up
    int up_state
    bint served            # `up` has answered before: may have been closed under us
    bint dead
    bint gone              # sending to the agent failed
    bint lingering         # our side is shut; what the agent still sends is read and forgotten
    int ending
    int first              # addresses: the one begun with, and how many were tried since
    int tried
    int64_t opened_ns      # when connecting began
    int64_t connected_ns
    buf_t input            # from the agent, not used yet
    size_t input_at
    size_t scanned         # of the input: no blank line before this
    int64_t input_ns       # stamp of the last read, and whether it is the kernel's
    bint input_by_kernel
    exchange_t* exchange
    http_t http            # the response
    split_t split
    uint64_t received      # bytes of the response
    uint64_t passed        # of them handed to the agent
    buf_t held             # the rest
    size_t held_at
    buf_t ends             # int64 each: where the chunks end that were not handed on yet
    size_t ends_at
    size_t unsent          # index of the first of these chunks
    int64_t first_send_ns
    int64_t before_ns      # right before the last send to the agent
    size_t place           # in the agenda

ctypedef struct door_t:
    link_t link            # on its way to the thread
    door_t* next
    int ident
    end_t listener
    bint closing
    int count
    int preferred
    address_t* addresses
    pair_t* pairs
    buf_t host             # what replaces the agent's Host
    buf_t prefix           # put before the agent's path
    buf_t label            # for messages, fit for a JSON string

# What Python asks of the thread, but for new doors.
ctypedef struct order_t:
    link_t link
    int door               # to be closed

ctypedef struct stats_t:
    uint64_t connections
    uint64_t requests
    uint64_t chunks
    uint64_t bytes
    uint64_t errors
    uint64_t reconnects
    uint64_t wakeups
    uint64_t clock_steps
    uint64_t kernel_stamps
    uint64_t user_stamps

ctypedef struct tap_t:
    int ep
    end_t inbox            # eventfds
    int outbox
    int hold               # keeps kernel stamps on
    bint timestamps
    bint realtime          # granted
    char* buffer
    door_t* doors
    pair_t* dead
    exchange_t* done       # sealed in this round, oldest first
    exchange_t* done_last
    agenda_t agenda
    uint64_t pairs
    uint64_t round
    bint overfull          # no descriptors left: not listening until a connection closes,
    int64_t accept_again_ns  # or until then
    clockmap_t clock
    stats_t stats
    histogram_t request_delay
    histogram_t chunk_delay
    # Between the thread and Python:
    link_t* opened         # piles; see handover.pxd
    link_t* orders
    link_t* results
    int stopping
    int nudge_ns           # for tests: see Tapper._nudge_clock


cdef inline void exchange_free(exchange_t* ex) noexcept nogil:
    if ex == NULL:
        return
    store_free(ex.store)
    buf_free(&ex.asked)
    buf_free(&ex.out)
    buf_free(&ex.body)
    http_free(&ex.asking)
    free(ex)

cdef inline void door_free(door_t* door) noexcept nogil:
    free(door.addresses)
    buf_free(&door.host)
    buf_free(&door.prefix)
    buf_free(&door.label)
    free(door)

cdef inline void explain(exchange_t* ex, const char* text) noexcept nogil:
    """Set the record's detail. Without memory it stays empty."""
    ex.store.detail.len = 0
    buf_append(&ex.store.detail, text, strlen(text))

cdef inline size_t waiting(pair_t* pair) noexcept nogil:
    """Bytes that the agent has not taken yet."""
    return pair.held.len - pair.held_at
