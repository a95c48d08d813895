"""What every tap does with whatever passes: one suite for all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket

import pytest

from harness.errors import SpecError
from harness.transport.tap import open_tap
from tests.sim.servers import inline_sim
from tests.transport.kit import AMPLE, Kind, fetch, opened, post, until
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
from tests.transport.tap_kit import TAPS, Agent, asking, at_a_standstill, ended, tapped

pytestmark = pytest.mark.parametrize("kind", TAPS)

OK = response(b"data: one\n\ndata: two\n\n")
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
NEVER_SENT = 2**32 - 1


# --------------------------------------------------------------------------------- what passes


async def test_an_exchange_is_passed_on_and_told(kind: Kind) -> None:
    async with RawServer([OK]) as server, tapped(kind, server.origin) as (tap, door):
        assert door.url.startswith("http://127.0.0.1:")
        async with Agent(door) as agent:
            got = await agent.ask(b'{"a": 1}', "/v1/x?y=%20z", "X-Request-ID: a.0.b\r\nX-E:\r\n")
        (seen,) = await ended(door)
        assert (await door.close(), door.take()) == ([], [])
        stats = tap.stats()
    assert (got.status, got.body) == (200, b"data: one\n\ndata: two\n\n")
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/x?y=%20z", b'{"a": 1}')
    assert ("x-request-id", "a.0.b") in seen.headers
    assert ("x-e", "") in seen.headers
    assert ("host", "an.agent.said") in seen.headers
    assert seen.record.outcome == "complete"
    assert seen.record.payloads() == [b"one", b"two"]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x?y=%20z HTTP/1.1\r\n")
    assert b"host: " + server.origin.removeprefix("http://").encode() in head.lower()
    assert b"an.agent.said" not in head
    assert body == b'{"a": 1}'
    assert (stats["connections"], stats["requests"], stats["chunks"]) == (0, 1, 2)
    assert stats["errors"] == 0
    assert stats["bytes"] >= len(got.body)
    assert 0 < stats["chunk_delay_p50_ns"] <= stats["chunk_delay_max_ns"]
    assert 0 < stats["request_delay_p50_ns"] <= stats["request_delay_max_ns"]


async def test_a_path_of_the_upstream_comes_before_the_agents(kind: Kind) -> None:
    async with RawServer([OK]) as server, tapped(kind, server.origin + "/sub/") as (_, door):
        async with Agent(door) as agent:
            await agent.ask(path="/v1/chat")
        (seen,) = await ended(door)
    assert server.requests[0].startswith(b"POST /sub/v1/chat HTTP/1.1\r\n")
    assert seen.path == "/v1/chat"


async def test_a_request_line_does_not_say_where_it_goes(kind: Kind) -> None:
    async with (
        RawServer([OK]) as elsewhere,
        RawServer([OK]) as server,
        tapped(kind, server.origin) as (_, door),
    ):
        async with Agent(door) as agent:
            got = await agent.ask(path=f"{elsewhere.origin}/v1/chat?q")
        (seen,) = await ended(door)
    assert got.status == 200
    assert server.requests[0].startswith(b"POST /v1/chat?q HTTP/1.1\r\n")
    assert seen.path == "/v1/chat?q"
    assert not elsewhere.requests


@pytest.mark.parametrize("target", [b".elsewhere/x", b"@elsewhere/x", b":1/x", b"0/x", b"x"])
async def test_a_target_that_is_no_path_goes_nowhere(kind: Kind, target: bytes) -> None:
    async with RawServer([OK]) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            await agent.say(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            got = await agent.response()
            assert await agent.at_end()
        assert door.take() == []
    assert (got.status, got.body[:10]) == (400, b'{"error":"')
    assert not server.requests


@pytest.mark.parametrize(
    "pieces",
    [
        [OK],
        [OK[i : i + 1] for i in range(len(OK))],
        [chunked_head() + chunk(b"data: one\n\nda"), chunk(b"ta: two\n\n"), LAST_CHUNK],
        [UNTIL_CLOSE + b"data: one\n\n", b"data: two\n\n", CLOSE],
    ],
    ids=["at-once", "byte-by-byte", "chunked", "until-close"],
)
async def test_a_body_comes_through_whatever_frames_it(kind: Kind, pieces: list) -> None:
    async with RawServer(pieces) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            got = await agent.ask()
        (seen,) = await ended(door)
        directly = await fetch("portable", server.url)
    assert (got.body, got.whole) == (b"data: one\n\ndata: two\n\n", True)
    assert (seen.record.outcome, seen.record.payloads()) == ("complete", [b"one", b"two"])
    assert directly.payloads() == seen.record.payloads()
    assert seen.end_sent_ns is not None


@pytest.mark.parametrize("status", ["204 No Content", "404 Not Found", "429 Slow", "500 Oh"])
async def test_other_statuses_are_passed_on(kind: Kind, status: str) -> None:
    body = b"" if status.startswith("204") else b'{"error": "no\n\nmodel"}'
    said = response(body, "application/json", status=status, extra="Retry-After: 7\r\n")
    if not body:
        said = b"HTTP/1.1 204 No Content\r\nRetry-After: 7\r\n\r\n"
    async with RawServer([said]) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            got = await agent.ask()
        (seen,) = await ended(door)
    assert (got.status, got.body) == (int(status[:3]), body)
    assert b"retry-after: 7\r\n" in got.head.lower()
    assert (seen.record.outcome, seen.record.http_status) == ("complete", int(status[:3]))
    assert seen.record.payloads() == ([body] if body else [])


async def test_head_get_and_options(kind: Kind) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n"
    script = [head], [head + b"ok"], [b"HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n"]
    async with RawServer(*script) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            found = []
            for method in ("HEAD", "GET", "OPTIONS"):
                await agent.say(f"{method} /x HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                found.append(await agent.response(method))
        seen = await ended(door, 3)
    assert [(each.status, each.body) for each in found] == [(200, b""), (200, b"ok"), (204, b"")]
    assert [each.method for each in seen] == ["HEAD", "GET", "OPTIONS"]
    assert [each.record.payloads() for each in seen] == [[], [b"ok"], []]
    assert {each.record.outcome for each in seen} == {"complete"}


async def test_a_chunked_request_is_told_decoded(kind: Kind) -> None:
    async with (
        RawServer([OK]) as server,
        tapped(kind, server.origin) as (_, door),
        Agent(door) as agent,
    ):
        await agent.say(
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=y\r\n{}\r\n3\r\n[1]\r\n0\r\nX-Trailer: t\r\n\r\n"
        )
        assert (await agent.response()).status == 200
        (seen,) = await ended(door)
    assert seen.body == b"{}[1]"


async def test_large_bodies_go_both_ways(kind: Kind) -> None:
    body = bytes(range(256)) * 40_000
    line = b'"' + b"x" * 10_000_000 + b'"'
    script = [chunked_head("application/x-ndjson"), chunk(line + b"\n{}\n"), LAST_CHUNK]
    async with RawServer(script) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            got = await agent.ask(body)
        (seen,) = await ended(door)
    assert server.requests[0].endswith(body)
    assert seen.body == body
    assert got.body == line + b"\n{}\n"
    assert seen.record.payloads() == [line, b"{}"]


async def test_a_slow_reader_gets_everything_and_holds_the_server_up(kind: Kind) -> None:
    piece, count = b"data: " + b"y" * 9_992 + b"\n\n", 4_000
    sent = 0

    async def serve(reader, writer) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n{}")
        writer.transport.set_write_buffer_limits(0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _ in range(count):
            writer.write(piece)
            await writer.drain()
            sent += 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with tapped(kind, f"http://127.0.0.1:{port}") as (tap, door):
            with socket.create_connection(("127.0.0.1", int(door.url.rpartition(":")[2]))) as slow:
                slow.sendall(asking(extra="Connection: close\r\n"))
                await at_a_standstill(tap)
                assert sent < count, "what waits is bounded"
                slow.setblocking(False)
                loop, got = asyncio.get_running_loop(), 0
                while data := await loop.sock_recv(slow, 2**20):
                    got += len(data)
            (seen,) = await ended(door)
    assert seen.record.outcome == "complete"
    assert len(seen.record) == count
    assert got >= count * len(piece)
    assert seen.record.lag_ns.max() < NEVER_SENT


# --------------------------------------------------------------------------------- connections


async def test_a_connection_serves_request_after_request(kind: Kind) -> None:
    async with RawServer([OK]) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            for index in range(5):
                got = await agent.ask(b"%d" % index)
                assert got.body == b"data: one\n\ndata: two\n\n"
        seen = await ended(door, 5)
    assert [each.body for each in seen] == [b"0", b"1", b"2", b"3", b"4"]
    assert server.connections == 1
    assert all(each.record.connected_ns is None for each in seen[1:])


async def test_pipelined_requests_are_answered_in_order(kind: Kind) -> None:
    scripts = [[response(b"%d" % index, "text/plain")] for index in range(3)]
    async with RawServer(*scripts) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            await agent.say(b"".join(asking(b"%d" % index) for index in range(3)))
            found = [await agent.response() for _ in range(3)]
        seen = await ended(door, 3)
    assert [each.body for each in found] == [b"0", b"1", b"2"]
    assert [each.body for each in seen] == [b"0", b"1", b"2"]


async def test_a_server_that_grew_tired_is_connected_again(kind: Kind) -> None:
    async with RawServer([OK, CLOSE], [OK]) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            first = await agent.ask()
            second = await agent.ask()
        seen = await ended(door, 2)
    assert (first.status, second.status) == (200, 200)
    assert [each.record.outcome for each in seen] == ["complete", "complete"]
    assert len(server.requests) == 2


async def test_connection_close_is_kept_to(kind: Kind) -> None:
    async with RawServer([OK]) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            got = await agent.ask(extra="Connection: close\r\n")
            assert await agent.at_end()
        async with Agent(door) as agent:
            await agent.say(b"POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
            old = await agent.response()
            assert await agent.at_end()
    assert (got.status, old.status, old.body) == (200, 200, b"data: one\n\ndata: two\n\n")


async def test_agents_do_not_wait_for_each_other(kind: Kind) -> None:
    gate = asyncio.Event()
    slow = [chunked_head() + chunk(b"data: a\n\n"), gate, chunk(b"data: b\n\n") + LAST_CHUNK]
    async with (
        RawServer(slow) as held,
        RawServer([OK]) as server,
        tapped(kind, held.origin, server.origin) as (tap, one, other),
    ):
        async with Agent(one) as first, Agent(other) as second:
            await first.say(asking())
            await first.read_until(b"data: a\n\n")
            for _ in range(3):
                assert (await second.ask()).status == 200
            assert tap.stats()["connections"] == 2
            assert not one.take()
            gate.set()
            assert (await first.response()).body == b"data: a\n\ndata: b\n\n"
        (seen,) = await ended(one)
        assert seen.record.payloads() == [b"a", b"b"]
        assert len(await ended(other, 3)) == 3


async def test_each_door_knows_its_own(kind: Kind) -> None:
    async with RawServer([OK]) as server, tapped(kind, *[server.origin] * 3) as (_, *doors):
        for index, door in enumerate(doors):
            async with Agent(door) as agent:
                await agent.ask(b"%d" % index)
        for index, door in enumerate(doors):
            (seen,) = await ended(door)
            assert seen.body == b"%d" % index
    assert len({door.url for door in doors}) == 3


# ---------------------------------------------------------------------------------------- what ends


async def test_an_agent_that_goes_away_takes_the_servers_stream_with_it(kind: Kind) -> None:
    ping = Ping(chunk(b"data: x\n\n"), 0.001)
    for leave in ("close", "vanish"):
        async with (
            RawServer([chunked_head(), ping]) as server,
            tapped(kind, server.origin) as (_, door),
        ):
            async with Agent(door) as agent:
                await agent.say(asking())
                await agent.read_until(b"data: x\n\n")
                if leave == "vanish":
                    agent.vanish()
            (seen,) = await ended(door)
            await until(lambda server=server: server.serving == 0)
        assert seen.record.outcome == "cancelled"
        assert seen.record.payloads()[0] == b"x"
        assert (seen.end_sent_ns, seen.record.body_end_ns) == (None, None)
        assert seen.record.http_status == 200


@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_a_server_that_breaks_off(kind: Kind, end: object) -> None:
    gate = asyncio.Event()
    script = [chunked_head() + chunk(b"data: a\n\n"), gate, end]
    async with RawServer(script) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            await agent.say(asking())
            await agent.read_until(b"data: a\n\n")
            gate.set()
            with contextlib.suppress(ConnectionError):
                assert not (await agent.response()).whole
        (seen,) = await ended(door)
    assert seen.record.outcome == ("reset" if end is RESET else "eof")
    assert seen.record.payloads() == [b"a"]
    assert seen.end_sent_ns is None


@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_a_server_that_says_nothing(kind: Kind, end: object) -> None:
    async with RawServer([end]) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            with contextlib.suppress(ConnectionError):
                assert not (await agent.ask()).whole
        (seen,) = await ended(door)
    assert seen.record.outcome == ("reset" if end is RESET else "eof")
    assert len(server.requests) == 1, "a request on a new connection is not sent again"


async def test_a_server_that_is_not_there(kind: Kind) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with tapped(kind, f"http://127.0.0.1:{nobody.getsockname()[1]}") as (tap, door):
            async with Agent(door) as agent:
                got = await agent.ask(b'{"x": 1}')
                assert await agent.at_end()
            (seen,) = await ended(door)
            assert tap.stats()["errors"] == 1
    assert got.status == 502
    assert got.body.startswith(b'{"error":"')
    assert b"\n" not in got.body.rstrip()
    assert seen.record.outcome == "connect"
    assert seen.record.errno == errno.ECONNREFUSED
    assert seen.body == b'{"x": 1}'
    assert (seen.record.sent_ns, seen.end_sent_ns) == (None, None)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 501),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 501),
    ],
)
async def test_tunnels_are_refused(kind: Kind, said: bytes, status: int) -> None:
    async with (
        RawServer([OK]) as server,
        tapped(kind, server.origin) as (_, door),
        Agent(door) as agent,
    ):
        await agent.say(said)
        got = await agent.response()
        assert await agent.at_end()
        (seen,) = await ended(door)
    assert got.status == status
    assert got.body.startswith(b'{"error":"')
    assert not server.requests
    assert (seen.method, seen.path) == tuple(said.decode().split(" ")[:2])
    assert (seen.record.outcome, seen.end_sent_ns) == ("not_sent", None)


async def test_expect_100_continue_does_not_hang(kind: Kind) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    requests = []

    async def serve(reader, writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"expect" in head.lower():
            writer.write(early)
        requests.append(head + await reader.readexactly(4))
        writer.write(OK)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with tapped(kind, f"http://127.0.0.1:{port}") as (_, door):
            async with Agent(door) as agent:
                await agent.say(
                    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
                    b"Expect: 100-continue\r\n\r\n"
                )
                assert (await agent.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
                await agent.say(b"body")
                assert (await agent.response()).status == 200
            (seen,) = await ended(door)
    assert seen.body == b"body"
    assert seen.record.outcome == "complete"
    assert requests[0].endswith(b"\r\n\r\nbody")


async def test_closing_a_door_passes_on_what_is_whole_and_ends_the_rest(kind: Kind) -> None:
    async with (
        RawServer([chunked_head() + chunk(b"data: a\n\n"), asyncio.Event()]) as server,
        RawServer([OK]) as other,
        tapped(kind, server.origin, other.origin) as (_, door, kept),
        Agent(door) as agent,
        Agent(kept) as still,
    ):
        await agent.say(asking())
        await agent.read_until(b"data: a\n\n")
        (seen,) = await door.close()
        assert await door.close() == []
        assert (await still.ask()).status == 200
        with pytest.raises(OSError):
            async with Agent(door):
                pass
    assert seen.record.outcome == "cancelled"
    assert seen.record.payloads() == [b"a"]


async def test_a_tap_can_be_closed_twice(kind: Kind) -> None:
    async with RawServer([OK]) as server, tapped(kind, server.origin) as (tap, door):
        async with Agent(door) as agent:
            await agent.ask()
        assert len(await ended(door)) == 1
        await tap.close()
        await tap.close()
        assert door.take() == []
        assert tap.stats()["requests"] == 1


async def test_what_came_through_outlives_the_tap(kind: Kind) -> None:
    async with RawServer([OK]) as server, tapped(kind, server.origin) as (tap, door):
        async with Agent(door) as agent:
            await agent.ask()
        await tap.close()
        (seen,) = door.take()
    assert seen.record.outcome == "complete"


async def test_addresses_that_cannot_be_used(kind: Kind) -> None:
    with pytest.raises(SpecError, match="ftp://"):
        open_tap(kind, ["ftp://somewhere"])
    async with tapped(kind) as (tap,):
        with pytest.raises(SpecError):
            await tap.door("127.0.0.1:80")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            with pytest.raises(SpecError, match=r"cannot listen on 127\.0\.0\.1"):
                await tap.door("http://127.0.0.1:1", port=taken.getsockname()[1])


# ------------------------------------------------------------------------------------------- stamps


async def test_instants_are_in_order_chunk_by_chunk(kind: Kind) -> None:
    gates = [asyncio.Event() for _ in range(20)]
    script: list = [chunked_head()]
    for index, gate in enumerate(gates):
        script += [gate, chunk(b"data: %d\n\n" % index)]
    script += [LAST_CHUNK]
    async with (
        RawServer(script) as server,
        tapped(kind, server.origin) as (_, door),
        opened(kind, door.url) as client,
    ):
        call = asyncio.ensure_future(client.send(post(door.url + "/v1/x"), AMPLE))
        for index, gate in enumerate(gates):
            gate.set()
            await until(lambda index=index: client.stats()["chunks"] > index or call.done())
        agents = await call
        (seen,) = await ended(door)
    record = seen.record
    assert (agents.outcome, record.outcome) == ("complete", "complete")
    assert agents.payloads() == record.payloads() == [b"%d" % index for index in range(20)]
    assert seen.request_ns == record.due_ns <= record.sent_ns <= record.arrival_ns[0]
    assert record.arrival_ns.tolist() == sorted(record.arrival_ns.tolist())
    assert record.lag_ns.max() < NEVER_SENT
    sent_on = record.arrival_ns + record.lag_ns
    # Kernel stamps are brought to our clock by each side for itself, which may differ a little.
    assert agents.sent_ns <= seen.request_ns + 50_000
    assert (sent_on <= agents.arrival_ns + 50_000).all()
    assert sent_on[-1] <= seen.end_sent_ns + 50_000
    assert seen.end_sent_ns <= agents.body_end_ns + 50_000
    assert seen.request_by_kernel == (kind == "native")
    assert record.closed_ns >= seen.end_sent_ns


async def test_chunks_that_the_agent_never_got(kind: Kind) -> None:
    async with RawServer([OK[:-2], HALF_CLOSE]) as server, tapped(kind, server.origin) as (_, door):
        async with Agent(door) as agent:
            assert not (await agent.ask()).whole
        (seen,) = await ended(door)
    assert seen.record.outcome == "eof"
    assert seen.end_sent_ns is None


# -------------------------------------------------------------------------------- the truth server


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "fault",
    [
        None,
        "reset_before",
        "reset_mid",
        "close_mid",
        "truncated_chunk",
        "trickle",
        "http_429",
        "invalid_utf8",
        "line_separators",
        "hostile_text",
        "no_end",
    ],
)
async def test_the_record_is_what_our_own_client_makes_of_it(
    kind: Kind, path: str, fault: str | None, tmp_path
) -> None:
    spec = {"ttft": 1, "gap": 1, "seed": 7, "dialect": "vllm"}
    if fault is not None:
        spec["faults"] = [{"kind": fault, "match": "please"}]
    asked = (
        b'{"model": "sim", "stream": true, "messages": [{"role": "user", "content": "please"}],'
        b' "max_tokens": 12, "options": {"num_predict": 12}}'
    )
    with inline_sim(tmp_path / "log", spec) as server:
        async with tapped(kind, server.url) as (_, door):
            async with opened(kind, server.url) as client:
                directly = await client.send(post(server.url + path, asked), AMPLE)
            async with opened(kind, door.url) as client:
                agents = await client.send(post(door.url + path, asked), AMPLE)
            (seen,) = await ended(door)
    record = seen.record
    assert (record.outcome, record.http_status) == (directly.outcome, directly.http_status)
    assert (len(record), record.comments) == (len(directly), directly.comments)
    assert record.unterminated == directly.unterminated
    # Two answers differ in their ids and instants, but what came through is one and the same.
    assert record.payloads() == agents.payloads()
    assert agents.outcome in (record.outcome, "eof", "reset")
