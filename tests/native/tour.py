"""A walk through the native code that takes a second: for tools under which all is slow.

    python -m tests.native.tour

No pytest and no Hypothesis, whose start alone takes valgrind the better part of a minute. Every
module is met: both ends of the wire, calls that end well and badly, given up, timed out, closed
upon; stores that grow, are read, dropped and never read; framing cut anywhere, and refused.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import threading
from pathlib import Path

import numpy as np

from harness._native import framing, kernels, recorder
from harness.schema import Exchange, TimeoutsSpec
from harness.testing.sim import SimServer, sim_spec
from harness.transport.native import NativeTransport
from tests.native import drive_framing, drive_reactor
from tests.native.drive_reactor import STREAM, Client, RawServer, answering, chunked, response

MS = 1_000_000
CALLS = 60
FAULTS = (
    *("reset_before", "reset_mid", "stall_mid", "truncated_chunk", "close_mid", "no_end"),
    *("error_mid", "http_429", "http_500", "malformed_json", "invalid_utf8", "line_separators"),
    *("empty_chunks", "duplicate_done", "hostile_text"),
)


def frames(rng: random.Random) -> None:
    words = {1: drive_framing.SSE_WORDS, 2: drive_framing.NDJSON_WORDS}
    for mode, known in words.items():
        for limit in (1 << 26, 40):
            for _ in range(25):
                body = b"".join(rng.choices(known, k=rng.randrange(30)))
                cuts = [rng.randrange(1000) for _ in range(rng.randrange(6))]
                drive_framing.check_frames(framing, mode, drive_framing.split_at(body, cuts), limit)
                pieces = drive_framing.byte_by_byte(body)
                drive_framing.check_frames(framing, mode, pieces, limit)


def responses(rng: random.Random) -> None:
    for _ in range(100):
        head = b"".join(rng.choices(drive_framing.HEAD_WORDS, k=rng.randrange(6)))
        body = b"".join(rng.choices(drive_framing.CHUNK_WORDS, k=rng.randrange(8)))
        wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + head + b"\r\n" + body
        cuts = [rng.randrange(1000) for _ in range(4)]
        for pieces in (drive_framing.split_at(wire, cuts), drive_framing.byte_by_byte(wire)):
            drive_framing.run_parser(framing, pieces, eof=True)


def records(rng: random.Random) -> None:
    for chunks in (0, 1, 7, 3000):
        made = recorder.Recorder(1, reserve=chunks % 3)
        made.mark(head=b"h" * 300, http_status=200)
        said = [rng.randbytes(rng.choice((0, 1, 90, 5000))) for _ in range(chunks)]
        for at_ns, payload in enumerate(said):
            made.append(at_ns, at_ns + 5, payload)
        record = made.seal("complete", closed_ns=9, detail="d" * 40)
        assert record.payloads() == said
        assert [record.payload(i) for i in range(-chunks, 0)] == said
        assert len(record.arrival_ns) == len(record.lag_ns) == len(record.size_flags) == chunks
        record.drop_payloads()
        assert record.nbytes >= 16 * chunks
    recorder.Recorder(1).append(1, 1, b"never sealed")


def numbers() -> None:
    values = np.random.default_rng(1).normal(size=501)
    kernels.mean_variance(values)
    kernels.quantiles(values[::3], np.array([0.0, 0.5, 0.99, 1.0]))
    kernels.median(values)
    kernels.mad(values)
    kernels.bootstrap_means(values, np.array([0, 100, 501], dtype=np.int64), 20, 7)


def calls() -> None:
    long = b"".join(b"data: %d\n\n" % n for n in range(2000))
    served = (
        response(b"data: 1\n\n"),
        chunked(long[:5000], long[5000:]),
        response(b'{"x": 1}\n{"y"', media="application/x-ndjson"),
        response(b"x" * 300_000, media="application/json"),
        b"HTTP/1.1 200\r\nContent-Length: nonsense\r\n\r\n",
    )
    with RawServer(answering(*served)) as server, Client(read_size=4096) as client:
        origin = client.origin(server.address)
        outcomes = [client.call(origin).outcome for _ in range(len(served))]
        assert outcomes == ["complete"] * 4 + ["protocol"], outcomes


def ends() -> None:
    """Given up, timed out, closed upon; and a reactor that nobody closes."""
    with RawServer(drive_reactor.saying(STREAM, b"data: 1\n\n")) as server:
        client = Client()
        origin = client.origin(server.address)
        lane = client.reactor.add_lane(2)
        late = client.submit(origin, payload_timeout_ns=20 * MS)
        client.submit(origin, due_ns=2**62)
        idents = [client.submit(origin, lane=lane) for _ in range(6)]
        assert client.wait(1)[late].outcome == "timeout_payload"
        for ident in idents[::2]:
            client.reactor.cancel(ident)
        client.wait(3)
        client.reactor.close()
        assert len(client.reactor.drain()) == 4
        Client()


def both_ends(log: Path) -> None:
    """Our transport against our truth server, in one process, with a call for every fault."""
    faults = [{"kind": kind, "requests": [3 * n + 2]} for n, kind in enumerate(FAULTS)]
    spec = {"ttft": 1, "gap": 0.05, "dialect": "vllm", "faults": faults, "slots": 8}
    server = SimServer(sim_spec(spec), log)
    reader, writer = os.pipe()
    thread = threading.Thread(target=server.serve, args=([reader],))
    thread.start()
    try:
        outcomes = asyncio.run(_carry(server.url))
        assert outcomes.count("complete") > CALLS // 3, outcomes
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)
        server.close()


async def _carry(url: str) -> list[str]:
    timeouts = TimeoutsSpec(connect_s=30, first_byte_s=30, between_payloads_s=0.5, total_s=60)
    transport = NativeTransport([url])
    await transport.open()
    sent = []
    for number in range(CALLS):
        path, framed = ("/v1/chat/completions", "sse") if number % 2 else ("/api/chat", "ndjson")
        body = b'{"model":"sim","stream":true,"max_tokens":20,"options":{"num_predict":20},'
        body += b'"messages":[{"role":"user","content":"one two"}]}'
        exchange = Exchange(
            url=url + path,
            body=body,
            headers=(("Content-Type", "application/json"),),
            framing=framed,
        )
        sent.append(transport.send(exchange, timeouts))
    for future in sent[::17]:
        future.cancel()
    found = await asyncio.gather(*sent, return_exceptions=True)
    outcomes = []
    for record in found:
        if isinstance(record, asyncio.CancelledError):
            continue
        outcomes.append(record.outcome)
        record.payloads()
        record.drop_payloads()
    await transport.close()
    return outcomes


def main() -> None:
    rng = random.Random(1)
    frames(rng)
    responses(rng)
    records(rng)
    numbers()
    calls()
    ends()
    with tempfile.TemporaryDirectory(prefix="harness-tour-") as folder:
        both_ends(Path(folder) / "sim")
    print("seen all")


if __name__ == "__main__":
    main()
