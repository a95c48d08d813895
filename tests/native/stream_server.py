"""A streaming server that knows when it sent what: the truth that stamps are compared with.

    python tests/native/stream_server.py [--port 0] [--log FILE] [--pump MODULE]

It prints `port N` and serves until its standard input closes. Every POST, whatever its path, asks
for one stream in JSON (see Ask). The instants right before and right after the send of every chunk
are kept in memory; GET /log answers with all rows as int64 (ident, index, before_ns, after_ns), and
--log writes them to a file at the end. Instants are CLOCK_MONOTONIC.

One thread, one epoll. A Pump sends what is due; the one here is Python and holds some ten thousand
chunks a second. --pump names a module with a faster one of the same face (benchmarks build theirs).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import heapq
import importlib
import json
import resource
import select
import socket
import sys
import time
from array import array
from pathlib import Path
from typing import Protocol

import msgspec

HEADS = {
    "sse": b"text/event-stream",
    "ndjson": b"application/x-ndjson",
}


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stream that a request wants."""

    ident: int = 0
    """Names the stream in the log."""
    format: str = "sse"
    chunks: int = 16
    """Content chunks; a finish chunk and the end marker follow them, logged as the next index."""
    first_ns: int = 0
    """From the arrival of the request to the first chunk."""
    gap_ns: int = 0
    """Between chunks; 0: as fast as the socket takes them."""
    start_ns: int = 0
    """An absolute instant to count first_ns from, so that streams can be started together."""
    text: str = "token "


class Pump(Protocol):
    """Sends the chunks of many streams, each at its due instant, and logs the instants."""

    def add(
        self, fd: int, ident: int, due_ns: int, gap_ns: int, count: int, chunk: bytes, tail: bytes
    ) -> None:
        """Begin a stream: `count` times `chunk`, then `tail`."""

    def run(self, epoll_fd: int) -> tuple[list[int], list[int]]:
        """Send until epoll_fd is readable or a stream changes: (finished, blocked) descriptors."""

    def resume(self, fd: int) -> None:
        """A blocked descriptor can be written again."""

    def drop(self, fd: int) -> None: ...

    def rows(self) -> bytes:
        """The log so far: int64 (ident, index, before_ns, after_ns) per chunk."""


# ------------------------------------------------------------------------------- waiting, to the µs


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Pollfd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


_libc = ctypes.CDLL(None, use_errno=True)


def wait_readable(fd: int, until_ns: int | None) -> bool:
    """Whether fd became readable before `until_ns`. select.epoll rounds up to milliseconds."""
    entry = _Pollfd(fd, select.POLLIN, 0)
    span = None
    if until_ns is not None:
        left = max(0, until_ns - time.monotonic_ns())
        span = ctypes.byref(_Timespec(*divmod(left, 1_000_000_000)))
    return _libc.ppoll(ctypes.byref(entry), 1, span, None) == 1


class _Stream:
    __slots__ = ("chunk", "count", "due_ns", "fd", "gap_ns", "ident", "index", "pending", "tail")

    def __init__(
        self, fd: int, ident: int, due_ns: int, gap_ns: int, count: int, chunk: bytes, tail: bytes
    ) -> None:
        self.fd, self.ident, self.due_ns, self.gap_ns = fd, ident, due_ns, gap_ns
        self.count, self.chunk, self.tail = count, chunk, tail
        self.index = 0
        self.pending = b""


