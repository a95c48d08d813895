"""The native sender alone, over real sockets."""

from __future__ import annotations

import contextlib
import select
import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness._native import truth
from harness._native.clock import monotonic_ns
from harness.testing.sim.log import row_type

MS = 1_000_000


class Bench:
    """A Sender and clients for it."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.setblocking(False)
        self.address = listener.getsockname()
        self.sender = truth.Sender()
        self.sender.listen(listener.detach())
        self.clients = []
        self.seen = []

    def client(self):
        client = socket.create_connection(self.address, timeout=30)
        self.clients.append(client)
        return client

    def events(self, count):
        """The next `count` events."""
        while len(self.seen) < count:
            assert select.select([self.sender.fileno()], [], [], 30)[0], self.seen
            self.seen += self.sender.drain()
        taken, self.seen = self.seen[:count], self.seen[count:]
        return taken

    def answer(self, event, pieces, ending=truth.KEEP, start_ns=None, kinds=None):
        data, ends, due_ns = b"", [], []
        start_ns = monotonic_ns() if start_ns is None else start_ns
        for text, after_ns in pieces:
            data += text
            ends.append(len(data))
            due_ns.append(start_ns + after_ns)
        kinds = kinds or bytes(range(len(pieces)))
        self.sender.answer(event[1], event[2], data, ends, due_ns, kinds, ending)
        return due_ns

    def rows(self):
        """The whole log; the sender is closed."""
        taken = self.sender.rows()
        self.sender.close()
        return np.frombuffer(b"".join(taken + self.sender.rows()), row_type())

    def close(self):
        self.sender.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


REQUEST = b"POST /x HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5\r\n\r\nhello"


def receive(client, size):
    got = b""
    while len(got) < size:
        piece = client.recv(size - len(got))
        assert piece, got
        got += piece
    return got


def test_rows_are_as_long_as_the_stub_says():
    assert row_type().itemsize == truth.ROW_SIZE


@pytest.mark.parametrize("cut", [1, 4, 30, len(REQUEST) - 5, len(REQUEST) - 1])
def test_a_request_in_two_parts(bench, cut):
    client = bench.client()
    client.sendall(REQUEST[:cut])
    client.sendall(REQUEST[cut:])
    ((what, _, serial, at_ns, kernel_ns, head, body),) = bench.events(1)
    assert (what, serial, body) == (truth.REQUEST, 1, b"hello")
    assert head == REQUEST[:-5]
    assert 0 <= kernel_ns <= at_ns


def test_pieces_are_sent_in_order_when_due_and_noted(bench):
    client = bench.client()
    client.sendall(REQUEST)
    (event,) = bench.events(1)
    pieces = [(b"one", 0), (b"two", 3 * MS), (b"", 4 * MS), (b"three", 5 * MS)]
    due_ns = bench.answer(event, pieces, kinds=bytes([7, 8, 9, 255]))
    assert receive(client, 11) == b"onetwothree"
    (done,) = bench.events(1)
    assert done[0] == truth.FINISHED and done[2] == event[2]
    rows = bench.rows()
    assert rows["index"].tolist() == [0, 1, 2, 3]
    assert rows["kind"].tolist() == [7, 8, 9, 255]
    assert rows["size"].tolist() == [3, 3, 0, 5]
    assert rows["tries"].tolist() == [1, 1, 0, 1]
    assert rows["due_ns"].tolist() == due_ns
    assert (rows["before_ns"] >= rows["due_ns"]).all()
    assert (rows["after_ns"] >= rows["before_ns"]).all()
    assert done[3] == rows["after_ns"][-1]


def test_many_streams_at_once(bench):
    clients = [bench.client() for _ in range(200)]
    for client in clients:
        client.sendall(REQUEST)
    events = bench.events(200)
    start_ns = monotonic_ns()
    for number, event in enumerate(events):
        offset = number * 37 % 5 * MS
        pieces = [(b"%04d%02d" % (event[2], i), offset + i * MS) for i in range(20)]
        bench.answer(event, pieces, start_ns=start_ns)
    texts = {receive(client, 120) for client in clients}
    assert texts == {b"".join(b"%04d%02d" % (n, i) for i in range(20)) for n in range(1, 201)}
    bench.events(200)
    rows = bench.rows()
    assert len(rows) == 4000
    for serial in (1, 77, 200):
        assert rows["index"][rows["serial"] == serial].tolist() == list(range(20))


def test_requests_one_behind_the_other(bench):
    client = bench.client()
    client.sendall(REQUEST * 3)
    for serial in (1, 2, 3):
        (event,) = bench.events(1)
        assert event[0] == truth.REQUEST and event[2] == serial
        bench.answer(event, [(b"%d" % serial, 0)])
        assert receive(client, 1) == b"%d" % serial
        assert bench.events(1)[0][0] == truth.FINISHED


def test_a_client_that_does_not_read_holds_up_nobody_else(bench):
    lazy, eager = bench.client(), bench.client()
    lazy.sendall(REQUEST)
    (first,) = bench.events(1)
    big = bytes(range(256)) * 100_000
    bench.answer(first, [(big, 0), (b"end", 0)])
    eager.sendall(REQUEST)
    (second,) = bench.events(1)
    bench.answer(second, [(b"quick", 0)])
    assert receive(eager, 5) == b"quick"
    assert bench.events(1)[0][2] == second[2], "finished before the first"
    assert receive(lazy, len(big) + 3) == big + b"end"
    assert bench.events(1)[0][2] == first[2]
    assert bench.sender.stats()["blocked"] >= 1
    rows = bench.rows()
    held = rows[rows["serial"] == first[2]]
    assert held["tries"][0] > 1
    assert held["after_ns"][0] > held["before_ns"][0]


def test_endings(bench):
    closed, reset, held = bench.client(), bench.client(), bench.client()
    for client in (closed, reset, held):
        client.sendall(REQUEST)
    by_serial = {}
    for event, ending in zip(bench.events(3), (truth.CLOSE, truth.RESET, truth.HOLD), strict=True):
        by_serial[event[2]] = ending
        bench.answer(event, [(b"x", 0)], ending)
    bench.events(3)
    outcomes = {}
    for client in (closed, reset, held):
        assert receive(client, 1) == b"x"
        client.settimeout(0.05)
        try:
            outcomes[client] = client.recv(1)
        except ConnectionResetError:
            outcomes[client] = "reset"
        except TimeoutError:
            outcomes[client] = "held"
            client.close()
    assert sorted(map(str, outcomes.values())) == ["b''", "held", "reset"]
    ((what, _, serial, *_),) = bench.events(1)
    assert what == truth.GONE and by_serial[serial] == truth.HOLD


def test_a_client_that_goes_away(bench):
    client = bench.client()
    client.sendall(REQUEST)
    (event,) = bench.events(1)
    bench.answer(event, [(b"first", 0), (b"never", 3_600_000 * MS)])
    receive(client, 5)
    client.close()
    ((what, _, serial, *_),) = bench.events(1)
    assert (what, serial) == (truth.GONE, event[2])
    bench.answer(event, [(b"too late", 0)])  # no effect, no error
    assert bench.rows()["index"].tolist() == [0]


def test_not_listening_is_refusing(bench):
    bench.sender.listen(-1)
    for _ in range(1000):  # until the thread has closed it
        try:
            bench.client()
        except ConnectionRefusedError:
            break
    else:
        pytest.fail("connecting still works")
    listener = socket.create_server(bench.address)
    listener.setblocking(False)
    bench.sender.listen(listener.detach())
    bench.client().sendall(REQUEST)
    assert bench.events(1)[0][0] == truth.REQUEST


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: " + b"y" * 70_000,
    ],
)
def test_requests_that_can_never_be_complete(bench, head):
    client = bench.client()
    with contextlib.suppress(ConnectionError):
        client.sendall(head)
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    assert bench.sender.drain() == []


@pytest.mark.parametrize(
    ("data", "ends", "due_ns", "kinds", "ending"),
    [
        (b"", [], [], b"", 0),
        (b"ab", [1], [0], b"x", 0),
        (b"ab", [2, 1], [0, 0], b"xx", 0),
        (b"ab", [1, 2], [5, 4], b"xx", 0),
        (b"ab", [1, 2], [0], b"xx", 0),
        (b"ab", [2], [0], b"x", 4),
    ],
)
def test_plans_that_do_not_fit(bench, data, ends, due_ns, kinds, ending):
    with pytest.raises(ValueError):
        bench.sender.answer(1, 1, data, ends, due_ns, kinds, ending)


def test_closed_for_good(bench):
    bench.sender.close()
    bench.sender.close()
    for use in (
        bench.sender.fileno,
        lambda: bench.sender.listen(-1),
        lambda: bench.sender.answer(1, 1, b"x", [1], [0], b"x", 0),
    ):
        with pytest.raises(ValueError):
            use()
    assert bench.sender.drain() == [] and bench.sender.rows() == []
    assert bench.sender.stats()["connections"] == 0


# --------------------------------------------------------------------------- plans that are revised


def revise(bench, event, pieces, start_ns, kinds=None):
    data, ends = b"", []
    for text, _ in pieces:
        data += text
        ends.append(len(data))
    due_ns = [start_ns + after_ns for _, after_ns in pieces]
    kinds = kinds or bytes(len(pieces))
    bench.sender.revise(event[1], event[2], data, ends, due_ns, kinds)
    return due_ns


def test_what_is_not_sent_yet_follows_the_revision(bench):
    client = bench.client()
    client.sendall(REQUEST)
    (event,) = bench.events(1)
    start_ns = monotonic_ns()
    hour = 3_600_000 * MS
    bench.answer(event, [(b"one", 0), (b"two", hour), (b"three", hour)], start_ns=start_ns)
    assert receive(client, 3) == b"one"
    due_ns = revise(bench, event, [(b"???", 0), (b"zwei", 1), (b"drei", 2)], start_ns, b"\1\2\3")
    assert receive(client, 8) == b"zweidrei"
    assert bench.events(1)[0][0] == truth.FINISHED
    rows = bench.rows()
    assert rows["index"].tolist() == [0, 1, 2]
    assert rows["size"].tolist() == [3, 4, 4]
    assert rows["due_ns"].tolist() == due_ns
    assert rows["kind"].tolist() == [0, 2, 3]


def test_a_piece_that_is_held_up_is_finished_as_it_was_begun(bench):
    lazy = bench.client()
    lazy.sendall(REQUEST)
    (event,) = bench.events(1)
    big = bytes(range(256)) * 100_000
    start_ns = monotonic_ns()
    bench.answer(event, [(big, 0), (b"end", 0)], start_ns=start_ns)
    while not bench.sender.stats()["blocked"]:
        pass
    revise(bench, event, [(b"other", 0), (b"first", 0)], start_ns)
    revise(bench, event, [(b"other", 0), (b"latest", 0)], start_ns)  # the last one counts
    assert receive(lazy, len(big) + 6) == big + b"latest"
    assert bench.events(1)[0][0] == truth.FINISHED


def test_a_revision_that_comes_too_late_or_does_not_fit_is_none(bench):
    client = bench.client()
    client.sendall(REQUEST)
    (event,) = bench.events(1)
    revise(bench, event, [(b"x", 0)], 0)  # nothing to revise yet
    bench.answer(event, [(b"one", 0), (b"two", 5 * MS)])
    revise(bench, event, [(b"x", 0)], 0)  # of another number of pieces
    assert receive(client, 6) == b"onetwo"
    bench.events(1)
    revise(bench, event, [(b"x", 0), (b"y", 0)], 0)  # over
    client.sendall(REQUEST)
    (event,) = bench.events(1)
    bench.answer(event, [(b"next", 0)])
    assert receive(client, 4) == b"next"
    with pytest.raises(ValueError, match="piece 1"):
        bench.sender.revise(event[1], event[2], b"ab", [2, 1], [0, 0], b"xx")


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3 * MS), min_size=12, max_size=12), max_size=6))
def test_any_revisions_keep_the_order_and_the_log(changes):
    """Each row is of one plan, and later rows are never of an earlier one."""
    bench = Bench()
    try:
        client = bench.client()
        client.sendall(REQUEST)
        (event,) = bench.events(1)
        start_ns = monotonic_ns()
        texts = [b"%02d" % index for index in range(12)]
        plans = [[MS * index for index in range(12)], *map(sorted, changes)]
        bench.answer(event, list(zip(texts, plans[0], strict=True)), start_ns=start_ns)
        for number, plan in enumerate(plans[1:], 1):
            # Of its own, so that an instant tells the plan.
            revise(bench, event, list(zip(texts, plan, strict=True)), start_ns + number, b"\7" * 12)
        assert receive(client, 24) == b"".join(texts)
        bench.events(1)
        rows = bench.rows()
        assert rows["index"].tolist() == list(range(12))
        assert (rows["before_ns"] >= rows["due_ns"]).all()
        at = 0
        for index, due_ns in enumerate(rows["due_ns"].tolist()):
            instants = [start_ns + n + plan[index] for n, plan in enumerate(plans)]
            assert due_ns in instants[at:]
            at += instants[at:].index(due_ns)
    finally:
        bench.close()
