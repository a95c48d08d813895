"""The two ends that benchmarks/reactor.py compares the reactor with, as plain as they can be.

read_bare   epoll and recvmsg with receive stamps, and nothing else: what reading costs at least
Pump        the sending half of tests/native/stream_server.py, good for 100,000 chunks a second

Built on demand into build/benchmarks; no part of the package.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memset

from agenda cimport agenda_drop, agenda_free, agenda_put, agenda_reserve, agenda_t, nowhere
from linux cimport (
    EAGAIN, EPOLLIN, EPOLL_CLOEXEC, EPOLL_CTL_ADD, MSG_DONTWAIT, MSG_NOSIGNAL, POLLIN, clock_ns,
    close, epoll_create1, epoll_ctl, epoll_event, epoll_wait, errno, iovec, monotonic_ns, msghdr,
    pollfd, ppoll, recvmsg, send, timespec,
)
from stamps cimport ask_for_stamps, stamp_of

cdef extern from "<time.h>" nogil:
    int CLOCK_THREAD_CPUTIME_ID

cdef enum:
    READ_SIZE = 262144


def read_bare(list descriptors, list requests):
    """Send one request on each connected socket, then read until every response has ended.

    Returns {cpu_ns, reads, bytes, stamped}; cpu_ns is this thread's. A response ends with a read
    that ends in the last chunk of a chunked body.
    """
    cdef char* buffer = <char*> calloc(1, READ_SIZE)
    cdef int ep = epoll_create1(EPOLL_CLOEXEC)
    cdef epoll_event event
    cdef epoll_event events[256]
    cdef msghdr message
    cdef iovec part
    cdef char control[128]
    cdef uint64_t reads = 0
    cdef uint64_t total = 0
    cdef uint64_t stamped = 0
    cdef int64_t user_ns
    cdef Py_ssize_t n
    cdef int fd
    cdef int i
    cdef int ready
    cdef int left = len(descriptors)
    cdef int64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID)
    for fd, request in zip(descriptors, requests):
        ask_for_stamps(fd)
        event.events = EPOLLIN
        event.data.ptr = <void*> <long> fd
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event)
        send(fd, <const char*> <bytes> request, len(request), MSG_NOSIGNAL)
    memset(&message, 0, sizeof(message))
    part.iov_base = buffer
    part.iov_len = READ_SIZE
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    with nogil:
        while left > 0:
            ready = epoll_wait(ep, events, 256, -1)
            for i in range(ready):
                fd = <int> <long> events[i].data.ptr
                message.msg_controllen = sizeof(control)
                n = recvmsg(fd, &message, MSG_DONTWAIT)
                user_ns = monotonic_ns()
                if n > 0:
                    reads += 1
                    total += <uint64_t> n
                    if stamp_of(&message) and user_ns:
                        stamped += 1
                    if n >= 5 and memcmp(buffer + n - 5, b"0\r\n\r\n", 5) == 0:
                        left -= 1
                elif n == 0 or errno != EAGAIN:
                    left = -1
                    break
    cdef int64_t spent = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began
    close(ep)
    free(buffer)
    if left < 0:
        raise OSError("the server closed a connection")
    return {"cpu_ns": spent, "reads": reads, "bytes": total, "stamped": stamped}


ctypedef struct stream_t:
    bint active
    int64_t ident
    int64_t due_ns
    int64_t gap_ns
    int64_t count
    int64_t index
    size_t sent          # of the current piece
    size_t place
    const char* chunk
    size_t chunk_len
    const char* tail
    size_t tail_len


@cython.final
cdef class Pump:
    """See Pump in stream_server.py."""

    cdef stream_t* streams
    cdef int cap
    cdef agenda_t agenda
    cdef uint64_t order
    cdef int64_t* log
    cdef size_t log_len
    cdef size_t log_cap
    cdef dict kept       # fd → the bytes objects that its stream points into

    def __cinit__(self):
        self.kept = {}
        self.cap = 65536
        self.streams = <stream_t*> calloc(self.cap, sizeof(stream_t))
        if self.streams == NULL:
            raise MemoryError()

    def __dealloc__(self):
        agenda_free(&self.agenda)
        free(self.streams)
        free(self.log)

    def add(
        self, int fd, int64_t ident, int64_t due_ns, int64_t gap_ns, int64_t count,
        bytes chunk, bytes tail,
    ):
        if fd >= self.cap or agenda_reserve(&self.agenda, self.agenda.len + 2):
            raise MemoryError()
        cdef stream_t* s = &self.streams[fd]
        self.kept[fd] = (chunk, tail)
        memset(s, 0, sizeof(stream_t))
        s.active = True
        s.ident = ident
        s.due_ns = due_ns
        s.gap_ns = gap_ns
        s.count = count
        s.chunk = chunk
        s.chunk_len = len(chunk)
        s.tail = tail
        s.tail_len = len(tail)
        s.place = nowhere()
        self._schedule(s)

    cdef void _schedule(self, stream_t* s) noexcept nogil:
        self.order += 1
        agenda_put(&self.agenda, s.due_ns, self.order, s, &s.place)

    def resume(self, int fd):
        if self.streams[fd].active:
            agenda_reserve(&self.agenda, self.agenda.len + 2)
            self._schedule(&self.streams[fd])

    def drop(self, int fd):
        if self.streams[fd].active:
            agenda_drop(&self.agenda, &self.streams[fd].place)
            self.streams[fd].active = False
            self.kept.pop(fd, None)

    def rows(self):
        return (<char*> self.log)[: self.log_len * sizeof(int64_t)] if self.log_len else b""

    cdef int _note(self, stream_t* s, int64_t before, int64_t after) except -1 nogil:
        cdef int64_t* grown
        if self.log_len + 4 > self.log_cap:
            self.log_cap = self.log_cap * 2 + 65536
            grown = <int64_t*> realloc(self.log, self.log_cap * sizeof(int64_t))
            if grown == NULL:
                with gil:
                    raise MemoryError()
            self.log = grown
        self.log[self.log_len] = s.ident
        self.log[self.log_len + 1] = s.index
        self.log[self.log_len + 2] = before
        self.log[self.log_len + 3] = after
        self.log_len += 4
        return 0

    def run(self, int epoll_fd):
        cdef stream_t* s
        cdef pollfd wait
        cdef timespec span
        cdef int64_t now
        cdef int64_t left
        cdef Py_ssize_t n
        cdef const char* p
        cdef size_t size
        cdef int fd
        cdef int sends = 0
        wait.fd = epoll_fd
        wait.events = POLLIN
        while True:
            now = monotonic_ns()
            if sends < 256 and self.agenda.len and self.agenda.slots[0].at_ns <= now:
                sends += 1
                s = <stream_t*> self.agenda.slots[0].what
                agenda_drop(&self.agenda, &s.place)
                fd = <int> (s - self.streams)
                p = s.chunk if s.index < s.count else s.tail
                size = s.chunk_len if s.index < s.count else s.tail_len
                n = send(fd, p + s.sent, size - s.sent, MSG_NOSIGNAL | MSG_DONTWAIT)
                if n < 0 and errno != EAGAIN:
                    return [fd], []
                s.sent += <size_t> (n if n > 0 else 0)
                if s.sent < size:
                    return [], [fd]
                self._note(s, now, monotonic_ns())
                s.sent = 0
                s.index += 1
                s.due_ns += s.gap_ns
                if s.index > s.count:
                    return [fd], []
                self._schedule(s)
                continue
            left = 0
            if sends < 256:
                left = self.agenda.slots[0].at_ns - now if self.agenda.len else 1_000_000_000
            sends = 0
            span.tv_sec = left // 1_000_000_000
            span.tv_nsec = left % 1_000_000_000
            if ppoll(&wait, 1, &span, NULL) == 1:
                return [], []
