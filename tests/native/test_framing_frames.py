"""Splitter against the plain twins: whole, byte by byte, and at splits that Hypothesis chooses."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness._native import framing
from tests.native import drive_framing as drive
from tests.native import oracles_framing as oracle

LF_STREAM = (
    b'data: {"a":1}\n\n: ping\nevent: delta\ndata: x\ndata: y\nid: 7\nretry: 10\n\ndata: end\n\n'
)

SSE_CASES = {
    "lf": LF_STREAM,
    "crlf": LF_STREAM.replace(b"\n", b"\r\n"),
    "cr": LF_STREAM.replace(b"\n", b"\r"),
    "mixed": b"data: 1\r\ndata: 2\rdata: 3\n\r\ndata: 4\n\rdata: 5\r\r\ndata: 6\r\n\n",
    "bom": oracle.BOM + b"data: a\n\n",
    "second bom is text": oracle.BOM * 2 + b"data: a\n\ndata: b\n\n",
    "bom inside is text": b"data: " + oracle.BOM + b"\n\n" + oracle.BOM + b"data: b\n\n",
    "almost a bom": oracle.BOM[:2] + b"data: a\n\ndata: b\n\n",
    "bom cut by a line end": oracle.BOM[:1] + b"\ndata: b\n\n",
    "only half a bom": oracle.BOM[:2],
    "comments": b":\n: a\n:b: c\n\ndata: a\n: in between\ndata: b\n\n",
    "name without data": b"event: a\n\ndata: b\n\n",
    "last name wins": b"event: a\nevent: b\ndata: c\n\n",
    "empty name": b"event: a\nevent\ndata: c\n\nevent:\ndata: d\n\n",
    "name survives comments": b"event: a\n: x\ndata: b\n\ndata: c\n\n",
    "field without colon": b"data\n\ndata\ndata\n\nfoo\ndata: x\n\n",
    "empty data": b"data:\n\ndata: \n\ndata:\ndata:\n\n",
    "one space only": b"data:  a\n\ndata:b\n\ndata:\tc\n\n",
    "colons in the value": b"data: a:b: c\n\n",
    "case matters": b"Data: a\nDATA: b\neVent: c\ndata: d\n\n",
    "space before colon": b"data : a\n\n data: b\n\n",
    "unknown fields": b"id: 1\nretry: 2\ndatax: a\ndat: b\nevents: c\n\ndata: d\n\n",
    "unicode line ends": 'data: {"t":"a\u2028b\u2029c\u0085d\u000be\u000cf\u001eg"}\n\n'.encode(),
    "multi-byte characters": "data: é€😀\n\nevent: é\ndata: ü\n\n".encode(),
    "nul": b"data: a\x00b\n\n",
    "no blank line": b"data: a\n\ndata: b\n",
    "no line end": b"data: a\n\nevent: x\ndata: b",
    "ends in a name": b"data: a\n\nevent: x",
    "ends in a comment": b"data: a\n\ndata: b\n: c",
    "ends in cr": b"data: a\r\n\r",
    "blank lines": b"\n\n\r\n\r\r\n\n",
    "empty": b"",
}
NDJSON_CASES = {
    "lf": b'{"a":1}\n{"b":2}\n',
    "crlf": b'{"a":1}\r\n{"b":2}\r\n',
    "cr is text": b'{"a":\r1}\n\r{"b":2}\r\r\n',
    "blank lines": b"\n\r\n{}\n\n\n{}\n",
    "bom": oracle.BOM + b"{}\n{}\n",
    "almost a bom": oracle.BOM[:1] + b"{}\n",
    "bom inside is text": b"{}\n" + oracle.BOM + b"{}\n",
    "unicode line ends": '{"t":"a\u2028b\u2029c\u0085d\u000be\u000cf\u001eg"}\n'.encode(),
    "multi-byte characters": '{"t":"é€😀"}\n'.encode(),
    "no line end": b'{"a":1}\n{"b":2}',
    "ends in cr": b"{}\r",
    "only cr": b"\r",
    "empty": b"",
}
CASES = [
    *(pytest.param(oracle.SSE, body, id=f"sse: {name}") for name, body in SSE_CASES.items()),
    *(pytest.param(oracle.NDJSON, body, id=f"ndjson: {n}") for n, body in NDJSON_CASES.items()),
    pytest.param(oracle.WHOLE, b'{"a":\r\n1}\n\n', id="whole"),
    pytest.param(oracle.WHOLE, b"", id="whole: empty"),
]


@pytest.mark.parametrize(("mode", "body"), CASES)
def test_whole(mode, body):
    drive.check_frames(framing, mode, [body])


@pytest.mark.parametrize(("mode", "body"), CASES)
def test_byte_by_byte_with_nothing_early_and_nothing_late(mode, body):
    drive.check_frames_early(framing, mode, body)


@pytest.mark.parametrize(("mode", "body"), CASES)
def test_in_two_pieces_cut_anywhere(mode, body):
    for cut in range(len(body) + 1):
        drive.check_frames(framing, mode, [body[:cut], body[cut:]])


@given(
    words=st.lists(st.sampled_from(drive.SSE_WORDS) | st.binary(max_size=4), max_size=30),
    cuts=st.lists(st.integers(0, 300), max_size=12),
    limit=st.sampled_from([1 << 26]) | st.integers(1, 60),
)
def test_sse_at_any_splits(words, cuts, limit):
    drive.check_frames(framing, oracle.SSE, drive.split_at(b"".join(words), cuts), limit)


@given(
    words=st.lists(st.sampled_from(drive.NDJSON_WORDS) | st.binary(max_size=4), max_size=30),
    cuts=st.lists(st.integers(0, 300), max_size=12),
    limit=st.sampled_from([1 << 26]) | st.integers(1, 60),
)
def test_ndjson_at_any_splits(words, cuts, limit):
    drive.check_frames(framing, oracle.NDJSON, drive.split_at(b"".join(words), cuts), limit)


@given(events=st.lists(st.text(), max_size=8), end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_json_text_comes_through_as_it_was(events, end):
    payloads = [json.dumps(text, ensure_ascii=False).encode() for text in events]
    body = b"".join(b"data: " + payload + end * 2 for payload in payloads)
    splitter = framing.Splitter(framing.MODE_SSE)
    assert splitter.feed(body) == [(payload, 0) for payload in payloads]
    assert splitter.finish() == []


def test_text_that_httpx_cuts_stays_in_one_frame():
    line = '{"t":"a\u2028b\u0085c"}'
    response = httpx.Response(200, content=(line + "\n").encode())
    assert len(list(response.iter_lines())) > 1, "httpx cuts no longer: DESIGN.md should say so"
    assert framing.Splitter(framing.MODE_NDJSON).feed((line + "\n").encode()) == [
        (line.encode(), 0)
    ]


def test_a_cr_at_the_end_of_a_read_ends_the_event_at_once():
    splitter = framing.Splitter(framing.MODE_SSE)
    assert splitter.feed(b"data: a\r\n\r") == [(b"a", 0)]
    assert splitter.feed(b"\ndata: b\n\n") == [(b"b", 0)]


@pytest.mark.parametrize("mode", [oracle.SSE, oracle.NDJSON])
def test_ten_megabytes_in_one_line(mode):
    prefix = b"data: " if mode == oracle.SSE else b""
    payload = b"\xe2\x80\xa8" * (10 * 1024 * 1024 // 3)
    body = prefix + payload + b"\n\n"
    for size in (len(body), 65_536, 1_447):
        splitter = framing.Splitter(mode)
        got = [f for i in range(0, len(body), size) for f in splitter.feed(body[i : i + size])]
        assert got == [(payload, 0)]
