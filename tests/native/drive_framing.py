"""Runs the native framing over a stream cut into pieces, and compares it with its readable twin.

The functions take the module to test, because the fuzzer brings its own, instrumented build.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.native import oracles_framing as oracle

SSE_WORDS = [
    *(b"\r", b"\n", b"\r\n", b"\r\r", b"\n\n", b"\r\n\r\n", oracle.BOM, oracle.BOM[:1], b"\xbb"),
    *(b"data", b"data:", b"data: ", b"data:  x", b"Data: x", b"data : x", b'data: {"a":"b"}'),
    *(b"event:", b"event: ", b"event: ping", b"event", b"eVENT: x", b"id: 7", b"retry: 10"),
    *(b":", b": ping", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x0c", b"\x1e", b"\x00", b"x"),
    "é€😀".encode(),
]
NDJSON_WORDS = [
    *(b"\n", b"\r\n", b"\r", b"\n\n", oracle.BOM, oracle.BOM[:2], b'{"a": 1}', b'{"done":true}\n'),
    *('{"é":"\u2028\u0085"}\n'.encode(), b" ", b"\t", b"\x0b", b"\x0c", b"\x00", b"x"),
]
HEAD_WORDS = [
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n"),
    *(b"Content-Length: 5\r\n", b"content-length: 05\r\n", b"Content-Length: 0\r\n", b"\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n", b"\r\n\r\n"),
    *(b"Connection: close\r\n", b"Connection: Keep-Alive, x\r\n", b" folded\r\n", b"X: y\r\n"),
    *(b"Content-Type: text/event-stream; charset=utf-8\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
    *(b"Content-Type: application/x-ndjson\r\n", b"x : y\r\n", b": y\r\n", b"HTTP/1.1 304\r\n"),
    *(b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/2.0 200\r\n", b"Content-Length: 5, 5\r\n"),
]
CHUNK_WORDS = [
    *(
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"a;x=1\r\n0123456789\r\n",
        b"1 \r\nx\r\n",
        b"5\n",
    ),
    *(b"\r\n", b"\n", b"\r", b";", b"Trailer: x\r\n", b" ", b"000", b"f" * 16, b"-1", b"0x5", b"G"),
]


def split_at(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(edges)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# ----------------------------------------------------------------------------------------- frames


def run_splitter(framing, mode: int, pieces: Iterable, limit: int = 1 << 26) -> oracle.Frames:
    splitter = framing.Splitter(mode, limit=limit)
    out = oracle.Frames()
    try:
        for piece in pieces:
            out.complete += splitter.feed(piece)
        splitter.feed(b"")  # an error that waited behind frames
    except ValueError:
        out.failed = True
    out.comments = splitter.comments
    try:
        out.last = splitter.finish()
    except ValueError:
        out.failed_at_end = True
    out.comments_at_end = splitter.comments
    return out


def check_frames(framing, mode: int, pieces: list[bytes], limit: int = 1 << 26) -> None:
    expected = oracle.frames(mode, b"".join(pieces), limit)
    assert run_splitter(framing, mode, pieces, limit) == expected


def check_frames_early(framing, mode: int, body: bytes) -> None:
    """Byte by byte: after each byte all frames that are whole are out, and no other."""
    splitter = framing.Splitter(mode)
    got: list[tuple[bytes, int]] = []
    for end in range(1, len(body) + 1):
        got += splitter.feed(body[end - 1 : end])
        expected = oracle.frames(mode, body[:end])
        assert (got, splitter.comments) == (expected.complete, expected.comments), body[:end]
    assert splitter.finish() == oracle.frames(mode, body).last


# ------------------------------------------------------------------------------------------- HTTP


def run_parser(
    framing, pieces: Iterable[bytes], *, method: str = "POST", eof: bool = False
) -> tuple[oracle.Response, object]:
    """The response, and the parser. Bytes that are left come again, as the caller is told to do."""
    parser = framing.ResponseParser(method)
    out = oracle.Response()
    try:
        pending = b""
        for piece in pieces:
            pending += piece
            while pending and not parser.complete:
                body, used = parser.feed(pending)
                assert 0 <= used <= len(pending)
                assert used or body
                out.body += body
                out.used += used
                pending = pending[used:]
        if eof:
            parser.finish()
    except ValueError:
        out.failed = True
    out.status, out.complete, out.keep_alive = parser.status, parser.complete, parser.keep_alive
    return out, parser


def check_response(
    framing, pieces: list[bytes], *, method: str = "POST", eof: bool = False
) -> oracle.Response:
    wire = b"".join(pieces)
    expected = oracle.response(wire, method=method, eof=eof)
    got, parser = run_parser(framing, pieces, method=method, eof=eof)
    if got.failed:
        assert expected.failed or _is_lost(wire, method), (wire, expected)
        return got
    if expected.failed_in_trailer:
        assert got.complete  # a documented difference: we drop trailer fields unread
        return got
    assert not expected.failed, (wire, got)
    assert (got.status, got.body) == (expected.status, expected.body), wire
    assert got.complete == expected.complete, wire
    if got.complete:
        assert got.used == expected.used, wire
        _check_keep_alive(got, expected, wire)
    if got.status:
        assert parser.mode == media_mode(expected.headers)
        assert wire.count(parser.head)
    return got


def _is_lost(wire: bytes, method: str) -> bool:
    """h11 waits for the end of a line that we refuse at once, or the refusal is documented."""
    ended = oracle.response(wire + b"\r\n\r\n", method=method)
    return ended.failed or oracle.is_refused_beyond_h11(wire)


def _check_keep_alive(got: oracle.Response, expected: oracle.Response, wire: bytes) -> None:
    names = [name for name, _ in expected.headers]
    if got.keep_alive and not expected.keep_alive:
        assert expected.version == b"1.0", wire
        assert b"transfer-encoding" not in names, wire
        said = {
            option.strip(b" \t").lower()
            for name, value in expected.headers
            for option in (value.split(b",") if name == b"connection" else ())
        }
        assert b"keep-alive" in said and b"close" not in said, wire
    if expected.keep_alive and not got.keep_alive:
        assert b"transfer-encoding" in names, wire
        assert b"content-length" in names, wire


def media_mode(headers: list[tuple[bytes, bytes]]) -> int:
    kinds = [value for name, value in headers if name == b"content-type"] or [b""]
    media = kinds[-1].replace(b"\t", b" ").split(b";")[0].split(b" ")[0].lower()
    if media == b"text/event-stream":
        return oracle.SSE
    is_lines = media in (b"application/x-ndjson", b"application/ndjson", b"application/jsonl")
    return oracle.NDJSON if is_lines else oracle.WHOLE


def prefixes(data: bytes) -> Iterator[bytes]:
    for end in range(1, len(data) + 1):
        yield data[:end]
