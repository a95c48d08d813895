"""Cancelling, closing, misuse; and that every call ends exactly once, whatever the server does."""

from __future__ import annotations

import gc
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness._native.reactor import Reactor
from tests.native import drive_reactor as drive
from tests.native.drive_reactor import STREAM, Client, RawServer, answering, response, saying

TASKS = Path("/proc/self/task")


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
    def left() -> tuple[int, int]:
        return len(list(TASKS.iterdir())), len(list(Path("/proc/self/fd").iterdir()))

    before = left()
    with RawServer(answering(response(b"data: 1\n\n"))) as server:
        for close in (True, False):
            for _ in range(3):
                client = Client()
                origin = client.origin(server.address)
                for _ in range(3):
                    client.submit(origin)
                if close:
                    client.reactor.close()
                del client
                gc.collect()
    end = time.monotonic() + drive.PATIENCE_S
    # The system forgets a thread some time after it was joined; so `before` may be too high, too.
    while any(now > then for now, then in zip(left(), before, strict=True)):
        assert time.monotonic() < end, (before, left())
        os.sched_yield()


def test_signals_stay_with_python():
    with Client():
        states = [(task / "status").read_text() for task in TASKS.iterdir()]
        mine = [state for state in states if "harness-reactor" in state]
        assert mine
        for state in mine:
            blocked = next(line.split()[1] for line in state.splitlines() if "SigBlk" in line)
            assert int(blocked, 16) & 0x3FFF == 0x3FFF & ~(1 << 8)  # all but SIGKILL


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


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
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
