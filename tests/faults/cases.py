"""What a hostile server may say: literal bytes, and the statuses that a call may end in by them."""

from __future__ import annotations

import gzip
from typing import NamedTuple

from harness.schema import TimeoutsSpec
from tests.faults.raw import CLOSE, HOLD, RESET, Flood, Later, chunked, event, sized, stream

AMPLE = TimeoutsSpec(connect_s=60, first_byte_s=60, between_payloads_s=60, total_s=90)
BRIEF = TimeoutsSpec(connect_s=60, first_byte_s=0.3, between_payloads_s=0.3, total_s=1.5)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED_HEAD = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = chunked(stream("hello"))
SMUGGLED = chunked(stream("smuggled"))
MIB = 2**20
ROOM = 32 * MIB
"""More than the buffers of two sockets hold, which fill whether or not the client reads."""
FAILED = {"error", "truncated"}
LOST = {"error", "truncated", "timeout"}
ANY = {"ok", *LOST}


class Case(NamedTuple):
    script: list
    expected: set
    timeouts: TimeoutsSpec = AMPLE
    sent_max: int = 0
    """Of a flood: more than this the client must not take."""


def broken(*script, expected=FAILED):
    return Case([*script, CLOSE], expected)


def held(*script, expected=LOST):
    """The server stays silent behind it."""
    return Case([*script, HOLD], expected, BRIEF)


def flood(before, data, *, most, expected=LOST, timeouts=BRIEF):
    return Case([before, Flood(data, most), HOLD], expected, timeouts, most)


def with_length(value):
    return sized(stream("hello"), value)


def with_chunk_size(size):
    return CHUNKED_HEAD + size + b"\r\n" + stream("hello") + b"\r\n0\r\n\r\n"


