# Body bytes → frames: SSE by the WHATWG rules, NDJSON, or the whole body as one. Header-only.
#
# A line that ends within the span it began in is read where it lies; only one that is cut is
# gathered in `line` first. split_feed stops behind each frame, so that the caller takes it from the
# machine's own buffer before the next is built there.

from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy

from buffers cimport buf_append, buf_free, buf_init, buf_t
from wire cimport MODE_SSE, MODE_WHOLE, WIRE_E_FRAME_LIMIT, WIRE_E_MEMORY, WIRE_OK


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
