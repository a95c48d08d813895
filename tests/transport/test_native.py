"""What only the native transport does: resolving names before anything is timed."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from harness.errors import SpecError
from tests.transport.kit import AMPLE, post
from tests.transport.raw_server import RawServer

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the native transport needs Linux; run this there"
)

SAID = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Resolver:
    """Says what the test puts in, when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.answer: list[tuple[int, str]] | OSError = []

    async def getaddrinfo(self, host, port, **options):
        self.asked.append(host)
        await self.go.wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return [(family, 0, 0, "", (ip, port)) for family, ip in self.answer]


@pytest.fixture
def resolver():
    return Resolver()


def transport(resolver=None):
    from harness.transport.native import NativeTransport

    made = NativeTransport()
    if resolver is not None:
        loop = asyncio.get_running_loop()
        loop.getaddrinfo = resolver.getaddrinfo  # this loop lives as long as the test
    return made


def run(scenario):
    asyncio.run(scenario())


def test_a_name_is_resolved_once_and_calls_keep_their_order(resolver):
    async def scenario():
        async with RawServer([SAID]) as server:
            port = int(server.origin.rpartition(":")[2])
            native = transport(resolver)
            await native.open()
            lane = native.lane(1)
            url = f"http://model.test:{port}/x"
            calls = [native.send(post(url), AMPLE, lane=lane) for _ in range(3)]
            resolver.answer = [(socket.AF_INET, "127.0.0.1")]
            resolver.go.set()
            records = await asyncio.gather(*calls)
            assert [record.payloads() for record in records] == [[b"ok"]] * 3
            assert [r.sent_ns for r in records] == sorted(r.sent_ns for r in records)
            assert resolver.asked == ["model.test"]
            assert await native.prepare(url)
            await native.close()

    run(scenario)


def test_prepare_resolves_ahead_and_says_whether_it_could(resolver):
    async def scenario():
        native = transport(resolver)
        await native.open()
        resolver.answer = [(socket.AF_INET, "127.0.0.1")]
        resolver.go.set()
        assert await native.prepare("http://good.test/")
        assert await native.prepare("http://127.0.0.1:1/")
        assert await native.prepare("http://[::1]:1/")
        resolver.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert not await native.prepare("http://bad.test/")
        assert resolver.asked == ["good.test", "bad.test"]
        await native.close()

    run(scenario)


def test_a_name_that_is_not_found_ends_the_call_and_is_asked_for_again(resolver):
    async def scenario():
        native = transport(resolver)
        await native.open()
        resolver.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        resolver.go.set()
        for _ in range(2):
            record = await native.send(post("http://bad.test/"), AMPLE)
            assert record.outcome == "connect"
            assert "bad.test" in record.detail and "not known" in record.detail
            assert record.sent_ns is None
        assert resolver.asked == ["bad.test", "bad.test"]
        await native.close()

    run(scenario)


def test_cancelling_and_closing_while_a_name_is_resolved(resolver):
    async def scenario():
        native = transport(resolver)
        await native.open()
        cancelled = native.send(post("http://slow.test/"), AMPLE)
        waiting = native.send(post("http://slow.test/"), AMPLE, due_ns=7)
        cancelled.cancel()
        await native.close()
        assert cancelled.cancelled()
        record = await waiting
        assert (record.outcome, record.due_ns) == ("not_sent", 7)

    run(scenario)


def test_tls_is_refused_before_anything_is_sent():
    async def scenario():
        native = transport()
        await native.open()
        with pytest.raises(SpecError, match=r"TLS.*portable"):
            native.send(post("https://127.0.0.1/"), AMPLE)
        await native.close()

    run(scenario)
