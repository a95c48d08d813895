"""The worker's HTTP: loopback, one connection a thread, one line of JSON a step.

    POST /generate    jobs.Ask            → NDJSON: {"t": ns, "n": tokens, "text": …} … {"done": …}
    POST /unload                          → 200 once the model is out of memory
    GET  /facts                           → what is loaded

A connection's thread reads a request, hands it to the model's thread and then only looks whether
the other side is still there. The lines are written by the model's thread itself: to hand each to
another thread would cost two changes of the interpreter lock a token.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from harness_hf.jobs import Ask, Job

if TYPE_CHECKING:
    from socketserver import BaseServer

__all__ = ["Server", "Stream"]

_BODY_MAX: Final = 1 << 28
_SEND_S: Final = 30
"""A client that reads nothing for so long is gone."""
_ask = msgspec.json.Decoder(Ask)


class Stream:
    """One response, chunk by chunk. Called by the model's thread, but for `hang_up`."""

    def __init__(self, connection: socket.socket) -> None:
        self.gone = False
        self.ended = threading.Event()
        self.keep_alive = True
        self._connection = connection
        self._begun = False

    def refuse(self, status: int, message: str) -> None:
        body = msgspec.json.encode({"error": {"code": status, "message": message}})
        self._begun = True
        self._send(
            b"HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )

    def line(self, content: object) -> None:
        body = msgspec.json.encode(content) + b"\n"
        head = b""
        if not self._begun:
            self._begun = True
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
        last = b"0\r\n\r\n" if isinstance(content, dict) and _is_last(content) else b""
        self._send(b"%b%x\r\n%b\r\n%b" % (head, len(body), body, last))

    def end(self) -> None:
        self.ended.set()

    def fail(self, code: str, message: str) -> None:
        """In the middle of it, or instead of it. Nothing if it has ended."""
        if self.ended.is_set():
            return
        self.line({"error": {"code": code, "message": message}})
        self.end()

    def hang_up(self) -> None:
        """The other side has: the model's thread is to stop at the next step."""
        self.gone = True

    def _send(self, data: bytes) -> None:
        if self.gone:
            return
        try:
            self._connection.sendall(data)
        except OSError:
            self.gone = True


def _is_last(content: dict[str, Any]) -> bool:
    return "done" in content or "error" in content


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        with contextlib.suppress(OSError):
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_S, 0)
            )

    def do_GET(self) -> None:
        if self.path == "/facts":
            self._answer(200, self.server.facts())
        else:
            self._answer(404, {"error": {"message": f"there is no {self.path[:100]}"}})

    def do_POST(self) -> None:
        # A page in a browser can send no such thing without asking first, and gets no answer then.
        if self.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            self.close_connection = True
            self._answer(415, {"error": {"message": "the body must be application/json"}})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _BODY_MAX:
            self.close_connection = True
            self._answer(411, {"error": {"message": "Content-Length is missing, or too large"}})
            return
        body = self.rfile.read(int(length))
        if self.path == "/generate":
            self._generate(body)
        elif self.path == "/unload":
            self._unload()
        else:
            self._answer(404, {"error": {"message": f"there is no {self.path[:100]}"}})

    def _generate(self, body: bytes) -> None:
        try:
            ask = _ask.decode(body)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            self._answer(400, {"error": {"message": str(error)}})
            return
        stream = Stream(self.connection)
        self.server.put(Job(ask, stream))
        if not self._is_there():
            stream.hang_up()
        stream.ended.wait()
        self.close_connection = stream.gone

    def _is_there(self) -> bool:
        """Wait for what comes next on the connection: another request, or its end."""
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _unload(self) -> None:
        error = self.server.unload()
        self._answer(500 if error else 200, {"error": {"message": error}} if error else {})

    def _answer(self, status: int, content: object) -> None:
        body = msgspec.json.encode(content)
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the parent keeps what is written for last words."""


class Server(http.server.ThreadingHTTPServer):
    """On a free port of loopback."""

    daemon_threads = True
    request_queue_size = 1024
    handler: ClassVar[type[_Handler]] = _Handler

    def __init__(
        self,
        put: Callable[[Job], None],
        unload: Callable[[], str],
        facts: Callable[[], dict[str, Any]],
        port: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.put = put
        self.unload = unload
        self.facts = facts

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""


if TYPE_CHECKING:
    _: type[BaseServer] = Server
