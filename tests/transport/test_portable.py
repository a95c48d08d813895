"""What only the portable transport does: TLS, proxies; and what its stamps can say."""

from __future__ import annotations

import asyncio
import errno
import ssl
from pathlib import Path

import pytest
import trustme

from harness._native.recorder import FLAG_UPPER_BOUND, FLAG_USER_STAMP
from harness.schema import TimeoutsSpec
from tests.transport.kit import AMPLE, fetch, opened, post, until
from tests.transport.raw_server import (
    CLOSE,
    LAST_CHUNK,
    RawServer,
    chunk,
    chunked_head,
    response,
)

OK = response(b"data: one\n\ndata: two\n\n")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


# ------------------------------------------------------------------------------------------- TLS


@pytest.mark.usefixtures("trusted")
async def test_tls_streams_and_keeps_its_connection(tls: ssl.SSLContext) -> None:
    async with RawServer([OK], tls=tls) as server, opened("portable", server.url) as transport:
        records = [await transport.send(post(server.url), AMPLE) for _ in range(3)]
        assert server.connections == 1
    for record in records:
        assert (record.outcome, record.payloads()) == ("complete", [b"one", b"two"])
    assert records[0].connected_ns is not None
    assert records[0].connected_ns <= records[0].sent_ns
    assert records[1].connected_ns is None


async def test_a_certificate_that_nobody_vouches_for(tls: ssl.SSLContext) -> None:
    async with RawServer([OK], tls=tls) as server:
        record = await fetch("portable", server.url)
        assert server.requests == []
    assert (record.outcome, record.errno, record.sent_ns) == ("connect", 0, None)
    assert "certificate verify failed" in record.detail.lower()
    assert server.origin in record.detail


async def test_tls_to_a_server_that_does_not_speak_it() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    record = await fetch("portable", f"https://127.0.0.1:{port}/")
    server.close()
    await server.wait_closed()
    assert (record.outcome, record.connected_ns is None) == ("connect", False)
    assert record.detail.isprintable()


# --------------------------------------------------------------------------------------- proxies


async def test_plain_http_goes_through_the_proxy_in_absolute_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with RawServer([OK]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin.replace("//", "//user:pa%73s@"))
        record = await fetch("portable", "http://models.example:8000/v1?x")
    assert (record.outcome, record.payloads()) == ("complete", [b"one", b"two"])
    head = proxy.requests[0]
    assert head.startswith(b"POST http://models.example:8000/v1?x HTTP/1.1\r\n")
    assert b"\r\nHost: models.example:8000\r\n" in head
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in head