CASES = {
    # The head
    "nothing": broken(),
    "nothing, reset": Case([RESET], FAILED),
    "silence": held(),
    "half a head": broken(HEAD),
    "half a head, held": held(HEAD),
    "slow head": Case([bytes([byte]) for byte in GOOD], {"ok"}),
    "empty lines": broken(b"\r\n" * 1000),
    "http/0.9": broken(b"hello"),
    "http/2": broken(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "tls alert": broken(b"\x15\x03\x01\x00\x02\x02\x46"),
    "version 9": broken(b"HTTP/9.9 200 OK\r\n\r\n"),
    "status abc": broken(b"HTTP/1.1 abc OK\r\n\r\n"),
    "status 99": broken(b"HTTP/1.1 99 OK\r\n\r\n"),
    "status 2000": broken(b"HTTP/1.1 2000 OK\r\n\r\n"),
    "status -200": broken(b"HTTP/1.1 -200 OK\r\n\r\n"),
    "101": held(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "204": Case([b"HTTP/1.1 204 No Content\r\n\r\n"], FAILED),
    "304": Case([b"HTTP/1.1 304 Not Modified\r\n\r\n"], FAILED),
    "NUL in a header": broken(HEAD + b"X: a\0b\r\n\r\n"),
    "header without colon": broken(HEAD + b"nonsense\r\n\r\n"),
    "header with a space": broken(HEAD + b"X : a\r\n\r\n"),
    "bare CR in a header": broken(HEAD + b"X: a\rY: b\r\n\r\n"),
    "folded header": broken(HEAD + b"X: a\r\n b\r\n\r\n"),
    "binary header": broken(HEAD + b"X: " + bytes(range(128, 256)) + b"\r\n\r\n"),
    "1 MiB header": broken(HEAD + b"X: " + b"a" * MIB + b"\r\n\r\n"),
    "100,000 headers": broken(HEAD + b"X: a\r\n" * 100_000 + b"\r\n"),
    "endless header": flood(HEAD + b"X: ", b"a", most=ROOM),
    "endless headers": flood(HEAD, b"X: a\r\n", most=ROOM),
    "endless status line": flood(b"HTTP/1.1 200 ", b"a", most=ROOM),
    "endless nonsense": flood(b"", b"\x00\xff", most=ROOM),
    "100 thrice": Case([b"HTTP/1.1 100 Continue\r\n\r\n" * 3, GOOD], {"ok"}),
    "103": Case([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", GOOD], {"ok"}),
    "endless 100": Case([Flood(b"HTTP/1.1 100 Continue\r\n\r\n", 2**40), HOLD], LOST, BRIEF, 2**39),
    # Lengths
    "length too long": broken(with_length(b"100000")),
    "length too long, held": held(with_length(b"100000")),
    "length too short": Case([with_length(b"20")], FAILED),
    "length negative": broken(with_length(b"-5")),
    "length huge": broken(with_length(b"9" * 40)),
    "length 2**63": broken(with_length(b"9223372036854775808")),
    "length 2**64 + all": broken(with_length(b"%d" % (2**64 + len(stream("hello"))))),
    "length hex": broken(with_length(b"0x10")),
    "length plus": broken(with_length(b"+10")),
    "length empty": broken(with_length(b"")),
    "length with underscore": broken(with_length(b"1_0")),
    "two lengths": broken(sized(stream("hello"), extra=b"Content-Length: 5\r\n")),
    "length and chunked": broken(
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
    ),
    "chunked twice": broken(HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "coding unknown": broken(HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", expected=ANY),
    "coding unknown before chunked": broken(
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    ),
    # Chunks
    **{
        f"chunk size {size!r}": broken(with_chunk_size(size))
        for size in (b"-5", b"+5", b"0x5", b"5 5", b"g", b"", b"1e3", b"f" * 17, b"8" + b"0" * 15)
    },
    "chunk size wraps": broken(with_chunk_size(b"1" + b"0" * 15 + b"%x" % len(stream("hello")))),
    "chunk too short": broken(
        CHUNKED_HEAD + b"5\r\n" + stream("hello") + b"\r\n0\r\n\r\n" + SMUGGLED
    ),
    "chunk huge, held": held(with_chunk_size(b"7fffffffffffffff")),
    "endless chunk size": flood(CHUNKED_HEAD, b"0", most=ROOM),
    "endless chunk extension": flood(CHUNKED_HEAD + b"5;a=", b"a", most=ROOM),
    "endless trailer": flood(GOOD[:-2] + b"X: ", b"a", most=ROOM),
    "endless trailers": flood(GOOD[:-2], b"X: a\r\n", most=ROOM),
    "no last chunk": broken(GOOD[:-5]),
    "no last chunk, held": held(GOOD[:-5]),
    "one byte a chunk": Case(
        [CHUNKED_HEAD + b"".join(b"1\r\n%c\r\n" % b for b in stream("hello")) + b"0\r\n\r\n"],
        {"ok"},
    ),
    # What follows a whole response
    "a second response": Case([GOOD + SMUGGLED], {"ok"}),
    "a second response, sized": Case([sized(stream("hello")) + SMUGGLED], {"ok"}),
    "a second head": Case([GOOD + b"HTTP/1.1 200 OK\r\n"], {"ok"}),
    "garbage behind": Case([GOOD + b"\0\xff" * 100], {"ok"}),
    "one byte behind": Case([GOOD + b"H"], {"ok"}),
    "a later response": Case([GOOD, Later(SMUGGLED)], {"ok"}),
    "a later 408": Case([GOOD, Later(b"HTTP/1.1 408 Request Timeout\r\n\r\n")], {"ok"}),
    "close announced, not done": Case([chunked(stream("hello"), b"Connection: close\r\n")], {"ok"}),
    "a response behind 204": Case([b"HTTP/1.1 204 No Content\r\n\r\n" + SMUGGLED], FAILED),
    "a response behind 304": Case([b"HTTP/1.1 304 Not Modified\r\n\r\n" + SMUGGLED], FAILED),
    "a body behind 500": Case(
        [b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno" + SMUGGLED], {"error"}
    ),
    # The body
    "gzip": Case(
        [sized(gzip.compress(stream("hello")), extra=b"Content-Encoding: gzip\r\n")], FAILED
    ),
    "gzip, only said": Case([sized(stream("hello"), extra=b"Content-Encoding: gzip\r\n")], ANY),
    "gzip bomb": Case(
        [sized(gzip.compress(bytes(64 * MIB)), extra=b"Content-Encoding: gzip\r\n")], FAILED
    ),
    "no body": Case([sized(b"")], FAILED),
    "html": Case(
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"], FAILED
    ),
    "endless line": flood(
        CHUNKED_HEAD + b"7fffffff\r\ndata: ", b"a", most=200 * MIB, timeouts=AMPLE
    ),
    "endless comment": flood(
        CHUNKED_HEAD + b"7fffffff\r\n:", b"a", most=200 * MIB, timeouts=AMPLE, expected=ANY | LOST
    ),
    "until closed": Case([HEAD + b"\r\n" + stream("hello"), CLOSE], {"ok"}),
    "until closed, cut": broken(HEAD + b"\r\n" + stream("hello")[:50]),
    "until closed, reset": Case([HEAD + b"\r\n" + event("a"), RESET], FAILED),
}
