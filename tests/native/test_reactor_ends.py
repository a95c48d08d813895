"""Every way in which a call can end, and that the reactor leaves nothing behind."""

from __future__ import annotations

import errno
import gc
import os
import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness._native.reactor import Reactor
from tests.native import drive_reactor as drive
from tests.native.drive_reactor import Client, RawServer, answering, response

SHORT_NS = 60_000_000
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def saying(*pieces: bytes, then=lambda connection: connection.recv(1)):
    """Serve one response, and then wait for the client, by default until it hangs up."""

    def serve(connection, number):
        drive.read_request(connection)
        for piece in pieces:
            connection.sendall(piece)
        then(connection)

    return serve


# ----------------------------------------------------------------------------------------- failures


def test_refused():
    with socket.socket() as closed, Client() as client:
        closed.bind(("127.0.0.1", 0))
        record = client.call(client.origin(drive.sockaddr(socket.AF_INET, closed.getsockname())))
    assert (record.outcome, record.errno) == ("connect", errno.ECONNREFUSED)
    assert record.sent_ns is record.connected_ns is record.headers_ns is None


def test_no_such_unix_socket(tmp_path):
    with Client() as client:
        record = client.call(client.origin(drive.sockaddr(socket.AF_UNIX, tmp_path / "none")))
    assert (record.outcome, record.errno) == ("connect", errno.ENOENT)


