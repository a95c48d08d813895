"""One response, read as it comes: what docs/agent-protocol.md calls content, text, end and failure.

For the reference agent, and so the standard library alone. Whoever feeds it has stamped before:
`feed(data, at_ns)`. Lines are split on bytes; nothing is decoded that is not whole.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Answer", "Reader", "reader_for"]

_APART = ("message", "response", "thinking", "context")


class Reader:
    """What is in the payloads of a stream. `read` says whether one has content."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.server: dict[str, Any] = {}
        self.ended = False
        self.closed = False
        """The end was said in a way that leaves nothing to wait for."""
        self.error: str | None = None
        self.not_json = False

    def split(self, data: bytes) -> list[bytes]:
        """Payloads that `data` completes."""
        raise NotImplementedError

    def rest(self) -> list[bytes]:
        """What is left when the body has come whole."""
        raise NotImplementedError

    def read(self, payload: bytes) -> bool:
        try:
            chunk = json.loads(payload.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            self.error, self.not_json, self.ended, self.closed = "not JSON", True, False, False
            return False
        has_content = self._content(chunk)
        error = chunk.get("error")
        if error is not None:
            self.error, self.ended, self.closed = _message(error), False, False
        return has_content

    def _content(self, chunk: dict[str, Any]) -> bool:
        raise NotImplementedError

    def _pieces(self, text: str, reasoning: str, tools: Any) -> bool:
        if text:
            self.text.append(text)
        if reasoning:
            self.reasoning.append(reasoning)
        return bool(text or reasoning or (isinstance(tools, list) and tools))


class Ollama(Reader):
    """NDJSON."""

    def __init__(self) -> None:
        super().__init__()
        self._left = b""

    def split(self, data: bytes) -> list[bytes]:
        *lines, self._left = (self._left + data).split(b"\n")
        return [line for line in lines if line.strip()]

    def rest(self) -> list[bytes]:
        left, self._left = self._left, b""
        return [left] if left.strip() else []

    def _content(self, chunk: dict[str, Any]) -> bool:
        message = _mapping(chunk.get("message"))
        self.server = {name: value for name, value in chunk.items() if name not in _APART}
        if chunk.get("done") is True:
            self.ended = self.closed = True
        return self._pieces(
            _text(message.get("content")) + _text(chunk.get("response")),
            _text(message.get("thinking")) + _text(chunk.get("thinking")),
            message.get("tool_calls"),
        )


class OpenAI(Reader):
    """Server-Sent Events. A CR may be all of a line's end, or the half of a CRLF whose other half
    is still to come: the line is over in either case."""

    def __init__(self) -> None:
        super().__init__()
        self._left = b""
        self._data: list[bytes] = []
        self._after_cr = False
        self._first = True

    def split(self, data: bytes) -> list[bytes]:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        whole = self._left + data
        if self._first:
            if len(whole) < 3 and b"\xef\xbb\xbf".startswith(whole):
                self._left = whole
                return []
            whole, self._first = whole.removeprefix(b"\xef\xbb\xbf"), False
        if b"\r" in whole:
            self._after_cr = whole.endswith(b"\r")
            whole = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._left = whole.split(b"\n")
        return [event for line in lines for event in self._line(line)]

    def rest(self) -> list[bytes]:
        left, self._left = self._left, b""
        return [*self._line(left), *self._line(b"")]

    def _line(self, line: bytes) -> list[bytes]:
        if not line:
            event, self._data = b"\n".join(self._data), []
            return [event] if event.strip() else []
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return []

    def read(self, payload: bytes) -> bool:
        if payload.strip() == b"[DONE]":
            self.ended = self.closed = True
            return False
        return super().read(payload)

    def _content(self, chunk: dict[str, Any]) -> bool:
        for name in ("usage", "timings"):
            if chunk.get(name) is not None:
                self.server[name] = chunk[name]
        choices = chunk.get("choices")
        choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
        if choice.get("finish_reason") is not None:
            self.server["finish_reason"] = choice["finish_reason"]
            self.ended = True
        delta = _mapping(choice.get("delta"))
        return self._pieces(
            _text(delta.get("content")) + _text(choice.get("text")),
            _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")),
            delta.get("tool_calls"),
        )


def reader_for(dialect: str) -> Reader:
    return Ollama() if dialect == "ollama" else OpenAI()


class Answer:
    """One call from its request to its end."""

    def __init__(self, reader: Reader, asked_ns: int) -> None:
        self.status = "ok"
        self.http_status: int | None = None
        self.sent_ns = asked_ns
        self.end_ns = asked_ns
        self.chunk_ns: list[int] = []
        self.error: dict[str, str] | None = None
        self._reader = reader

    @property
    def text(self) -> str:
        return "".join(self._reader.text)

    def feed(self, data: bytes, at_ns: int) -> bool:
        """False: there is nothing more to read here."""
        return self._take(self._reader.split(data), at_ns)

    def finish(self, at_ns: int) -> None:
        """The body has come whole."""
        self._take(self._reader.rest(), at_ns)
        self.end_ns = at_ns
        if self._reader.error is not None:
            code = "protocol" if self._reader.not_json else "stream"
            self.fail("error", code, self._reader.error, at_ns)
        elif not self._reader.ended:
            self.fail("truncated", "truncated", "the stream has no proper end", at_ns)

    def fail(self, status: str, code: str, message: str, at_ns: int) -> None:
        self.status, self.end_ns = status, at_ns
        self.error = {"code": code, "message": message[:300]}

    def torn(self, at_ns: int) -> bool:
        """The connection went. True: behind the proper end, and so nothing is missing."""
        if self._reader.closed:
            self.finish(at_ns)
        return self._reader.closed

    def _take(self, payloads: list[bytes], at_ns: int) -> bool:
        for payload in payloads:
            if self._reader.error is not None:
                break
            if self._reader.read(payload):
                self.chunk_ns.append(at_ns)
        return self._reader.error is None

    def events(
        self, name: str, stage: str, *, chunk_stamps: bool, keep_text: bool
    ) -> list[dict[str, Any]]:
        """What there is to tell of it."""
        end: dict[str, Any] = {
            "t": "call_end",
            "call": name,
            "at_ns": self.end_ns,
            "status": self.status,
            "http_status": self.http_status,
            "content_chunks": len(self.chunk_ns),
            "server": self._reader.server,
        }
        if keep_text:
            end["text"] = self.text
        if chunk_stamps:
            end["chunk_ns"] = self.chunk_ns
        if self.error is not None:
            end["error"] = self.error
        marks = [("call_first_token", 0), ("call_last_token", -1)] if self.chunk_ns else []
        return [
            {"t": "call_sent", "call": name, "stage": stage, "at_ns": self.sent_ns},
            *({"t": t, "call": name, "at_ns": self.chunk_ns[index]} for t, index in marks),
            end,
        ]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _message(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(error)
