"""The Python face of the tap's thread; the thread itself is in tapping.pxd.

Who owns what: a door belongs to the thread once it is posted, an exchange once more to us when it
comes back. Lists between the two are piles (handover.pxd), so that nobody waits.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from agenda cimport agenda_free
from buffers cimport buf_append
from calls cimport address_t
from exchanges cimport (
    END_INBOX, END_LISTENER, READ_SIZE, door_free, door_t, exchange_free, exchange_t, order_t,
    tap_t,
)
from handover cimport __ATOMIC_ACQ_REL, link_t, put, swap_int, take_all
from histogram cimport histogram_t, quantile
from linux cimport (
    AF_INET, AF_INET6, AF_UNIX, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLIN, EPOLL_CLOEXEC, SIG_SETMASK,
    clock_ns, clockid_t, close, counted, epoll_create1, eventfd, pthread_create,
    pthread_getcpuclockid, pthread_join, pthread_setname_np, pthread_sigmask, pthread_t, read,
    sigfillset, sigset_t, write,
)
from parting cimport watch
from priority cimport start_realtime
from stamps cimport hold_stamps_on
from store cimport store_free, store_t
from tapping cimport run_tap

from harness._native import recorder as _recorder


cdef void forget_store(object capsule) noexcept:
    """The capsule died before a Record adopted its store."""
    store_free(<store_t*> PyCapsule_GetPointer(capsule, b"harness.store"))


cdef dict delays(str name, histogram_t* h):
    if not counted(&h.total):
        return {}
    return {
        f"{name}_p50_ns": quantile(h, 0.5),
        f"{name}_p99_ns": quantile(h, 0.99),
        f"{name}_max_ns": counted(&h.largest),
    }


@cython.final
@cython.no_gc
cdef class Tapper:
    cdef tap_t* t
    cdef pthread_t thread
    cdef bint running
    cdef int doors                  # ever opened
    cdef uint64_t cpu_ns            # of the thread, once it has ended

    def __cinit__(self):
        self.t = <tap_t*> calloc(1, sizeof(tap_t))
        if self.t == NULL:
            raise MemoryError()
        self.t.ep = self.t.inbox.fd = self.t.outbox = self.t.hold = -1

    def __init__(self, bint timestamps=True, bint realtime=False):
        cdef tap_t* t = self.t
        cdef sigset_t every
        cdef sigset_t before
        cdef int error = 1
        if t.buffer != NULL:
            raise ValueError("the tap was started already")
        t.buffer = <char*> malloc(READ_SIZE)
        if t.buffer == NULL:
            raise MemoryError()
        t.ep = epoll_create1(EPOLL_CLOEXEC)
        t.inbox.kind = END_INBOX
        t.inbox.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        t.outbox = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if t.ep < 0 or t.inbox.fd < 0 or t.outbox < 0:
            PyErr_SetFromErrno(OSError)
        watch(t, &t.inbox, EPOLLIN)
        t.timestamps = timestamps
        if timestamps:
            with nogil:
                t.hold = hold_stamps_on()
        # Signals are for Python's main thread: ours is born with all of them blocked.
        sigfillset(&every)
        pthread_sigmask(SIG_SETMASK, &every, &before)
        if realtime:
            t.realtime = True
            error = start_realtime(&self.thread, run_tap, t)
        if error:       # not asked for, or not granted
            t.realtime = False
            error = pthread_create(&self.thread, NULL, run_tap, t)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if error:
            raise OSError(error, "cannot start the tap's thread")
        self.running = True
        pthread_setname_np(self.thread, b"harness-tap")

    def __dealloc__(self):
        cdef tap_t* t = self.t
        cdef link_t* one
        cdef link_t* next
        if t == NULL:
            return
        self._stop()
        one = take_all(&t.results)
        while one != NULL:
            next = one.next
            exchange_free(<exchange_t*> one)
            one = next
        free(t.buffer)
        free(t)

    cdef void _stop(self) noexcept:
        cdef tap_t* t = self.t
        cdef link_t* one
        cdef link_t* next
        if self.running:
            self.cpu_ns = self._thread_cpu()
            self.running = False
            swap_int(&t.stopping, 1, __ATOMIC_ACQ_REL)
            self._wake()
            with nogil:
                pthread_join(self.thread, NULL)
        one = take_all(&t.opened)       # posted too late
        while one != NULL:
            next = one.next
            close((<door_t*> one).listener.fd)
            door_free(<door_t*> one)
            one = next
        one = take_all(&t.orders)
        while one != NULL:
            next = one.next
            free(one)
            one = next
        agenda_free(&t.agenda)
        for fd in (t.ep, t.inbox.fd, t.outbox, t.hold):
            if fd >= 0:
                close(fd)
        t.ep = t.inbox.fd = t.outbox = t.hold = -1

    cdef void _wake(self) noexcept:
        cdef uint64_t one = 1
        write(self.t.inbox.fd, &one, sizeof(one))

    cdef uint64_t _thread_cpu(self) noexcept:
        cdef clockid_t clock
        if pthread_getcpuclockid(self.thread, &clock):
            return 0
        return clock_ns(clock)

    cdef int _check_running(self) except -1:
        if not self.running:
            raise ValueError("the tap is closed")
        return 0

    def fileno(self):
        self._check_running()
        return self.t.outbox

    def add_door(
        self,
        int fd,
        list addresses not None,
        *,
        bytes host not None,
        bytes prefix not None,
        bytes label not None,
    ):
        self._check_running()
        if not addresses:
            raise ValueError("a door needs at least one address behind it")
        for family, packed in addresses:
            if family not in (AF_INET, AF_INET6, AF_UNIX):
                raise ValueError(f"address family {family} is not INET, INET6 or UNIX")
            if not isinstance(packed, bytes) or not 2 <= len(packed) <= 128:
                raise ValueError("an address is a packed struct sockaddr of 2 to 128 bytes")
        cdef door_t* door = <door_t*> calloc(1, sizeof(door_t))
        if door == NULL:
            raise MemoryError()
        door.addresses = <address_t*> calloc(len(addresses), sizeof(address_t))
        if (
            door.addresses == NULL
            or buf_append(&door.host, PyBytes_AS_STRING(host), PyBytes_GET_SIZE(host))
            or buf_append(&door.prefix, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
            or buf_append(&door.label, PyBytes_AS_STRING(label), PyBytes_GET_SIZE(label))
        ):
            door_free(door)
            raise MemoryError()
        for family, packed in addresses:
            door.addresses[door.count].family = family
            door.addresses[door.count].len = len(packed)
            memcpy(door.addresses[door.count].bytes, PyBytes_AS_STRING(packed), len(packed))
            door.count += 1
        self.doors += 1
        door.ident = self.doors
        door.listener.kind = END_LISTENER
        door.listener.fd = fd
        door.listener.owner = door
        if put(&self.t.opened, &door.link):
            self._wake()
        return self.doors

    def close_door(self, int door):
        self._check_running()
        cdef order_t* order = <order_t*> calloc(1, sizeof(order_t))
        if order == NULL:
            raise MemoryError()
        order.door = door
        if put(&self.t.orders, &order.link):
            self._wake()

    def drain(self):
        cdef tap_t* t = self.t
        cdef uint64_t ignored
        cdef link_t* one
        cdef link_t* next
        cdef list found = []
        if self.running:
            read(t.outbox, &ignored, sizeof(ignored))
        one = take_all(&t.results)
        while one != NULL:
            next = one.next
            found.append(((<exchange_t*> one).door, self._told(<exchange_t*> one)))
            exchange_free(<exchange_t*> one)
            one = next
        return found

    cdef object _told(self, exchange_t* ex):
        """What the exchange was, as Python objects; None for the note that its door is closed."""
        cdef store_t* store = ex.store
        cdef bytes body
        if ex.note:
            return None
        if ex.chunked:
            body = PyBytes_FromStringAndSize(ex.body.data, ex.body.len)
        else:
            body = PyBytes_FromStringAndSize(ex.out.data + ex.out_head, ex.out.len - ex.out_head)
        head = PyBytes_FromStringAndSize(ex.asked.data, ex.asked.len)
        ex.store = NULL
        capsule = PyCapsule_New(store, b"harness.store", forget_store)
        return (
            head,
            body,
            ex.request_ns,
            bool(ex.by_kernel),
            ex.end_sent_ns or None,
            _recorder._adopt(capsule),
        )

    def stats(self):
        cdef tap_t* t = self.t
        return {
            "connections": counted(&t.stats.connections),
            "requests": counted(&t.stats.requests),
            "chunks": counted(&t.stats.chunks),
            "bytes": counted(&t.stats.bytes),
            "errors": counted(&t.stats.errors),
            "reconnects": counted(&t.stats.reconnects),
            "wakeups": counted(&t.stats.wakeups),
            "clock_steps": counted(&t.stats.clock_steps),
            "kernel_stamps": counted(&t.stats.kernel_stamps),
            "user_stamps": counted(&t.stats.user_stamps),
            "realtime": int(t.realtime),
            **delays("request_delay", &t.request_delay),
            **delays("chunk_delay", &t.chunk_delay),
            "thread_cpu_ns": self._thread_cpu() if self.running else self.cpu_ns,
        }

    def close(self):
        self._stop()

    def _nudge_clock(self, int ns):
        """For tests: as if the wall clock had been stepped by −ns since the last sample."""
        swap_int(&self.t.nudge_ns, ns, __ATOMIC_ACQ_REL)
        self._wake()
