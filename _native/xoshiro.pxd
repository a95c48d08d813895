# Random numbers that are the same on every platform. Header-only.
#
# xoshiro256** (Blackman & Vigna 2018) seeded by splitmix64; bounded draws by Lemire's method (2019)
# on the upper 32 bits, which needs no 128-bit product and so is the same on every compiler.

from libc.stdint cimport uint32_t, uint64_t


ctypedef struct rng_t:
    uint64_t s0
    uint64_t s1
    uint64_t s2
    uint64_t s3

cdef inline uint64_t splitmix64(uint64_t* state) noexcept nogil:
    cdef uint64_t z
    state[0] += <uint64_t> 0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return z ^ (z >> 31)

cdef inline void rng_init(rng_t* r, uint64_t seed) noexcept nogil:
    r.s0 = splitmix64(&seed)
    r.s1 = splitmix64(&seed)
    r.s2 = splitmix64(&seed)
    r.s3 = splitmix64(&seed)

cdef inline uint64_t rotated(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))

cdef inline uint64_t next64(rng_t* r) noexcept nogil:
    cdef uint64_t result = rotated(r.s1 * 5, 7) * 9
    cdef uint64_t t = r.s1 << 17
    r.s2 ^= r.s0
    r.s3 ^= r.s1
    r.s1 ^= r.s2
    r.s0 ^= r.s3
    r.s2 ^= t
    r.s3 = rotated(r.s3, 45)
    return result

cdef inline uint32_t below(rng_t* r, uint32_t bound) noexcept nogil:
    """Uniform on [0, bound), without bias; bound > 0."""
    cdef uint64_t product = (next64(r) >> 32) * bound
    cdef uint32_t threshold
    if <uint32_t> product < bound:
        threshold = <uint32_t> (0 - bound) % bound
        while <uint32_t> product < threshold:
            product = (next64(r) >> 32) * bound
    return <uint32_t> (product >> 32)
