# The Python face of the headers that wire.pxd lists: Splitter (body → frames) and ResponseParser
# (socket → body).
#
# The GIL stays held. Splitting one read takes microseconds, each frame becomes a bytes object
# anyway, and a lock would have to stand in for the GIL, since the state is the object's own.
# Whoever needs the loop without the GIL (the reactor) uses those headers itself.
#
# An input buffer is borrowed for one call and never kept: what is handed out is a copy.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize

cimport cython
cimport wire
from buffers cimport buf_append, buf_free, buf_t
from frames cimport split_eof, split_feed, split_free, split_init, split_t
from http cimport http_eof, http_feed
from http_state cimport HTTP_DONE, http_fail, http_free, http_init, http_t

MODE_WHOLE = wire.MODE_WHOLE
MODE_SSE = wire.MODE_SSE
MODE_NDJSON = wire.MODE_NDJSON

FLAG_NAMED = 1
FLAG_UNTERMINATED = 2

cdef enum:
    NAMED = 1
    UNTERMINATED = 2


cdef int refuse(int error) except -1:
    if error == wire.WIRE_E_MEMORY:
        raise MemoryError
    raise ValueError(wire.wire_error_text(error).decode())


@cython.final
cdef class Splitter:
    cdef split_t state
    cdef bint finished

    def __init__(self, int mode, *, Py_ssize_t limit=67108864):
        if mode not in (wire.MODE_WHOLE, wire.MODE_SSE, wire.MODE_NDJSON):
            raise ValueError(f"mode must be 0, 1 or 2, not {mode}")
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit}")
        split_free(&self.state)  # all zero at first; __init__ may be called again
        split_init(&self.state, mode, <size_t> limit)
        self.finished = False

    def __dealloc__(self):
        split_free(&self.state)

    cdef object frame(self, int flags):
        cdef const char* data = self.state.frame.data
        if self.state.named:
            flags |= NAMED
        return PyBytes_FromStringAndSize(data, <Py_ssize_t> self.state.frame.len), flags

    cdef int split(self, const char* p, size_t n, list frames) except -1:
        cdef size_t used = 0
        cdef bint ready = False
        while used < n and not self.state.error:
            used += split_feed(&self.state, p + used, n - used, &ready)
            if ready:
                frames.append(self.frame(0))
        return 0

    def feed(self, data):
        cdef Py_buffer view
        cdef list frames = []
        if self.finished:
            raise ValueError("the splitter is finished")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.split(<const char*> view.buf, <size_t> view.len, frames)
        finally:
            PyBuffer_Release(&view)
        # Frames that came whole before the bad one are not lost: the next call raises.
        if self.state.error and not frames:
            refuse(self.state.error)
        return frames

    def finish(self):
        cdef list frames = []
        self.finished = True
        if split_eof(&self.state):
            frames.append(self.frame(0 if self.state.mode == wire.MODE_WHOLE else UNTERMINATED))
        if self.state.error:
            refuse(self.state.error)
        return frames

    @property
    def comments(self):
        return self.state.comments


@cython.final
cdef class ResponseParser:
    cdef http_t state
    cdef buf_t joined  # body spans of one feed; kept, so that it is allocated once

    def __init__(self, str method="POST", *, Py_ssize_t head_limit=65536):
        if method is None:
            raise TypeError("method must be str, not None")
        if head_limit < 1:
            raise ValueError(f"head_limit must be 1 or more, not {head_limit}")
        http_free(&self.state)
        http_init(&self.state, method.upper() == "HEAD", <size_t> head_limit)

    def __dealloc__(self):
        http_free(&self.state)
        buf_free(&self.joined)

    cdef size_t parse(self, const char* p, size_t n) noexcept:
        """Bytes used; the body goes to self.joined."""
        cdef size_t used = 0
        cdef const char* span = NULL
        cdef size_t size = 0
        self.joined.len = 0
        while used < n and self.state.phase < HTTP_DONE:
            used += http_feed(&self.state, p + used, n - used, &span, &size)
            if buf_append(&self.joined, span, size):
                http_fail(&self.state, wire.WIRE_E_MEMORY)
        # The body before bad bytes is handed out first. The bad byte stays, so that the caller
        # comes back with it and is told.
        if self.state.error and self.joined.len:
            used -= 1
        return used

    def feed(self, data):
        cdef Py_buffer view
        cdef size_t used
        if self.state.error:
            refuse(self.state.error)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            used = self.parse(<const char*> view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)
        if self.state.error == wire.WIRE_E_MEMORY or (self.state.error and not self.joined.len):
            refuse(self.state.error)
        return PyBytes_FromStringAndSize(self.joined.data, <Py_ssize_t> self.joined.len), used

    def finish(self):
        if self.state.error:
            refuse(self.state.error)
        return bool(http_eof(&self.state))

    @property
    def status(self):
        return self.state.status

    @property
    def head(self):
        if self.state.status == 0:
            return b""
        cdef const char* data = self.state.head.data
        return PyBytes_FromStringAndSize(data, <Py_ssize_t> self.state.head.len)

    @property
    def complete(self):
        return self.state.phase == HTTP_DONE

    @property
    def keep_alive(self):
        return bool(self.state.keep_alive)

    @property
    def mode(self):
        return self.state.mode