class PythonPump:
    """The plain Pump."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}
        self._heap: list[tuple[int, int, int]] = []
        self._log = array("q")

    def add(
        self, fd: int, ident: int, due_ns: int, gap_ns: int, count: int, chunk: bytes, tail: bytes
    ) -> None:
        stream = _Stream(fd, ident, due_ns, gap_ns, count, chunk, tail)
        self._streams[fd] = stream
        heapq.heappush(self._heap, (due_ns, 0, fd))

    def resume(self, fd: int) -> None:
        if stream := self._streams.get(fd):
            heapq.heappush(self._heap, (stream.due_ns, stream.index, fd))

    def drop(self, fd: int) -> None:
        self._streams.pop(fd, None)

    def rows(self) -> bytes:
        return self._log.tobytes()

    def run(self, epoll_fd: int) -> tuple[list[int], list[int]]:
        for _ in range(256):  # then look at the sockets again
            due_ns = self._heap[0][0] if self._heap else None
            if due_ns is None or due_ns > time.monotonic_ns():
                if wait_readable(epoll_fd, due_ns):
                    break
                continue
            fd = heapq.heappop(self._heap)[2]
            stream = self._streams.get(fd)
            if stream is not None and (said := self._send(stream)):
                return ([fd], []) if said == "finished" else ([], [fd])
        return [], []

    def _send(self, stream: _Stream) -> str:
        """One chunk: "" if the stream goes on, else finished or blocked."""
        data = stream.pending or (stream.chunk if stream.index < stream.count else stream.tail)
        before = time.monotonic_ns()
        try:
            sent = _send_fd(stream.fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return "finished"  # the client went away; the server sees it on the socket, too
        if sent < len(data):
            stream.pending = data[sent:]
            return "blocked"
        self._log.extend((stream.ident, stream.index, before, time.monotonic_ns()))
        stream.pending = b""
        stream.index += 1
        stream.due_ns += stream.gap_ns
        if stream.index > stream.count:
            return "finished"
        heapq.heappush(self._heap, (stream.due_ns, stream.index, stream.fd))
        return ""


def _send_fd(fd: int, data: bytes) -> int:
    sent = _libc.send(fd, data, len(data), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    if sent < 0:
        error = ctypes.get_errno()
        raise OSError(error, "send")
    return int(sent)


# -------------------------------------------------------------------------------------- the server


def chunk_frames(ask: Ask) -> tuple[bytes, bytes]:
    """(one content chunk, the end of the stream) as they go over the wire."""
    if ask.format == "ndjson":
        message = {"model": "sim", "message": {"role": "assistant", "content": ask.text}}
        chunk = json.dumps({**message, "done": False}).encode() + b"\n"
        last = json.dumps({"model": "sim", "done": True, "eval_count": ask.chunks}).encode() + b"\n"
    else:
        delta = {"index": 0, "delta": {"content": ask.text}, "finish_reason": None}
        base = {"id": "chatcmpl-sim", "object": "chat.completion.chunk", "created": 0}
        chunk = b"data: " + json.dumps({**base, "choices": [delta]}).encode() + b"\n\n"
        finish = {"index": 0, "delta": {}, "finish_reason": "stop"}
        last = b"data: " + json.dumps({**base, "choices": [finish]}).encode() + b"\n\n"
        last += b"data: [DONE]\n\n"
    return _chunked(chunk), _chunked(last) + b"0\r\n\r\n"


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server:
    def __init__(self, host: str, port: int, pump: Pump) -> None:
        self.pump = pump
        self.listener = socket.create_server((host, port), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.conns: dict[int, socket.socket] = {}
        self.input: dict[int, bytes] = {}

    def serve(self, stop_fd: int) -> None:
        """Until stop_fd reads end-of-file."""
        self.epoll.register(stop_fd, select.EPOLLIN)
        while True:
            finished, blocked = self.pump.run(self.epoll.fileno())
            for fd in blocked:
                self.epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
            for fd in finished:
                self.pump.drop(fd)
            for fd, events in self.epoll.poll(0):
                if fd == stop_fd:
                    return
                if fd == self.listener.fileno():
                    self._accept()
                    continue
                if events & select.EPOLLOUT:
                    self.epoll.modify(fd, select.EPOLLIN)
                    self.pump.resume(fd)
                if events & ~select.EPOLLOUT:
                    self._readable(fd)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                conn, _ = self.listener.accept()
                conn.setblocking(False)
                if conn.family != socket.AF_UNIX:
                    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.conns[conn.fileno()] = conn
                self.input[conn.fileno()] = b""
                self.epoll.register(conn, select.EPOLLIN)

    def _close(self, fd: int) -> None:
        self.pump.drop(fd)
        self.epoll.unregister(fd)
        del self.input[fd]
        self.conns.pop(fd).close()

    def _readable(self, fd: int) -> None:
        try:
            data = self.conns[fd].recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(fd)
            return
        self.input[fd] += data
        head, blank, body = self.input[fd].partition(b"\r\n\r\n")
        if not blank or len(body) < (length := _content_length(head)):
            return
        self.input[fd] = body[length:]
        self._answer(fd, head, body[:length])

    def _answer(self, fd: int, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /log"):
            self._reply(fd, b"200 OK", self.pump.rows())
            return
        try:
            ask = msgspec.json.decode(body or b"{}", type=Ask)
        except msgspec.ValidationError as error:
            self._reply(fd, b"400 Bad Request", str(error).encode())
            return
        media = HEADS.get(ask.format, b"text/plain")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % media
        self.conns[fd].send(head)
        begin = (ask.start_ns or time.monotonic_ns()) + ask.first_ns
        self.pump.add(fd, ask.ident, begin, ask.gap_ns, ask.chunks, *chunk_frames(ask))

    def _reply(self, fd: int, status: bytes, body: bytes) -> None:
        conn = self.conns[fd]
        conn.setblocking(True)
        conn.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        conn.setblocking(False)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="write the send instants here at the end")
    parser.add_argument("--pump", help="module with a class Pump to use in place of the Python one")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _libc.prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK: wake on time
    pump: Pump = importlib.import_module(args.pump).Pump() if args.pump else PythonPump()
    server = Server(args.host, args.port, pump)
    print(f"port {server.port}", flush=True)
    server.serve(sys.stdin.fileno())
    if args.log:
        args.log.write_bytes(pump.rows())


if __name__ == "__main__":
    main()
