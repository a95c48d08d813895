# Incremental framing of HTTP/1.1 responses, SSE and NDJSON: the strategy, and what the parts share.
#
# Strategy
#   Every state machine is a plain struct plus inline functions over (pointer, length). None of them
#   does I/O, raises, or takes the GIL; framing.pyx gives them a Python face, reactor.pyx runs them
#   in its thread. A function consumes some prefix of what it is given and says how much; the caller
#   loops. Bytes are copied only into the frame being built and no search runs past the line it is
#   for, so the cost is linear whatever the split.
#
# Parts, all header-only
#   http.pxd         http_feed, http_eof: bytes off the socket → body bytes
#   http_head.pxd      from the status line to the blank line
#   http_state.pxd     what is known between two reads: http_init, http_free
#   frames.pxd       split_init, split_feed, split_eof, split_free: body bytes → frames
#   characters.pxd   the classes of bytes that the grammar is made of
#   buffers.pxd      the only memory there is
#
# Errors
#   Out of memory, a limit, and what the grammar does not know end in one of the codes below, after
#   which the machine stays in error.
#
# Splitting is on bytes only. U+2028, U+0085 and other Unicode line ends are text here. `char` is
# signed on some machines and not on others: bytes above 127 are compared through unsigned char.

cdef enum:
    WIRE_OK = 0
    WIRE_E_MEMORY = 1
    WIRE_E_HEAD_LIMIT = 2
    WIRE_E_STATUS_LINE = 3
    WIRE_E_HEADER = 4
    WIRE_E_CHUNK = 5
    WIRE_E_FRAME_LIMIT = 6

cdef enum:
    MODE_WHOLE = 0
    MODE_SSE = 1
    MODE_NDJSON = 2

cdef inline const char* wire_error_text(int error) noexcept nogil:
    if error == WIRE_E_MEMORY:
        return b"out of memory"
    if error == WIRE_E_HEAD_LIMIT:
        return b"response head over its size limit"
    if error == WIRE_E_STATUS_LINE:
        return b"not an HTTP/1.x status line, or a status that was not asked for"
    if error == WIRE_E_HEADER:
        return b"malformed, contradictory or unsupported response header"
    if error == WIRE_E_CHUNK:
        return b"malformed chunked body"
    if error == WIRE_E_FRAME_LIMIT:
        return b"line or frame over its size limit"
    return b""
