"""The Python face of the truth server's thread; the thread itself is in serving.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from agenda cimport agenda_free
from handover cimport __ATOMIC_ACQ_REL, link_t, put, swap_int, take_all
from linux cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, EPOLLIN, EPOLL_CLOEXEC, EPOLL_CTL_ADD, SIG_SETMASK, clock_ns,
    clockid_t, close, counted, epoll_create1, epoll_ctl, epoll_event, eventfd, pthread_create,
    pthread_getcpuclockid, pthread_join, pthread_setname_np, pthread_sigmask, pthread_t, read,
    sigfillset, sigset_t, write,
)
from plans cimport (
    ENDING_HOLD, LISTENER_KEPT, block_t, conn_free, conn_t, event_t, plan_new, plan_t, row_t,
    serving_t,
)
from priority cimport start_realtime
from requests cimport READ_SIZE
from serving cimport run_serving
from stamps cimport hold_stamps_on

KEEP = 0
CLOSE = 1
RESET = 2
HOLD = 3
REQUEST = 0
FINISHED = 1
GONE = 2
ROW_SIZE = sizeof(row_t)


cdef inline void free_all(link_t* one) noexcept nogil:
    cdef link_t* next
    while one != NULL:
        next = one.next
        free(one)
        one = next


@cython.final
@cython.no_gc
cdef class Sender:
    cdef serving_t* s
    cdef pthread_t thread
    cdef bint running
    cdef uint64_t cpu_ns

    def __cinit__(self):
        self.s = <serving_t*> calloc(1, sizeof(serving_t))
        if self.s == NULL:
            raise MemoryError()
        self.s.ep = self.s.inbox = self.s.outbox = self.s.hold = -1
        self.s.listening = -1
        self.s.listener = LISTENER_KEPT

    def __init__(self, bint realtime=False):
        cdef serving_t* s = self.s
        cdef epoll_event event
        cdef sigset_t every
        cdef sigset_t before
        cdef int error = 1
        if s.buffer != NULL:
            raise ValueError("the sender was started already")
        s.buffer = <char*> malloc(READ_SIZE)
        if s.buffer == NULL:
            raise MemoryError()
        s.ep = epoll_create1(EPOLL_CLOEXEC)
        s.inbox = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        s.outbox = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if s.ep < 0 or s.inbox < 0 or s.outbox < 0:
            PyErr_SetFromErrno(OSError)
        event.events = EPOLLIN
        event.data.ptr = &s.inbox
        if epoll_ctl(s.ep, EPOLL_CTL_ADD, s.inbox, &event) < 0:
            PyErr_SetFromErrno(OSError)
        with nogil:
            s.hold = hold_stamps_on()
        # Signals are for Python's main thread: ours is born with all of them blocked.
        sigfillset(&every)
        pthread_sigmask(SIG_SETMASK, &every, &before)
        if realtime:
            s.realtime = True
            error = start_realtime(&self.thread, run_serving, s)
            s.realtime = error == 0
        if error:       # not asked for, or not granted
            error = pthread_create(&self.thread, NULL, run_serving, s)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if error:
            raise OSError(error, "cannot start the sender's thread")
        self.running = True
        pthread_setname_np(self.thread, b"harness-truth")

    def __dealloc__(self):
        cdef serving_t* s = self.s
        if s == NULL:
            return
        self._stop()
        free_all(take_all(&s.events))
        free_all(take_all(&s.plans))
        free_all(take_all(&s.full))
        free(s.block)
        free(s.buffer)
        free(s)

    cdef void _stop(self) noexcept:
        cdef serving_t* s = self.s
        cdef clockid_t clock
        cdef conn_t* conn
        cdef size_t i
        if self.running:
            self.cpu_ns = self._thread_cpu()
            swap_int(&s.stopping, True, __ATOMIC_ACQ_REL)
            self.running = False
            self._wake()
            with nogil:
                pthread_join(self.thread, NULL)
        for i in range(s.conns_cap):
            if s.conns[i] != NULL:
                close(s.conns[i].fd)
                conn_free(s.conns[i])
        while s.dead != NULL:
            conn = s.dead
            s.dead = conn.next
            conn_free(conn)
        free(s.conns)
        s.conns = NULL
        s.conns_cap = 0
        agenda_free(&s.agenda)
        for fd in (s.ep, s.inbox, s.outbox, s.hold, s.listening, s.listener):
            if fd >= 0:
                close(fd)
        s.ep = s.inbox = s.outbox = s.hold = s.listening = -1
        s.listener = LISTENER_KEPT

    cdef void _wake(self) noexcept:
        cdef uint64_t one = 1
        write(self.s.inbox, &one, sizeof(one))

    cdef uint64_t _thread_cpu(self) noexcept:
        cdef clockid_t clock
        if pthread_getcpuclockid(self.thread, &clock):
            return 0
        return clock_ns(clock)

    cdef int _check_running(self) except -1:
        if not self.running:
            raise ValueError("the sender is closed")
        return 0

    def fileno(self):
        self._check_running()
        return self.s.outbox

    def listen(self, int fd):
        self._check_running()
        cdef int unused = swap_int(&self.s.listener, fd, __ATOMIC_ACQ_REL)
        if unused >= 0:     # the thread had no time to take it
            close(unused)
        self._wake()

    def answer(
        self,
        uint64_t conn,
        int64_t serial,
        bytes data not None,
        list ends not None,
        list due_ns not None,
        bytes kinds not None,
        int ending,
    ):
        self._check_running()
        if not 0 <= ending <= ENDING_HOLD:
            raise ValueError(f"no ending {ending}")
        cdef plan_t* plan = self._plan(conn, serial, data, ends, due_ns, kinds)
        plan.ending = ending
        self._post(plan)

    def revise(
        self,
        uint64_t conn,
        int64_t serial,
        bytes data not None,
        list ends not None,
        list due_ns not None,
        bytes kinds not None,
    ):
        self._check_running()
        cdef plan_t* plan = self._plan(conn, serial, data, ends, due_ns, kinds)
        plan.revises = True
        self._post(plan)

    cdef void _post(self, plan_t* plan) noexcept:
        if put(&self.s.plans, &plan.link):
            self._wake()

    cdef plan_t* _plan(
        self, uint64_t conn, int64_t serial, bytes data, list ends, list due_ns, bytes kinds
    ) except NULL:
        cdef Py_ssize_t count = len(ends)
        cdef int64_t at = 0
        cdef int64_t due = 0
        cdef Py_ssize_t i
        if not count or len(due_ns) != count or len(kinds) != count:
            raise ValueError("a piece needs an end, an instant and a kind, and there must be one")
        cdef plan_t* plan = plan_new(count, len(data))
        if plan == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                if <int64_t> ends[i] < at or <int64_t> due_ns[i] < due:
                    raise ValueError(f"piece {i} ends or is due before the one that precedes it")
                at = ends[i]
                due = due_ns[i]
                plan.pieces[i].end = at
                plan.pieces[i].due_ns = due
                plan.pieces[i].kind = <uint8_t> kinds[i]
            if at != len(data):
                raise ValueError(f"the pieces end at byte {at}, the data at {len(data)}")
        except BaseException:
            free(plan)
            raise
        memcpy(plan.data, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        plan.conn = conn
        plan.serial = serial
        return plan

    def drain(self):
        cdef serving_t* s = self.s
        cdef uint64_t ignored
        cdef link_t* one
        cdef event_t* event
        cdef list found = []
        if self.running:
            read(s.outbox, &ignored, sizeof(ignored))
        one = take_all(&s.events)
        while one != NULL:
            event = <event_t*> one
            found.append((
                event.what,
                event.conn,
                event.serial,
                event.at_ns,
                event.kernel_ns,
                PyBytes_FromStringAndSize(event.data, event.head_len),
                PyBytes_FromStringAndSize(event.data + event.head_len, event.len - event.head_len),
            ))
            one = one.next
            free(event)
        return found

    def rows(self):
        cdef serving_t* s = self.s
        cdef block_t* block
        cdef link_t* one = take_all(&s.full)
        cdef list found = []
        swap_int(&s.flush, True, __ATOMIC_ACQ_REL)
        if self.running:
            self._wake()
        while one != NULL:
            block = <block_t*> one
            found.append(
                PyBytes_FromStringAndSize(<char*> block.rows, block.count * sizeof(row_t))
            )
            one = one.next
            free(block)
        return found

    def stats(self):
        cdef serving_t* s = self.s
        return {
            "connections": counted(&s.stats.connections),
            "requests": counted(&s.stats.requests),
            "pieces": counted(&s.stats.pieces),
            "bytes": counted(&s.stats.bytes),
            "blocked": counted(&s.stats.blocked),
            "wakeups": counted(&s.stats.wakeups),
            "lost_rows": counted(&s.stats.lost_rows),
            "realtime": int(s.realtime),
            "thread_cpu_ns": self._thread_cpu() if self.running else self.cpu_ns,
        }

    def close(self):
        self._stop()
