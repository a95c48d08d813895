"""What one whole call costs us when the model costs nothing.

    python benchmarks/null_backend.py [--calls 2000] [--chunks 16] [--concurrency 8] [--json]

A server in a process of its own answers every request at once with the same SSE stream. Both
transports take turns on it, round after round. Counted is the CPU time of the whole client process,
all its threads, from the exchange to the packed columns of its record: what the harness spends on a
call beside decoding it. The ratio compares the medians of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.protocols import Transport
from harness.schema import Exchange, TimeoutsSpec
from harness.transport import client_lag, open_transport, pack_columns

BODY = json.dumps({"model": "null", "prompt": "x" * 400, "stream": True}).encode()
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'


# ------------------------------------------------------------------------------------- the server


class Answer(asyncio.Protocol):
    """Every request ends in BODY, so its end is found without parsing."""

    def __init__(self, response: bytes) -> None:
        self._response = response
        self._seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data.count(b"\r\n\r\n")
        if data.endswith(BODY) and self._seen:
            self._seen = 0
            self._transport.write(self._response)  # type: ignore[attr-defined]


async def serve(chunks: int) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    events = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
    response = head + events * chunks + b"0\r\n\r\n"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answer(response), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until the client closes our input


@contextmanager
def running_server(chunks: int) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", "--chunks", str(chunks)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1/chat/completions"
    finally:
        child.stdin.close()
        child.wait(timeout=10)
        child.stdout.close()


# ------------------------------------------------------------------------------------- the client


async def one_call(transport: Transport, exchange: Exchange, lane: int, chunks: int) -> None:
    record = await transport.send(exchange, TimeoutsSpec(), lane=lane)
    if record.outcome != "complete" or len(record) != chunks:
        raise SystemExit(f"{record.outcome}: {record.detail} ({len(record)} of {chunks} chunks)")
    pack_columns(record, bytes(len(record)))
    client_lag(record)
    record.drop_payloads()


async def round_us(kind: str, url: str, asked: argparse.Namespace) -> float:
    """CPU per call of one round, in µs; connections and imports are paid before it."""
    exchange = Exchange(url=url, headers=(("Content-Type", "application/json"),), body=BODY)
    transport = open_transport(kind, [url])  # type: ignore[arg-type]
    await transport.open()
    lane = transport.lane(asked.concurrency)

    async def calls(n: int) -> None:
        await asyncio.gather(*(one_call(transport, exchange, lane, asked.chunks) for _ in range(n)))

    await calls(4 * asked.concurrency)
    before = time.process_time()
    await calls(asked.calls)
    spent: float = time.process_time() - before
    await transport.close()
    return 1e6 * spent / int(asked.calls)


def measure(asked: argparse.Namespace) -> dict[str, object]:
    kinds = ["native", "portable"] if sys.platform.startswith("linux") else ["portable"]
    rounds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with running_server(asked.chunks) as url:
        for _ in range(asked.rounds):  # interleaved, so that a noisy moment hits both
            for kind in kinds:
                rounds[kind].append(asyncio.run(round_us(kind, url, asked)))
    medians = {kind: statistics.median(values) for kind, values in rounds.items()}
    figures: dict[str, object] = {
        "n": asked.calls * asked.rounds,
        "chunks_per_call": asked.chunks,
        "concurrency": asked.concurrency,
        "cpu_us_per_call": {kind: round(value, 1) for kind, value in medians.items()},
        "rounds_us": {kind: [round(v, 1) for v in values] for kind, values in rounds.items()},
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    if "native" in medians:
        figures["native_per_portable"] = round(medians["native"] / medians["portable"], 3)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chunks", type=int, default=16, help="per response")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(asked.chunks))
        return
    figures = measure(asked)
    if asked.json:
        print(json.dumps(figures))
        return
    print(
        f"CPU of a whole call, {asked.chunks} chunks, {asked.concurrency} at a time, "
        f"n = {figures['n']} calls, {figures['cores']} cores, Python {figures['python']}"
    )
    for kind, value in figures["cpu_us_per_call"].items():  # type: ignore[attr-defined]
        spread = figures["rounds_us"][kind]  # type: ignore[index]
        print(f"  {kind:9} {value:8.1f} µs   ({min(spread):.1f} to {max(spread):.1f} by round)")
    if "native_per_portable" in figures:
        print(f"  native / portable {figures['native_per_portable']}")


if __name__ == "__main__":
    main()
