"""What every transport makes of a response, whatever comes over the wire: one suite for both."""

from __future__ import annotations

import asyncio
import errno

import pytest

from harness.schema import Exchange
from tests.transport.kit import AMPLE, KINDS, Kind, fetch, opened, post, until
from tests.transport.raw_server import (
    CLOSE,
    HALF_CLOSE,
    LAST_CHUNK,
    RESET,
    RawServer,
    chunk,
    chunked_head,
    response,
)

pytestmark = pytest.mark.parametrize("kind", KINDS)

OK = response(b"data: one\n\ndata: two\n\n")


# -------------------------------------------------------------------------------- whole responses


async def test_sse_events_become_chunks_in_order_of_arrival(kind: Kind) -> None:
    gate = asyncio.Event()
    script = [
        chunked_head() + chunk(b"data: one\n\n"),
        gate,
        chunk(b": ping\n\ndata: two\ndata: lines\n\nevent: end\ndata: three\n\n") + LAST_CHUNK,
    ]
    async with RawServer(script) as server, opened(kind, server.url) as transport:
        call = asyncio.ensure_future(transport.send(post(server.url), AMPLE))
        await until(lambda: transport.stats()["chunks"] >= 1 or call.done())
        gate.set()
        record = await call
    assert record.outcome == "complete", record.detail
    assert record.payloads() == [b"one", b"two\nlines", b"end\nthree"]
    assert (record.http_status, record.comments, record.unterminated) == (200, 1, False)
    assert record.head == chunked_head()
    instants = [
        record.due_ns,
        record.connected_ns,
        record.sent_ns,
        record.headers_ns,
        record.first_byte_ns,
        *record.arrival_ns.tolist(),
        record.body_end_ns,
        record.closed_ns,
    ]
    assert instants == sorted(instants)
    assert record.arrival_ns[0] == record.first_byte_ns == record.headers_ns
    assert record.arrival_ns[0] < record.arrival_ns[1]
    assert record.realtime_offset_ns > 0


async def test_the_request_arrives_as_it_was_given(kind: Kind) -> None:
    exchange = Exchange(
        url="",
        headers=(("Authorization", "Bearer k\xe9y"), ("X-Empty", "")),
        body=b'{"prompt": "\xe2\x80\xa8"}',
    )
    async with RawServer([OK]) as server, opened(kind, server.url) as transport:
        url = server.origin + "/a%20b/|c?d=[e]&f=%7B"
        record = await transport.send(
            Exchange(url=url, headers=exchange.headers, body=exchange.body), AMPLE
        )
        host = server.origin.removeprefix("http://")
    assert record.outcome == "complete"
    assert server.requests == [
        b"POST /a%20b/|c?d=[e]&f=%7B HTTP/1.1\r\n"
        b"Host: " + host.encode() + b"\r\n"
        b"User-Agent: chimera-harness\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Authorization: Bearer k\xe9y\r\n"
        b"X-Empty: \r\n"
        b"Content-Length: 17\r\n"
        b"\r\n" + exchange.body
    ]


