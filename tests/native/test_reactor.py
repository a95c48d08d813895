"""The reactor against real sockets: bodies, connections, and what the stamps promise."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time

import pytest

from harness._native.framing import FLAG_UNTERMINATED, MODE_NDJSON, MODE_SSE, MODE_WHOLE, Splitter
from harness._native.recorder import FLAG_NAMED, FLAG_UPPER_BOUND, FLAG_USER_STAMP
from tests.native import drive_reactor as drive
from tests.native.drive_reactor import Client, RawServer, answering, chunked, response

SSE = b"data: one\n\n: ping\n\nevent: named\ndata: two\ndata: more\n\ndata: [DONE]\n\n"
SSE_PAYLOADS = [b"one", b"named\ntwo\nmore", b"[DONE]"]
NDJSON = '{"a":1}\n\n{"b":"\u2028\u0085"}\r\n{"done":true}\n'.encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"


def lines(body: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]


# name → (what the server says, framing asked for, the payloads)
BODIES = {
    "sse, length": (response(SSE), -1, SSE_PAYLOADS),
    "sse, chunked": (chunked(SSE[:9], SSE[9:30], SSE[30:]), -1, SSE_PAYLOADS),
    "sse, close": (HEAD % b"text/event-stream" + b"\r\n" + SSE, -1, SSE_PAYLOADS),
    "ndjson, length": (response(NDJSON, "application/x-ndjson"), -1, lines(NDJSON)),
    "ndjson, chunked": (chunked(NDJSON, media="application/x-ndjson"), -1, lines(NDJSON)),
    "ndjson, close": (HEAD % b"application/x-ndjson" + b"\r\n" + NDJSON, -1, lines(NDJSON)),
    "whole, length": (response(b'{"x":\n1}', "application/json"), -1, [b'{"x":\n1}']),
    "whole, chunked": (chunked(b"ab", b"cd", media="text/plain"), -1, [b"abcd"]),
    "whole, close": (HEAD % b"text/plain" + b"\r\nall of it", -1, [b"all of it"]),
    "empty": (response(b""), -1, []),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", -1, []),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\n" + response(SSE), -1, SSE_PAYLOADS),
    "asked for sse": (response(SSE, "text/plain"), MODE_SSE, SSE_PAYLOADS),
    "asked for ndjson": (response(NDJSON, "text/plain"), MODE_NDJSON, lines(NDJSON)),
    "type decides": (response(SSE), MODE_NDJSON, SSE_PAYLOADS),
    "whole does not": (response(SSE), MODE_WHOLE, SSE_PAYLOADS),
    "json is whole": (
        response(NDJSON, "application/json; charset=utf-8"),
        MODE_NDJSON,
        [NDJSON],
    ),
    "json-seq is not json": (
        response(NDJSON, "application/json-seq"),
        MODE_NDJSON,
        lines(NDJSON),
    ),
    "errors are whole": (response(SSE, status=503), MODE_SSE, [SSE]),
    "open sse event": (response(b"data: a\n\ndata: b"), -1, [b"a", b"b"]),
    "open ndjson line": (response(b"1\n2", "application/x-ndjson"), -1, [b"1", b"2"]),
}


@pytest.mark.parametrize("name", BODIES)
def test_every_kind_of_body(name):
    said, framing, payloads = BODIES[name]

    def serve(connection, number):
        while drive.read_request(connection):
            connection.sendall(said)
            if "close" in name:
                return

    with RawServer(serve) as server, Client() as client:
        origin = client.origin(server.address)
        for _ in range(2):
            record = client.call(origin, framing=framing)
            assert (record.outcome, record.detail, record.errno) == ("complete", "", 0)
            assert record.payloads() == payloads
            assert record.http_status == int(said[said.rindex(b"HTTP/1.1 ") + 9 :][:3])
            assert said.startswith(record.head) or name == "interim"
            assert record.unterminated == ("open" in name)
            assert record.comments == {"ss": 1, "nd": 1}.get(name[:2], record.comments)
        assert server.accepted == (2 if "close" in name else 1)


def test_flags_of_names_are_those_of_the_splitter():
    with RawServer(answering(response(SSE))) as server, Client() as client:
        record = client.call(client.origin(server.address))
        named = [bool(bits & FLAG_NAMED) for bits in record.size_flags.tolist()]
        assert named == [False, True, False]


@pytest.mark.parametrize("mode", [MODE_SSE, MODE_NDJSON])
def test_byte_by_byte_is_the_same_as_whole(mode):
    body = SSE if mode == MODE_SSE else NDJSON
    media = "text/event-stream" if mode == MODE_SSE else "application/x-ndjson"
    said = chunked(body[:7], body[7:], media=media)
    splitter = Splitter(mode)
    expected = splitter.feed(body) + splitter.finish()

    def serve(connection, number):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        drive.read_request(connection)
        for i in range(len(said)):
            connection.sendall(said[i : i + 1])
        drive.read_request(connection)

    with RawServer(serve) as server, Client(read_size=1) as client:
        record = client.call(client.origin(server.address))
        assert record.payloads() == [payload for payload, _ in expected]
        assert record.unterminated == any(flags & FLAG_UNTERMINATED for _, flags in expected)
        assert record.comments == splitter.comments


def test_a_huge_line_is_one_chunk():
    line = json.dumps("x" * 5_000_000).encode()
    body = b'{"first":1}\n' + line + b"\n"
    said = response(body, "application/x-ndjson")
    with RawServer(answering(said)) as server, Client() as client:
        record = client.call(client.origin(server.address))
        assert record.payload(1) == line
        assert len(record) == 2


def test_a_large_request_arrives_whole():
    body = os.urandom(6_000_000)
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    got = []

    def serve(connection, number):
        got.append(drive.read_request(connection))
        connection.sendall(response(b""))
        drive.read_request(connection)

    with RawServer(serve) as server, Client() as client:
        record = client.call(client.origin(server.address), request)
    assert got == [request]
    assert record.outcome == "complete"
    assert record.due_ns <= record.connected_ns <= record.sent_ns <= record.headers_ns


def test_head_has_no_body():
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    with RawServer(answering(said)) as server, Client() as client:
        origin = client.origin(server.address)
        for _ in range(2):
            record = client.call(origin, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (record.outcome, len(record)) == ("complete", 0)
        assert server.accepted == 1


# ------------------------------------------------------------------------------------- connections


def test_connections_are_used_again_and_the_last_one_first():
    with RawServer(answering(response(SSE))) as server, Client() as client:
        origin = client.origin(server.address)
        first = client.call(origin)
        again = client.call(origin)
        assert first.connected_ns is not None
        assert again.connected_ns is None
        for _ in range(8):
            client.submit(origin)
        client.wait(8)
        assert server.accepted <= 9
        assert client.reactor.stats()["connections"] == server.accepted


def test_idle_max_bounds_the_pool():
    with RawServer(answering(response(SSE))) as server, Client(idle_max=0) as client:
        origin = client.origin(server.address)
        for _ in range(3):
            client.call(origin)
        assert server.accepted == 3
        assert client.reactor.stats()["connections"] == 0


def test_connections_max_is_a_limit_of_files_of_its_own():
    """What is beyond it ends at once and says why; an idle connection makes room."""
    held = threading.Event()

    def serve(connection, number):
        drive.read_request(connection)
        held.wait(60)
        connection.sendall(response(SSE))
        drive.read_request(connection)

    with RawServer(serve) as server, Client(connections_max=2) as client:
        origin, other = client.origin(server.address), client.origin(server.address)
        for _ in range(2):
            client.submit(origin)
        beyond = client.submit(origin)
        ended = client.wait(1)
        assert (ended[beyond].outcome, ended[beyond].errno) == ("connect", errno.EMFILE)
        held.set()
        assert {record.outcome for record in client.wait(2).values()} == {"complete"}
        assert client.call(other).outcome == "complete"
        assert client.reactor.stats()["connections"] == 2


def test_calls_side_by_side_find_the_address_that_answers():
    """One learns of it while the other still waits for the address that does not: the other must
    not be sent back to that."""
    with (
        RawServer(answering(response(SSE))) as server,
        Client() as client,
        full_backlog() as silent,
    ):
        origin = client.origin(silent, server.address)
        first = client.submit(origin, connect_timeout_ns=200_000_000)
        second = client.submit(origin, connect_timeout_ns=1_000_000_000)
        outcomes = {ident: record.outcome for ident, record in client.wait(2).items()}
    assert outcomes == {first: "complete", second: "complete"}


@contextlib.contextmanager
def full_backlog():
    """An address at which connecting is not answered."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        yield drive.sockaddr(socket.AF_INET, listener.getsockname())


