# Classes of bytes, and comparisons that ignore the case of ASCII letters. Header-only.

from libc.string cimport memchr


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
