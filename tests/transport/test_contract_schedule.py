"""When calls start and how they are ended early: lanes, due instants, cancelling, closing."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from harness._native.clock import monotonic_ns
from tests.transport.kit import AMPLE, KINDS, Kind, opened, post, until
from tests.transport.raw_server import LAST_CHUNK, RawServer, chunk, chunked_head, response

pytestmark = pytest.mark.parametrize("kind", KINDS)

OK = response(b"data: one\n\ndata: two\n\n")
MS = 1_000_000


def body_of(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_lane_never_has_more_in_flight_than_its_limit(kind: Kind, limit: int) -> None:
    gate = asyncio.Event()
    script = [chunked_head(), gate, LAST_CHUNK]
    async with RawServer(script) as server, opened(kind, server.url) as transport:
        lane = transport.lane(limit)
        calls = [
            transport.send(post(server.url, b"%d" % index), AMPLE, lane=lane) for index in range(24)
        ]
        await server.arrived(limit)
        await until(lambda: transport.stats()["queued"] == 24 - limit)
        assert transport.stats()["in_flight"] == limit
        gate.set()
        records = await asyncio.gather(*calls)
    assert [record.outcome for record in records] == ["complete"] * 24
    assert server.serving_max == limit
    assert server.connections == limit
    if limit == 1:
        assert [body_of(request) for request in server.requests] == [b"%d" % i for i in range(24)]


async def test_a_full_lane_does_not_hold_up_another(kind: Kind) -> None:
    gate = asyncio.Event()
    async with (
        RawServer([chunked_head(), gate, LAST_CHUNK]) as slow,
        RawServer([OK]) as quick,
        opened(kind, slow.url, quick.url) as transport,
    ):
        one, two = transport.lane(1), transport.lane(1)
        held = [transport.send(post(slow.url), AMPLE, lane=one) for _ in range(2)]
        for lane in (two, 0):
            record = await transport.send(post(quick.url), AMPLE, lane=lane)
            assert record.outcome == "complete"
        assert len(slow.requests) == 1
        gate.set()
        assert [(await call).outcome for call in held] == ["complete"] * 2


async def test_lane_0_has_no_limit(kind: Kind) -> None:
    gate = asyncio.Event()
    async with (
        RawServer([chunked_head(), gate, LAST_CHUNK]) as server,
        opened(kind, server.url) as transport,
    ):
        calls = [transport.send(post(server.url), AMPLE) for _ in range(40)]
        await server.arrived(40)
        assert transport.stats()["in_flight"] == 40
        gate.set()
        assert {record.outcome for record in await asyncio.gather(*calls)} == {"complete"}


async def test_in_a_closed_loop_a_call_is_due_when_its_predecessors_slot_is_free(
    kind: Kind,
) -> None:
    async with RawServer([OK]) as server, opened(kind, server.url) as transport:
        lane = transport.lane(1)
        before = monotonic_ns()
        calls = [transport.send(post(server.url), AMPLE, lane=lane) for _ in range(4)]
        after = monotonic_ns()
        records = [await call for call in calls]
    assert before <= records[0].due_ns <= after
    assert all(b.due_ns == a.closed_ns for a, b in pairwise(records))
    assert all(record.due_ns <= record.sent_ns for record in records)


async def test_calls_start_in_the_order_of_their_due_instants_and_not_before(kind: Kind) -> None:
    async with RawServer([OK]) as server, opened(kind, server.url) as transport:
        lane = transport.lane(1)
        now = monotonic_ns()
        dues = [now + offset * MS for offset in (90, 30, 60, 30, 10)]
        calls = [
            transport.send(post(server.url, b"%d" % index), AMPLE, lane=lane, due_ns=due)
            for index, due in enumerate(dues)
        ]
        records = await asyncio.gather(*calls)
    assert [record.due_ns for record in records] == dues
    assert all(record.sent_ns >= record.due_ns for record in records)
    # Equal dues go in the order of submission.
    assert [body_of(request) for request in server.requests] == [b"4", b"1", b"3", b"2", b"0"]


async def test_waiting_for_a_slot_does_not_move_the_due_instant(kind: Kind) -> None:
    gate = asyncio.Event()
    async with (
        RawServer([chunked_head(), gate, LAST_CHUNK], [OK]) as server,
        opened(kind, server.url) as transport,
    ):
        lane = transport.lane(1)
        first = transport.send(post(server.url), AMPLE, lane=lane)
        await server.arrived(1)
        due = monotonic_ns() + 200 * MS  # not before `past` is queued, on a slow machine either
        second = transport.send(post(server.url), AMPLE, lane=lane, due_ns=due)
        past = transport.send(post(server.url), AMPLE, lane=lane, due_ns=due - 60_000 * MS)
        await until(lambda: monotonic_ns() > due + 5 * MS)
        gate.set()
        records = await asyncio.gather(first, second, past)
    assert [record.due_ns for record in records[1:]] == [due, due - 60_000 * MS]
    assert all(record.sent_ns >= records[0].closed_ns for record in records[1:])
    # What was already due when it was sent has joined the lane's queue first.
    assert records[2].sent_ns <= records[1].sent_ns


async def test_cancelling_in_flight_hangs_up_and_frees_the_slot(kind: Kind) -> None:
    stalled = [chunked_head() + chunk(b"data: a\n\n"), asyncio.Event()]
    async with RawServer(stalled, [OK]) as server, opened(kind, server.url) as transport:
        lane = transport.lane(1)
        first = asyncio.ensure_future(transport.send(post(server.url), AMPLE, lane=lane))
        second = asyncio.ensure_future(transport.send(post(server.url), AMPLE, lane=lane))
        await server.arrived(1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await server.connection_lost()
        assert (await second).outcome == "complete"
        assert transport.stats()["in_flight"] == 0


async def test_a_cancelled_call_that_waited_is_never_sent(kind: Kind) -> None:
    gate = asyncio.Event()
    async with (
        RawServer([chunked_head(), gate, LAST_CHUNK], [OK]) as server,
        opened(kind, server.url) as transport,
    ):
        lane = transport.lane(1)
        first = transport.send(post(server.url, b"first"), AMPLE, lane=lane)
        queued = transport.send(post(server.url, b"queued"), AMPLE, lane=lane)
        later = transport.send(post(server.url, b"later"), AMPLE, due_ns=monotonic_ns() + 20 * MS)
        last = transport.send(post(server.url, b"last"), AMPLE, lane=lane)
        await server.arrived(1)
        queued.cancel()
        later.cancel()
        await until(lambda: transport.stats()["queued"] == 1)
        gate.set()
        assert [(await call).outcome for call in (first, last)] == ["complete"] * 2
        marker = transport.send(post(server.url), AMPLE, due_ns=monotonic_ns() + 30 * MS)
        assert (await marker).outcome == "complete"
        for call in (queued, later):
            with pytest.raises(asyncio.CancelledError):
                await call
    assert [body_of(request) for request in server.requests] == [b"first", b"last", b"{}"]


async def test_cancelling_the_awaiting_task_cancels_the_call(kind: Kind) -> None:
    async with (
        RawServer([chunked_head(), asyncio.Event()]) as server,
        opened(kind, server.url) as transport,
    ):

        async def ask() -> None:
            await transport.send(post(server.url), AMPLE)

        task = asyncio.create_task(ask())
        await server.arrived(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.connection_lost()
        await until(lambda: transport.stats()["in_flight"] == 0)


async def test_closing_ends_every_call_with_its_record(kind: Kind) -> None:
    stalled = [chunked_head() + chunk(b"data: a\n\n"), asyncio.Event()]
    async with RawServer(stalled) as server:
        async with opened(kind, server.url) as transport:
            lane = transport.lane(1)
            later = monotonic_ns() + 3_600_000 * MS
            flying = transport.send(post(server.url), AMPLE, lane=lane)
            queued = transport.send(post(server.url), AMPLE, lane=lane)
            planned = transport.send(post(server.url), AMPLE, due_ns=later)
            await server.arrived(1)
            await until(lambda: transport.stats()["chunks"] == 1)
        records = await asyncio.gather(flying, queued, planned)
        await server.connection_lost()
    assert [record.outcome for record in records] == ["cancelled", "not_sent", "not_sent"]
    assert records[0].payloads() == [b"a"]
    assert records[2].due_ns == later
    assert all(record.closed_ns > 0 for record in records)
    assert len(server.requests) == 1


async def test_an_unknown_lane_or_a_negative_limit_is_an_error_at_once(kind: Kind) -> None:
    async with opened(kind) as transport:
        with pytest.raises(ValueError, match="lane"):
            transport.send(post("http://127.0.0.1:1/"), AMPLE, lane=7)
        with pytest.raises((ValueError, OverflowError)):
            transport.lane(-1)
