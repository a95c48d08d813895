"""What only the portable tap does: TLS towards the server; and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import httpx
import pytest
import trustme

from harness.errors import SpecError
from harness.transport.tap_portable import PortableDoor, PortableTap
from tests.transport.kit import until
from tests.transport.raw_server import CLOSE, RESET, RawServer, chunk, chunked_head, response

OK = response(b"data: one\n\ndata: two\n\n")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path, monkeypatch) -> ssl.SSLContext:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@contextlib.asynccontextmanager
async def door_to(url: str) -> AsyncIterator[PortableDoor]:
    tap = PortableTap([url])
    await tap.open()
    try:
        yield await tap.door(url)
    finally:
        await tap.close()


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=30)


async def test_an_agent_without_tls_reaches_a_server_with_it(tls: ssl.SSLContext) -> None:
    async with (
        RawServer([OK], tls=tls) as server,
        door_to(server.origin + "/api") as door,
        client() as agent,
    ):
        answers = [
            await agent.post(door.url + "/v1/x?y=1", json={"n": n}, headers={"X-Request-ID": "a"})
            for n in range(3)
        ]
        seen = await door.close()
        requests = list(server.requests)
    assert [answer.text for answer in answers] == ["data: one\n\ndata: two\n\n"] * 3
    assert len(seen) == len(requests) == 3
    for number, (one, request) in enumerate(zip(seen, requests, strict=True)):
        assert one.record.outcome == "complete"
        assert one.record.payloads() == [b"one", b"two"]
        assert (one.method, one.path) == ("POST", "/v1/x?y=1")
        assert one.body == b'{"n":%d}' % number
        assert ("x-request-id", "a") in one.headers
        assert request.startswith(b"POST /api/v1/x?y=1 HTTP/1.1\r\n")
        assert b"accept-encoding: identity" in request.lower()
        assert request.endswith(one.body)
        assert one.request_ns == one.record.due_ns <= one.record.sent_ns
        assert one.record.sent_ns <= one.record.arrival_ns[0]
        assert one.end_sent_ns >= one.record.arrival_ns[-1]


async def test_chunks_go_on_as_they_come(tls: ssl.SSLContext) -> None:
    more = asyncio.Event()
    script = [chunked_head(), chunk(b"data: 1\n\n"), more, chunk(b"data: 2\n\n"), b"0\r\n\r\n"]
    async with RawServer(script, tls=tls) as server, door_to(server.origin) as door:
        async with client() as agent, agent.stream("GET", door.url + "/s") as answer:
            parts = answer.aiter_bytes()
            assert await anext(parts) == b"data: 1\n\n"  # before the server has said the rest
            more.set()
            assert await anext(parts) == b"data: 2\n\n"
            assert [part async for part in parts] == []
        (one,) = await door.close()
    assert one.record.payloads() == [b"1", b"2"]


@pytest.mark.parametrize(("step", "outcomes"), [(RESET, ("reset",)), (CLOSE, ("eof",))])
async def test_a_response_that_breaks_off_breaks_off_for_the_agent_too(step, outcomes) -> None:
    script = [chunked_head(), chunk(b"data: 1\n\n"), step]
    async with RawServer(script) as server, door_to(server.origin) as door:
        with pytest.raises(httpx.TransportError):
            async with client() as agent:
                await agent.get(door.url + "/s")
        (one,) = await door.close()
    assert one.record.outcome in outcomes
    assert one.end_sent_ns is None


async def test_an_agent_that_goes_away_ends_its_call() -> None:
    never = asyncio.Event()
    async with (
        RawServer([chunked_head(), chunk(b"data: 1\n\n"), never]) as server,
        door_to(server.origin) as door,
    ):
        async with client() as agent, agent.stream("GET", door.url + "/s") as answer:
            assert await anext(answer.aiter_bytes()) == b"data: 1\n\n"
        seen = []
        await until(lambda: bool(seen.extend(door.take()) or seen))
    assert [one.record.outcome for one in seen] == ["cancelled"]
    assert seen[0].record.payloads() == [b"1"]


async def test_closing_the_door_ends_what_is_under_way() -> None:
    never = asyncio.Event()
    async with (
        RawServer([chunked_head(), chunk(b"data: 1\n\n"), never]) as server,
        door_to(server.origin) as door,
        client() as agent,
    ):
        with pytest.raises(httpx.TransportError):
            async with agent.stream("GET", door.url + "/s") as answer:
                parts = answer.aiter_bytes()
                assert await anext(parts) == b"data: 1\n\n"
                (one,) = await door.close()
                await anext(parts)
    assert one.record.outcome == "cancelled"


async def test_a_server_that_is_not_there() -> None:
    async with RawServer([OK]) as server:
        gone = server.origin
    async with door_to(gone) as door, client() as agent:
        answer = await agent.get(door.url + "/s")
        (one,) = await door.close()
    assert answer.status_code == 502
    assert "cannot reach" in answer.json()["error"]
    assert one.record.outcome == "connect"


async def test_what_a_tap_does_not_pass_on() -> None:
    async with RawServer([OK]) as server, door_to(server.origin) as door:
        async with client() as agent:
            answer = await agent.get(door.url, headers={"Upgrade": "websocket"})
            assert answer.status_code == 501
        reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.split(":")[-1]))
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")  # and the tap lives on
        writer.close()
        async with client() as agent:
            assert (await agent.post(door.url + "/x", content=b"{}")).status_code == 200
        assert server.requests and len(server.requests) == 1


@pytest.mark.parametrize(
    "target", [".elsewhere.example/x", "x", "*", "ftp://a/x", "http:x", "http://[::1/x"]
)
async def test_a_target_does_not_change_the_servers_name(target: str) -> None:
    request = h11.Request(method="GET", target=target, headers=[("Host", "a")])
    async with door_to("http://server.example") as door:
        with pytest.raises(SpecError, match="begins with a slash"):
            door.exchange(request, b"")


async def test_a_port_that_is_taken_is_said() -> None:
    async with RawServer([OK]) as server, door_to(server.origin) as door:
        port = int(door.url.split(":")[-1])
        with pytest.raises(SpecError, match=f"cannot listen on 127.0.0.1:{port}"):
            await door.tap.door(server.origin, port=port)
