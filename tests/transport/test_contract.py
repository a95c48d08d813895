"""What every transport owes its caller, whatever comes over the wire: one suite for both."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest

from harness.errors import SpecError
from harness.schema import Exchange, TimeoutsSpec
from tests.transport.kit import AMPLE, KINDS, Kind, fetch, opened, post, until
from tests.transport.raw_server import (
    CLOSE,
    HALF_CLOSE,
    LAST_CHUNK,
    RESET,
    Ping,
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


# ---------------------------------------------------------------------------------- connections


async def test_sequential_calls_share_one_connection(kind: Kind) -> None:
    async with RawServer([OK]) as server, opened(kind, server.url) as transport:
        records = [await transport.send(post(server.url), AMPLE) for _ in range(5)]
        assert server.connections == 1
    assert [record.outcome for record in records] == ["complete"] * 5
    assert [record.connected_ns is not None for record in records] == [True] + [False] * 4
    assert not any(record.reconnected for record in records)


@pytest.mark.parametrize(
    "script",
    [
        [response(b"data: a\n\n", extra="Connection: close\r\n")],
        [b"HTTP/1.0" + OK.removeprefix(b"HTTP/1.1")],
    ],
)
async def test_a_connection_is_not_used_again_against_the_servers_word(
    kind: Kind, script: list[bytes]
) -> None:
    async with RawServer(script) as server, opened(kind, server.url) as transport:
        for _ in range(3):
            record = await transport.send(post(server.url), AMPLE)
            assert record.outcome == "complete"
        assert server.connections == 3


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_kept_connection_that_died_costs_a_second_attempt_and_is_told(
    kind: Kind, end: object
) -> None:
    async with RawServer([OK], [end], [OK]) as server, opened(kind, server.url) as transport:
        first = await transport.send(post(server.url), AMPLE)
        second = await transport.send(post(server.url), AMPLE)
        assert transport.stats()["reconnects"] == 1
    assert (first.outcome, first.reconnected) == ("complete", False)
    assert (second.outcome, second.reconnected) == ("complete", True)
    assert second.connected_ns is not None and second.payloads() == [b"one", b"two"]
    assert (len(server.requests), server.connections) == (3, 2)


@pytest.mark.parametrize("more", [b"more", b"\r\n", response(b"EVIL", "text/plain")])
async def test_bytes_after_a_response_are_not_taken_for_the_next(kind: Kind, more: bytes) -> None:
    async with RawServer([OK + more], [OK]) as server, opened(kind, server.url) as transport:
        first = await transport.send(post(server.url), AMPLE)
        second = await transport.send(post(server.url), AMPLE)
    for record in (first, second):
        assert (record.outcome, record.payloads()) == ("complete", [b"one", b"two"])


async def test_a_second_attempt_is_the_last(kind: Kind) -> None:
    async with RawServer([OK], [CLOSE]) as server, opened(kind, server.url) as transport:
        await transport.send(post(server.url), AMPLE)
        record = await transport.send(post(server.url), AMPLE)
    assert (record.outcome, record.reconnected) == ("eof", True)
    assert len(server.requests) == 3


async def test_nobody_listens(kind: Kind) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, but not listening
        record = await fetch(kind, f"http://127.0.0.1:{holder.getsockname()[1]}/")
    assert (record.outcome, record.errno) == ("connect", errno.ECONNREFUSED)
    assert (record.connected_ns, record.sent_ns, record.http_status) == (None, None, None)


async def test_a_name_that_does_not_resolve(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def offline(host, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name and name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    record = await fetch(kind, "http://model.invalid/v1")
    assert (record.outcome, record.errno) == ("connect", 0)
    assert "Name or service not known" in record.detail
    assert "model.invalid" in record.detail


async def test_a_unix_socket(kind: Kind, tmp_path) -> None:
    path = tmp_path / "model.sock"
    async with RawServer([OK], unix=path) as server, opened(kind, server.url) as transport:
        for _ in range(2):
            record = await transport.send(post(server.url), AMPLE)
            assert (record.outcome, record.payloads()) == ("complete", [b"one", b"two"])
        assert server.connections == 1
    assert server.requests[0].startswith(b"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\n")
    missing = await fetch(kind, f"http+unix://%2F{tmp_path.name}%2Fnone.sock/")
    assert (missing.outcome, missing.errno) == ("connect", errno.ENOENT)


async def test_ipv6(kind: Kind) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this host has no ::1; enable IPv6 on the loopback interface to run this")
    async with RawServer([OK], host="::1") as server:
        record = await fetch(kind, server.url)
    assert (record.outcome, len(record)) == ("complete", 2)
    assert b"Host: [::1]:" in server.requests[0]


async def test_a_name_is_resolved(kind: Kind) -> None:
    async with RawServer([OK]) as server:
        record = await fetch(kind, server.url.replace("127.0.0.1", "localhost"))
    assert (record.outcome, len(record)) == ("complete", 2)


# -------------------------------------------------------------------------------------- timeouts


def brief(**seconds: float) -> TimeoutsSpec:
    ample = {"connect_s": 30, "first_byte_s": 30, "between_payloads_s": 30, "total_s": 60}
    return TimeoutsSpec(**{**ample, **seconds})


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="only Linux lets a full listener drop connections; run this there",
)
async def test_a_connection_that_is_not_taken_times_out(kind: Kind) -> None:
    # Once the queue of a listener that never accepts is full, Linux drops what else asks.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        record = await fetch(kind, url, brief(connect_s=0.2))
        for filler in fillers:
            filler.close()
    assert record.outcome == "timeout_connect"
    assert (record.connected_ns, record.sent_ns) == (None, None)


async def test_no_byte_of_the_body_in_time(kind: Kind) -> None:
    head = chunked_head()
    async with RawServer([head, asyncio.Event()]) as server:
        record = await fetch(kind, server.url, brief(first_byte_s=0.2))
        await server.connection_lost()
    assert (record.outcome, record.http_status, len(record)) == ("timeout_first_byte", 200, 0)
    assert record.first_byte_ns is None


@pytest.mark.parametrize("ping", [b": ping\n\n", b"\n", None])
async def test_a_stalled_stream_times_out_whatever_comments_it_sends(
    kind: Kind, ping: bytes | None
) -> None:
    # Did comments arm the timeout anew, this would end by the total timeout.
    stall = asyncio.Event() if ping is None else Ping(chunk(ping), 0.02)
    script = [chunked_head() + chunk(b"data: a\n\n"), stall]
    async with RawServer(script) as server:
        record = await fetch(kind, server.url, brief(between_payloads_s=0.25, total_s=5))
        await server.connection_lost()
    assert (record.outcome, record.payloads()) == ("timeout_payload", [b"a"])
    assert (record.comments > 0) == (ping == b": ping\n\n")


async def test_payloads_do_arm_the_timeout_and_the_total_ends_them(kind: Kind) -> None:
    script = [chunked_head(), Ping(chunk(b"data: a\n\n"), 0.02)]
    async with RawServer(script) as server:
        record = await fetch(kind, server.url, brief(between_payloads_s=0.9, total_s=1.1))
        await server.connection_lost()
    assert record.outcome == "timeout_total"
    assert set(record.payloads()) == {b"a"} and len(record) > 3


# ------------------------------------------------------------------------------------ bad requests


@pytest.mark.parametrize(
    "exchange",
    [
        Exchange(url="http://127.0.0.1:1/", headers=(("X-A", "b\r\nX-Evil: 1"),)),
        Exchange(url="http://127.0.0.1:1/", headers=(("X-A\r\nX-Evil", "1"),)),
        Exchange(url="http://127.0.0.1:1/", headers=(("X-A", "b\x00c"),)),
        Exchange(url="http://127.0.0.1:1/", headers=(("X-A", "\u2028"),)),
        Exchange(url="http://127.0.0.1:1/", headers=(("Host", "evil"),)),
        Exchange(url="http://127.0.0.1:1/", headers=(("content-length", "3"),)),
        Exchange(url="http://127.0.0.1:1/", headers=(("Transfer-Encoding", "chunked"),)),
        Exchange(url="http://127.0.0.1:1/a HTTP/1.1\r\nX-Evil: 1\r\n\r\n"),
        Exchange(url="http://127.0.0.1:1/\u00e9"),
        Exchange(url="http://127.0.0.1:1/", method="GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET"),
        Exchange(url="http://user:secret@127.0.0.1:1/"),
        Exchange(url="ftp://127.0.0.1/"),
    ],
)
async def test_what_would_break_out_of_its_line_is_refused_before_any_socket(
    kind: Kind, exchange: Exchange
) -> None:
    async with opened(kind) as transport:
        with pytest.raises(SpecError) as refused:
            transport.send(exchange, AMPLE)
    assert str(refused.value).isprintable()
    assert "secret" not in str(refused.value)


async def test_stats_are_counts_under_the_same_names(kind: Kind) -> None:
    async with RawServer([OK]) as server, opened(kind, server.url) as transport:
        await transport.send(post(server.url), AMPLE)
        stats = transport.stats()
    assert stats["chunks"] == 2
    assert stats["bytes"] >= len(b"data: one\n\ndata: two\n\n")
    assert stats["reads"] >= 1
    assert stats["merged_chunks"] >= 1  # both came in one read: the first is an upper bound
    assert (stats["in_flight"], stats["queued"], stats["reconnects"]) == (0, 0, 0)
    assert stats["kernel_stamps"] + stats["user_stamps"] > 0
    assert all(isinstance(value, int) for value in stats.values())
