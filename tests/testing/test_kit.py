"""The kit for plugin authors: its doubles behave, and its contract suite can fail."""

from __future__ import annotations

import asyncio

import pytest

from harness.protocols import Backend, BackendConfig
from harness.schema import Message, Request, TimeoutsSpec
from harness.testing import (
    BackendContract,
    FakeClock,
    Piece,
    ScriptedBackend,
    ScriptedTransport,
    record_from,
    respond,
)

MS = 1_000_000


def config():
    return BackendConfig(model="m", urls=(), options=None, timeouts=TimeoutsSpec(), seed=0)


class TestScriptedBackend(BackendContract):
    """The suite, over our own double."""

    good_text = "one two "
    good_tokens = 2

    def backend(self):
        return ScriptedBackend(config())

    def good(self):
        return ScriptedBackend.answer(["one ", "two "])

    def test_http_error(self):
        """The double knows no HTTP errors of its own; the engine finds them by the status."""
        record, decoded = self.decode(
            respond([b'{"error": "x"}'], status=404, content_type="application/json")
        )
        assert record.http_status == 404
        assert decoded.end is None


class Gullible(ScriptedBackend):
    """Takes every stream for whole."""

    def decode(self, request, record):
        decoded = super().decode(request, record)
        decoded.end, decoded.finish_reason = "body", "stop"
        return decoded


class Fragile(ScriptedBackend):
    """Believes that every payload is JSON."""

    def decode(self, request, record):
        import json

        for payload in record.payloads():
            json.loads(payload)
        return super().decode(request, record)


class Forgetful(ScriptedBackend):
    """Gives too few kinds."""

    def decode(self, request, record):
        decoded = super().decode(request, record)
        decoded.kinds = decoded.kinds[:-1]
        return decoded


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Gullible, "test_every_truncation_is_noticed"),
        (Gullible, "test_empty_body"),
        (Fragile, "test_any_bytes_are_survived"),
        (Forgetful, "test_good_response"),
    ],
)
def test_the_suite_finds_what_is_wrong(kind, check):
    class Suite(TestScriptedBackend):
        def backend(self):
            return kind(config())

    with pytest.raises((AssertionError, ValueError)):
        getattr(Suite(), check)()


def test_a_backend_without_a_method_is_none():
    assert isinstance(ScriptedBackend(config()), Backend)
    assert not isinstance(object(), Backend)


def test_the_clock():
    clock = FakeClock(10)
    assert clock.advance(5) == clock.monotonic_ns() == 15
    asyncio.run(clock.sleep(1.5))
    assert clock.monotonic_ns() == 15 + 1500 * MS
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_record_from_literal_bytes():
    pieces = [
        Piece(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", 5 * MS),
        Piece(b"data: a\n\ndata: ", 2 * MS),
        Piece(b"b\n\n", 3 * MS),
    ]
    record = record_from(pieces, sent_ns=MS)
    assert record.payloads() == [b"a", b"b"]
    assert record.outcome == "complete"
    assert record.headers_ns == 6 * MS
    assert record.arrival_ns.tolist() == [8 * MS, 11 * MS]
    assert record.http_status == 200


def test_a_torn_response_is_torn():
    pieces = respond([b"data: a\n\n", b"data: b\n\n"])[:-1]
    assert record_from(pieces).outcome == "eof"
    assert record_from(pieces, cut="reset").outcome == "reset"
    assert record_from([Piece(b"gibberish\r\n\r\n")]).outcome == "protocol"


def test_the_transport_answers_in_turn():
    async def main():
        answers = [ScriptedBackend.answer(["x"]), lambda exchange: respond([], status=500)]
        transport = ScriptedTransport(answers)
        exchange = ScriptedBackend(config()).prepare(
            Request(messages=(Message(role="user", content="?"),))
        )
        records = [await transport.send(exchange, TimeoutsSpec()) for _ in range(3)]
        assert [record.http_status for record in records] == [200, 500, 200]
        assert records[0].closed_ns < records[2].sent_ns
        await transport.close()
        assert transport.closed

    asyncio.run(main())
