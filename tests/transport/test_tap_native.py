"""What only the native tap promises: the very bytes, many connections, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness._native.recorder import FLAG_USER_STAMP
from harness.transport.tap_native import NativeTap
from tests.transport.kit import AMPLE, opened, post, until
from tests.transport.raw_server import (
    CLOSE,
    LAST_CHUNK,
    RESET,
    RawServer,
    chunk,
    chunked_head,
    response,
)
from tests.transport.tap_kit import Agent, asking, at_a_standstill, ended, tapped
from tests.transport.test_differential import BODIES, MODES, cut, script_of

if not sys.platform.startswith("linux"):
    pytest.skip("the native tap is for Linux", allow_module_level=True)

OK = response(b"data: one\n\ndata: two\n\n")


class Upstream:
    """Takes whatever comes, and answers each request of a known length with the next script."""

    def __init__(self, *responses: bytes, request_size: int) -> None:
        self.responses = list(responses)
        self.size = request_size
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Upstream:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.requests.append(await reader.readexactly(self.size))
                writer.write(self.responses[min(len(self.requests), len(self.responses)) - 1])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


# ---------------------------------------------------------------------------------------- the bytes


async def test_a_request_goes_on_byte_for_byte_but_for_two_headers() -> None:
    odd = (
        b"\r\nPOST /a%20b/|c?d=[e]&f=%7B HTTP/1.1\r\n"
        b"hOsT:\t somewhere:1 \r\nACCEPT-encoding:gzip, br\r\n"
        b"X-Odd:   spaces \t\r\nCookie: \xe9\xff=\"b\"\r\nX-Empty:\r\n"
        b"Content-Length: 4\r\nExpect: nothing\r\n\r\n\x00\xff{}"
    )  # fmt: skip
    async with Upstream(OK, request_size=1) as probe:
        host = probe.origin.removeprefix("http://").encode()
    wanted = odd[2:].replace(b"hOsT:\t somewhere:1 ", b"hOsT: " + host)
    wanted = wanted.replace(b"encoding:gzip, br", b"encoding: identity")
    async with Upstream(OK, request_size=len(wanted)) as server:
        host_now = server.origin.removeprefix("http://").encode()
        wanted = wanted.replace(host, host_now)
        async with tapped("native", server.origin) as (_, door), Agent(door) as agent:
            for piece in (odd[:1], odd[1:3], odd[3:40], odd[40:]):
                await agent.say(piece)
            got = await agent.response()
            (seen,) = await ended(door)
    assert got.raw == OK
    assert server.requests == [wanted]
    assert seen.headers[1] == ("accept-encoding", "gzip, br"), "as the agent sent it"
    assert seen.headers[3] == ("cookie", '\xe9\xff="b"')
    assert seen.body == b"\x00\xff{}"


async def test_a_chunked_request_goes_on_as_it_is_coded() -> None:
    body = b"2;x=y\r\n{}\r\nA\r\n0123456789\r\n0\r\nX-T: t\r\n\r\n"
    head = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        Upstream(OK, request_size=len(head + body)) as server,
        tapped("native", server.origin) as (_, door),
        Agent(door) as agent,
    ):
        for index in range(len(head + body)):
            await agent.say((head + body)[index : index + 1])
        assert (await agent.response()).raw == OK
        (seen,) = await ended(door)
    assert server.requests == [head + body]
    assert seen.body == b"{}0123456789"


@settings(max_examples=60)
@given(
    body=BODIES,
    at=st.lists(st.integers(0, 10_000), max_size=6),
    said=st.sampled_from(sorted(MODES)),
    framing=st.sampled_from(["chunked", "length", "close"]),
)
def test_a_response_comes_through_byte_for_byte(
    body: bytes, at: list[int], said: str, framing: str
) -> None:
    script = script_of(said, framing, cut(body, at))
    wanted = b"".join(step for step in script if isinstance(step, bytes))

    async def go() -> None:
        async with RawServer(script) as server, tapped("native", server.origin) as (_, door):
            async with opened("native", server.url) as client:
                directly = await client.send(post(server.url), AMPLE)
            async with Agent(door) as agent:
                got = await agent.ask()
            (seen,) = await ended(door)
        assert got.raw == wanted
        record = seen.record
        assert (record.outcome, record.payloads()) == ("complete", directly.payloads())
        assert (record.comments, record.unterminated) == (directly.comments, directly.unterminated)
        assert record.head == directly.head
        assert record.lag_ns.tolist() == [lag for lag in record.lag_ns.tolist() if lag < 2**32 - 1]

    asyncio.run(go())


@settings(max_examples=60)
@given(
    start=st.sampled_from(
        [
            b"",
            b"POST /x HTTP/1.1\r\n",
            b"POST /x HTTP/1.1\r\nHost: a\r\n",
            b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
            b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        ]
    ),
    rest=st.binary(max_size=200),
    at=st.lists(st.integers(0, 300), max_size=4),
)
def test_agents_may_say_anything_at_all(start: bytes, rest: bytes, at: list[int]) -> None:
    said = start + rest

    async def go() -> None:
        async with RawServer([OK]) as server, tapped("native", server.origin) as (tap, door):
            async with Agent(door) as agent:
                for a, b in pairwise(sorted({0, len(said), *(x % (len(said) + 1) for x in at)})):
                    await agent.say(said[a:b])
            async with Agent(door) as agent:  # the next one is served as if nothing had been
                assert (await agent.ask()).raw == OK
            await until(lambda: tap.stats()["connections"] == 0)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET /x HTTP/2\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\n\r\n", 400),
        (b"GET https://there/x HTTP/1.1\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"GET /x HTTP/1.1\r\nX: " + b"y" * 66_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused(said: bytes, status: int) -> None:
    async with (
        RawServer([OK]) as server,
        tapped("native", server.origin) as (_, door),
        Agent(door) as agent,
    ):
        await agent.say(said)
        got = await agent.response()
        assert await agent.at_end()
    assert got.status == status
    assert got.body.startswith(b'{"error":"harness tap: ')
    assert not any(b"chunked" not in request for request in server.requests)


async def test_an_answer_before_the_request_is_whole() -> None:
    early = response(b"no", "text/plain", status="413 Too Large", extra="Connection: close\r\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(early)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with tapped("native", origin) as (_, door), Agent(door) as agent:
            await agent.say(b"POST /x HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 50_000)
            got = await agent.response()
            (seen,) = await ended(door)
    assert got.raw == early
    assert (seen.record.outcome, seen.record.http_status) == ("complete", 413)


# ---------------------------------------------------------------------------------------- endings


async def test_a_reset_is_passed_on_as_one() -> None:
    gate = asyncio.Event()
    script = [chunked_head() + chunk(b"data: a\n\n"), gate, RESET]
    async with (
        RawServer(script) as server,
        tapped("native", server.origin) as (_, door),
        Agent(door) as agent,
    ):
        await agent.say(asking())
        await agent.read_until(b"data: a\n\n")
        gate.set()
        assert not await agent.at_end()


async def test_what_is_not_http_is_passed_on_and_said_to_be_none() -> None:
    async with (
        RawServer([b"SSH-2.0-OpenSSH_9.7\r\n\r\n", CLOSE]) as server,
        tapped("native", server.origin) as (_, door),
        Agent(door) as agent,
    ):
        await agent.say(asking())
        assert await agent.reader.read() == b"SSH-2.0-OpenSSH_9.7\r\n\r\n"
        (seen,) = await ended(door)
    assert seen.record.outcome == "protocol"
    assert seen.record.detail


async def test_a_response_that_is_whole_is_passed_on_when_the_door_closes() -> None:
    body = b"data: " + b"z" * 3_000_000 + b"\n\n"
    async with (
        RawServer([response(body)]) as server,
        tapped("native", server.origin) as (tap, door),
        Agent(door) as agent,
    ):
        await agent.say(asking())
        await at_a_standstill(tap)  # the agent does not read: some of it waits in the tap
        closing = asyncio.ensure_future(door.close())
        got = await agent.response()
        found = await closing
    assert got.body == body
    assert [seen.record.outcome for seen in found] == ["complete"]
    assert found[0].end_sent_ns is not None


@pytest.mark.parametrize("step_ns", [-2_000_000_000, 2_000_000_000])
async def test_a_step_of_the_wall_clock_is_noticed(step_ns: int) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    script: list = [chunked_head()]
    for gate in gates:
        script += [chunk(b"data: x\n\n"), gate]
    async with (
        RawServer([*script, LAST_CHUNK]) as server,
        tapped("native", server.origin) as (tap, door),
        Agent(door) as agent,
    ):
        assert isinstance(tap, NativeTap)
        await agent.say(asking())
        for index, gate in enumerate(gates):
            await until(lambda index=index: tap.stats()["chunks"] > index)
            if index == 1:
                tap.tapper._nudge_clock(step_ns)
            gate.set()
        await agent.response()
        (seen,) = await ended(door)
        assert tap.stats()["clock_steps"] == 1
    arrival = seen.record.arrival_ns.tolist()
    assert seen.record.clock_stepped
    assert seen.request_ns <= arrival[0]
    assert arrival == sorted(arrival)
    assert (seen.record.arrival_ns + seen.record.lag_ns <= seen.record.closed_ns).all()


async def test_without_timestamps_every_stamp_is_of_user_space() -> None:
    tap = NativeTap(timestamps=False)
    await tap.open()
    async with RawServer([OK]) as server:
        door = await tap.door(server.origin)
        async with Agent(door) as agent:
            await agent.ask()
        (seen,) = await ended(door)
        await tap.close()
    assert not seen.request_by_kernel
    assert all(bits & FLAG_USER_STAMP for bits in seen.record.size_flags.tolist())
    assert tap.stats()["kernel_stamps"] == 0


async def test_a_unix_socket_may_be_behind_a_door(tmp_path: Path) -> None:
    async with (
        RawServer([OK], unix=tmp_path / "s") as server,
        tapped("native", server.origin) as (_, door),
    ):
        for _ in range(2):
            async with Agent(door) as agent:
                assert (await agent.ask()).raw == OK
        seen = await ended(door, 2)
    assert [each.record.outcome for each in seen] == ["complete", "complete"]
    assert b"host: localhost" in server.requests[0].lower()


async def test_stamps_are_the_kernels() -> None:
    async with RawServer([OK]) as server, tapped("native", server.origin) as (tap, door):
        async with Agent(door) as agent:
            for _ in range(3):
                await agent.ask()
        seen = await ended(door, 3)
        stats = tap.stats()
    assert stats["user_stamps"] == 0
    assert stats["kernel_stamps"] >= 6
    assert stats["realtime"] in (0, 1), "as the system grants it"
    assert all(each.request_by_kernel for each in seen)
    assert all(each.record.realtime_offset_ns > 0 for each in seen)


# ----------------------------------------------------------------------------------------- how many


async def test_a_thousand_connections_at_once() -> None:
    count = 1_024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * count + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        count = (hard - 200) // 4
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    gate = asyncio.Event()
    script = [chunked_head() + chunk(b"data: a\n\n"), gate, chunk(b"data: b\n\n") + LAST_CHUNK]
    try:
        async with (
            RawServer(script) as server,
            tapped("native", server.origin) as (tap, door),
            opened("native", door.url) as client,
        ):
            calls = [client.send(post(door.url + "/x"), AMPLE) for _ in range(count)]
            await until(lambda: tap.stats()["chunks"] >= count)
            assert tap.stats()["connections"] == count
            gate.set()
            records = await asyncio.gather(*calls)
            seen = await ended(door, count)
        assert {record.outcome for record in records} == {"complete"}
        assert all(each.record.payloads() == [b"a", b"b"] for each in seen)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


SHORT_OF_FILES = """
import asyncio, os, resource, socket
from tests.transport.raw_server import RawServer, response
from tests.transport.tap_kit import tapped

