"""The Python face of the reactor: submit, cancel, drain. The thread itself is in loop.pxd.

Who owns what: calls, lanes and origins are made here. A submitted call belongs to the thread until
it is sealed; drain() takes its store and returns the husk. Lanes and origins live as long as the
Reactor. Methods run under the GIL; the lock guards only the lists between them and the thread.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from calls cimport address_t, call_free, call_new, call_t, lane_t, loop_t, origin_t, stats_t
from linux cimport (
    AF_INET, AF_INET6, AF_UNIX, CLOCK_MONOTONIC, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLIN, EPOLL_CLOEXEC,
    EPOLL_CTL_ADD, SIG_SETMASK, TFD_CLOEXEC, TFD_NONBLOCK, clock_ns, clockid_t, close, counted,
    epoll_create1, epoll_ctl, epoll_event, eventfd, monotonic_ns, pthread_create,
    pthread_getcpuclockid, pthread_join, pthread_mutex_destroy, pthread_mutex_init,
    pthread_mutex_lock, pthread_mutex_unlock, pthread_setname_np, pthread_sigmask, pthread_t, read,
    sigfillset, sigset_t, timerfd_create, write,
)
from loop cimport run_loop
from stamps cimport hold_stamps_on
from store cimport store_free, store_new, store_t

from harness._native import recorder as _recorder

FRAMING_AUTO = -1

# Far beyond any run, and far from overflow when added to an instant.
cdef int64_t TIMEOUT_MAX_NS = 10 * 365 * 86_400 * 1_000_000_000


cdef void forget_store(object capsule) noexcept:
    """The capsule died before a Record adopted its store."""
    store_free(<store_t*> PyCapsule_GetPointer(capsule, b"harness.store"))


cdef int64_t positive(int64_t timeout_ns, str name) except -1:
    if timeout_ns <= 0:
        raise ValueError(f"{name} must be more than 0")
    return timeout_ns if timeout_ns < TIMEOUT_MAX_NS else TIMEOUT_MAX_NS


@cython.final
@cython.no_gc  # the lists hold only ints, and __dealloc__ needs them
cdef class Reactor:
    cdef loop_t* loop
    cdef pthread_t thread
    cdef bint running
    cdef uint64_t submissions
    cdef uint64_t cpu_ns            # of the thread, once it has ended
    cdef list origins               # addresses of origin_t, as ints
    cdef list lanes                 # addresses of lane_t
    cdef dict calls                 # ident → address of call_t, from submit to drain

    def __cinit__(self):
        self.origins = []
        self.lanes = []
        self.calls = {}
        self.loop = <loop_t*> calloc(1, sizeof(loop_t))
        if self.loop == NULL:
            raise MemoryError()
        cdef loop_t* loop = self.loop
        loop.ep = loop.timer = loop.inbox = loop.outbox = loop.hold = -1
        pthread_mutex_init(&loop.lock, NULL)

    def __init__(
        self,
        bint timestamps=True,
        *,
        int64_t batch_window_ns=500_000,
        Py_ssize_t read_size=262_144,
        Py_ssize_t frame_limit=67_108_864,
        Py_ssize_t idle_max=4096,
        uint64_t connections_max=0,
    ):
        cdef loop_t* loop = self.loop
        if batch_window_ns < 0 or idle_max < 0 or read_size < 1 or frame_limit < 1:
            raise ValueError("sizes must be positive, batch_window_ns and idle_max not negative")
        if loop.buffer != NULL:
            raise ValueError("the reactor was started already")
        loop.timestamps = timestamps
        loop.batch_window_ns = batch_window_ns
        loop.read_size = read_size
        loop.frame_limit = frame_limit
        loop.idle_max = idle_max
        loop.connections_max = connections_max
        loop.gap_ns = 1_000_000
        loop.buffer = <char*> malloc(read_size)
        if loop.buffer == NULL:
            raise MemoryError()
        self.add_lane(0)
        self._open()
        self._start()

    cdef int _open(self) except -1:
        cdef loop_t* loop = self.loop
        loop.ep = epoll_create1(EPOLL_CLOEXEC)
        loop.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        loop.inbox = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        loop.outbox = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if loop.ep < 0 or loop.timer < 0 or loop.inbox < 0 or loop.outbox < 0:
            PyErr_SetFromErrno(OSError)
        self._watch(loop.timer, &loop.timer)
        self._watch(loop.inbox, &loop.inbox)
        if loop.timestamps:
            with nogil:
                loop.hold = hold_stamps_on()
        return 0

    cdef int _watch(self, int fd, void* key) except -1:
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.ptr = key
        if epoll_ctl(self.loop.ep, EPOLL_CTL_ADD, fd, &event) < 0:
            PyErr_SetFromErrno(OSError)
        return 0

    cdef int _start(self) except -1:
        """Signals are for Python's main thread: ours is born with all of them blocked."""
        cdef sigset_t all_signals
        cdef sigset_t before
        cdef int error
        sigfillset(&all_signals)
        pthread_sigmask(SIG_SETMASK, &all_signals, &before)
        error = pthread_create(&self.thread, NULL, run_loop, self.loop)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if error:
            raise OSError(error, "cannot start the reactor's thread")
        self.running = True
        pthread_setname_np(self.thread, b"harness-reactor")
        return 0

    def __dealloc__(self):
        cdef call_t* call
        if self.loop == NULL:
            return
        self._stop()
        while self.loop.sealed != NULL:
            call = self.loop.sealed
            self.loop.sealed = call.next
            call_free(call)
        for address in self.origins:
            free((<origin_t*> <uintptr_t> address).addresses)
            free(<void*> <uintptr_t> address)
        for address in self.lanes:
            free(<void*> <uintptr_t> address)
        pthread_mutex_destroy(&self.loop.lock)
        free(self.loop.buffer)
        free(self.loop)

    cdef void _stop(self) noexcept:
        """Join the thread and close what is open; a second time does nothing."""
        cdef loop_t* loop = self.loop
        cdef call_t* call
        if self.running:
            pthread_mutex_lock(&loop.lock)
            loop.stopping = True
            pthread_mutex_unlock(&loop.lock)
            self.running = False
            self._wake()
            self.cpu_ns = self._thread_cpu()
            with nogil:
                pthread_join(self.thread, NULL)
        for fd in (loop.ep, loop.timer, loop.inbox, loop.outbox, loop.hold):
            if fd >= 0:
                close(fd)
        loop.ep = loop.timer = loop.inbox = loop.outbox = loop.hold = -1
        while loop.husks != NULL:
            call = loop.husks
            loop.husks = call.next
            call_free(call)

    cdef void _wake(self) noexcept:
        cdef uint64_t one = 1
        write(self.loop.inbox, &one, sizeof(one))

    cdef uint64_t _thread_cpu(self) noexcept:
        cdef clockid_t clock
        if pthread_getcpuclockid(self.thread, &clock):
            return 0
        return clock_ns(clock)

    cdef int _check_running(self) except -1:
        if not self.running:
            raise ValueError("the reactor is closed")
        return 0

    def fileno(self):
        self._check_running()
        return self.loop.outbox

    def add_origin(self, list addresses not None):
        if not addresses:
            raise ValueError("an origin needs at least one address")
        for family, packed in addresses:
            if family not in (AF_INET, AF_INET6, AF_UNIX):
                raise ValueError(f"address family {family} is not INET, INET6 or UNIX")
            if not isinstance(packed, bytes) or not 2 <= len(packed) <= 128:
                raise ValueError("an address is a packed struct sockaddr of 2 to 128 bytes")
        cdef origin_t* origin = <origin_t*> calloc(1, sizeof(origin_t))
        if origin == NULL:
            raise MemoryError()
        origin.addresses = <address_t*> calloc(len(addresses), sizeof(address_t))
        if origin.addresses == NULL:
            free(origin)
            raise MemoryError()
        for family, packed in addresses:
            origin.addresses[origin.count].family = family
            origin.addresses[origin.count].len = len(packed)
            memcpy(
                origin.addresses[origin.count].bytes, PyBytes_AS_STRING(packed), len(packed)
            )
            origin.count += 1
        self.origins.append(<uintptr_t> origin)
        return len(self.origins) - 1

    def add_lane(self, uint64_t limit):
        cdef lane_t* lane = <lane_t*> calloc(1, sizeof(lane_t))
        if lane == NULL:
            raise MemoryError()
        lane.limit = limit
        self.lanes.append(<uintptr_t> lane)
        return len(self.lanes) - 1

    def submit(
        self,
        uint64_t ident,
        Py_ssize_t origin,
        bytes request not None,
        *,
        Py_ssize_t lane=0,
        int64_t due_ns=0,
        int framing=-1,
        int64_t connect_timeout_ns,
        int64_t first_byte_timeout_ns,
        int64_t payload_timeout_ns,
        int64_t total_timeout_ns,
    ):
        self._check_running()
        if not 0 <= origin < len(self.origins):
            raise ValueError(f"no origin {origin}")
        if not 0 <= lane < len(self.lanes):
            raise ValueError(f"no lane {lane}")
        if not -1 <= framing <= 2:
            raise ValueError(f"no framing {framing}")
        if ident in self.calls:
            raise ValueError(f"ident {ident} is in use")
        if not request:
            raise ValueError("the request is empty")
        if due_ns < 0:
            raise ValueError("due_ns must not be negative")
        positive(connect_timeout_ns, "connect_timeout_ns")
        positive(first_byte_timeout_ns, "first_byte_timeout_ns")
        positive(payload_timeout_ns, "payload_timeout_ns")
        positive(total_timeout_ns, "total_timeout_ns")
        cdef call_t* call = call_new()
        if call == NULL:
            raise MemoryError()
        call.request_len = PyBytes_GET_SIZE(request)
        call.request = <char*> malloc(call.request_len)
        call.store = store_new(0, 0)
        if call.request == NULL or call.store == NULL:
            call_free(call)
            raise MemoryError()
        memcpy(call.request, PyBytes_AS_STRING(request), call.request_len)
        self.submissions += 1
        call.ident = ident
        call.order = self.submissions
        call.origin = <origin_t*> <uintptr_t> self.origins[origin]
        call.lane = <lane_t*> <uintptr_t> self.lanes[lane]
        call.framing = framing
        call.due_ns = due_ns
        call.connect_timeout_ns = positive(connect_timeout_ns, "")
        call.first_byte_timeout_ns = positive(first_byte_timeout_ns, "")
        call.payload_timeout_ns = positive(payload_timeout_ns, "")
        call.total_timeout_ns = positive(total_timeout_ns, "")
        self.calls[ident] = <uintptr_t> call
        call.submitted_ns = monotonic_ns()
        self._post(call)

    cdef void _post(self, call_t* call) noexcept:
        cdef loop_t* loop = self.loop
        cdef bint was_empty
        pthread_mutex_lock(&loop.lock)
        was_empty = loop.submitted == NULL
        if was_empty:
            loop.submitted = call
        else:
            loop.submitted_last.next = call
        loop.submitted_last = call
        pthread_mutex_unlock(&loop.lock)
        if was_empty:
            self._wake()

    def cancel(self, uint64_t ident):
        found = self.calls.get(ident)
        if found is None or not self.running:
            return
        cdef call_t* call = <call_t*> <uintptr_t> found
        pthread_mutex_lock(&self.loop.lock)
        if not call.cancelled:
            call.cancelled = True
            call.next_cancelled = self.loop.cancels
            self.loop.cancels = call
        pthread_mutex_unlock(&self.loop.lock)
        self._wake()

    def drain(self):
        cdef loop_t* loop = self.loop
        cdef uint64_t ignored
        cdef call_t* call
        cdef call_t* last
        cdef list found = []
        cdef store_t* store
        if self.running:
            read(loop.outbox, &ignored, sizeof(ignored))
        pthread_mutex_lock(&loop.lock)
        call = loop.sealed
        last = loop.sealed_last
        loop.sealed = NULL
        loop.sealed_last = NULL
        pthread_mutex_unlock(&loop.lock)
        if call == NULL:
            return found
        cdef call_t* first = call
        while call != NULL:
            store = call.store
            call.store = NULL
            capsule = PyCapsule_New(store, b"harness.store", forget_store)
            found.append((call.ident, _recorder._adopt(capsule)))
            del self.calls[call.ident]
            call = call.next
        pthread_mutex_lock(&loop.lock)
        last.next = loop.husks
        loop.husks = first
        pthread_mutex_unlock(&loop.lock)
        return found

    def stats(self):
        cdef stats_t* s = &self.loop.stats
        return {
            "reads": counted(&s.reads),
            "chunks": counted(&s.chunks),
            "merged_chunks": counted(&s.merged_chunks),
            "bytes": counted(&s.bytes),
            "wakeups": counted(&s.wakeups),
            "pauses": counted(&s.pauses),
            "connections": counted(&s.connections),
            "reconnects": counted(&s.reconnects),
            "clock_steps": counted(&s.clock_steps),
            "kernel_stamps": counted(&s.kernel_stamps),
            "user_stamps": counted(&s.user_stamps),
            "in_flight": counted(&s.in_flight),
            "queued": counted(&s.queued),
            "thread_cpu_ns": self._thread_cpu() if self.running else self.cpu_ns,
        }

    def close(self):
        self._stop()

    def _nudge_clock(self, int64_t ns):
        """For tests: as if the wall clock had been stepped by −ns since the last sample."""
        pthread_mutex_lock(&self.loop.lock)
        self.loop.clock_nudge_ns += ns
        pthread_mutex_unlock(&self.loop.lock)
        self._wake()
