"""What every transport owes its caller about connections, time, bad requests: one suite for all."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest

from harness.errors import SpecError
from harness.schema import Exchange, TimeoutsSpec
from tests.transport.kit import AMPLE, KINDS, Kind, fetch, opened, post
from tests.transport.raw_server import (
    CLOSE,
    RESET,
    Ping,
    RawServer,
    chunk,
    chunked_head,
    response,
)

pytestmark = pytest.mark.parametrize("kind", KINDS)

OK = response(b"data: one\n\ndata: two\n\n")


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
