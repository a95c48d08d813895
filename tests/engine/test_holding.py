"""Calls that were held say all that they said before; and hold little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness._native.recorder import FLAG_UPPER_BOUND
from harness.engine.holding import Holding
from harness.metrics import (
    CALL_METRICS,
    Condensed,
    condense,
    gaps,
    held_window_ns,
    inter_chunk_ns,
    itl_unknown_because,
    throughput_tok_s,
)
from harness.schema import CallRecord, ChunkColumns, ClosedLoad, Instants, OpenLoad, Usage

LOADS = [None, ClosedLoad(concurrency=1), ClosedLoad(concurrency=3), OpenLoad(rate_per_s=1.0)]

STEPS = st.integers(0, 30)


@st.composite
def stamped(draw, number: int) -> CallRecord:
    """Stamps in their order, as a rule; sometimes one that contradicts the others, or none."""
    due, sent, *arrivals = np.cumsum(draw(st.lists(STEPS, min_size=2, max_size=8))).tolist()
    kinds = draw(st.lists(st.sampled_from([0, 3, 3]), min_size=8, max_size=8))[: len(arrivals)]
    content = [at for at, kind in zip(arrivals, kinds, strict=True) if kind]
    end = (arrivals or [sent])[-1] + draw(STEPS)
    if draw(st.integers(0, 2)) == 0:
        due, sent, end = draw(st.permutations([due, sent, end]))
    flags = draw(st.lists(st.sampled_from([0, FLAG_UPPER_BOUND]), min_size=8, max_size=8))
    kept = draw(st.integers(0, 9)) > 0
    return CallRecord(
        call_id=f"0000.m0.{number:05d}",
        arm="a",
        cell="c",
        trial=0,
        iteration=draw(st.integers(0, 1)),
        phase="measured",
        status=draw(st.sampled_from(["ok", "ok", "ok", "error", "not_sent"])),
        instants=Instants(
            due_ns=due,
            sent_ns=draw(st.sampled_from([sent] * 9 + [None])),
            first_token_ns=content[0] if content else None,
            last_token_ns=content[-1] if content else None,
            end_ns=end,
            closed_ns=draw(st.sampled_from([end, end + 3, None])),
        ),
        usage=Usage(output_tokens=draw(st.sampled_from([len(content), 7, None]))),
        chunks=ChunkColumns(
            count=len(arrivals),
            arrival_ns=np.array(arrivals, "<i8").tobytes() if kept else b"",
            lag_ns=bytes(4 * len(arrivals)),
            size=np.array(flags[: len(arrivals)], "<u4").tobytes(),
            kind=bytes(kinds),
        ),
        content_chunks=len(content),
    )


@st.composite
def runs(draw) -> list[CallRecord]:
    return [draw(stamped(number)) for number in range(draw(st.integers(1, 9)))]


def held(calls, load) -> list[CallRecord]:
    holding = Holding(load)
    for call in calls:
        holding.add(call)
    return holding.calls


@given(runs(), st.sampled_from(LOADS))
def test_no_figure_is_another_one(calls, load):
    kept = held(calls, load)
    assert [one.call_id for one in kept] == [one.call_id for one in calls]
    for metric in CALL_METRICS:
        expected = [metric.formula(call) for call in calls]
        assert [metric.formula(call) for call in kept] == expected, metric.name
    assert [*map(itl_unknown_because, kept)] == [*map(itl_unknown_because, calls)]
    assert [*map(gaps, kept)] == [*map(gaps, calls)]
    for number in (0, 1):
        before = [one for one in calls if one.iteration == number]
        after = [one for one in kept if one.iteration == number]
        windows = [None, held_window_ns(before, load) if load and before else None]
        for window in windows:
            assert throughput_tok_s(after, window) == throughput_tok_s(before, window)


def plain(number: int, *, due: int, first: int, last: int, **changes) -> CallRecord:
    """Two chunks, sent when due, done with the second."""
    base = CallRecord(
        call_id=f"0000.m0.{number:05d}",
        arm="a",
        cell="c",
        trial=0,
        iteration=0,
        phase="measured",
        status="ok",
        instants=Instants(
            due_ns=due,
            sent_ns=due,
            first_token_ns=first,
            last_token_ns=last,
            end_ns=last,
            closed_ns=last,
        ),
        chunks=ChunkColumns(
            count=2,
            arrival_ns=np.array([first, last], "<i8").tobytes(),
            lag_ns=bytes(8),
            size=bytes(8),
            kind=b"\3\3",
        ),
        content_chunks=2,
        text="a long text",
        payloads=[b"one", b"two"],
    )
    return replace(base, **changes)


def with_stamps(calls) -> list[int]:
    return [n for n, call in enumerate(calls) if not isinstance(call.chunks, Condensed)]


def test_a_closed_loop_keeps_the_stamps_of_the_calls_that_ended_last():
    calls = [plain(n, due=10 * n, first=10 * n + 1, last=10 * n + 25) for n in range(50)]
    kept = held(calls, ClosedLoad(concurrency=3))
    assert with_stamps(kept) == [48, 49]  # the window ends with the end of the third last


def test_an_open_loop_keeps_those_that_went_on_behind_the_last_due_instant():
    calls = [plain(n, due=10 * n, first=10 * n + 1, last=10 * n + 25) for n in range(50)]
    assert with_stamps(held(calls, OpenLoad(rate_per_s=1.0))) == [47, 48, 49]


def test_a_workflow_keeps_none():
    calls = [plain(n, due=10 * n, first=10 * n + 1, last=10 * n + 25) for n in range(5)]
    assert with_stamps(held(calls, None)) == []


def test_contradicting_stamps_are_kept_for_they_may_lie_before_the_window():
    early = plain(0, due=0, first=10, last=100, usage=Usage(output_tokens=2))
    early = replace(early, instants=replace(early.instants, sent_ns=50))  # content before that
    calls = [early, plain(1, due=60, first=61, last=200, usage=Usage(output_tokens=2))]
    kept = held(calls, ClosedLoad(concurrency=1))
    assert with_stamps(kept) == [0]
    assert throughput_tok_s(kept) == throughput_tok_s(calls)


def test_texts_are_let_go_and_equal_ones_are_held_once():
    calls = [plain(n, due=n, first=n, last=n, endpoint=f"http://{'x' * 30}") for n in range(2)]
    one, other = held([replace(call, arm="".join(["a"])) for call in calls], None)
    assert (one.text, one.payloads, one.tool_calls, one.chunks.lag_ns) == (None, None, [], b"")
    assert one.endpoint is other.endpoint


def test_stamps_that_were_let_go_are_not_taken_for_missing_ones():
    call = condense(plain(0, due=0, first=1, last=2))
    assert condense(call) is call
    assert call.chunks.kind == b"\3\3"
    with pytest.raises(ValueError, match="let go"):
        inter_chunk_ns(call)
