# What agents ask: a request's head, read, and written again for the server. Header-only; part of the
# tap's thread.
#
# Three things are changed: the value of Host; that of Accept-Encoding, for a compressed stream could
# not be read; and the target, which loses scheme and host if it has them and gets the upstream's path
# in front. Everything else goes on byte for byte. What could be read in two ways is refused rather
# than passed on.

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memchr, memcmp

from buffers cimport buf_append, buf_init
from characters cimport equals_nocase, is_token
from exchanges cimport BODY_MAX, HEAD_MAX, door_t, exchange_free, exchange_t, pair_t
from http cimport http_feed
from http_head cimport fields_t, http_field
from http_state cimport (
    HTTP_CHUNK_SIZE, HTTP_DONE, HTTP_ERROR, HTTP_LENGTH, http_enter, http_init,
)
from store cimport store_new


cdef inline bint is_target(char c) noexcept nogil:
    """Printable, and no space."""
    cdef unsigned char u = <unsigned char> c
    return 33 <= u <= 126 or u >= 128

cdef inline size_t head_end(const char* p, size_t n, size_t* scanned) noexcept nogil:
    """Length of the head that begins p[0:n], with its blank line; 0: it is not complete."""
    cdef size_t i = scanned[0]
    cdef const char* hit
    while i < n:
        hit = <const char*> memchr(p + i, 10, n - i)
        if hit == NULL:
            break
        i = <size_t> (hit - p) + 1
        if i < n and p[i] == 10:
            return i + 1
        if i + 1 < n and p[i] == 13 and p[i + 1] == 10:
            return i + 2
        if i + 1 >= n:
            scanned[0] = i - 1
            return 0
    scanned[0] = n
    return 0

cdef inline int request_line(
    exchange_t* ex, door_t* door, fields_t* f, const char* p, size_t n
) noexcept nogil:
    """METHOD SP target SP HTTP/1.x. 0, or the status to answer with."""
    cdef size_t method = 0
    cdef size_t at
    cdef size_t end
    cdef const char* slash
    while method < n and is_token(p[method]):
        method += 1
    if method == 0 or method == n or p[method] != 32:
        return 400
    at = end = method + 1
    while end < n and is_target(p[end]):
        end += 1
    if end == at or n - end != 9 or memcmp(p + end, b" HTTP/1.", 8) != 0:
        return 400
    if p[n - 1] != c'0' and p[n - 1] != c'1':
        return 400
    f.minor = p[n - 1] - c'0'
    if method == 7 and memcmp(p, b"CONNECT", 7) == 0:
        return 501
    if buf_append(&ex.out, p, method + 1):
        return 500
    if end - at == 1 and p[at] == c'*':
        return 500 if buf_append(&ex.out, p + at, n - at) else 0
    if p[at] != c'/':
        # http://somewhere/path: where it goes is not the agent's to say.
        if end - at < 8 or not equals_nocase(p + at, 7, b"http://", 7):
            return 400
        at += 7
        slash = <const char*> memchr(p + at, c'/', end - at)
        at = <size_t> (slash - p) if slash != NULL else end
    if buf_append(&ex.out, door.prefix.data, door.prefix.len):
        return 500
    if at == end and buf_append(&ex.out, b"/", 1):
        return 500
    return 500 if buf_append(&ex.out, p + at, n - at) else 0

cdef inline int reworded(
    exchange_t* ex, const char* name, size_t n, const char* value, size_t m
) noexcept nogil:
    if buf_append(&ex.out, name, n) or buf_append(&ex.out, b" ", 1):
        return 500
    return 500 if buf_append(&ex.out, value, m) else 0

cdef inline int header_line(
    exchange_t* ex, door_t* door, fields_t* f, const char* p, size_t n
) noexcept nogil:
    """One header line without its end."""
    if http_field(&ex.asking, f, p, n):
        return 400
    if n > 8 and equals_nocase(p, 8, b"upgrade:", 8):
        return 501
    if n >= 5 and equals_nocase(p, 5, b"host:", 5):
        return reworded(ex, p, 5, door.host.data, door.host.len)
    if n >= 16 and equals_nocase(p, 16, b"accept-encoding:", 16):
        return reworded(ex, p, 16, b"identity", 8)
    return 500 if buf_append(&ex.out, p, n) else 0

cdef inline int choose_body(exchange_t* ex, fields_t* f) noexcept nogil:
    if f.chunked and (f.length_text != NULL or f.minor == 0):
        return 400
    if f.length_text != NULL and f.length > BODY_MAX:
        return 413
    ex.keep = not f.close and (f.minor >= 1 or f.keep)
    ex.chunked = f.chunked
    if f.chunked:
        http_enter(&ex.asking, HTTP_CHUNK_SIZE)
    elif f.length:
        ex.asking.remaining = f.length
        http_enter(&ex.asking, HTTP_LENGTH)
    else:
        ex.asked_all = True
    return 0

cdef inline int read_head(exchange_t* ex, door_t* door, const char* p, size_t n) noexcept nogil:
    """The whole head p[0:n]. 0, or the status to answer with."""
    cdef fields_t f
    cdef size_t i = 0
    cdef size_t size
    cdef size_t next_line
    cdef int status
    f.minor = 0
    f.chunked = f.close = f.keep = False
    f.length = 0
    f.length_text = NULL
    f.length_size = 0
    while i < n:
        next_line = <size_t> (<const char*> memchr(p + i, 10, n - i) - p) + 1
        size = next_line - i - 1
        if size and p[i + size - 1] == 13:
            size -= 1
        status = 0
        if i == 0:
            status = request_line(ex, door, &f, p, size)
        elif size:
            status = header_line(ex, door, &f, p + i, size)
        if status == 0 and buf_append(&ex.out, p + i + size, next_line - i - size):
            status = 500
        if status:
            return status
        i = next_line
    ex.out_head = ex.out.len
    return choose_body(ex, &f)

cdef inline exchange_t* begin(pair_t* pair, const char* p, size_t n, int* status) noexcept nogil:
    """An exchange for the request whose head is p[0:n]. NULL without memory, or, with a status,
    for a request of which no record could tell anything."""
    cdef door_t* door = <door_t*> pair.door
    cdef exchange_t* ex = <exchange_t*> calloc(1, sizeof(exchange_t))
    status[0] = 500
    if ex == NULL:
        return NULL
    http_init(&ex.asking, False, HEAD_MAX)
    ex.door = door.ident
    ex.store = store_new(0, 0)
    if ex.store == NULL or buf_append(&ex.asked, p, n):
        exchange_free(ex)
        return NULL
    status[0] = read_head(ex, door, p, n)
    if status[0] and status[0] != 501 and status[0] != 413:
        exchange_free(ex)
        return NULL
    return ex

cdef inline int take_body(exchange_t* ex, const char* p, size_t n, size_t* used) noexcept nogil:
    """Body bytes out of p[0:n]. 0, or the status to answer with."""
    cdef const char* body
    cdef size_t body_len
    cdef size_t step
    used[0] = 0
    while used[0] < n and not ex.asked_all:
        step = http_feed(&ex.asking, p + used[0], n - used[0], &body, &body_len)
        if ex.asking.phase == HTTP_ERROR:
            return 400
        if ex.out.len + step > BODY_MAX + HEAD_MAX:
            return 413
        if buf_append(&ex.out, p + used[0], step):
            return 500
        if ex.chunked and buf_append(&ex.body, body, body_len):
            return 500
        used[0] += step
        ex.asked_all = ex.asking.phase == HTTP_DONE
    return 0
