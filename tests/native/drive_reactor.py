"""Both ends of a reactor test: a server that is a function on a socket, and a small client."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from harness._native.reactor import Reactor
from harness._native.recorder import Record

SECOND = 1_000_000_000
PATIENCE_S = 30
"""Only a bug waits this long."""


def sockaddr(family: int, address: tuple | str) -> tuple[int, bytes]:
    """A packed struct sockaddr."""
    if family == socket.AF_UNIX:
        return family, struct.pack("=H", family) + str(address).encode() + b"\0"
    host, port = address[:2]
    packed = struct.pack("=H", family) + struct.pack(">H", port)
    if family == socket.AF_INET6:
        return family, packed + bytes(4) + socket.inet_pton(family, host) + bytes(4)
    return family, packed + socket.inet_aton(host) + bytes(8)


class RawServer:
    """Accepts connections; each runs `serve(connection, how many came before)` in a thread."""

    def __init__(
        self,
        serve: Callable[[socket.socket, int], None],
        *,
        host="127.0.0.1",
        path: Path | None = None,
    ) -> None:
        self._serve = serve
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if path:
            family = socket.AF_UNIX
        self._listener = socket.socket(family)
        self._listener.bind(str(path) if path else (host, 0))
        self._listener.listen(1024)
        self.address = sockaddr(family, self._listener.getsockname())
        self.accepted = 0
        self.errors: list[Exception] = []
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE_S)
            self._connections.append(connection)
            thread = threading.Thread(target=self._one, args=(connection, self.accepted))
            self.accepted += 1
            self._threads.append(thread)
            thread.start()

    def _one(self, connection: socket.socket, number: int) -> None:
        try:
            with connection:
                self._serve(connection, number)
        except OSError:
            pass  # the client left
        except Exception as error:
            self.errors.append(error)

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        assert not self.errors, self.errors


def read_request(connection: socket.socket) -> bytes:
    """One request, whole; b"" when the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answering(*responses: bytes) -> Callable[[socket.socket, int], None]:
    """Serve these in turn on every connection, the last one again and again."""

    def serve(connection: socket.socket, number: int) -> None:
        turn = 0
        while read_request(connection):
            connection.sendall(responses[min(turn, len(responses) - 1)])
            turn += 1

    return serve


def response(
    body: bytes, media: str = "text/event-stream", status: int = 200, extra: str = ""
) -> bytes:
    """With Content-Length."""
    return (
        f"HTTP/1.1 {status} Said\r\nContent-Type: {media}\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def chunked(*pieces: bytes, media: str = "text/event-stream") -> bytes:
    parts = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + parts + b"0\r\n\r\n"


REQUEST = b"POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}"


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def saying(*pieces: bytes, then=lambda connection: connection.recv(1)):
    """Serve one response, and then wait for the client, by default until it hangs up."""

    def serve(connection, number):
        read_request(connection)
        for piece in pieces:
            connection.sendall(piece)
        then(connection)

    return serve


class Client:
    """A Reactor with defaults, and a wait that fails instead of hanging."""

    def __init__(self, **options: object) -> None:
        self.reactor = Reactor(**options)
        self._ident = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reactor.close()

    def origin(self, *addresses: tuple[int, bytes]) -> int:
        return self.reactor.add_origin(list(addresses))

    def submit(self, origin: int, request: bytes = REQUEST, **options: object) -> int:
        self._ident += 1
        timeouts = dict.fromkeys(
            (
                "connect_timeout_ns",
                "first_byte_timeout_ns",
                "payload_timeout_ns",
                "total_timeout_ns",
            ),
            PATIENCE_S * SECOND,
        )
        self.reactor.submit(self._ident, origin, request, **{**timeouts, **options})
        return self._ident

    def wait(self, count: int) -> dict[int, Record]:
        """Exactly `count` sealed calls, in the order of their ends."""
        found: dict[int, Record] = {}
        while len(found) < count:
            ready, _, _ = select.select([self.reactor.fileno()], [], [], PATIENCE_S)
            assert ready, f"{len(found)} of {count} calls ended: {self.reactor.stats()}"
            for ident, record in self.reactor.drain():
                assert ident not in found
                found[ident] = record
        assert len(found) == count
        return found

    def until(self, counter: str, value: int) -> None:
        """Return once a counter has reached `value`."""
        end = time.monotonic() + PATIENCE_S
        while self.reactor.stats()[counter] < value:
            assert time.monotonic() < end, self.reactor.stats()
            os.sched_yield()

    def call(self, origin: int, request: bytes = REQUEST, **options: object) -> Record:
        ident = self.submit(origin, request, **options)
        return self.wait(1)[ident]
