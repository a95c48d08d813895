"""Record and Recorder: what goes in comes out, at 24 bytes a chunk at most."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness._native import recorder
from harness._native.recorder import FLAG_NAMED, FLAG_UPPER_BOUND, FLAG_USER_STAMP, Record, Recorder

flags = st.sampled_from([0, FLAG_UPPER_BOUND, FLAG_USER_STAMP, FLAG_NAMED | FLAG_UPPER_BOUND])
sizes = st.one_of(st.integers(0, 40), st.integers(1000, 5000), st.sampled_from([262144, 262145]))


@given(st.lists(st.tuples(st.integers(0, 10**6), sizes, flags), max_size=60), st.integers(0, 8))
def test_chunks_come_back_as_they_went_in(chunks, reserve):
    building = Recorder(due_ns=1, reserve=reserve)
    at_ns = 5
    arrivals, payloads = [], []
    for i, (gap, size, bits) in enumerate(chunks):
        at_ns += gap
        arrivals.append(at_ns)
        payloads.append(bytes([i % 256]) * size)
        building.append(at_ns, at_ns + i, payloads[-1], bits)
    record = building.seal("complete", closed_ns=at_ns)
    assert len(record) == len(chunks)
    assert record.arrival_ns.tolist() == arrivals
    assert record.lag_ns.tolist() == list(range(len(chunks)))
    assert record.size_flags.tolist() == [size | bits for _, size, bits in chunks]
    assert record.payloads() == payloads
    for i in [*range(len(chunks)), *reversed(range(len(chunks)))]:
        assert record.payload(i) == payloads[i]
    if chunks:
        assert record.payload(-1) == payloads[-1]
    with pytest.raises(IndexError):
        record.payload(len(chunks))
    with pytest.raises(IndexError):
        record.payload(-len(chunks) - 1)


def test_what_is_marked_and_sealed_is_read_back():
    building = Recorder(due_ns=10)
    building.mark(connected_ns=11, sent_ns=12, headers_ns=13, first_byte_ns=14)
    building.mark(http_status=200, head=b"HTTP/1.1 200 OK\r\n\r\n", reconnected=True)
    record = building.seal(
        "timeout_payload",
        closed_ns=20,
        body_end_ns=19,
        realtime_offset_ns=-7,
        errno=110,
        detail="öh",
        comments=3,
        unterminated=True,
        clock_stepped=True,
    )
    assert record.outcome == "timeout_payload"
    assert (record.due_ns, record.connected_ns, record.sent_ns) == (10, 11, 12)
    assert (record.headers_ns, record.first_byte_ns) == (13, 14)
    assert (record.body_end_ns, record.closed_ns, record.realtime_offset_ns) == (19, 20, -7)
    assert (record.errno, record.detail, record.comments) == (110, "öh", 3)
    assert record.head == b"HTTP/1.1 200 OK\r\n\r\n"
    assert record.http_status == 200
    assert record.unterminated and record.clock_stepped and record.reconnected


def test_what_did_not_happen_is_none():
    record = Recorder(due_ns=1).seal("connect", closed_ns=2)
    assert record.http_status is record.connected_ns is record.sent_ns is record.headers_ns is None
    assert record.first_byte_ns is record.body_end_ns is None
    assert (record.head, record.detail, record.payloads()) == (b"", "", [])
    assert record.arrival_ns.dtype == np.int64 and record.arrival_ns.shape == (0,)


@pytest.mark.parametrize("outcome", recorder.OUTCOMES)
def test_every_outcome_can_be_sealed(outcome):
    assert Recorder(due_ns=1).seal(outcome, closed_ns=2).outcome == outcome


def test_misuse_is_refused():
    building = Recorder(due_ns=1)
    building.append(100, 100, b"x")
    with pytest.raises(ValueError, match="before that of the last"):
        building.append(99, 100, b"x")
    with pytest.raises(ValueError, match="flags"):
        building.append(100, 100, b"x", 1)
    with pytest.raises(OverflowError):
        building.append(100, 100, b"x", -1)
    with pytest.raises(TypeError):
        building.append(100, 100, None)
    with pytest.raises(ValueError, match="not an outcome"):
        building.seal("fine", closed_ns=1)
    building.seal("complete", closed_ns=101)
    for late in (
        lambda: building.append(101, 101, b""),
        lambda: building.mark(sent_ns=1),
        lambda: building.seal("complete", closed_ns=1),
        lambda: building.nbytes,
    ):
        with pytest.raises(ValueError, match="sealed"):
            late()
    with pytest.raises(ValueError, match="reserve"):
        Recorder(due_ns=1, reserve=-1)


def test_a_record_is_made_by_nobody_else():
    with pytest.raises(TypeError):
        Record()
    empty = Record.__new__(Record)
    empty.drop_payloads()
    assert len(empty) == 0 and empty.head == b""
    with pytest.raises(ValueError, match="not a store"):
        recorder._adopt(object())


def test_dropped_payloads_are_gone_and_the_stamps_stay():
    building = Recorder(due_ns=1)
    for i in range(1000):
        building.append(i, i, b"x" * 500)
    record = building.seal("complete", closed_ns=1)
    before = record.nbytes
    record.drop_payloads()
    record.drop_payloads()
    assert before - record.nbytes >= 500_000
    assert record.arrival_ns.tolist() == list(range(1000))
    assert set(record.size_flags.tolist()) == {500}
    with pytest.raises(ValueError, match="dropped"):
        record.payload(0)
    with pytest.raises(ValueError, match="dropped"):
        record.payloads()


@pytest.mark.parametrize(("calls", "chunks", "size"), [(1, 10**6, 20), (1000, 1000, 200)])
def test_a_million_chunks_cost_24_bytes_each_beyond_their_payload(calls, chunks, size):
    payload = b"x" * size
    budget = calls * chunks * (size + 24)
    building = [Recorder(due_ns=1, reserve=0) for _ in range(calls)]
    for one in building:
        for i in range(chunks):
            one.append(i, i, payload)
    assert sum(one.nbytes for one in building) <= budget
    sealed = [one.seal("complete", closed_ns=1) for one in building]
    # Sealed, 16 and what the segments need.
    assert sum(one.nbytes for one in sealed) <= calls * chunks * (size + 20)
    del building
    gc.collect()
    assert sealed[-1].payload(chunks - 1) == payload
