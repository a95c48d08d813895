# Incremental framing, header-only: HTTP/1.1 responses, SSE, NDJSON.
#
# Strategy
#   Every state machine is a plain struct plus inline functions over (pointer, length). None of them
#   does I/O, raises, or takes the GIL; framing.pyx gives them a Python face, reactor.pyx runs them in
#   its thread. A function consumes some prefix of what it is given and says how much; the caller
#   loops. Bytes are copied only into the frame being built and no search runs past the line it is
#   for, so the cost is linear whatever the split.
#
# Operations
#   http_init, http_feed, http_eof, http_free      bytes off the socket → body bytes
#   split_init, split_feed, split_eof, split_free  body bytes → frames
#   wire_error_text                                an error code in words
#
# Memory
#   Buffers grow by realloc and are freed by *_free. Out of memory and limits end in an error code,
#   after which the machine stays in error.
#
# Splitting is on bytes only. U+2028, U+0085 and other Unicode line ends are text here. `char` is
# signed on some machines and not on others: bytes above 127 are compared through unsigned char.

from libc.stdint cimport uint64_t
from libc.stdlib cimport realloc, free
from libc.string cimport memchr, memcmp, memcpy


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


# ---------------------------------------------------------------------------------------- buffers

ctypedef struct buf_t:
    char* data
    size_t len
    size_t cap

cdef inline void buf_init(buf_t* b) noexcept nogil:
    b.data = NULL
    b.len = 0
    b.cap = 0

cdef inline void buf_free(buf_t* b) noexcept nogil:
    free(b.data)
    buf_init(b)

cdef inline int buf_append(buf_t* b, const char* p, size_t n) noexcept nogil:
    """0, or WIRE_E_MEMORY with the buffer as it was."""
    cdef size_t need = b.len + n
    cdef size_t cap
    cdef char* grown
    if n == 0:
        return WIRE_OK
    if need > b.cap:
        cap = b.cap + (b.cap >> 1) + 256
        if cap < need:
            cap = need
        grown = <char*> realloc(b.data, cap)
        if grown == NULL:
            return WIRE_E_MEMORY
        b.data = grown
        b.cap = cap
    memcpy(b.data + b.len, p, n)
    b.len = need
    return WIRE_OK


# --------------------------------------------------------------------------------------- characters

cdef inline char ascii_lower(char c) noexcept nogil:
    return <char> (c + 32) if 65 <= c <= 90 else c

cdef inline bint is_ows(char c) noexcept nogil:
    return c == 32 or c == 9

cdef inline bint is_digit(char c) noexcept nogil:
    return 48 <= c <= 57

cdef inline bint is_token(char c) noexcept nogil:
    """A character of a field name (RFC 9110, 5.6.2)."""
    if is_digit(c) or 97 <= ascii_lower(c) <= 122:
        return True
    return c != 0 and memchr(b"!#$%&'*+-.^_`|~", c, 15) != NULL

cdef inline bint is_text(char c) noexcept nogil:
    """A character of a field value: not a control character, tab excepted."""
    cdef unsigned char u = <unsigned char> c
    return u == 9 or (u >= 32 and u != 127)

cdef inline int hex_digit(char c) noexcept nogil:
    if is_digit(c):
        return c - 48
    c = ascii_lower(c)
    if 97 <= c <= 102:
        return c - 87
    return -1