def test_connection_close_is_heeded():
    said = response(SSE, extra="Connection: close\r\n")
    with RawServer(answering(said)) as server, Client() as client:
        origin = client.origin(server.address)
        assert {client.call(origin).outcome for _ in range(3)} == {"complete"}
        assert server.accepted == 3


def test_a_server_that_closes_after_each_response():
    def serve(connection, number):
        drive.read_request(connection)
        connection.sendall(response(SSE))

    with RawServer(serve) as server, Client() as client:
        origin = client.origin(server.address)
        for _ in range(20):
            record = client.call(origin)
            assert (record.outcome, record.payloads()) == ("complete", SSE_PAYLOADS)
        assert server.accepted == 20


def test_a_stale_connection_is_replaced_once():
    """The server answers one request per connection, and drops the next without a word."""

    def serve(connection, number):
        drive.read_request(connection)
        connection.sendall(response(SSE))
        drive.read_request(connection)

    with RawServer(serve) as server, Client() as client:
        origin = client.origin(server.address)
        assert not client.call(origin).reconnected
        record = client.call(origin)
        assert (record.outcome, record.reconnected) == ("complete", True)
        assert record.connected_ns is not None
        assert client.reactor.stats()["reconnects"] == 1
        assert server.accepted == 2


def test_ipv6(monkeypatch):
    with RawServer(answering(response(SSE)), host="::1") as server, Client() as client:
        record = client.call(client.origin(server.address))
        assert (record.outcome, record.payloads()) == ("complete", SSE_PAYLOADS)


