"""A model server of whose every word none can be trusted.

    with hostile_server() as url: …

It speaks the OpenAI dialect below /v1 and Ollama's below /api, soundly enough for a run to go on,
with `nasty` text in every field that is text. Calls go through ENDS in turn. Under /shut it refuses
everything, in the same style. `says` (if given) is put into each text as well: what the client sent
as its credentials.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import quote

from tests.hostile.corpus import nasty

ENDS = ("ok", "http", "stream", "ok", "page", "torn")
VERSION = "0.30.0"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(json.loads(body) if body else None)

    # What it says -----------------------------------------------------------------------------

    def text(self):
        """Something hostile, and what the client would rather not read."""
        said = nasty(next(self.server.turns)) if self.server.nasty else "fine"
        return f"{said} {self.credentials()}" if self.server.echo else said

    def credentials(self):
        """Whatever came as a secret, in the ways in which programs quote such things."""
        found = []
        for name in ("Authorization", "Proxy-Authorization", "X-Api-Key", "Cookie"):
            value = self.headers.get(name)
            if value is None:
                continue
            found += [value, quote(value, safe=""), base64.b64encode(value.encode()).decode()]
            found += [base64.urlsafe_b64encode(b"ab" + value.encode()).decode(), repr(value)]
            found += [json.dumps(json.dumps(value)), value.encode().hex()]
            if value.startswith("Basic "):
                plain = base64.b64decode(value[6:]).decode()
                found += [plain, quote(plain, safe=""), plain.partition(":")[2]]
        return " ".join(found)

    def _answer(self, body):
        path = self.path.partition("?")[0]
        if path.startswith("http://"):  # as a proxy is asked
            path = "/" + path.split("/", 3)[3]
        if path.startswith("/shut"):
            self._send(401, self.error("openai" if "/v1" in path else "ollama"))
        elif path in ("/v1/models", "/api/tags", "/api/version", "/api/show", "/api/ps", "/props"):
            self._send(200, self.about(path))
        elif path.startswith("/api/") and not (body.get("prompt") or body.get("messages")):
            self._send(200, {"model": body["model"], "done": True, "done_reason": "load"})
        elif not body.get("stream", True):
            self._send(500, self.error("openai"))
        elif path.startswith("/api/"):
            self._stream(body, "application/x-ndjson", self.lines(body), "ollama")
        else:
            self._stream(body, "text/event-stream", self.events(body), "openai")

    def error(self, dialect):
        text = self.text()
        if dialect == "ollama":
            return {"error": text}
        return {"error": {"message": text, "type": text, "code": text, text[:60]: [text]}}

    def about(self, path):
        text, name = self.text(), self.server.model
        if path == "/v1/models":
            return {"data": [{"id": name, "owned_by": text, "root": text, "meta": {"a": text}}]}
        if path == "/props":
            return {
                "build_info": text,
                "model_path": text,
                "total_slots": 2**70,
                "default_generation_settings": {"n_ctx": 2**70, "params": {"samplers": [text]}},
            }
        if path == "/api/version":
            return {"version": f"{VERSION}{text}"}
        if path == "/api/show":
            info = {"general.architecture": text[:150], text[:60]: text[:150], "n": 2**70}
            return {"details": {"family": text}, "capabilities": [text], "parameters": text} | {
                "model_info": info,
                "license": text,
            }
        entry = {"name": name, "model": name, "digest": text, "size": 2**70, "details": {"a": text}}
        return {"models": [entry | {"size_vram": -1, "context_length": 2**70, "expires_at": text}]}

    def events(self, body):
        text = self.text()
        shared = {"id": text, "model": text, "system_fingerprint": text, text[:60]: text}
        deltas = [{"role": text, "reasoning_content": text}, {"content": text}]
        call = {"index": 0, "id": text, "type": text, "function": {"name": text, "arguments": text}}
        deltas += [{"tool_calls": [call]}, {"refusal": text}]
        for delta in deltas:
            yield shared | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        last = {"index": 0, "delta": {}, "finish_reason": text, "stop_reason": text}
        usage = {"completion_tokens": 3, "prompt_tokens": 2**70, text[:60]: text}
        yield shared | {"choices": [last], "usage": usage, "timings": {text[:60]: text}}

    def lines(self, body):
        text = self.text()
        shared = {"model": text, "created_at": text, text[:60]: text}
        call = {"function": {"name": text, "arguments": {text[:60]: text}}}
        message = {"role": text, "content": text, "thinking": text, "tool_calls": [call]}
        for _ in range(2):
            yield shared | {"message": message, "response": "", "done": False}
        counts = {"prompt_eval_count": 2**70, "eval_count": 2, "eval_duration": 2**70}
        yield shared | {"message": {"content": ""}, "done": True, "done_reason": text} | counts

    # How it says it -----------------------------------------------------------------------------

    def _send(self, status, value):
        # Escapes in the JSON become characters at the client; raw ones are there as well.
        self._write(status, "application/json", json.dumps(value, ensure_ascii=False).encode())

    def _stream(self, body, content_type, parts, dialect):
        probe = body.get("max_tokens") == 2  # a backend's own, which must get through
        end = "ok" if probe else ENDS[next(self.server.calls) % len(ENDS)]
        if end == "http":
            self._send(500, self.error(dialect))
            return
        if end == "page":
            self._write(502, "text/html", f"<html>{self.text()}".encode())
            return
        frames = list(parts)
        if end == "stream":
            frames[-1:] = [self.error(dialect)]
        sse = content_type == "text/event-stream"
        encoded = [json.dumps(frame).encode() for frame in frames]
        if end == "torn":
            encoded[-1:] = [self.text().replace("\r", "").replace("\n", "").encode()]
        whole = b"".join(b"data: " + e + b"\n\n" if sse else e + b"\n" for e in encoded)
        self._write(200, content_type, whole)

    def _write(self, status, content_type, body):
        header = self.text().encode("utf-8", "surrogatepass")
        header = bytes(byte for byte in header if byte >= 32 and byte != 127)[:2000]
        self.wfile.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nServer: %b\r\n"
            b"X-Request-Id: %b\r\nWWW-Authenticate: %b\r\n\r\n%b"
            % (status, header, content_type.encode(), len(body), header, header, header, body)
        )
        self.wfile.flush()


@contextlib.contextmanager
def hostile_server(*, nasty=True, echo=False, model=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.turns, server.calls = count(), count()
    server.nasty, server.echo = nasty, echo
    server.model = model or (_name() if nasty else "m")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _name():
    return nasty(24)[:1500]