async def test_a_proxy_that_refuses_a_tunnel_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"
    async with RawServer([refusal]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
        record = await fetch("portable", "https://models.example/v1")
    assert proxy.requests[0].startswith(b"CONNECT models.example:443 HTTP/1.1\r\n")
    assert (record.outcome, record.http_status, record.sent_ns) == ("connect", None, None)
    assert "407" in record.detail


@pytest.mark.usefixtures("trusted")
async def test_tls_through_a_tunnel(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy knows where `models.test` is; here, only it does."""
    async with RawServer([OK], tls=tls) as server:
        port = int(server.origin.rpartition(":")[2])
        asked: list[bytes] = []

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

        proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        where = proxy.sockets[0].getsockname()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{where[1]}")
        # The certificate is for `localhost`, which is never proxied; so the rule is lifted here.
        monkeypatch.setattr("harness.transport.proxies.is_loopback", lambda host: False)
        record = await fetch("portable", f"https://localhost:{port}/v1")
        proxy.close()
        await proxy.wait_closed()
    assert (record.outcome, record.payloads()) == ("complete", [b"one", b"two"])
    assert asked[0].startswith(b"CONNECT localhost:")
    assert b"POST" not in asked[0] and server.requests[0].startswith(b"POST /v1 HTTP/1.1\r\n")
    assert record.connected_ns <= record.sent_ns <= record.headers_ns


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


# ------------------------------------------------------------------------ room for connections


@pytest.fixture
def room_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.transport.portable.connections_max", lambda: 1)


@pytest.mark.usefixtures("room_for_one")
async def test_a_dead_connection_leaves_its_place_to_the_one_that_replaces_it() -> None:
    scripts = [OK], [CLOSE], [OK]
    async with RawServer(*scripts) as server, opened("portable", server.url) as transport:
        records = [await transport.send(post(server.url), AMPLE) for _ in range(2)]
        assert transport.stats()["reconnects"] == 1
    assert [record.outcome for record in records] == ["complete"] * 2, records[1].detail


@pytest.mark.usefixtures("room_for_one")
async def test_an_idle_connection_makes_room_for_one_to_another_server() -> None:
    async with (
        RawServer([OK]) as one,
        RawServer([OK]) as other,
        opened("portable", one.url, other.url) as transport,
    ):
        for server in (one, other, one, one):
            record = await transport.send(post(server.url), AMPLE)
            assert record.outcome == "complete", record.detail
        assert (one.connections, other.connections) == (2, 1)


@pytest.mark.usefixtures("room_for_one")
async def test_a_connection_in_use_makes_no_room() -> None:
    gate = asyncio.Event()
    async with (
        RawServer([gate, OK]) as one,
        RawServer([OK]) as other,
        opened("portable", one.url, other.url) as transport,
    ):
        held = transport.send(post(one.url), AMPLE)
        await one.arrived(1)
        refused = await transport.send(post(other.url), AMPLE)
        gate.set()
        assert (await held).outcome == "complete"
        assert (await transport.send(post(other.url), AMPLE)).outcome == "complete"
    assert (refused.outcome, refused.errno) == ("connect", errno.EMFILE)


@pytest.mark.usefixtures("room_for_one")
async def test_the_next_call_waits_for_the_place_of_one_that_failed() -> None:
    brief = TimeoutsSpec(connect_s=30, first_byte_s=0.2, between_payloads_s=30, total_s=60)
    scripts = [asyncio.Event()], [OK]
    async with RawServer(*scripts) as server, opened("portable", server.url) as transport:
        lane = transport.lane(1)
        first, second = (transport.send(post(server.url), t, lane=lane) for t in (brief, AMPLE))
        assert (await first).outcome == "timeout_first_byte"
        assert (await second).outcome == "complete"


# ---------------------------------------------------------------------------------------- stamps


async def test_chunks_of_one_read_share_its_stamp_and_all_but_the_last_are_upper_bounds() -> None:
    gate = asyncio.Event()
    script = [
        chunked_head() + chunk(b"data: a\n\n") + chunk(b"data: b\n\ndata: c\n\n") + chunk(b"\n\n"),
        gate,
        chunk(b"data: d\n\n: and a comment\n"),
        CLOSE,
    ]
    async with RawServer(script) as server, opened("portable", server.url) as transport:
        call = transport.send(post(server.url), AMPLE)
        await until(lambda: transport.stats()["chunks"] == 3)
        gate.set()
        record = await call
        assert transport.stats()["merged_chunks"] == 3
    assert record.payloads() == [b"a", b"b", b"c", b"d"]
    assert record.outcome == "eof"
    a, b, c, d = record.arrival_ns.tolist()
    assert a == b == c < d
    bounds = (record.size_flags & FLAG_UPPER_BOUND) != 0
    assert bounds.tolist() == [True, True, False, True]
    assert ((record.size_flags & FLAG_USER_STAMP) != 0).all()


async def test_the_end_of_a_chunked_body_in_the_same_read_is_more_than_line_ends() -> None:
    script = [chunked_head() + chunk(b"data: a\n\n") + LAST_CHUNK]
    async with RawServer(script) as server:
        record = await fetch("portable", server.url)
    assert ((record.size_flags & FLAG_UPPER_BOUND) != 0).tolist() == [True]


async def test_a_frame_over_the_limit_ends_the_call_as_too_large() -> None:
    from harness.transport.portable import PortableTransport

    body = b"data: ok\n\ndata: " + b"x" * 2000 + b"\n\n"
    async with RawServer([response(body)], [OK]) as server:
        transport = PortableTransport([server.url], frame_limit=1000)
        await transport.open()
        record = await transport.send(post(server.url), AMPLE)
        again = await transport.send(post(server.url), AMPLE)
        await transport.close()
    assert (record.outcome, record.payloads()) == ("too_large", [b"ok"])
    assert "limit" in record.detail
    assert again.outcome == "complete"
