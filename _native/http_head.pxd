# The head of an HTTP/1.1 response: gathered until its blank line, then read at once. Header-only.
#
# http_feed_head looks for the blank line only; http_parse_head reads the lines, checks them, and
# chooses how the body is framed. The rules, and where they differ from h11's, are in http.pxd.

from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp

from buffers cimport buf_append
from characters cimport all_text, equals_nocase, has_token, is_digit, is_ows, is_token
from http_state cimport (
    HTTP_CHUNK_SIZE, HTTP_CLOSE, HTTP_DONE, HTTP_LENGTH, http_enter, http_fail, http_t,
)
from wire cimport (
    MODE_NDJSON, MODE_SSE, MODE_WHOLE, WIRE_E_HEADER, WIRE_E_HEAD_LIMIT, WIRE_E_MEMORY,
    WIRE_E_STATUS_LINE, WIRE_OK,
)


ctypedef struct fields_t:  # what the header lines say about the body
    int minor
    bint chunked
    bint close
    bint keep
    uint64_t length
    const char* length_text  # NULL: no Content-Length
    size_t length_size

cdef inline int http_status_line(http_t* h, fields_t* f, const char* p, size_t n) noexcept nogil:
    """"HTTP/1.1 200 OK": the reason phrase, and the space before it, may be missing."""
    if n < 12 or memcmp(p, b"HTTP/1.", 7) != 0 or not is_digit(p[7]) or p[8] != 32:
        return http_fail(h, WIRE_E_STATUS_LINE)
    if not (49 <= p[9] <= 53 and is_digit(p[10]) and is_digit(p[11])):
        return http_fail(h, WIRE_E_STATUS_LINE)
    if n > 12 and (p[12] != 32 or not all_text(p + 12, n - 12)):
        return http_fail(h, WIRE_E_STATUS_LINE)
    f.minor = p[7] - 48
    h.status = (p[9] - 48) * 100 + (p[10] - 48) * 10 + (p[11] - 48)
    return WIRE_OK

cdef inline int http_content_length(fields_t* f, const char* p, size_t n) noexcept nogil:
    cdef size_t i
    cdef uint64_t value = 0
    if n == 0 or n > 18:
        return WIRE_E_HEADER
    for i in range(n):
        if not is_digit(p[i]):
            return WIRE_E_HEADER
        value = value * 10 + <uint64_t> (p[i] - 48)
    if f.length_text != NULL and (f.length_size != n or memcmp(f.length_text, p, n) != 0):
        return WIRE_E_HEADER
    f.length_text = p
    f.length_size = n
    f.length = value
    return WIRE_OK

cdef inline int http_media_mode(const char* p, size_t n) noexcept nogil:
    cdef size_t end = 0
    while end < n and p[end] != 59 and not is_ows(p[end]):
        end += 1
    if equals_nocase(p, end, b"text/event-stream", 17):
        return MODE_SSE
    if (
        equals_nocase(p, end, b"application/x-ndjson", 20)
        or equals_nocase(p, end, b"application/ndjson", 18)
        or equals_nocase(p, end, b"application/jsonl", 17)
    ):
        return MODE_NDJSON
    return MODE_WHOLE

cdef inline int http_field(http_t* h, fields_t* f, const char* p, size_t n) noexcept nogil:
    """One header line without its end, n > 0."""
    cdef size_t name = 0
    cdef size_t a
    cdef size_t b = n
    while name < n and is_token(p[name]):
        name += 1
    # Also refuses folded lines, and space before the colon.
    if name == 0 or name == n or p[name] != 58 or not all_text(p + name, n - name):
        return http_fail(h, WIRE_E_HEADER)
    a = name + 1
    while a < b and is_ows(p[a]):
        a += 1
    while b > a and is_ows(p[b - 1]):
        b -= 1
    if equals_nocase(p, name, b"content-length", 14):
        if http_content_length(f, p + a, b - a):
            return http_fail(h, WIRE_E_HEADER)
    elif equals_nocase(p, name, b"transfer-encoding", 17):
        # Once, and exactly "chunked": we asked for no other coding.
        if f.chunked or not equals_nocase(p + a, b - a, b"chunked", 7):
            return http_fail(h, WIRE_E_HEADER)
        f.chunked = True
    elif equals_nocase(p, name, b"connection", 10):
        f.close = f.close or has_token(p + a, b - a, b"close", 5)
        f.keep = f.keep or has_token(p + a, b - a, b"keep-alive", 10)
    elif equals_nocase(p, name, b"content-type", 12):
        h.mode = http_media_mode(p + a, b - a)
    return WIRE_OK

