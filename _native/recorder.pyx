"""Record: one sealed call, owned by C. Recorder: builds one from Python.

The reactor hands its blocks over in a capsule; _adopt turns one into a Record. All promises are in
recorder.pyi.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport (
    PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_SetDestructor, PyCapsule_SetName,
)
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from buffers cimport buf_append
from store cimport (
    STORE_SIZE_MASK, segment_data, segment_t, store_append, store_drop, store_free, store_nbytes,
    store_new, store_seal, store_t,
)

FLAG_UPPER_BOUND = 0x80000000
FLAG_USER_STAMP = 0x40000000
FLAG_NAMED = 0x20000000
SIZE_MASK = 0x1FFFFFFF

# In the order of outcome_t.
OUTCOMES = (
    "complete", "connect", "send", "reset", "eof", "protocol", "too_large", "timeout_connect",
    "timeout_first_byte", "timeout_payload", "timeout_total", "cancelled", "not_sent",
)


# What a Record made by other means than wrap() shows: nothing, but no crash.
cdef store_t EMPTY
memset(&EMPTY, 0, sizeof(EMPTY))


cdef object instant(int64_t ns):
    """0 stands for "did not happen" in the block."""
    return ns if ns else None


@cython.final
cdef class Record:
    cdef store_t* store
    # Where the last payload() left off, so that reading them in order costs O(1) each.
    cdef size_t at_index
    cdef size_t at_offset
    cdef segment_t* at_segment

    def __cinit__(self):
        self.store = &EMPTY

    def __init__(self, *args, **kwargs):
        raise TypeError("records are made by a Recorder or a Reactor")

    def __dealloc__(self):
        if self.store != &EMPTY:
            store_free(self.store)

    def __len__(self):
        return self.store.count

    def __repr__(self):
        return f"<Record {self.outcome}, {self.store.count} chunks>"

    @property
    def outcome(self):
        return OUTCOMES[self.store.outcome]

    @property
    def errno(self):
        return self.store.err

    @property
    def detail(self):
        return self.store.detail.data[: self.store.detail.len].decode("utf-8", "replace")

    @property
    def http_status(self):
        return self.store.http_status or None

    @property
    def head(self):
        return PyBytes_FromStringAndSize(self.store.head.data, self.store.head.len)

    @property
    def due_ns(self):
        return self.store.due_ns

    @property
    def connected_ns(self):
        return instant(self.store.connected_ns)

    @property
    def sent_ns(self):
        return instant(self.store.sent_ns)

    @property
    def headers_ns(self):
        return instant(self.store.headers_ns)

    @property
    def first_byte_ns(self):
        return instant(self.store.first_byte_ns)

    @property
    def body_end_ns(self):
        return instant(self.store.body_end_ns)

    @property
    def closed_ns(self):
        return self.store.closed_ns

    @property
    def realtime_offset_ns(self):
        return self.store.realtime_offset_ns

    @property
    def clock_stepped(self):
        return bool(self.store.clock_stepped)

    @property
    def reconnected(self):
        return bool(self.store.reconnected)

    @property
    def unterminated(self):
        return bool(self.store.unterminated)

    @property
    def comments(self):
        return self.store.comments

    @property
    def arrival_ns(self):
        import numpy

        column = numpy.empty(self.store.count, dtype=numpy.int64)
        cdef int64_t[::1] view = column
        cdef size_t i
        for i in range(self.store.count):
            view[i] = self.store.chunks[i].arrival_ns
        return column

    @property
    def lag_ns(self):
        import numpy

        column = numpy.empty(self.store.count, dtype=numpy.uint32)
        cdef uint32_t[::1] view = column
        cdef size_t i
        for i in range(self.store.count):
            view[i] = self.store.chunks[i].lag_ns
        return column

    @property
    def size_flags(self):
        import numpy

        column = numpy.empty(self.store.count, dtype=numpy.uint32)
        cdef uint32_t[::1] view = column
        cdef size_t i
        for i in range(self.store.count):
            view[i] = self.store.chunks[i].size_flags
        return column

    def payload(self, Py_ssize_t index):
        if index < 0:
            index += <Py_ssize_t> self.store.count
        if not 0 <= index < <Py_ssize_t> self.store.count:
            raise IndexError("no such chunk")
        self._readable()
        if <size_t> index < self.at_index or self.at_segment == NULL:
            self.at_index = 0
            self.at_offset = 0
            self.at_segment = self.store.first
        while self.at_index < <size_t> index:
            self._advance()
        return self._here()

    def payloads(self):
        cdef list found = []
        cdef size_t i
        self._readable()
        self.at_index = 0
        self.at_offset = 0
        self.at_segment = self.store.first
        for i in range(self.store.count):
            found.append(self._here())
            self._advance()
        return found

    cdef int _readable(self) except -1:
        if self.store.dropped:
            raise ValueError("the payloads of this record were dropped")
        return 0

    cdef inline uint32_t _size(self) noexcept:
        return self.store.chunks[self.at_index].size_flags & <uint32_t> STORE_SIZE_MASK

    cdef inline void _settle(self) noexcept:
        """At the end of a segment, a payload that is not empty lies in the next."""
        if self.at_segment != NULL and self.at_offset == self.at_segment.used:
            if self.at_segment.next != NULL:
                self.at_segment = self.at_segment.next
                self.at_offset = 0

    cdef inline void _advance(self) noexcept:
        cdef uint32_t size = self._size()
        if size:
            self._settle()
            self.at_offset += size
        self.at_index += 1

    cdef object _here(self):
        cdef uint32_t size = self._size()
        if size == 0:
            return b""
        self._settle()
        return PyBytes_FromStringAndSize(segment_data(self.at_segment) + self.at_offset, size)

    def drop_payloads(self):
        if self.store != &EMPTY:
            store_drop(self.store)
        self.at_segment = NULL

    @property
    def nbytes(self):
        return store_nbytes(self.store)


cdef Record wrap(store_t* store):
    """Takes the block over. Not __init__, which is for nobody to call."""
    cdef Record record = Record.__new__(Record)
    record.store = store
    return record


def _adopt(capsule):
    """The record in a "harness.store" capsule, which is empty afterwards."""
    if not PyCapsule_IsValid(capsule, b"harness.store"):
        raise ValueError("not a store, or taken already")
    cdef store_t* store = <store_t*> PyCapsule_GetPointer(capsule, b"harness.store")
    cdef Record record = wrap(store)
    PyCapsule_SetDestructor(capsule, NULL)
    PyCapsule_SetName(capsule, b"harness.store.taken")
    return record


@cython.final
cdef class Recorder:
    cdef store_t* store

    def __init__(self, int64_t due_ns, *, Py_ssize_t reserve=64):
        if reserve < 0:
            raise ValueError("reserve must not be negative")
        store_free(self.store)  # NULL at first; __init__ may be called again
        self.store = store_new(due_ns, <size_t> reserve)
        if self.store == NULL:
            raise MemoryError()

    def __dealloc__(self):
        store_free(self.store)

    cdef int _open(self) except -1:
        if self.store == NULL:
            raise ValueError("the record is sealed")
        return 0

    def mark(
        self,
        *,
        int64_t connected_ns=0,
        int64_t sent_ns=0,
        int64_t headers_ns=0,
        int64_t first_byte_ns=0,
        int http_status=0,
        bytes head not None=b"",
        bint reconnected=False,
    ):
        self._open()
        if connected_ns:
            self.store.connected_ns = connected_ns
        if sent_ns:
            self.store.sent_ns = sent_ns
        if headers_ns:
            self.store.headers_ns = headers_ns
        if first_byte_ns:
            self.store.first_byte_ns = first_byte_ns
        if http_status:
            self.store.http_status = http_status
        if head:
            self.store.head.len = 0
            if buf_append(&self.store.head, <const char*> head, len(head)):
                raise MemoryError()
        if reconnected:
            self.store.reconnected = True

    def append(self, int64_t arrival_ns, int64_t user_ns, bytes payload not None, flags=0):
        self._open()
        cdef uint32_t bits = flags
        if bits & <uint32_t> STORE_SIZE_MASK:
            raise ValueError("flags are FLAG_UPPER_BOUND, FLAG_USER_STAMP, FLAG_NAMED")
        if len(payload) > STORE_SIZE_MASK:
            raise ValueError(f"a payload of {len(payload)} bytes is over {STORE_SIZE_MASK}")
        if self.store.count and arrival_ns < self.store.chunks[self.store.count - 1].arrival_ns:
            raise ValueError("arrival_ns is before that of the last chunk")
        if store_append(
            self.store, arrival_ns, user_ns, <const char*> payload, len(payload), bits
        ):
            raise MemoryError()

    @property
    def nbytes(self):
        self._open()
        return store_nbytes(self.store)

    def seal(
        self,
        str outcome not None,
        *,
        int64_t closed_ns,
        int64_t body_end_ns=0,
        int64_t realtime_offset_ns=0,
        int errno=0,
        str detail not None="",
        uint64_t comments=0,
        bint unterminated=False,
        bint clock_stepped=False,
    ):
        self._open()
        cdef bytes said = detail.encode("utf-8", "replace")
        if outcome not in OUTCOMES:
            raise ValueError(f"{outcome!r} is not an outcome; one of {', '.join(OUTCOMES)}")
        cdef store_t* s = self.store
        if said and buf_append(&s.detail, <const char*> said, len(said)):
            raise MemoryError()
        s.outcome = OUTCOMES.index(outcome)
        s.closed_ns = closed_ns
        s.body_end_ns = body_end_ns
        s.realtime_offset_ns = realtime_offset_ns
        s.err = errno
        s.comments = comments
        s.unterminated = unterminated
        s.clock_stepped = clock_stepped
        store_seal(s)
        cdef Record record = wrap(s)
        self.store = NULL
        return record