@pytest.mark.parametrize(
    ("said", "body", "payloads"),
    [
        ("text/event-stream", b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        ("text/event-stream; charset=utf-8", b"data: a\n\n", [b"a"]),
        ("application/x-ndjson", b'{"a":1}\r\n\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
        ("application/json", b'{"a":\n\n1}\n', [b'{"a":\n\n1}\n']),
        ("text/plain", b"data: a\n\n", [b"data: a\n\n"]),
        ("text/plain", b"", []),
    ],
)
async def test_content_type_says_how_a_body_is_split(
    kind: Kind, said: str, body: bytes, payloads: list[bytes]
) -> None:
    async with RawServer([response(body, said)]) as server:
        record = await fetch(kind, server.url)
    assert (record.outcome, record.payloads()) == ("complete", payloads)


@pytest.mark.parametrize(
    ("framing", "said", "body", "payloads"),
    [
        ("sse", "text/plain", b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        ("ndjson", "", b"{}\n[]\n", [b"{}", b"[]"]),
        ("ndjson", "text/event-stream", b"data: a\n\n", [b"a"]),
        ("sse", "application/json", b'{"error": 1}', [b'{"error": 1}']),
        ("sse", "application/JSON ;charset=utf-8", b'{"error": 1}', [b'{"error": 1}']),
        ("whole", "application/x-ndjson", b"{}\n{}\n", [b"{}", b"{}"]),
        ("whole", "text/html", b"{}\n{}\n", [b"{}\n{}\n"]),
    ],
)
async def test_the_exchange_decides_where_content_type_does_not(
    kind: Kind, framing: str, said: str, body: bytes, payloads: list[bytes]
) -> None:
    async with RawServer([response(body, said)]) as server:
        record = await fetch(kind, server.url, framing=framing)
    assert (record.outcome, record.payloads()) == ("complete", payloads)


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "503 Busy"])
@pytest.mark.parametrize("said", ["application/json", "text/event-stream", "text/html"])
async def test_an_error_body_is_one_chunk_whatever_it_calls_itself(
    kind: Kind, status: str, said: str
) -> None:
    body = b'data: {"error": {"message": "no\n\nmodel"}}\n\n'
    async with RawServer([response(body, said, status=status)]) as server:
        record = await fetch(kind, server.url, framing="ndjson")
    assert (record.outcome, record.http_status) == ("complete", int(status[:3]))
    assert record.payloads() == [body]


async def test_a_redirect_is_a_response_and_not_an_order(kind: Kind) -> None:
    moved = response(b"gone", "text/plain", status="302 Found", extra="Location: /else\r\n")
    async with RawServer([moved]) as server:
        record = await fetch(kind, server.url)
    assert (record.outcome, record.http_status, record.payloads()) == ("complete", 302, [b"gone"])
    assert len(server.requests) == 1


async def test_an_interim_response_is_passed_over(kind: Kind) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with RawServer([early + OK]) as server:
        record = await fetch(kind, server.url)
    assert (record.outcome, record.http_status, len(record)) == ("complete", 200, 2)
    assert record.head.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_may_end_with_its_connection(kind: Kind) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    async with RawServer([head + b"data: a\n\nda", b"ta: b\n\n", CLOSE]) as server:
        record = await fetch(kind, server.url)
    assert (record.outcome, record.payloads()) == ("complete", [b"a", b"b"])


async def test_a_half_closed_connection_still_gives_its_body(kind: Kind) -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
    async with RawServer([head + b"{}\n[]", HALF_CLOSE]) as server:
        record = await fetch(kind, server.url)
    assert (record.outcome, record.payloads()) == ("complete", [b"{}", b"[]"])
    assert record.unterminated


async def test_head_and_get_have_no_body_to_send_or_to_wait_for(kind: Kind) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n"
    async with (
        RawServer([head], [head + b"ok"]) as server,
        opened(kind, server.url) as transport,
    ):
        first = await transport.send(Exchange(url=server.url, method="HEAD"), AMPLE)
        second = await transport.send(Exchange(url=server.url, method="GET"), AMPLE)
    assert (first.outcome, first.payloads()) == ("complete", [])
    assert (second.outcome, second.payloads()) == ("complete", [b"ok"])
    assert not any(b"content-length" in request.lower() for request in server.requests)
    assert server.connections == 1


# -------------------------------------------------------------------------------- hostile payloads


async def test_unicode_line_ends_are_text(kind: Kind) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf".encode()
    async with RawServer([response(b"data: " + text + b"\n\n")]) as server:
        record = await fetch(kind, server.url)
    assert record.payloads() == [text]


async def test_control_characters_and_broken_utf8_come_through_untouched(kind: Kind) -> None:
    line = bytes(byte for byte in range(256) if byte not in b"\r\n") * 3
    async with RawServer([response(line + b"\n" + line + b"\n", "application/x-ndjson")]) as server:
        record = await fetch(kind, server.url)
    assert record.payloads() == [line, line]


async def test_a_line_of_ten_megabytes_is_one_chunk(kind: Kind) -> None:
    line = b'"' + b"x" * 10_000_000 + b'"'
    body = [chunked_head("application/x-ndjson"), chunk(line + b"\n{}\n"), LAST_CHUNK]
    async with RawServer(body) as server:
        record = await fetch(kind, server.url)
    assert record.outcome == "complete", record.detail
    assert record.payloads() == [line, b"{}"]


# --------------------------------------------------------------------------------- broken responses


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.7\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        chunked_head() + b"zz\r\ndata: a\n\n\r\n",
        b"\x00\xff\x16\x03\x01" * 40 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_ends_as_protocol(kind: Kind, garbage: bytes) -> None:
    async with RawServer([garbage, CLOSE]) as server:
        record = await fetch(kind, server.url)
    assert record.outcome == "protocol"
    assert record.detail and record.detail.isprintable()


async def test_chunks_before_the_fault_are_kept(kind: Kind) -> None:
    gate = asyncio.Event()
    script = [chunked_head() + chunk(b"data: a\n\ndata: b"), gate, b"what?\r\n"]
    async with RawServer(script) as server, opened(kind, server.url) as transport:
        call = asyncio.ensure_future(transport.send(post(server.url), AMPLE))
        await until(lambda: transport.stats()["bytes"] > 0 or call.done())
        gate.set()
        record = await call
    assert (record.outcome, record.payloads()) == ("protocol", [b"a"])
    assert (record.http_status, record.body_end_ns) == (200, None)


@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_a_connection_that_ends_before_the_response(kind: Kind, end: object) -> None:
    async with RawServer([end]) as server:
        record = await fetch(kind, server.url)
    assert record.outcome == ("reset" if end is RESET else "eof")
    assert record.errno == (errno.ECONNRESET if end is RESET else 0)
    assert (record.http_status, len(record), record.headers_ns) == (None, 0, None)
    assert record.sent_ns is not None
    assert len(server.requests) == 1, "a request on a new connection is not sent again"


@pytest.mark.parametrize("end", [RESET, CLOSE])
@pytest.mark.parametrize(
    "head",
    [
        chunked_head() + b"80\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 128\r\n\r\n",
    ],
)
async def test_a_connection_that_ends_within_the_body(kind: Kind, head: bytes, end: object) -> None:
    gate = asyncio.Event()
    script = [head + b"data: a\n\ndata: b", gate, end]
    async with RawServer(script) as server, opened(kind, server.url) as transport:
        call = asyncio.ensure_future(transport.send(post(server.url), AMPLE))
        await until(lambda: transport.stats()["bytes"] > 0 or call.done())
        gate.set()
        record = await call
    assert record.outcome == ("reset" if end is RESET else "eof")
    assert (record.payloads(), record.http_status) == ([b"a"], 200)
    assert record.body_end_ns is None
    assert record.closed_ns >= record.arrival_ns[-1]
