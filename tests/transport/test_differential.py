"""Both transports, and the splitter on its own, make the same chunks of the same bytes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness._native.framing import FLAG_UNTERMINATED, MODE_NDJSON, MODE_SSE, MODE_WHOLE, Splitter
from harness._native.recorder import FLAG_NAMED, FLAG_USER_STAMP, OUTCOMES, SIZE_MASK, Record
from harness.schema import Exchange
from tests.transport.kit import AMPLE, KINDS, fetch
from tests.transport.raw_server import CLOSE, LAST_CHUNK, RawServer, Script, chunk

MODES = {
    "text/event-stream": MODE_SSE,
    "application/x-ndjson": MODE_NDJSON,
    "application/json": MODE_WHOLE,
}

# Rich in what splitters go wrong on: line ends, field names, BOM, Unicode line ends, NUL.
SHARDS = st.sampled_from(
    [
        b"data:",
        b"data: ",
        b"event: x",
        b":",
        b"id: 1",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"{}",
        b" ",
        b"\xef\xbb\xbf",
        "\u2028\x85".encode(),
        b"\x00\xff",
        b"[DONE]",
        b"y" * 300,
    ]
)
BODIES = st.lists(SHARDS | st.binary(max_size=8), max_size=24).map(b"".join)


def cut(body: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(body), *(offset % (len(body) + 1) for offset in at)})
    return [body[a:b] for a, b in pairwise(edges)]


def script_of(said: str, framing: str, pieces: list[bytes]) -> Script:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {said}\r\n"
    if framing == "chunked":
        chunks = [chunk(piece) for piece in pieces]
        return [f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), *chunks, LAST_CHUNK]
    if framing == "length":
        length = sum(map(len, pieces))
        return [f"{head}Content-Length: {length}\r\n\r\n".encode(), *pieces, b""]
    return [f"{head}\r\n".encode(), *pieces, CLOSE]


async def both(script: Script) -> list[Record]:
    async with RawServer(script) as server:
        return [await fetch(kind, server.url) for kind in KINDS]


@settings(max_examples=120)
@given(
    body=BODIES,
    at=st.lists(st.integers(0, 10_000), max_size=6),
    said=st.sampled_from(sorted(MODES)),
    framing=st.sampled_from(["chunked", "length", "close"]),
)
def test_the_same_bytes_make_the_same_chunks(
    body: bytes, at: list[int], said: str, framing: str
) -> None:
    splitter = Splitter(MODES[said])
    frames = splitter.feed(body) + splitter.finish()
    for record in asyncio.run(both(script_of(said, framing, cut(body, at)))):
        assert record.outcome == "complete", record.detail
        assert record.payloads() == [payload for payload, _ in frames]
        named = (record.size_flags & FLAG_NAMED) != 0
        assert named.tolist() == [bool(flags & 1) for _, flags in frames]
        assert (record.size_flags & SIZE_MASK).tolist() == [len(payload) for payload, _ in frames]
        assert record.comments == splitter.comments
        left_open = bool(frames) and bool(frames[-1][1] & FLAG_UNTERMINATED)
        assert record.unterminated == left_open
        arrival = record.arrival_ns.tolist()
        assert arrival == sorted(arrival)
        assert not arrival or record.first_byte_ns <= arrival[0]
        assert not arrival or arrival[-1] <= record.body_end_ns <= record.closed_ns


@settings(max_examples=80)
@given(
    start=st.sampled_from(
        [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
        ]
    ),
    rest=st.binary(max_size=200) | BODIES,
)
def test_any_bytes_at_all_end_in_one_record(start: bytes, rest: bytes) -> None:
    records = asyncio.run(both([start + rest, CLOSE]))
    for record in records:
        assert record.outcome in OUTCOMES
        assert record.outcome in ("complete", "eof", "protocol", "reset")
    if all(record.outcome == "complete" for record in records):
        assert len({tuple(record.payloads()) for record in records}) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
def test_both_send_the_same_request(method: str) -> None:
    async def requests() -> list[bytes]:
        from tests.transport.kit import opened

        async with RawServer([b"HTTP/1.1 204 No Content\r\n\r\n"]) as server:
            for kind in KINDS:
                for body in (b"", b"x" * 200_000):
                    exchange = Exchange(
                        url=server.origin + "?q", method=method, headers=(("A", "b"),), body=body
                    )
                    async with opened(kind, server.url) as transport:
                        record = await transport.send(exchange, AMPLE)
                    assert (record.outcome, record.http_status) == ("complete", 204)
        return server.requests

    seen = asyncio.run(requests())
    assert seen[:2] * len(KINDS) == seen


def test_the_portable_transport_says_that_its_stamps_are_its_own() -> None:
    async def record() -> Record:
        async with RawServer(
            script_of("text/event-stream", "chunked", [b"data: a\n\n", b"data: b\n\n"])
        ) as server:
            return await fetch("portable", server.url)

    sealed = asyncio.run(record())
    assert len(sealed) == 2
    assert ((sealed.size_flags & FLAG_USER_STAMP) != 0).all()
    assert (sealed.lag_ns == 0).all()
