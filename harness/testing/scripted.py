"""Doubles for the seams of the engine: transport, backend, sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from harness._native import recorder
from harness.protocols import BackendConfig
from harness.schema import (
    CallError,
    ChunkKind,
    Decoded,
    Effective,
    Exchange,
    Manifest,
    Record,
    Request,
    RetryRecord,
    SessionRecord,
    TimeoutsSpec,
    Usage,
)
from harness.testing.clock import FakeClock
from harness.testing.wire import Piece, record_from, respond

if TYPE_CHECKING:
    from harness._native.recorder import Record as WireRecord

__all__ = ["MemorySink", "ScriptedBackend", "ScriptedTransport"]

Answer = Sequence[Piece] | Callable[[Exchange], Sequence[Piece]]


class ScriptedTransport:
    """Answers the n-th exchange with the n-th answer, then starts over. Time is the clock's."""

    name = "scripted"

    def __init__(self, answers: Sequence[Answer], clock: FakeClock | None = None) -> None:
        self.answers = answers
        self.clock = clock or FakeClock()
        self.sent: list[Exchange] = []
        self.lanes = [0]
        self.closed = False

    async def open(self) -> None: ...

    def lane(self, limit: int) -> int:
        self.lanes.append(limit)
        return len(self.lanes) - 1

    async def send(
        self, exchange: Exchange, timeouts: TimeoutsSpec, *, lane: int = 0, due_ns: int = 0
    ) -> WireRecord:
        answer = self.answers[len(self.sent) % len(self.answers)]
        self.sent.append(exchange)
        await asyncio.sleep(0)  # a real transport never answers within the call
        pieces = answer(exchange) if callable(answer) else answer
        sent_ns = self.clock.advance(1000)
        record = record_from(pieces, sent_ns=sent_ns, framing_hint=exchange.framing)
        self.clock.advance(record.closed_ns - sent_ns)
        return record

    def stats(self) -> dict[str, int]:
        return {"calls": len(self.sent)}

    async def close(self) -> None:
        self.closed = True


class ScriptedBackend:
    """Speaks NDJSON lines of the form {"text": …} and, last, {"end": true, "tokens": n}.

    `answer` writes such a response; `effective_` is what effective() returns.
    """

    def __init__(self, config: BackendConfig, *, url: str = "http://scripted.invalid/") -> None:
        self.config = config
        self.urls = config.urls or (url,)
        self.log: list[str] = []
        self.effective_ = Effective(server="scripted", model=config.model, simulated=True)

    @staticmethod
    def answer(words: Sequence[str], *, after_ns: int = 1_000_000) -> list[Piece]:
        """The wire bytes of a good response, one word a chunk."""
        lines = [msgspec.json.encode({"text": word}) + b"\n" for word in words]
        lines.append(msgspec.json.encode({"end": True, "tokens": len(words)}) + b"\n")
        return respond(lines, content_type="application/x-ndjson", after_ns=after_ns)

    async def open(self) -> None:
        self.log.append("open")

    async def effective(self) -> Effective:
        self.log.append("effective")
        return self.effective_

    def prepare(self, request: Request) -> Exchange:
        return Exchange(url=self.urls[0], body=msgspec.json.encode(request), framing="ndjson")

    def decode(self, request: Request, record: WireRecord) -> Decoded:
        decoded = Decoded()
        kinds = bytearray(len(record))
        for index, payload in enumerate(record.payloads()):
            try:
                line: Any = msgspec.json.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError):
                decoded.error = CallError(code="protocol", message="not JSON")
                continue
            if not isinstance(line, dict):
                decoded.error = CallError(code="protocol", message="not an object")
            elif line.get("end"):
                decoded.end = index
                decoded.finish_reason = "stop"
                decoded.usage = Usage(output_tokens=line.get("tokens"))
            elif line.get("text"):
                kinds[index] = ChunkKind.ANSWER
                decoded.text += str(line["text"])
        decoded.kinds = bytes(kinds)
        return decoded

    async def close(self) -> None:
        self.log.append("close")


class MemorySink:
    """Keeps records and artifacts in lists."""

    def __init__(self) -> None:
        self.manifest: Manifest | None = None
        self.sessions: list[SessionRecord] = []
        self.records: list[Record] = []
        """Those that count."""
        self.retries: list[RetryRecord] = []
        self.artifacts: dict[str, str | bytes] = {}

    def begin(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def resume(self, manifest: Manifest, session: SessionRecord) -> None:
        """A sink that took the earlier records keeps those that still count."""
        self.manifest = manifest
        self.sessions.append(session)
        self.records = [one for one in self.records if one.trial not in session.superseded]

    def append(self, record: Record | RetryRecord) -> None:
        if isinstance(record, RetryRecord):
            self.retries.append(record)
            self.records = [one for one in self.records if one.trial != record.trial]
        else:
            self.records.append(record)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        path = f"artifacts/{trial:04d}/{name}"
        self.artifacts[path] = content
        return path


assert recorder.OUTCOMES  # the compiled part is there: fail at import, not in the first test
