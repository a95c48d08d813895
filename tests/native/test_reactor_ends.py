"""Every way in which a call can end, and that the reactor leaves nothing behind."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest

from tests.native import drive_reactor as drive
from tests.native.drive_reactor import STREAM, Client, RawServer, answering, response, saying

SHORT_NS = 60_000_000


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
    chunks = 1 if b"data: 1\n\n" in pieces else 0
    serve = saying(*pieces, **({"then": then} if then else {}))
    with RawServer(serve) as server, Client() as client:
        for limit_ns in (SHORT_NS, 10 * SHORT_NS, 100 * SHORT_NS):
            record = client.call(client.origin(server.address), **{f"{limit}_timeout_ns": limit_ns})
            assert record.outcome == outcome
            assert record.closed_ns - record.sent_ns >= limit_ns * 0.9
            assert len(record) <= chunks
            if len(record) == chunks and (record.comments > 0) == (then is ping_until_gone):
                break  # else the server did not come round to all of it: a busy machine
        else:
            pytest.fail(f"{len(record)} chunks and {record.comments} comments, whatever the limit")
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
