"""ResponseParser against h11: whole, byte by byte, at chosen splits, with bytes that follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness._native import framing
from tests.native import drive_framing as drive
from tests.native import oracles_framing as oracle

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FIVE = b"Content-Length: 5\r\n\r\nhello"
NEXT = OK + b"Content-Length: 4\r\n\r\nnext"

GOOD = {
    "1.0 kept, beside an option that only begins like close": b"HTTP/1.0 200 OK\r\n"
    b"Connection: closez\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello",
    "content-length": OK + FIVE,
    "content-length zero": OK + b"Content-Length: 0\r\n\r\n",
    "content-length twice the same": OK + b"Content-Length: 5\r\n" + FIVE,
    "chunked": CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "chunk sizes in any case": CHUNKED + b"A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n",
    "chunk extensions": CHUNKED + b'5;a=b;c="d"\r\nhello\r\n1;\r\nx\r\n0;last\r\n\r\n',
    "space after the chunk size": CHUNKED + b"5 \t \r\nhello\r\n0  \r\n\r\n",
    "trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
    "trailers with bare lf": CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\n\n",
    "empty chunked": CHUNKED + b"0\r\n\r\n",
    "chunked in any case": OK + b"tRANSFER-eNCODING:CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "transfer-encoding beats content-length": OK
    + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n"
    b"Content-Length: 9\r\nContent-Type: text/event-stream\r\n\r\n" + OK + FIVE,
    "204": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "error status": b"HTTP/1.1 503 Service Unavailable\r\n" + FIVE,
    "no reason": b"HTTP/1.1 200 \r\n" + FIVE,
    "no reason, no space": b"HTTP/1.1 200\r\n" + FIVE,
    "reason of any bytes": b"HTTP/1.1 200 \xc3\xa9\tok\r\n" + FIVE,
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "mixed line ends": b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\nhello",
    "close": OK + b"Connection: close\r\n" + FIVE,
    "close among others": OK + b"Connection: x, CLOSE ,y\r\n" + FIVE,
    "keep-alive and close": OK + b"Connection: keep-alive\r\nConnection: close\r\n" + FIVE,
    "not close": OK + b"Connection: closer\r\n" + FIVE,
    "1.0": b"HTTP/1.0 200 OK\r\n" + FIVE,
    "1.0 keep-alive": b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + FIVE,
    "1.0 chunked": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "sse": OK + b"Content-Type: Text/Event-Stream;charset=utf-8\r\n" + FIVE,
    "ndjson": OK + b"content-type:application/x-ndjson \r\n" + FIVE,
    "space around values": OK + b"Content-Length: \t 5 \t\r\n\r\nhello",
    "empty header": OK + b"X:\r\n" + FIVE,
    "all token characters": OK + b"!#$%&'*+-.^_`|~0aZ: \xff\r\n" + FIVE,
    "no headers at all": b"HTTP/1.1 204\r\n\r\n",
}
BAD_HEADS = {
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "lower case": b"http/1.1 200 OK\r\n",
    "http 2": b"HTTP/2.0 200 OK\r\n",
    "http 0.9": b"HTTP/0.9 200 OK\r\n",
    "two digits of version": b"HTTP/1.10 200 OK\r\n",
    "two digits of status": b"HTTP/1.1 20 OK\r\n",
    "four digits of status": b"HTTP/1.1 2000 OK\r\n",
    "status 0": b"HTTP/1.1 000 OK\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\n",
    "signed status": b"HTTP/1.1 +20 OK\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n",
    "tab before the reason": b"HTTP/1.1 200\tOK\r\n",
    "nul in the reason": b"HTTP/1.1 200 O\x00K\r\n",
    "cr in the reason": b"HTTP/1.1 200 O\rK\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n",
    "blank line first": b"\r\nHTTP/1.1 200 OK\r\n",
    "leading space": b" HTTP/1.1 200 OK\r\n",
    "no colon": OK + b"Header\r\n",
    "no name": OK + b": x\r\n",
    "space before colon": OK + b"Content-Length : 5\r\n",
    "tab before colon": OK + b"Content-Length\t: 5\r\n",
    "space in a name": OK + b"Content Length: 5\r\n",
    "bracket in a name": OK + b"X(: 5\r\n",
    "high byte in a name": OK + b"X\xe9: 5\r\n",
    "nul in a name": OK + b"X\x00: 5\r\n",
    "folded": OK + b"X: a\r\n b\r\n",
    "folded first": OK + b"\tX: a\r\n",
    "nul in a value": OK + b"X: a\x00b\r\n",
    "cr in a value": OK + b"X: a\rContent-Length: 0\r\n",
    "cr cr lf": OK + b"X: a\r\r\n",
    "escape in a value": OK + b"X: \x1b[31m\r\n",
    "length conflict": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "length written two ways": OK + b"Content-Length: 5\r\nContent-Length: 05\r\n",
    "length list": OK + b"Content-Length: 5, 6\r\n",
    "length list of equals": OK + b"Content-Length: 5, 5\r\n",
    "length empty": OK + b"Content-Length:\r\n",
    "length negative": OK + b"Content-Length: -5\r\n",
    "length signed": OK + b"Content-Length: +5\r\n",
    "length hexadecimal": OK + b"Content-Length: 0x5\r\n",
    "length with a space": OK + b"Content-Length: 5 5\r\n",
    "length past 64 bits": OK + b"Content-Length: 99999999999999999999\r\n",
    "encoding unknown": OK + b"Transfer-Encoding: gzip\r\n",
    "encoding stacked": OK + b"Transfer-Encoding: gzip, chunked\r\n",
    "encoding after chunked": OK + b"Transfer-Encoding: chunked, identity\r\n",
    "encoding identity": OK + b"Transfer-Encoding: identity\r\n",
    "encoding twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "encoding empty": OK + b"Transfer-Encoding:\r\n",
    "encoding with vertical tab": OK + b"Transfer-Encoding: \x0bchunked\r\n",
}
BAD_BODIES = {
    "no size": b"\r\nhello\r\n",
    "size not hexadecimal": b"g\r\nhello\r\n",
    "size signed": b"+5\r\nhello\r\n",
    "size prefixed": b"0x5\r\nhello\r\n",
    "size after space": b" 5\r\nhello\r\n",
    "size too large": b"f" * 16 + b"\r\nhello\r\n",
    "junk after space": b"5 x\r\nhello\r\n",
    "extension without semicolon": b"5 a=b\r\nhello\r\n",
    "size ends in lf": b"5\nhello\r\n",
    "extension ends in lf": b"5;a=b\nhello\r\n",
    "cr in an extension": b"5;a\rb\r\nhello\r\n",
    "cr alone after the size": b"5\rhello\r\n",
    "chunk too long": b"5\r\nhello!\r\n",
    "chunk ends in lf": b"5\r\nhello\n0\r\n\r\n",
    "chunk ends in cr": b"5\r\nhello\r0\r\n\r\n",
    "no chunk end": b"5\r\nhello0\r\n\r\n",
    "trailer without colon": b"0\r\nfoo\r\n\r\n",
    "trailer without name": b"0\r\n: x\r\n\r\n",
    "trailer folded": b"0\r\nX: a\r\n b\r\n\r\n",
    "trailer with cr": b"0\r\nX: a\rb\r\n\r\n",
    "trailer with nul": b"0\r\nX: \x00\r\n\r\n",
    "cr cr lf after the trailer": b"0\r\n\r\r\n",
    "endless extension": b"5;" + b"x" * 5000 + b"\r\nhello\r\n",
}


@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("wire", GOOD.values(), ids=GOOD)
def test_good_whole_and_byte_by_byte_with_bytes_that_follow(wire, method):
    for data in (wire, wire + NEXT, wire + b"\r\n", wire + b"\x00\xff"):
        whole = drive.check_response(framing, [data], method=method)
        assert whole.complete
        assert drive.check_response(framing, drive.byte_by_byte(data), method=method) == whole


@pytest.mark.parametrize("wire", GOOD.values(), ids=GOOD)
def test_nothing_comes_early(wire):
    """After each byte: as much body as h11 hands out, the status at the blank line, and no end."""
    parser = framing.ResponseParser()
    body = b""
    for prefix in drive.prefixes(wire):
        got, used = parser.feed(prefix[-1:])
        body += got
        expected = oracle.response(prefix)
        assert used == 1
        assert (parser.status, body) == (expected.status, expected.body), prefix
        assert (parser.complete, bool(parser.head)) == (expected.complete, expected.status > 0)
    assert parser.complete


@pytest.mark.parametrize("wire", GOOD.values(), ids=GOOD)
def test_cut_off_at_any_byte_is_not_complete(wire):
    for prefix in list(drive.prefixes(wire))[:-1]:
        assert not drive.check_response(framing, [prefix], eof=True).complete


@pytest.mark.parametrize("head", BAD_HEADS.values(), ids=BAD_HEADS)
def test_bad_heads_are_refused_and_h11_agrees_or_the_difference_is_documented(head):
    for wire in (head + b"\r\n", head + FIVE):
        for pieces in ([wire], drive.byte_by_byte(wire)):
            got = drive.check_response(framing, pieces)
            assert got.failed
            assert (got.status, got.body, got.complete, got.keep_alive) == (0, b"", False, False)


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_chunks_are_refused_after_the_good_ones_were_handed_out(body):
    wire = CHUNKED + b"3\r\nabc\r\n" + body
    for pieces in ([wire], drive.byte_by_byte(wire)):
        got = drive.check_response(framing, pieces)
        assert got.failed
        assert got.body.startswith(b"abc")
        assert (got.complete, got.keep_alive) == (False, False)


@pytest.mark.parametrize(
    ("wire", "reusable"),
    [
        (OK + FIVE, True),
        (GOOD["chunked"], True),
        (GOOD["204"], True),
        (GOOD["interim"], True),
        (GOOD["1.0 keep-alive"], True),
        (GOOD["1.0"], False),
        (GOOD["1.0 chunked"], False),
        (GOOD["close"], False),
        (GOOD["close among others"], False),
        (GOOD["keep-alive and close"], False),
        (GOOD["not close"], True),
        (GOOD["transfer-encoding beats content-length"], False),
        (OK + b"\r\nuntil the end", False),
    ],
)
def test_keep_alive(wire, reusable):
    got, _ = drive.run_parser(framing, [wire], eof=True)
    assert (got.complete, got.keep_alive) == (True, reusable)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_body_until_close(version):
    wire = b"HTTP/" + version + b" 200 OK\r\nX: y\r\n\r\n5\r\nnot a chunk\r\n\r\n"
    for pieces in ([wire], drive.byte_by_byte(wire)):
        assert not drive.check_response(framing, pieces).complete
        got = drive.check_response(framing, pieces, eof=True)
        assert (got.complete, got.body) == (True, b"5\r\nnot a chunk\r\n\r\n")


def test_two_responses_back_to_back():
    data = GOOD["chunked"] + NEXT
    parser = framing.ResponseParser()
    body, used = parser.feed(data)
    assert (body, data[used:]) == (b"hello world", NEXT)
    assert parser.feed(data[used:]) == (b"", 0)
    assert framing.ResponseParser().feed(data[used:]) == (b"next", len(NEXT))


def test_head_limit_is_exact_and_holds_for_the_trailer_too():
    fits = OK + b"X: " + b"x" * 60 + b"\r\n" + FIVE
    limit = len(fits) - len(b"hello")
    parser = framing.ResponseParser(head_limit=limit)
    assert parser.feed(fits) == (b"hello", len(fits))
    assert parser.head == fits[:limit]
    with pytest.raises(ValueError, match="head over its size limit"):
        framing.ResponseParser(head_limit=limit - 1).feed(fits)
    endless = framing.ResponseParser(head_limit=limit)
    endless.feed(CHUNKED + b"0\r\n")
    with pytest.raises(ValueError, match="head over its size limit"):
        for _ in range(limit):
            endless.feed(b"A: b\r\n")


def test_huge_head_costs_the_same_per_byte_however_it_comes():
    head = OK + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 90) for i in range(10_000)) + FIVE
    for size in (len(head), 1_448, 1):
        parser = framing.ResponseParser(head_limit=1 << 21)
        got = [parser.feed(head[i : i + size])[0] for i in range(0, len(head), size)]
        assert b"".join(got) == b"hello"
        assert parser.complete


@given(
    head=st.lists(st.sampled_from(drive.HEAD_WORDS) | st.binary(max_size=3), max_size=8),
    body=st.lists(st.sampled_from(drive.CHUNK_WORDS) | st.binary(max_size=3), max_size=12),
    method=st.sampled_from(["POST", "HEAD"]),
    cuts=st.lists(st.integers(0, 400), max_size=10),
    eof=st.booleans(),
)
def test_any_words_at_any_splits(head, body, method, cuts, eof):
    wire = b"HTTP/1.1 200 OK\r\n" * (len(cuts) % 2) + b"".join(head) + b"\r\n" + b"".join(body)
    drive.check_response(framing, drive.split_at(wire, cuts), method=method, eof=eof)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    extension=st.sampled_from([b"", b";x", b';a="b"', b" "]),
    follows=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, 600), max_size=20),
)
def test_chunked_bodies_at_any_splits_leave_what_follows(chunks, extension, follows, cuts):
    wire = CHUNKED + b"".join(b"%x%s\r\n%s\r\n" % (len(c), extension, c) for c in chunks)
    wire += b"0\r\n\r\n"
    got = drive.check_response(framing, drive.split_at(wire + follows, cuts))
    assert (got.body, got.complete, got.used) == (b"".join(chunks), True, len(wire))