@pytest.mark.parametrize(
    ("pieces", "outcome", "chunks"),
    [
        ((), "eof", 0),
        ((b"HTTP/1.1 200",), "eof", 0),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour",), "eof", 0),
        ((STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",), "eof", 1),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), "protocol", 0),
        ((b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",), "protocol", 0),
        ((STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",), "protocol", 0),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,), "protocol", 0),
    ],
)
def test_an_answer_that_is_none(pieces, outcome, chunks):
    with RawServer(saying(*pieces, then=lambda _: None)) as server, Client() as client:
        record = client.call(client.origin(server.address))
        assert (record.outcome, len(record)) == (outcome, chunks)
        assert record.detail
        assert record.body_end_ns is None


def test_reset_within_the_stream_keeps_what_came():
    go = threading.Event()

    def then(connection):
        go.wait(drive.PATIENCE_S)
        drive.reset(connection)

    with RawServer(saying(STREAM, b"data: 1\n\n", then=then)) as server, Client() as client:
        ident = client.submit(client.origin(server.address))
        client.until("chunks", 1)
        go.set()
        record = client.wait(1)[ident]
    assert (record.outcome, record.errno) == ("reset", errno.ECONNRESET)
    assert record.payloads() == [b"1"]


def test_a_frame_over_the_limit():
    serve = saying(STREAM, b"data: 1\n\ndata: " + b"x" * 2000)
    with RawServer(serve) as server, Client(frame_limit=1000) as client:
        record = client.call(client.origin(server.address))
    assert (record.outcome, record.payloads()) == ("too_large", [b"1"])


def test_a_body_over_the_limit():
    said = response(b"x" * 2000, "application/json")
    with RawServer(answering(said)) as server, Client(frame_limit=1000) as client:
        assert client.call(client.origin(server.address)).outcome == "too_large"


def test_an_answer_before_the_request_was_sent():
    """413 and close, with most of the request unread."""
    request = b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000)

    def serve(connection, number):
        connection.recv(1000)
        connection.sendall(response(b"too much", "text/plain", 413))
        connection.recv(1000)

    with RawServer(serve) as server, Client() as client:
        record = client.call(client.origin(server.address), request)
    assert (record.outcome, record.http_status) == ("complete", 413)
    assert record.payloads() == [b"too much"]


def test_a_server_that_goes_while_the_request_is_sent():
    request = b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000)

    def serve(connection, number):
        connection.recv(1000)
        drive.reset(connection)

    with RawServer(serve) as server, Client() as client:
        record = client.call(client.origin(server.address), request)
    assert record.outcome in ("send", "reset")
    assert record.errno in (errno.EPIPE, errno.ECONNRESET)


def test_too_many_open_files_end_the_call():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with RawServer(answering(response(b""))) as server, Client() as client:
        origin = client.origin(server.address)
        assert client.call(origin).outcome == "complete"
        lane = client.reactor.add_lane(0)
        top = os.dup(0)
        os.close(top)
        try:
            # Room for nothing: the idle connection serves one call, the others find no descriptor.
            resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
            records = [client.submit(origin, lane=lane) for _ in range(4)]
            ended = client.wait(4)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        outcomes = sorted(ended[ident].outcome for ident in records)
        assert outcomes[-1] == "connect"
        assert {r.errno for r in ended.values() if r.outcome == "connect"} == {errno.EMFILE}
        assert client.call(origin).outcome == "complete"


# ----------------------------------------------------------------------------------------- timeouts


def ping_until_gone(connection):
    while True:
        connection.sendall(b": ping\n\n")
        if drive.select.select([connection], [], [], 0.005)[0]:
            return


@pytest.mark.parametrize(
    ("pieces", "then", "limit", "outcome"),
    [
        ((), None, "first_byte", "timeout_first_byte"),
        ((STREAM,), None, "first_byte", "timeout_first_byte"),
        ((STREAM, b"data: 1\n\n"), None, "payload", "timeout_payload"),
        ((STREAM, b"data: 1\n\n"), ping_until_gone, "payload", "timeout_payload"),
        ((STREAM, b"data: 1\n\n"), ping_until_gone, "total", "timeout_total"),
        ((), None, "total", "timeout_total"),
    ],
)
def test_timeouts(pieces, then, limit, outcome):
    serve = saying(*pieces, **({"then": then} if then else {}))
    with RawServer(serve) as server, Client() as client:
        record = client.call(client.origin(server.address), **{f"{limit}_timeout_ns": SHORT_NS})
        assert record.outcome == outcome
        assert record.closed_ns - record.sent_ns >= SHORT_NS * 0.9
        assert len(record) == (1 if b"data: 1\n\n" in pieces else 0)
        assert (record.comments > 0) == (then is ping_until_gone)
        assert client.reactor.stats()["connections"] == 0


def test_payloads_re_arm_the_timeout():
    """Ten payloads, each within the timeout, all together beyond it."""

    def then(connection):
        for i in range(10):
            drive.select.select([connection], [], [], SHORT_NS / 4e9)
            connection.sendall(b"data: %d\n\n" % i)

    with RawServer(saying(STREAM, then=then)) as server, Client() as client:
        record = client.call(client.origin(server.address), payload_timeout_ns=SHORT_NS * 4)
        assert (record.outcome, len(record)) == ("complete", 10)


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose backlog is full, so that connecting to it never ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    filling = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        filling.append(one)
    return listener, filling


def test_connect_timeout_and_the_address_behind_it():
    listener, filling = full_listener()
    silent = drive.sockaddr(socket.AF_INET, listener.getsockname())
    try:
        with RawServer(answering(response(b""))) as server, Client() as client:
            record = client.call(client.origin(silent), connect_timeout_ns=SHORT_NS)
            assert (record.outcome, record.sent_ns) == ("timeout_connect", None)
            both = client.origin(silent, server.address)
            assert client.call(both, connect_timeout_ns=SHORT_NS * 10).outcome == "complete"
            record = client.call(client.origin(silent), total_timeout_ns=SHORT_NS)
            assert record.outcome == "timeout_total"
    finally:
        for one in [listener, *filling]:
            one.close()


def test_a_full_unix_backlog_is_waited_for(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(0)
    address = drive.sockaddr(socket.AF_UNIX, tmp_path / "s")
    with listener, socket.socket(socket.AF_UNIX) as filling, Client() as client:
        filling.connect(str(tmp_path / "s"))
        record = client.call(client.origin(address), connect_timeout_ns=SHORT_NS)
        assert (record.outcome, record.sent_ns) == ("timeout_connect", None)
        ident = client.submit(client.origin(address))
        client.until("in_flight", 1)
        listener.accept()[0].close()
        connection, _ = listener.accept()
        with connection:
            drive.read_request(connection)
            connection.sendall(response(b""))
            assert client.wait(1)[ident].outcome == "complete"


# ------------------------------------------------------------------------------- cancelling, closing


def test_cancel_before_and_during():
    with RawServer(saying(STREAM, b"data: 1\n\n")) as server, Client() as client:
        origin = client.origin(server.address)
        lane = client.reactor.add_lane(1)
        running = client.submit(origin, lane=lane)
        queued = client.submit(origin, lane=lane)
        later = client.submit(origin, due_ns=2**62)
        client.until("chunks", 1)
        for ident in (queued, later, running, running, 999):
            client.reactor.cancel(ident)
        ended = client.wait(3)
        assert (ended[running].outcome, ended[running].payloads()) == ("cancelled", [b"1"])
        assert ended[queued].outcome == ended[later].outcome == "not_sent"
        assert ended[later].due_ns == 2**62
        client.reactor.cancel(running)


def test_close_with_calls_in_flight():
    client = Client()
    with RawServer(saying(STREAM, b"data: 1\n\n")) as server:
        origin = client.origin(server.address)
        lane = client.reactor.add_lane(2)
        idents = [client.submit(origin, lane=lane) for _ in range(5)]
        client.until("chunks", 2)
        client.reactor.close()
        client.reactor.close()
        ended = dict(client.reactor.drain())
        assert [ended[i].outcome for i in idents] == ["cancelled"] * 2 + ["not_sent"] * 3
        assert client.reactor.drain() == []
        assert client.reactor.stats()["in_flight"] == client.reactor.stats()["queued"] == 0
        for late in (client.reactor.fileno, lambda: client.submit(origin)):
            with pytest.raises(ValueError, match="closed"):
                late()


def test_nothing_is_left_open():
    def threads():
        return len(os.listdir("/proc/self/task"))

    def files():
        return len(os.listdir("/proc/self/fd"))

    with RawServer(answering(response(b"data: 1\n\n"))) as server:
        before = threads(), files()
        for close in (True, False):
            for _ in range(3):
                reactor = Reactor()
                origin = reactor.add_origin([server.address])
                timeouts = dict.fromkeys(
                    (
                        "connect_timeout_ns",
                        "first_byte_timeout_ns",
                        "payload_timeout_ns",
                        "total_timeout_ns",
                    ),
                    drive.SECOND,
                )
                for ident in range(3):
                    reactor.submit(ident, origin, drive.REQUEST, **timeouts)
                if close:
                    reactor.close()
                del reactor
                gc.collect()
    assert (threads(), files()) == (before[0] - 1, before[1] - 1)  # the server's own have ended


def test_signals_stay_with_python():
    with Client() as client:
        task = max(map(int, os.listdir("/proc/self/task")))
        with open(f"/proc/self/task/{task}/status") as status:
            blocked = next(line.split()[1] for line in status if line.startswith("SigBlk"))
        assert int(blocked, 16) & 0x3FFF == 0x3FFF & ~(1 << 8)  # all but SIGKILL
        client.reactor.close()


def test_wrong_arguments_are_refused():
    with Client() as client:
        origin = client.origin(drive.sockaddr(socket.AF_INET, ("127.0.0.1", 1)))
        for wrong in (
            {"origin": 7},
            {"lane": 3},
            {"framing": 9},
            {"due_ns": -1},
            {"request": b""},
            {"total_timeout_ns": 0},
        ):
            with pytest.raises(ValueError, match=r"no |must|empty"):
                client.submit(**{"origin": origin, **wrong})
        ident = client.submit(origin, due_ns=2**62)
        client._ident -= 1
        with pytest.raises(ValueError, match="in use"):
            client.submit(origin)
        client.reactor.cancel(ident)
        client.wait(1)
        for wrong in ([], [(99, b"ab")], [(socket.AF_INET, b"")], [(socket.AF_INET, bytes(200))]):
            with pytest.raises(ValueError, match="address"):
                client.reactor.add_origin(wrong)
    for wrong in ({"read_size": 0}, {"batch_window_ns": -1}, {"frame_limit": 0}):
        with pytest.raises(ValueError, match="sizes"):
            Reactor(**wrong)


# ------------------------------------------------------------------------------------ any server at all

PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 503 No\r\n",
        b"Content-Type: text/event-stream\r\n",
        b"Content-Type: application/x-ndjson\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 9\r\n",
        b"\r\n",
        b"9\r\ndata: 1\n\n\r\n",
        b"data: 2\n\n",
        b'{"x":1}\n',
        b"0\r\n\r\n",
        b"\x00\xff\r",
    ]
)
SCRIPT = st.tuples(
    st.lists(PIECES, max_size=12),
    st.lists(st.integers(1, 40), max_size=6),
    st.sampled_from(["close", "reset", "stay"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SCRIPT, min_size=1, max_size=6), st.integers(0, 3))
def test_every_call_ends_exactly_once_whatever_the_server_does(scripts, limit):
    def serve(connection, number):
        pieces, cuts, end = scripts[number % len(scripts)]
        said = b"".join(pieces)
        while drive.read_request(connection):
            rest = said
            for cut in cuts:
                connection.sendall(rest[:cut])
                rest = rest[cut:]
            connection.sendall(rest)
            if end == "reset":
                drive.reset(connection)
            if end != "stay":
                return

    with RawServer(serve) as server, Client() as client:
        origin = client.origin(server.address)
        lane = client.reactor.add_lane(limit)
        idents = [
            client.submit(origin, lane=lane, total_timeout_ns=20_000_000)
            for _ in range(2 * len(scripts))
        ]
        client.reactor.cancel(idents[-1])
        ended = client.wait(len(idents))  # which fails on a second end
        assert sorted(ended) == idents
        for record in ended.values():
            assert record.closed_ns >= record.due_ns > 0
            assert sum(map(len, record.payloads())) <= 4000
        stats = client.reactor.stats()
        assert (stats["in_flight"], stats["queued"]) == (0, 0)
