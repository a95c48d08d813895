# An HTTP/1.1 response, bytes off the socket → body bytes: http_feed and http_eof. Header-only.
#
# At least as strict as h11, for a lenient reader next to a strict one is how responses get
# smuggled. Stricter: no folded headers, no control characters, status 100 to 599, no 101, sizes of
# at most 15 hexadecimal digits, identical Content-Length values only. Of Transfer-Encoding and
# Content-Length together the first wins, as RFC 9112 (6.3) wants, and the connection is not used
# again. Lines of the head and of the trailer may end in a bare LF; those of the chunked coding may
# not. Kinder in two things: HTTP/1.0 with `Connection: keep-alive` is kept alive, and trailer
# fields are checked for form but dropped unread, so that a bad Content-Length there does no harm.

from libc.stdint cimport uint64_t

from characters cimport hex_digit, is_ows, is_text, is_token
from http_head cimport http_feed_head
from http_state cimport (
    HTTP_CHUNK_DATA, HTTP_CHUNK_END, HTTP_CHUNK_SIZE, HTTP_CLOSE, HTTP_DONE, HTTP_HEAD,
    HTTP_LENGTH, HTTP_TRAILER, PART_CR, PART_EXTENSION, PART_LAST_CR, PART_NAME,
    PART_SPACE, PART_START, PART_VALUE, http_enter, http_fail, http_t,
)
from wire cimport WIRE_E_CHUNK, WIRE_E_HEAD_LIMIT, WIRE_OK


cdef enum:
    SIZE_LINE_LIMIT = 4096
    SIZE_DIGITS_LIMIT = 15

cdef inline int http_feed_size(http_t* h, char c) noexcept nogil:
    """One byte of a size line: digits, then space or an extension, then CR LF."""
    cdef int digit
    h.line += 1
    if h.line > SIZE_LINE_LIMIT:
        return http_fail(h, WIRE_E_CHUNK)
    if h.part == PART_CR:
        if c != 10:
            return http_fail(h, WIRE_E_CHUNK)
        http_enter(h, HTTP_CHUNK_DATA if h.remaining else HTTP_TRAILER)
        return WIRE_OK
    if c == 13 and h.digits:
        h.part = PART_CR
    elif h.part == PART_EXTENSION:
        if not is_text(c):
            return http_fail(h, WIRE_E_CHUNK)
    elif h.part == PART_SPACE:
        if not is_ows(c):
            return http_fail(h, WIRE_E_CHUNK)
    elif h.digits and is_ows(c):
        h.part = PART_SPACE
    elif h.digits and c == 59:
        h.part = PART_EXTENSION
    else:
        digit = hex_digit(c)
        h.digits += 1
        if digit < 0 or h.digits > SIZE_DIGITS_LIMIT:
            return http_fail(h, WIRE_E_CHUNK)
        h.remaining = h.remaining * 16 + <uint64_t> digit
    return WIRE_OK

cdef inline int http_feed_chunk_end(http_t* h, char c) noexcept nogil:
    if c != (13 if h.part == PART_START else 10):
        return http_fail(h, WIRE_E_CHUNK)
    if h.part == PART_CR:
        http_enter(h, HTTP_CHUNK_SIZE)
    else:
        h.part = PART_CR
    return WIRE_OK

cdef inline int http_feed_trailer(http_t* h, char c) noexcept nogil:
    """One byte of the trailer: fields, which are checked and dropped, then a blank line."""
    h.line += 1
    if h.line > h.head_limit:
        return http_fail(h, WIRE_E_HEAD_LIMIT)
    if c == 10 and (h.part == PART_START or h.part == PART_LAST_CR):
        http_enter(h, HTTP_DONE)
    elif c == 10 and (h.part == PART_VALUE or h.part == PART_CR):
        h.part = PART_START
    elif c == 13 and h.part == PART_START:
        h.part = PART_LAST_CR
    elif c == 13 and h.part == PART_VALUE:
        h.part = PART_CR
    elif h.part == PART_VALUE and is_text(c):
        pass
    elif (h.part == PART_START or h.part == PART_NAME) and is_token(c):
        h.part = PART_NAME
    elif h.part == PART_NAME and c == 58:
        h.part = PART_VALUE
    else:
        return http_fail(h, WIRE_E_CHUNK)
    return WIRE_OK

cdef inline size_t http_feed(
    http_t* h, const char* p, size_t n, const char** body, size_t* body_len
) noexcept nogil:
    """Consume a prefix of p[0:n]; returns its length.

    At most one span of body bytes is handed out per call, in *body and *body_len (0: none). Call
    again with the rest until all is used or the phase is HTTP_DONE or HTTP_ERROR. An error past the
    head is that of the last byte counted.
    """
    cdef size_t i = 0
    body[0] = NULL
    body_len[0] = 0
    while i < n:
        if h.phase == HTTP_CHUNK_DATA or h.phase == HTTP_LENGTH:
            body[0] = p + i
            body_len[0] = n - i if n - i < h.remaining else <size_t> h.remaining
            h.remaining -= body_len[0]
            if h.remaining == 0:
                http_enter(h, HTTP_DONE if h.phase == HTTP_LENGTH else HTTP_CHUNK_END)
            return i + body_len[0]
        elif h.phase == HTTP_CHUNK_SIZE:
            http_feed_size(h, p[i])
            i += 1
        elif h.phase == HTTP_CHUNK_END:
            http_feed_chunk_end(h, p[i])
            i += 1
        elif h.phase == HTTP_TRAILER:
            http_feed_trailer(h, p[i])
            i += 1
        elif h.phase == HTTP_HEAD:
            i += http_feed_head(h, p + i, n - i)
            if h.phase != HTTP_HEAD:
                return i
        elif h.phase == HTTP_CLOSE:
            body[0] = p + i
            body_len[0] = n - i
            return n
        else:
            return i
    return i

cdef inline bint http_eof(http_t* h) noexcept nogil:
    """The peer closed: whether the response is whole."""
    if h.phase == HTTP_CLOSE:
        h.phase = HTTP_DONE
    return h.phase == HTTP_DONE