def all_files():
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken

async def main():
    loop = asyncio.get_running_loop()
    async with RawServer([response(b"data: a")]) as server:
        async with tapped("native", server.origin) as (tap, door):
            agent = socket.socket()
            agent.setblocking(False)
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
            taken = all_files()
            port = int(door.url.rpartition(":")[2])
            await loop.sock_connect(agent, ("127.0.0.1", port))
            woken = -tap.stats()["wakeups"]
            await asyncio.sleep(0.5)
            woken += tap.stats()["wakeups"]
            assert tap.stats()["connections"] == 0
            for fd in taken:
                os.close(fd)
            await loop.sock_sendall(agent, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            said = await loop.sock_recv(agent, 12)
            agent.close()
            print(woken, said.decode())

asyncio.run(main())
"""


def test_running_out_of_files_is_waited_out_without_spinning() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_FILES], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    woken, said = done.stdout.split(maxsplit=1)
    assert int(woken) < 40, "ten times a second would do"
    assert said.strip() == "HTTP/1.1 200"


async def test_a_name_is_resolved_and_its_addresses_tried_in_turn() -> None:
    async with RawServer([OK]) as server:
        named = server.origin.replace("127.0.0.1", "localhost")
        async with tapped("native", named) as (_, door), Agent(door) as agent:
            assert (await agent.ask()).raw == OK
    assert named.removeprefix("http://").encode() in server.requests[0]


async def test_children_are_not_left_with_the_taps_sockets() -> None:
    script = [chunked_head() + chunk(b"data: a\n\n"), asyncio.Event()]
    async with (
        RawServer(script) as server,
        tapped("native", server.origin) as (_, door),
        Agent(door) as agent,
    ):
        await agent.say(asking())
        await agent.read_until(b"data: a\n\n")
        ours = open_files()
        child = await asyncio.create_subprocess_exec(
            "ls", "-l", "/proc/self/fd", stdout=subprocess.PIPE, close_fds=False
        )
        listed, _ = await child.communicate()
    sockets = {name for name in ours if name.startswith("socket:")}
    assert len(sockets) >= 4
    assert not any(name.encode() in listed for name in sockets)


def open_files() -> list[str]:
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # what iterdir itself had open
            found.append(str(path.readlink()))
    return found


async def test_memory_and_files_go_back() -> None:
    async def once() -> None:
        async with RawServer([OK]) as server, tapped("native", server.origin) as (_, door):
            for _ in range(5):
                async with Agent(door) as agent:
                    await agent.ask(b"x" * 100_000)
            await ended(door, 5)

    await once()
    gc.collect()
    before = len(open_files())
    for _ in range(10):
        await once()
    gc.collect()
    assert len(open_files()) <= before