cdef inline int http_choose_body(http_t* h, fields_t* f) noexcept nogil:
    if h.status == 101:
        return http_fail(h, WIRE_E_STATUS_LINE)  # we never ask to switch protocols
    if h.status < 200:
        # Interim response: forget it and read the next head.
        h.head.len = 0
        h.status = 0
        h.mode = MODE_WHOLE
        h.line = 0
        return WIRE_OK
    h.keep_alive = not f.close and (f.minor >= 1 or f.keep)
    if f.chunked and (f.minor == 0 or f.length_text != NULL):
        h.keep_alive = False
    if h.head_request or h.status == 204 or h.status == 304:
        http_enter(h, HTTP_DONE)
    elif f.chunked:
        http_enter(h, HTTP_CHUNK_SIZE)
    elif f.length_text != NULL:
        h.remaining = f.length
        http_enter(h, HTTP_LENGTH if f.length else HTTP_DONE)
    else:
        h.keep_alive = False
        http_enter(h, HTTP_CLOSE)
    return WIRE_OK

cdef inline int http_parse_head(http_t* h) noexcept nogil:
    """Read the gathered head (which ends in a blank line) and choose the body's framing."""
    cdef const char* p = h.head.data
    cdef size_t n = h.head.len
    cdef size_t i = 0
    cdef size_t next_line
    cdef size_t size
    cdef fields_t f
    f.minor = 0
    f.chunked = f.close = f.keep = False
    f.length = 0
    f.length_text = NULL
    f.length_size = 0
    while True:
        next_line = <size_t> (<const char*> memchr(p + i, 10, n - i) - p) + 1
        size = next_line - i - 1
        if size and p[i + size - 1] == 13:
            size -= 1
        if i == 0:
            if http_status_line(h, &f, p, size):
                return h.error
        elif size == 0:
            return http_choose_body(h, &f)
        elif http_field(h, &f, p + i, size):
            return h.error
        i = next_line

cdef inline size_t http_feed_head(http_t* h, const char* p, size_t n) noexcept nogil:
    """Gather the head; returns the bytes used, up to and with the blank line."""
    cdef size_t before = h.head.len
    cdef size_t take = h.head_limit - before
    cdef size_t i = 0
    cdef size_t end
    cdef bint blank = False
    cdef const char* hit
    cdef char last
    if take > n:
        take = n
    while i < take:
        hit = <const char*> memchr(p + i, 10, take - i)
        end = <size_t> (hit - p) if hit != NULL else take
        h.line += end - i
        if hit == NULL:
            break
        if h.line == 1:
            last = p[end - 1] if end > i else h.head.data[before - 1]
            blank = last == 13
        if h.line == 0 or blank:
            blank = True
            take = end + 1
            break
        h.line = 0
        i = end + 1
    if buf_append(&h.head, p, take):
        http_fail(h, WIRE_E_MEMORY)
        return 0
    # A server that speaks something else is told from a slow one by its first bytes.
    if take and before < 7 and memcmp(
        h.head.data, b"HTTP/1.", 7 if h.head.len > 7 else h.head.len
    ) != 0:
        http_fail(h, WIRE_E_STATUS_LINE)
    elif blank:
        http_parse_head(h)
    elif h.head.len >= h.head_limit:
        http_fail(h, WIRE_E_HEAD_LIMIT)
    return take