def test_unix_socket_has_user_stamps(tmp_path):
    with RawServer(answering(response(SSE)), path=tmp_path / "s") as server, Client() as client:
        origin = client.origin(server.address)
        for _ in range(2):
            record = client.call(origin)
            assert (record.outcome, record.payloads()) == ("complete", SSE_PAYLOADS)
            assert all(bits & FLAG_USER_STAMP for bits in record.size_flags.tolist())
            assert set(record.lag_ns.tolist()) == {0}
        assert server.accepted == 1


def test_the_next_address_is_tried_and_remembered():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = drive.sockaddr(socket.AF_INET, closed.getsockname())
        said = response(SSE, extra="Connection: close\r\n")
        with RawServer(answering(said)) as server, Client() as client:
            origin = client.origin(refusing, server.address)
            for _ in range(3):
                assert client.call(origin).outcome == "complete"


# ------------------------------------------------------------------------------------------ stamps


def pieces_on_demand(pieces, go, seen):
    """Serve `pieces`, each when `go` is set, noting the instants around each send."""

    def serve(connection, number):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        drive.read_request(connection)
        connection.sendall(HEAD % b"text/event-stream" + b"\r\n")
        for piece in pieces:
            go.acquire()
            before = time.monotonic_ns()
            connection.sendall(piece)
            seen.append((before, time.monotonic_ns()))

    return serve


def test_stamps_lie_between_send_and_user_space_and_do_not_decrease():
    go, seen = threading.Semaphore(0), []
    pieces = [b"data: %d\n\n" % i for i in range(50)]
    with RawServer(pieces_on_demand(pieces, go, seen)) as server, Client() as client:
        ident = client.submit(client.origin(server.address))
        for i in range(50):
            go.release()
            client.until("chunks", i + 1)
        record = client.wait(1)[ident]
    arrival = record.arrival_ns.tolist()
    assert arrival == sorted(arrival)
    assert not any(record.size_flags & (FLAG_UPPER_BOUND | FLAG_USER_STAMP))
    assert record.sent_ns <= record.headers_ns <= record.first_byte_ns == arrival[0]
    assert arrival[-1] <= record.body_end_ns <= record.closed_ns
    slack = 50_000  # between two clocks read at different instants
    for (before, _), at, lag in zip(seen, arrival, record.lag_ns.tolist(), strict=True):
        assert before - slack <= at
        assert lag >= 0
    stats = client.reactor.stats()
    assert (stats["user_stamps"], stats["clock_steps"]) == (0, 0)
    now = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.monotonic_ns()
    assert abs(record.realtime_offset_ns - now) < 1_000_000


def test_chunks_of_one_segment_are_upper_bounds_but_the_last():
    go, seen = threading.Semaphore(0), []
    pieces = [b"data: 1\n\ndata: 2\n\ndata: 3\n\n", b"data: 4\n\n\r\n", b"data: 5\n\ndata:"]
    with RawServer(pieces_on_demand(pieces, go, seen)) as server, Client() as client:
        ident = client.submit(client.origin(server.address))
        for chunks in (3, 4, 5):
            go.release()
            client.until("chunks", chunks)
        record = client.wait(1)[ident]
    bounds = [bool(bits & FLAG_UPPER_BOUND) for bits in record.size_flags.tolist()]
    assert bounds == [True, True, False, False, True, False]
    assert record.unterminated
    assert len(set(record.arrival_ns.tolist()[:3])) == 1
    assert client.reactor.stats()["merged_chunks"] == 3


def test_a_read_that_is_full_makes_upper_bounds():
    said = response(b"data: 1\n\n")
    with RawServer(answering(said)) as server, Client(read_size=len(said)) as client:
        record = client.call(client.origin(server.address))
        assert record.size_flags.tolist() == [1 | FLAG_UPPER_BOUND]


def test_without_timestamps_every_stamp_is_of_user_space():
    with RawServer(answering(response(SSE))) as server, Client(timestamps=False) as client:
        record = client.call(client.origin(server.address))
        assert all(bits & FLAG_USER_STAMP for bits in record.size_flags.tolist())
        assert client.reactor.stats()["kernel_stamps"] == 0


@pytest.mark.parametrize("step_ns", [-3_000_000_000, 3_000_000_000])
def test_a_step_of_the_wall_clock_is_noticed(step_ns):
    go, seen = threading.Semaphore(0), []
    pieces = [b"data: %d\n\n" % i for i in range(3)]
    with RawServer(pieces_on_demand(pieces, go, seen)) as server, Client() as client:
        ident = client.submit(client.origin(server.address))
        for i in range(3):
            if i == 1:
                client.reactor._nudge_clock(step_ns)
            go.release()
            client.until("chunks", i + 1)
        record = client.wait(1)[ident]
    assert record.clock_stepped
    assert client.reactor.stats()["clock_steps"] == 1
    arrival = record.arrival_ns.tolist()
    assert arrival == sorted(arrival)
    for (before, _), at, lag in zip(seen, arrival, record.lag_ns.tolist(), strict=True):
        assert before - 50_000 <= at
        assert at + lag <= record.closed_ns
