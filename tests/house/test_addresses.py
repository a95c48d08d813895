"""Addresses: what may be recorded, and why one could not be reached."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import ssl
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.addresses import is_loopback, reason, server_address
from harness.control import ControlClient, json_object
from harness.errors import BackendError, SpecError
from harness.schema import TimeoutsSpec
from tests.plugins.wire_server import as_json, nobody_listens, scripted


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost"),
        ("http://h:1/v1/", "http://h:1/v1"),
        ("https://h/api/v1", "https://h/api/v1"),
        ("http://[::1]:65535", "http://[::1]:65535"),
        ("http+unix://%2Ftmp%2Fs.sock/v1", "http+unix://%2Ftmp%2Fs.sock/v1"),
    ],
)
def test_addresses(given, address):
    assert server_address(given) == address


@pytest.mark.parametrize(
    "address",
    [
        "http://me:hunter2@h:1",
        "me:hunter2@h:1",
        "http://me:hun/ter2@h:1",
        "http://me:hunter2?@h",
        "http://h/?key=hunter2",
        "http://h/#hunter2",
        "http://h:1?hunter2",
        "http+unix://%2Ftmp%2Fs?hunter2",
        "https://hunter2@h:99999",
    ],
)
def test_a_secret_is_refused_and_not_repeated(address):
    with pytest.raises(SpecError, match="no credentials, query or fragment") as caught:
        server_address(address, where="$.arms.a.backend.url")
    assert caught.value.where == "$.arms.a.backend.url"
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("http://h:99999", "1 … 65535"),
        ("http://h:0", "1 … 65535"),
        ("http://h:x", "1 … 65535"),
        ("http://[::1", "brackets"),
        ("ftp://h", "ftp:// is not spoken"),
        ("unix:///tmp/s", "is not spoken"),
        ("http://", "no host"),
        ("http://:80", "no host"),
        ("", "no host"),
        ("http://a b:1", "host"),
        ("http+unix://tmp", "absolute path"),
    ],
)
def test_addresses_that_cannot_be_reached(address, what):
    with pytest.raises(SpecError, match=what) as caught:
        server_address(address)
    assert caught.value.where == "$.backend.url"
    assert caught.value.remedy


@given(st.text() | st.text().map(lambda text: f"http://{text}"))
def test_any_text_is_an_address_or_a_spec_error(text):
    try:
        address = server_address(text)
    except SpecError as error:
        assert str(error).isprintable()
    else:
        assert not set(address) & set("@?# \n")
        assert server_address(address) == address


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_loopback(host, ours):
    assert is_loopback(host) is ours


# ------------------------------------------------------------------------------------- the reasons


def chained(*errors: BaseException) -> BaseException:
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (chained(httpx.ConnectError("x"), OSError("y"), REFUSED), "connection refused"),
        (chained(httpx.ConnectError("x"), ExceptionGroup("g", [REFUSED])), "connection refused"),
        (httpx.ConnectError("odd \x1b[31mwords"), "odd words"),
        (chained(httpx.ConnectTimeout(""), TimeoutError()), "no connection in time"),
        (
            chained(httpx.ConnectTimeout(""), TimeoutError(), ssl.SSLWantReadError(2, "read")),
            "no answer to the TLS handshake in time; it may be a plain HTTP server",
        ),
        (chained(httpx.ConnectError("x"), socket.gaierror(-2, "Unknown name")), "unknown name"),
        (httpx.ReadError(""), "ReadError"),
    ],
)
def test_reasons(error, words):
    assert reason(error) == words


def test_a_circle_of_causes_ends():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert reason(one) == "one"


# ----------------------------------------------------------------------------------- ControlClient


def ask(url: str, connect_s: float = 5.0, **how: object) -> BackendError:
    async def asking() -> None:
        async with ControlClient(url, TimeoutsSpec(connect_s=connect_s)) as client:
            await client.ask("GET", "/x", **how)

    with pytest.raises(BackendError) as caught:
        asyncio.run(asking())
    assert caught.value.where == url
    assert str(caught.value).isprintable()
    return caught.value


@contextmanager
def answering(raw: bytes | None):
    """A server for one connection: reads a little, sends `raw`, and resets it; None: is silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if raw is None:
                    done.wait()
                    return
                connection.sendall(raw)
                # Closing with linger 0 sends a reset.
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


def test_any_status_is_an_answer():
    async def asking(url: str):
        async with ControlClient(url, TimeoutsSpec()) as client:
            found = await client.ask("POST", "/x", {"a": 1})
            missing = await client.ask("GET", "/y")
        return found, missing

    with scripted({"POST /x": as_json({"b": 2})}) as server:
        found, missing = asyncio.run(asking(server.url))
        assert server.bodies("/x") == [{"a": 1}]
    assert (found.status, json_object(found.content)) == (200, {"b": 2})
    assert missing.status == 404


def test_nobody_listens():
    with nobody_listens() as url:
        error = ask(url)
    assert error.what == "no server can be reached: connection refused"
    assert "--url" in error.remedy


def test_tls_to_a_server_that_waits_for_plain_http():
    with answering(None) as host:
        error = ask(f"https://{host}", connect_s=0.1)
    assert "no answer to the TLS handshake in time; it may be a plain HTTP server" in error.what
    assert "no such file" not in error.what


def test_tls_to_a_server_that_answers_in_plain_http():
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as host:
        error = ask(f"https://{host}")
    assert "the TLS handshake failed" in error.what
    assert "plain HTTP server" in error.what


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_a_connection_that_breaks_is_not_blamed_on_the_address(raw):
    with answering(raw) as host:
        error = ask(f"http://{host}", purpose="the first request")
    assert error.what == "the connection broke during the first request (GET /x): " + (
        "connection reset by peer"
    )
    assert "--url" not in error.remedy


def test_what_is_no_http_is_said_so():
    with answering(b"SSH-2.0-OpenSSH_9.6 \x1b[31m\r\n\r\n") as host:
        error = ask(f"http://{host}")
    assert "does not answer as an HTTP server should" in error.what
    assert "[31m" not in error.what
