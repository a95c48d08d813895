"""A real HTTP server on loopback that answers from a script, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    body: bytes
    status: int = 200
    content_type: str = "application/json"
    silent: bool = False
    """Hold the request without an answer until the server is closed."""
    hangs_up: bool = False
    """Close the connection instead of answering."""


@dataclass
class ScriptedServer:
    """`answers` maps "METHOD /path" to one answer for ever, or a list of which the last stays."""

    url: str
    answers: dict[str, Answer | list[Answer]]
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def next_answer(self, method: str, path: str) -> Answer:
        found = self.answers.get(f"{method} {path}")
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found or Answer(b'{"error":"404 page not found"}', status=404)

    def bodies(self, path: str) -> list[Any]:
        return [one.body for one in self.asked if one.path == path]


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), status=status)


def as_sse(body: bytes) -> Answer:
    return Answer(body, content_type="text/event-stream")


class UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = super().get_request()
        return connection, ("unix", 0)


@contextmanager
def scripted(
    answers: dict[str, Answer | list[Answer]], *, unix: Path | None = None
) -> Iterator[ScriptedServer]:
    """On a free loopback port, or on a Unix socket at `unix`."""
    script = ScriptedServer(url="", answers=answers)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else None
            script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            found = script.next_answer(self.command, self.path)
            if found.silent:
                script.closing.wait()
                self.close_connection = True
                return
            if found.hangs_up:
                self.close_connection = True
                return
            self.send_response(found.status)
            self.send_header("Content-Type", found.content_type)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST = answer  # noqa: N815  (names that http.server looks for)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server: ThreadingHTTPServer
    if unix is None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        script.url = f"http://127.0.0.1:{server.server_port}"
    else:
        server = UnixServer(str(unix), Handler)  # type: ignore[arg-type]
        script.url = f"http+unix://{quote(str(unix), safe='')}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        script.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def nobody_listens() -> Iterator[str]:
    """An address that refuses connections: bound by us, and not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
