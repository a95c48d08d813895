# What the truth server's thread tells Python: events, and the log's rows. Header-only.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport malloc

from handover cimport put
from linux cimport count, write
from plans cimport ROWS_PER_BLOCK, block_t, conn_t, event_t, piece_t, row_t, serving_t


cdef inline void post_event(serving_t* s, event_t* event) noexcept nogil:
    cdef uint64_t one = 1
    if event != NULL and put(&s.events, &event.link):
        write(s.outbox, &one, sizeof(one))

cdef inline void hand_over(serving_t* s) noexcept nogil:
    """The log's block at hand goes to Python."""
    if s.block != NULL and s.block.count:
        put(&s.full, &s.block.link)
        s.block = NULL

cdef inline void note(serving_t* s, conn_t* conn, int64_t after_ns, int64_t size) noexcept nogil:
    cdef piece_t* piece = &conn.plan.pieces[conn.index]
    cdef row_t* row
    if s.block == NULL:
        s.block = <block_t*> malloc(sizeof(block_t))
        if s.block == NULL:
            count(&s.stats.lost_rows, 1)
            return
        s.block.count = 0
    row = &s.block.rows[s.block.count]
    s.block.count += 1
    row.serial = conn.serial
    row.due_ns = piece.due_ns
    row.before_ns = conn.before_ns
    row.after_ns = after_ns
    row.index = <uint32_t> conn.index
    row.size = <uint32_t> size
    row.kind = piece.kind
    row.tries = conn.tries
    if s.block.count == ROWS_PER_BLOCK:
        hand_over(s)
