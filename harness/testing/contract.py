"""The contract suite for backends.

    class TestMine(BackendContract):
        def backend(self):
            return MyBackend(config)
        def good(self):
            return respond([b'data: {…}\\n\\n', …])      # a whole, good response of your server
        good_text = "Hello"
        good_tokens = 2

pytest then runs every test below. None of them opens a socket.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

from harness.protocols import Backend, Reads
from harness.schema import ChunkKind, Decoded, Message, Request
from harness.testing.wire import Piece, record_from, respond

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["BackendContract"]


class BackendContract:
    """Subclass it and override backend, good, good_text and good_tokens."""

    good_text: ClassVar[str]
    good_tokens: ClassVar[int | None]

    def backend(self) -> Backend:
        """A backend as its factory makes it, not opened."""
        raise NotImplementedError

    def good(self) -> list[Piece]:
        """A whole, good response as your server sends it."""
        raise NotImplementedError

    def request(self) -> Request:
        return Request(messages=(Message(role="user", content="Hello?"),), max_tokens=8, seed=1)

    def decode(self, pieces: list[Piece], **how: Any) -> tuple[Record, Decoded]:
        backend = self.backend()
        request = self.request()
        exchange = backend.prepare(request)
        record = record_from(pieces, framing_hint=exchange.framing, **how)
        return record, backend.decode(request, record)

    # The tests. ------------------------------------------------------------------------------

    def test_is_a_backend(self) -> None:
        assert isinstance(self.backend(), Backend)

    def test_prepare_is_complete_and_repeatable(self) -> None:
        backend = self.backend()
        first, second = backend.prepare(self.request()), backend.prepare(self.request())
        assert first.url.partition("://")[0] in ("http", "https", "http+unix")
        assert first.body == second.body
        assert not {name.lower() for name, _ in first.headers} & {"host", "content-length"}

    def test_reads_what_it_asks_for(self) -> None:
        """Of a backend that says which paths it can read: its own are among them."""
        backend = self.backend()
        if isinstance(backend, Reads):
            path = backend.prepare(self.request()).url.partition("?")[0]
            assert any(path.endswith(ending) for ending in backend.paths), path

    def test_good_response(self) -> None:
        record, decoded = self.decode(self.good())
        assert decoded.error is None
        assert decoded.end is not None, "nothing proves the stream's end"
        assert decoded.text == self.good_text
        assert decoded.usage.output_tokens == self.good_tokens
        assert len(decoded.kinds) == len(record)
        assert set(decoded.kinds) - {ChunkKind.EMPTY}, "no chunk carries content"

    def test_every_truncation_is_noticed(self) -> None:
        """A response cut anywhere before its end must not pass for a whole one."""
        pieces = self.good()
        for count in range(len(pieces) - 1):
            record, decoded = self.decode(pieces[:count])
            assert len(decoded.kinds) == len(record)
            if decoded.end is not None:
                assert decoded.finish_reason is not None, f"cut after {count} pieces went unnoticed"
                assert decoded.text == self.good_text

    def test_http_error(self) -> None:
        body = [b'{"error": {"message": "no such model", "code": 404}}']
        record, decoded = self.decode(respond(body, status=404, content_type="application/json"))
        assert len(decoded.kinds) == len(record)
        assert decoded.error is not None
        assert decoded.error.code.startswith("http.404")

    def test_empty_body(self) -> None:
        _, decoded = self.decode(respond([]))
        assert decoded.end is None

    def test_any_bytes_are_survived(self) -> None:
        """Mutations of a good response, and noise: decode never raises, and keeps its lengths."""
        rng = random.Random(20261120)
        good = [piece.data for piece in self.good()]
        for _ in range(200):
            parts = [bytearray(part) for part in good[1:-1]]
            for _ in range(rng.randint(1, 4)):
                part = rng.choice(parts)
                part[rng.randrange(len(part))] = rng.randrange(256)
            pieces = [Piece(good[0]), *(Piece(bytes(part)) for part in parts), Piece(good[-1])]
            record, decoded = self.decode(pieces)
            assert len(decoded.kinds) == len(record)
