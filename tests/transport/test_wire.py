"""Addresses and heads: what is sent is what was meant, or it is refused."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness._native.framing import MODE_NDJSON, MODE_SSE, MODE_WHOLE
from harness.errors import SpecError
from harness.schema import Exchange
from harness.transport.wire import body_mode, parse_url, request_bytes, request_fields


@pytest.mark.parametrize(
    ("url", "origin", "path", "host"),
    [
        ("http://a.b", ("http", "a.b", 80, ""), "/", "a.b"),
        ("http://A.b:8080/v1?x=1#top", ("http", "a.b", 8080, ""), "/v1?x=1", "a.b:8080"),
        ("HTTPS://h?q", ("https", "h", 443, ""), "/?q", "h"),
        ("http://h:80/", ("http", "h", 80, ""), "/", "h"),
        ("https://h:80/", ("https", "h", 80, ""), "/", "h:80"),
        ("http://[::1]:11434/api", ("http", "::1", 11434, ""), "/api", "[::1]:11434"),
        ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443, ""), "/", None),
        ("http+unix://%2Frun%2Fa.sock/x", ("http+unix", "localhost", 0, "/run/a.sock"), "/x", None),
    ],
)
def test_an_address_taken_apart(
    url: str, origin: tuple[str, str, int, str], path: str, host: str | None
) -> None:
    target = parse_url(url)
    assert (target.origin, target.path) == (origin, path)
    assert target.host_header == (host or origin[1])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://h/",
        "http://",
        "http:///path",
        "http://h:0/",
        "http://h:65536/",
        "http://h:x/",
        "http://h h/",
        "http://h\r\nX: y/",
        "http://h/a b",
        "http://h/\x00",
        "http://h/é",
        "http://[::1/",
        "http://[nonsense]/",
        "http://user:secret@h/",
        "http://" + "a" * 64 + ".example/",
        "http+unix://relative.sock/",
        "http+unix:///",
        "http+unix://%2F" + "a" * 108 + "/",
        "http+unix://%2Fa%00b/",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_url(url)
    assert str(refused.value).isprintable()
    assert "secret" not in str(refused.value)


@given(st.text(max_size=40) | st.text(max_size=30).map("http://".__add__))
def test_any_text_is_an_address_or_a_spec_error(url: str) -> None:
    try:
        target = parse_url(url)
    except SpecError as error:
        assert str(error).isprintable()
        return
    assert target.path.startswith("/") and target.path.isascii() and target.path.isprintable()
    assert target.host_header.isascii() and " " not in target.host_header


NAMES = st.text(st.characters(codec="latin-1"), min_size=1, max_size=8)
VALUES = st.text(max_size=12)


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple),
    st.binary(max_size=20),
    st.sampled_from(["POST", "GET", "G\r\nT", "", "DELETE"]),
)
def test_a_request_is_one_request_or_a_spec_error(
    headers: tuple[tuple[str, str], ...], body: bytes, method: str
) -> None:
    """Judged by h11: nothing in a header or method becomes another header or request."""
    exchange = Exchange(url="http://h/p", method=method, headers=headers, body=body)
    try:
        sent = request_bytes(exchange)
    except SpecError as error:
        assert str(error).isprintable()
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(sent)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (method.encode(), b"/p")
    assert list(request.headers.raw_items()) == request_fields(exchange)
    received = b""
    while isinstance(event := server.next_event(), h11.Data):
        received += event.data
    assert received == body
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data == (b"", False)


def test_values_of_refused_headers_are_not_shown() -> None:
    with pytest.raises(SpecError) as refused:
        request_bytes(Exchange(url="http://h/", headers=(("Authorization", "sk-secret\n"),)))
    assert "Authorization" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_defaults_yield_to_the_exchange() -> None:
    given_headers = (("user-agent", "me"), ("ACCEPT-ENCODING", "gzip"))
    sent = request_bytes(Exchange(url="http://h/", headers=given_headers))
    assert sent.lower().count(b"user-agent") == sent.lower().count(b"accept-encoding") == 1


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
OTHER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json-seq\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "said", "framing", "head", "mode"),
    [
        (200, MODE_SSE, "ndjson", OTHER, MODE_SSE),
        (200, MODE_WHOLE, "sse", OTHER, MODE_SSE),
        (200, MODE_WHOLE, "ndjson", OTHER, MODE_NDJSON),
        (200, MODE_WHOLE, "auto", OTHER, MODE_WHOLE),
        (200, MODE_NDJSON, "whole", OTHER, MODE_NDJSON),
        (200, MODE_WHOLE, "sse", JSON, MODE_WHOLE),
        (302, MODE_WHOLE, "sse", OTHER, MODE_WHOLE),
        (400, MODE_SSE, "sse", OTHER, MODE_WHOLE),
    ],
)
def test_who_decides_how_a_body_is_split(
    status: int, said: int, framing: str, head: bytes, mode: int
) -> None:
    assert body_mode(status, said, framing, head) == mode
