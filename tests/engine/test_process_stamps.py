"""Stamps of the process that runs the model: believed where they can be so, and never backwards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness._native.recorder import FLAG_UPPER_BOUND, FLAG_USER_STAMP, Recorder
from harness.compare.audit.stamps import call_oddities
from harness.engine.sealing import CallPlace, seal
from harness.engine.stamps import process_stamps
from harness.metrics import call_metric, gaps
from harness.schema import CallRecord, ChunkKind, Decoded, Exchange, KeepSpec, Request, Usage

SENT_NS = 1_000_000_000
MS = 1_000_000


def wire(arrival_ms: list[float], lag_ms: float = 0.1, flags: int = 0, headers_ms: int = 1):
    made = Recorder(due_ns=SENT_NS)
    made.mark(sent_ns=SENT_NS, http_status=200, headers_ns=SENT_NS + headers_ms * MS)
    for at_ms in arrival_ms:
        at_ns = SENT_NS + int(at_ms * MS)
        made.append(at_ns, at_ns + int(lag_ms * MS), b"{}", flags)
    end_ns = SENT_NS + int(max(arrival_ms, default=0) * MS)
    return made.seal("complete", closed_ns=end_ns + MS, body_end_ns=end_ns)


def stamps(*at_ms: float | None) -> bytes:
    told = [0 if at is None else SENT_NS + int(at * MS) for at in at_ms]
    return np.array(told, "<i8").tobytes()


def sealed(arrival_ms: list[float], told: bytes | None, **how) -> CallRecord:
    record = wire(arrival_ms, **how)
    count = len(arrival_ms)
    decoded = Decoded(
        kinds=bytes([ChunkKind.ANSWER] * (count - 1) + [ChunkKind.EMPTY]),
        stamps_ns=told,
        end=count - 1,
        usage=Usage(output_tokens=count - 1),
    )
    place = CallPlace(arm="a", cell="base", trial=0, iteration=0, phase="measured")
    exchange = Exchange(url="http://127.0.0.1:1/generate")
    return seal(record, decoded, Request(prompt="x"), exchange, place, 0, KeepSpec())


def test_the_calls_instants_are_those_of_the_process():
    call = sealed([12, 22, 35, 35], stamps(10, 20, 30, 30), headers_ms=50)
    at = call.instants
    assert call.stamp_source == "in_process"
    assert call.stamps_refused == 0
    assert [at.first_token_ns, at.last_token_ns, at.end_ns] == [
        SENT_NS + ms * MS for ms in (10, 30, 30)
    ]
    assert call_metric("ttft_ms").formula(call) == 10.0
    assert call_metric("itl_p50_ms").formula(call) == 10.0
    lags = np.frombuffer(call.chunks.lag_ns, "<u4") / MS
    assert lags.tolist() == pytest.approx([2.1, 2.1, 5.1, 5.1])
    assert (at.headers_ns, at.first_byte_ns) == (SENT_NS + 50 * MS, None), "of the wire, still"
    assert [*call_oddities(call, token_slack=0)] == []


def test_without_stamps_nothing_changes():
    for told in (None, stamps(None, None, None)):
        call = sealed([12, 22, 35], told)
        assert (call.stamp_source, call.stamps_refused) == ("kernel", 0)
        assert call.instants.first_token_ns == SENT_NS + 12 * MS


@pytest.mark.parametrize(
    ("told", "first_ms", "refused", "source"),
    [
        ((-1, 20, 30), 12, 1, "kernel"),  # before the request was sent
        ((13, 20, 30), 12, 1, "kernel"),  # after we had read it
        ((12.05, 20, 30), 12.05, 0, "in_process"),  # between its arrival and our reading it
        ((11, 10, 30), 10, 1, "in_process"),  # after the next one: no later than that
        ((None, 11, 30), 11, 0, "in_process"),  # not told, so not refused either
    ],
)
def test_what_cannot_be_so_is_not_believed(told, first_ms, refused, source):
    call = sealed([12, 22, 35], stamps(*told))
    assert call.instants.first_token_ns == SENT_NS + int(first_ms * MS)
    assert (call.stamps_refused, call.stamp_source) == (refused, source)
    assert [*call_oddities(call, token_slack=0)] == []


def test_what_is_known_by_the_next_chunk_alone_is_a_bound():
    call = sealed([12, 22, 35], stamps(None, 11, 30))
    sizes = np.frombuffer(call.chunks.size, "<u4")
    assert (sizes & FLAG_UPPER_BOUND != 0).tolist() == [True, False, False]


def test_a_believed_stamp_is_no_bound_and_none_of_user_space():
    both = FLAG_UPPER_BOUND | FLAG_USER_STAMP
    call = sealed([12, 22, 35], stamps(10, 20, 36), flags=both)
    sizes = np.frombuffer(call.chunks.size, "<u4")
    assert (sizes & both).tolist() == [0, 0, both]
    found = gaps(call)
    assert found is not None
    assert found.upper_bounds == 0
    assert (sizes & ~np.uint32(both)).tolist() == [2, 2, 2], "sizes are as they were"


@pytest.mark.parametrize("length", [0, 1, 16, 32])
def test_another_number_of_stamps_than_chunks_is_an_error(length):
    with pytest.raises(ValueError, match=f"{length} bytes of stamps for 3 chunks"):
        process_stamps(wire([1, 2, 3]), bytes(length))


moments = st.integers(min_value=1, max_value=10_000)


@given(st.lists(st.tuples(moments, st.one_of(st.none(), st.integers(-5000, 20_000))), min_size=1))
def test_whatever_is_told_the_stamps_run_forward_within_their_bounds(drawn):
    arrival = sorted(at for at, _ in drawn)
    record = wire(arrival, lag_ms=0.5)
    told = stamps(*(at for _, at in drawn))
    found = process_stamps(record, told)
    given_ns = np.frombuffer(told, "<i8")
    if found is None:
        assert not given_ns.any()
        return
    read = record.arrival_ns + record.lag_ns
    assert (np.diff(found.arrival_ns) >= 0).all()
    assert (found.arrival_ns >= SENT_NS).all()
    assert (found.arrival_ns <= read).all()
    assert (found.lag_ns == read - found.arrival_ns).all()
    assert (found.arrival_ns[found.believed] == given_ns[found.believed]).all()
    assert found.refused == (given_ns != 0).sum() - found.believed.sum()


@given(st.lists(moments, min_size=1))
def test_what_can_be_so_is_believed(made):
    """In order, after sending, and read a while later."""
    made = sorted(made)
    found = process_stamps(wire([at + 1 for at in made]), stamps(*made))
    assert found is not None
    assert found.refused == 0
    assert found.believed.all()
    assert (found.arrival_ns == SENT_NS + np.array(made) * MS).all()