cdef inline bint all_text(const char* p, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if not is_text(p[i]):
            return False
    return True

cdef inline bint equals_nocase(const char* p, size_t n, const char* lower, size_t m) noexcept nogil:
    """Whether p[0:n] is `lower` (already lower case), ignoring case."""
    cdef size_t i
    if n != m:
        return False
    for i in range(n):
        if ascii_lower(p[i]) != lower[i]:
            return False
    return True

cdef inline bint has_token(const char* p, size_t n, const char* lower, size_t m) noexcept nogil:
    """Whether the comma-separated list p[0:n] holds the token `lower`, ignoring case."""
    cdef size_t start = 0
    cdef size_t end
    cdef size_t a
    cdef size_t b
    while start <= n:
        end = start
        while end < n and p[end] != 44:
            end += 1
        a = start
        b = end
        while a < b and is_ows(p[a]):
            a += 1
        while b > a and is_ows(p[b - 1]):
            b -= 1
        if equals_nocase(p + a, b - a, lower, m):
            return True
        start = end + 1
    return False


# ------------------------------------------------------------------------------------------- HTTP
#
# At least as strict as h11, for a lenient reader next to a strict one is how responses get smuggled.
# Stricter: no folded headers, no control characters, status 100 to 599, no 101, sizes of at most 15
# hexadecimal digits, identical Content-Length values only. Of Transfer-Encoding and Content-Length
# together the first wins, as RFC 9112 (6.3) wants, and the connection is not used again. Lines of the
# head and of the trailer may end in a bare LF; those of the chunked coding may not. Kinder in two
# things: HTTP/1.0 with `Connection: keep-alive` is kept alive, and trailer fields are checked for form
# but dropped unread, so that a bad Content-Length there does no harm.

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
    PART_DIGITS = 1
    PART_SPACE = 2       # after the digits: nothing but the line end may follow
    PART_EXTENSION = 3
    PART_NAME = 4
    PART_VALUE = 5
    PART_CR = 6          # LF must follow
    PART_LAST_CR = 7     # LF must follow, and ends the trailer

cdef enum:
    SIZE_LINE_LIMIT = 4096
    SIZE_DIGITS_LIMIT = 15

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

ctypedef struct fields_t:  # what the header lines say about the body
    int minor
    bint chunked
    bint close
    bint keep
    uint64_t length
    const char* length_text  # NULL: no Content-Length
    size_t length_size

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


# ----------------------------------------------------------------------------------------- frames

ctypedef struct split_t:
    int mode
    int error
    size_t limit           # of a line without its LF, and of a frame
    int bom                # bytes of a leading BOM matched; -1 once past the start
    bint skip_lf           # the last line ended in CR: swallow one LF
    buf_t line             # a line that began in an earlier span
    buf_t frame            # what is handed out: [name LF] data
    buf_t name             # of the SSE event being built
    bint has_data
    bint ready             # frame was handed out and is to be cleared at the next call
    bint named             # the frame handed out has a name in front
    uint64_t comments

cdef inline void split_init(split_t* s, int mode, size_t limit) noexcept nogil:
    s.mode = mode
    s.error = WIRE_OK
    s.limit = limit
    s.bom = 0
    s.skip_lf = False
    s.has_data = False
    s.ready = False
    s.named = False
    s.comments = 0
    buf_init(&s.line)
    buf_init(&s.frame)
    buf_init(&s.name)

cdef inline void split_free(split_t* s) noexcept nogil:
    buf_free(&s.line)
    buf_free(&s.frame)
    buf_free(&s.name)

cdef inline int split_fail(split_t* s, int error) noexcept nogil:
    s.error = error
    return -1

cdef inline int split_put(split_t* s, buf_t* b, const char* p, size_t n) noexcept nogil:
    if b.len + n > s.limit:
        return split_fail(s, WIRE_E_FRAME_LIMIT)
    if buf_append(b, p, n):
        return split_fail(s, WIRE_E_MEMORY)
    return 0

cdef inline size_t find_line_end(const char* p, size_t n) noexcept nogil:
    """Index of the first CR or LF in p[0:n], or n.

    Eight bytes at a time. Two memchr would be quicker on long lines and quadratic on hostile ones:
    the search for LF would run through the whole span for each line that ends in CR.
    """
    cdef uint64_t ones = 0x0101010101010101ULL
    cdef uint64_t high = 0x8080808080808080ULL
    cdef uint64_t lf
    cdef uint64_t cr
    cdef size_t i = 0
    while i + 8 <= n:
        memcpy(&lf, p + i, 8)
        cr = lf ^ (13 * ones)
        lf = lf ^ (10 * ones)
        # (x − ones) & ~x & high is zero unless some byte of x is zero.
        if (((lf - ones) & ~lf) | ((cr - ones) & ~cr)) & high:
            break
        i += 8
    while i < n and p[i] != 10 and p[i] != 13:
        i += 1
    return i

cdef inline int sse_dispatch(split_t* s) noexcept nogil:
    """The blank line. 1: a frame is ready; 0: there was no data; -1: error."""
    cdef buf_t swap
    if not s.has_data:
        s.name.len = 0
        return 0
    s.named = s.name.len > 0
    if s.named:
        # name LF data: appended to the name, then the two buffers change places.
        if split_put(s, &s.name, b"\n", 1) or split_put(s, &s.name, s.frame.data, s.frame.len):
            return -1
        swap = s.frame
        s.frame = s.name
        s.name = swap
    s.name.len = 0
    s.has_data = False
    s.ready = True
    return 1

cdef inline int sse_line(split_t* s, const char* p, size_t n) noexcept nogil:
    """One line without its end. 1: a frame is ready; 0: not yet; -1: error."""
    cdef const char* hit
    cdef size_t field
    cdef size_t a
    if n == 0:
        return sse_dispatch(s)
    if p[0] == 58:
        s.comments += 1
        return 0
    hit = <const char*> memchr(p, 58, n)
    field = <size_t> (hit - p) if hit != NULL else n
    a = field + 1 if hit != NULL else n
    if a < n and p[a] == 32:
        a += 1
    if field == 4 and memcmp(p, b"data", 4) == 0:
        if s.has_data and split_put(s, &s.frame, b"\n", 1):
            return -1
        s.has_data = True
        return split_put(s, &s.frame, p + a, n - a)
    if field == 5 and memcmp(p, b"event", 5) == 0:
        s.name.len = 0
        return split_put(s, &s.name, p + a, n - a)
    return 0

cdef inline int ndjson_line(split_t* s, const char* p, size_t n) noexcept nogil:
    """One line without its LF. 1: a frame is ready; 0: it was blank; -1: error."""
    if n and p[n - 1] == 13:
        n -= 1
    if n == 0:
        s.comments += 1
        return 0
    if split_put(s, &s.frame, p, n):
        return -1
    s.ready = True
    return 1

cdef inline int split_line(split_t* s, const char* p, size_t n) noexcept nogil:
    """The end of a line, of which s.line may hold the beginning."""
    cdef int done
    if s.line.len:
        if split_put(s, &s.line, p, n):
            return -1
        p = s.line.data
        n = s.line.len
    elif n > s.limit:
        return split_fail(s, WIRE_E_FRAME_LIMIT)
    done = sse_line(s, p, n) if s.mode == MODE_SSE else ndjson_line(s, p, n)
    s.line.len = 0
    return done

cdef inline size_t split_bom(split_t* s, const char* p, size_t n) noexcept nogil:
    """Skip a BOM, which may come split over reads; what only began like one is put back."""
    cdef const char* bom = b"\xef\xbb\xbf"
    cdef size_t i = 0
    while s.bom >= 0 and i < n:
        if p[i] == bom[s.bom]:
            i += 1
            s.bom = s.bom + 1 if s.bom < 2 else -1
        else:
            split_put(s, &s.line, bom, s.bom)
            s.bom = -1
    return i

cdef inline void split_clear(split_t* s) noexcept nogil:
    if s.ready:
        s.frame.len = 0
        s.ready = False
        s.named = False

cdef inline size_t split_feed(split_t* s, const char* p, size_t n, bint* ready) noexcept nogil:
    """Consume a prefix of p[0:n] up to and with the end of one frame; returns its length.

    With *ready the frame is s.frame.data[0:s.frame.len] (and s.named), valid until the next call.
    Without it all of p[0:n] was consumed, or s.error is set and nothing more will be.
    """
    cdef size_t i = 0
    cdef size_t end
    cdef const char* hit
    cdef int done
    ready[0] = False
    split_clear(s)
    if s.error:
        return 0
    if s.mode == MODE_WHOLE:
        split_put(s, &s.frame, p, n)
        return n
    if s.bom >= 0:
        i = split_bom(s, p, n)
    while i < n and not s.error:
        if s.skip_lf:
            s.skip_lf = False
            if p[i] == 10:
                i += 1
                continue
        if s.mode == MODE_SSE:
            end = i + find_line_end(p + i, n - i)
        else:
            hit = <const char*> memchr(p + i, 10, n - i)
            end = <size_t> (hit - p) if hit != NULL else n
        if end == n:
            # No line end in this span: keep what there is.
            split_put(s, &s.line, p + i, n - i)
            return n
        s.skip_lf = p[end] == 13
        done = split_line(s, p + i, end - i)
        i = end + 1
        if done:
            # Swallow the LF of a CRLF at once where it is here, so that it does not look like more.
            if s.skip_lf and i < n and p[i] == 10:
                s.skip_lf = False
                i += 1
            ready[0] = done == 1
            return i
    return i

cdef inline bint split_eof(split_t* s) noexcept nogil:
    """The body ended: whether an open frame was left, now in s.frame.

    Its own end was missing, except in MODE_WHOLE, where the end of the body is the frame's end.
    Look at s.error too: what was left may be over the limit.
    """
    split_clear(s)
    if s.error:
        return False
    if s.mode == MODE_WHOLE:
        s.ready = s.frame.len > 0
        return s.ready
    if s.bom > 0:
        split_put(s, &s.line, b"\xef\xbb\xbf", s.bom)
        s.bom = -1
    if s.line.len and not s.error and split_line(s, NULL, 0) == 1:
        return True
    return s.mode == MODE_SSE and not s.error and sse_dispatch(s) == 1
