# Receive stamps: from the kernel's CLOCK_REALTIME to our CLOCK_MONOTONIC. Header-only.
#
# The offset between the clocks moves only when somebody steps the wall clock (slewing moves both
# alike), so it is sampled at most every OFFSET_AGE_NS of activity, by the tightest of a few
# bracketed readings, and again at once when a mapped stamp cannot be true: later than the
# user-space stamp of the same read, or earlier than what is known to have come before it.
# On a busy machine every reading of a sample may have been interrupted. What the offset may be wrong
# by is kept with it, so that the next, better sample is not taken for a step of the clock.

from libc.stdint cimport int64_t, uint64_t

from linux cimport (
    AF_INET, CLOCK_REALTIME, CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, INADDR_LOOPBACK, MSG_DONTWAIT,
    SCM_TIMESTAMPING, SOCK_CLOEXEC, SOCK_DGRAM, SOF_TIMESTAMPING_RX_SOFTWARE,
    SOF_TIMESTAMPING_SOFTWARE, SOL_SOCKET, SO_TIMESTAMPING, bind, clock_ns, cmsghdr, connect,
    getsockname, htonl, iovec, monotonic_ns, msghdr, nanoseconds, pollfd, POLLIN, ppoll, recvmsg,
    send, setsockopt, sockaddr, sockaddr_in, socket, socklen_t, timespec,
)


cdef enum:
    OFFSET_AGE_NS = 10_000_000
    OFFSET_TRIES = 4
    OFFSET_TRIES_FIRST = 64     # until the first sample there is nothing else to go by
    BRACKET_MAX_NS = 20_000     # a wider bracket was interrupted: try another time
    STEP_NS = 20_000            # the offset moved by more than sampling can explain
    SKEW_NS = 2_000             # how far the two clocks' readings may disagree

ctypedef struct clockmap_t:
    int64_t offset_ns      # CLOCK_REALTIME − CLOCK_MONOTONIC
    int64_t width_ns       # of the bracket that it comes from: it may be off by half of that
    int64_t sampled_ns     # when; 0: never
    uint64_t steps

cdef inline int64_t sample_offset(int tries, int64_t* width_ns) noexcept nogil:
    """The offset, by the narrowest of OFFSET_TRIES brackets, or of `tries` if all are too wide."""
    cdef int64_t best = 0
    cdef int64_t a
    cdef int64_t b
    cdef int64_t real
    cdef int i
    width_ns[0] = -1
    for i in range(tries):
        if i >= OFFSET_TRIES and width_ns[0] <= BRACKET_MAX_NS:
            break
        a = monotonic_ns()
        real = clock_ns(CLOCK_REALTIME)
        b = monotonic_ns()
        if width_ns[0] < 0 or b - a < width_ns[0]:
            width_ns[0] = b - a
            best = real - a - (b - a) // 2
    return best

cdef inline bint clockmap_refresh(clockmap_t* m) noexcept nogil:
    """Sample again. True when the wall clock was stepped since the last sample."""
    cdef bint first = m.sampled_ns == 0
    cdef int64_t width
    cdef int64_t offset = sample_offset(OFFSET_TRIES_FIRST if first else OFFSET_TRIES, &width)
    cdef int64_t moved = offset - m.offset_ns
    cdef int64_t explained = STEP_NS + (width + m.width_ns) // 2
    if width > BRACKET_MAX_NS and not first:
        return False
    m.offset_ns = offset
    m.width_ns = width
    m.sampled_ns = monotonic_ns()
    if first or -explained <= moved <= explained:
        return False
    m.steps += 1
    return True

cdef inline int ask_for_stamps(int fd) noexcept nogil:
    cdef int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
    return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags))

cdef inline int64_t stamp_of(msghdr* message) noexcept nogil:
    """The kernel's software receive stamp, CLOCK_REALTIME ns; 0 if there is none."""
    cdef cmsghdr* part = CMSG_FIRSTHDR(message)
    while part != NULL:
        if part.cmsg_level == SOL_SOCKET and part.cmsg_type == SCM_TIMESTAMPING:
            return nanoseconds(<timespec*> CMSG_DATA(part))
        part = CMSG_NXTHDR(message, part)
    return 0

cdef inline int hold_stamps_on() noexcept nogil:
    """A socket that keeps the kernel stamping for as long as it is open; -1 without.

    Stamping is one switch for the whole kernel, thrown some time after the first socket asks for
    it. So we ask early, and wait (a few ms at most) until a datagram to ourselves carries a stamp.
    """
    cdef int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    cdef sockaddr_in here
    cdef socklen_t n = sizeof(here)
    cdef char byte = 0
    cdef char control[256]
    cdef iovec part
    cdef msghdr message
    cdef pollfd wait
    cdef timespec patience
    cdef int i
    if fd < 0:
        return -1
    ask_for_stamps(fd)
    here.sin_family = AF_INET
    here.sin_port = 0
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    if (
        bind(fd, <sockaddr*> &here, n) < 0
        or getsockname(fd, <sockaddr*> &here, &n) < 0
        or connect(fd, <sockaddr*> &here, n) < 0
    ):
        return fd
    patience.tv_sec = 0
    patience.tv_nsec = 2_000_000
    for i in range(20):
        wait.fd = fd
        wait.events = POLLIN
        if send(fd, &byte, 1, MSG_DONTWAIT) != 1 or ppoll(&wait, 1, &patience, NULL) != 1:
            return fd
        part.iov_base = &byte
        part.iov_len = 1
        message.msg_name = NULL
        message.msg_namelen = 0
        message.msg_iov = &part
        message.msg_iovlen = 1
        message.msg_control = control
        message.msg_controllen = sizeof(control)
        if recvmsg(fd, &message, MSG_DONTWAIT) != 1 or stamp_of(&message):
            return fd
    return fd
