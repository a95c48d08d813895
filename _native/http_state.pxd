# What is known of an HTTP/1.1 response between two reads. Header-only; see http.pxd.

from libc.stdint cimport uint64_t

from buffers cimport buf_free, buf_init, buf_t
from wire cimport MODE_WHOLE, WIRE_OK


cdef enum http_phase:
    HTTP_HEAD = 0        # status line and headers, gathered until the blank line
    HTTP_LENGTH = 1      # body with Content-Length
    HTTP_CHUNK_SIZE = 2  # chunked: the size line
    HTTP_CHUNK_DATA = 3
    HTTP_CHUNK_END = 4   # the CRLF after the data
    HTTP_TRAILER = 5
    HTTP_CLOSE = 6       # body until the peer closes
    HTTP_DONE = 7
    HTTP_ERROR = 8

cdef enum http_part:     # where in a size line, a chunk's end or a trailer
    PART_START = 0
    PART_SPACE = 1       # after the digits: nothing but the line end may follow
    PART_EXTENSION = 2
    PART_NAME = 3
    PART_VALUE = 4
    PART_CR = 5          # LF must follow
    PART_LAST_CR = 6     # LF must follow, and ends the trailer

ctypedef struct http_t:
    int phase
    int error
    int status             # 0 until the final head is complete
    bint head_request      # the response to HEAD has no body
    bint keep_alive
    int mode               # MODE_* by Content-Type
    uint64_t remaining     # of the body, or of the current chunk
    size_t head_limit      # for the head, and once more for the trailer
    int part
    int digits             # of the chunk size so far
    size_t line            # bytes of the current head or size line, or of the whole trailer
    buf_t head             # the head, byte for byte

cdef inline void http_init(http_t* h, bint head_request, size_t head_limit) noexcept nogil:
    h.phase = HTTP_HEAD
    h.error = WIRE_OK
    h.status = 0
    h.head_request = head_request
    h.keep_alive = False
    h.mode = MODE_WHOLE
    h.remaining = 0
    h.head_limit = head_limit
    h.part = PART_START
    h.digits = 0
    h.line = 0
    buf_init(&h.head)

cdef inline void http_free(http_t* h) noexcept nogil:
    buf_free(&h.head)

cdef inline int http_fail(http_t* h, int error) noexcept nogil:
    if h.phase == HTTP_HEAD:
        h.status = 0
    h.phase = HTTP_ERROR
    h.error = error
    h.keep_alive = False
    return error

cdef inline void http_enter(http_t* h, int phase) noexcept nogil:
    h.phase = phase
    h.part = PART_START
    h.line = 0
    if phase == HTTP_CHUNK_SIZE:
        h.remaining = 0
        h.digits = 0
