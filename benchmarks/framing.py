"""What splitting a stream costs: native, plain Python, and httpx, over the same bytes in one run.

    python benchmarks/framing.py [--chunks 20000] [--repeats 7] [--json]

A chat stream (SSE as an OpenAI-compatible server sends it, NDJSON as Ollama does) in HTTP chunked
coding, one event per HTTP chunk, comes in reads of one event each, as it does from a server that
streams token by token, or in reads of 64 KiB, as when the reader is behind. No socket is involved.
Contenders take turns within each repeat; the figures are CPU time of this process. Each must hand
out the same payloads, which is checked outside the timing.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from harness._native import clock
from harness._native.framing import MODE_NDJSON, MODE_SSE, ResponseParser, Splitter

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
MODES = {"sse": MODE_SSE, "ndjson": MODE_NDJSON}
READS = {"one event": 0, "64 KiB": 65_536}


# ----------------------------------------------------------------------------------------- streams


def events(kind: str, chunks: int) -> tuple[list[bytes], list[bytes]]:
    """(payloads, events as sent)."""
    texts = [f" word{i % 997}" for i in range(chunks)]
    if kind == "sse":
        payloads = [
            b'{"id":"chatcmpl-8f1d","object":"chat.completion.chunk","created":1704067200,'
            b'"model":"tiny","system_fingerprint":"b1-0","choices":[{"index":0,"delta":'
            b'{"content":%s},"logprobs":null,"finish_reason":null}]}' % json.dumps(t).encode()
            for t in texts
        ]
        return payloads, [b"data: %s\n\n" % p for p in payloads]
    payloads = [
        b'{"model":"tiny","created_at":"2024-01-01T00:00:00.123456789Z","message":'
        b'{"role":"assistant","content":%s},"done":false}' % json.dumps(t).encode()
        for t in texts
    ]
    return payloads, [b"%s\n" % p for p in payloads]


def reads(kind: str, sent: list[bytes], read_bytes: int) -> list[bytes]:
    media = b"text/event-stream" if kind == "sse" else b"application/x-ndjson"
    pieces = [HEAD % media, *(b"%x\r\n%s\r\n" % (len(e), e) for e in sent), b"0\r\n\r\n"]
    if not read_bytes:
        return pieces
    wire = b"".join(pieces)
    return [wire[i : i + read_bytes] for i in range(0, len(wire), read_bytes)]


# -------------------------------------------------------------------------------------- contenders


def native(kind: str, pieces: list[bytes]) -> Iterator[bytes]:
    parser = ResponseParser()
    splitter = Splitter(MODES[kind])  # type: ignore[arg-type]
    for piece in pieces:
        body, _ = parser.feed(piece)
        for payload, _ in splitter.feed(body):
            yield payload
    assert parser.complete


def plain_python(kind: str, pieces: list[bytes]) -> Iterator[bytes]:
    """The usual loop, on bytes: enough for these streams, without the rare cases of the rules."""
    data = bytearray()
    wire = iter(pieces)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += next(wire)
    del data[: end + 4]
    body = bytearray()
    separator = b"\n\n" if kind == "sse" else b"\n"
    while True:
        while (end := data.find(b"\r\n")) < 0:
            data += next(wire)
        size = int(data[:end].split(b";")[0], 16)
        if size == 0:
            return
        while len(data) < end + 4 + size:
            data += next(wire)
        body += data[end + 2 : end + 2 + size]
        del data[: end + 4 + size]
        *whole, rest = body.split(separator)
        body = rest
        for event in whole:
            yield bytes(event[6:] if kind == "sse" else event)


class Replay(httpcore.NetworkStream):
    """A connection on which the given reads arrive."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = iter(pieces)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return next(self.pieces, b"")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return None


class ReplayBackend(httpcore.NetworkBackend):
    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return Replay(self.pieces)


class Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self.response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self.response.iter_stream()

    def close(self) -> None:
        self.response.close()


class ReplayTransport(httpx.BaseTransport):
    def __init__(self, pieces: list[bytes]) -> None:
        # One call of the pool must take many reads of up to 64 KiB, which is also httpcore's size.
        self.pool = httpcore.ConnectionPool(network_backend=ReplayBackend(pieces))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = [(b"host", b"x"), (b"content-length", b"0")]
        response = self.pool.handle_request(httpcore.Request("POST", "http://x/", headers=headers))
        return httpx.Response(response.status, headers=response.headers, stream=Body(response))


def httpx_lines(kind: str, pieces: list[bytes]) -> Iterator[str]:
    with (
        httpx.Client(transport=ReplayTransport(pieces)) as client,
        client.stream("POST", "http://x/") as response,
    ):
        for line in response.iter_lines():
            if kind == "ndjson":
                yield line
            elif line.startswith("data: "):
                yield line[6:]


def splitting(source: Callable[[str, list[bytes]], Iterator[Any]]) -> Callable[..., int]:
    return lambda kind, pieces: sum(1 for _ in source(kind, pieces))


def and_json(source: Callable[[str, list[bytes]], Iterator[Any]]) -> Callable[..., int]:
    return lambda kind, pieces: sum(1 for payload in source(kind, pieces) if json.loads(payload))


CONTENDERS = {
    "native": splitting(native),
    "plain python": splitting(plain_python),
    "native + json": and_json(native),
    "httpx iter_lines + json": and_json(httpx_lines),
}
SOURCES = (native, plain_python, httpx_lines)


# --------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Row:
    stream: str
    reads: str
    contender: str
    chunks: int
    wire_bytes: int
    cpu_ns: list[int]
    """CPU time of each repeat over the whole stream."""

    @property
    def ns_per_chunk(self) -> list[float]:
        """min, median, max."""
        per_chunk = [ns / self.chunks for ns in self.cpu_ns]
        return [min(per_chunk), statistics.median(per_chunk), max(per_chunk)]

    @property
    def mb_per_s(self) -> float:
        return self.wire_bytes * 1e3 / statistics.median(self.cpu_ns)


def check(kind: str, pieces: list[bytes], payloads: list[bytes]) -> None:
    for source in SOURCES:
        got = [p.encode() if isinstance(p, str) else p for p in source(kind, pieces)]
        if got != payloads:
            raise SystemExit(f"{source.__name__} does not hand out the payloads that were sent")


def measure(kind: str, read_name: str, chunks: int, repeats: int) -> list[Row]:
    payloads, sent = events(kind, chunks)
    pieces = reads(kind, sent, READS[read_name])
    check(kind, pieces, payloads)
    cpu_ns: dict[str, list[int]] = {name: [] for name in CONTENDERS}
    for _ in range(repeats):
        for name, run in CONTENDERS.items():
            start = time.process_time_ns()
            count = run(kind, pieces)
            cpu_ns[name].append(time.process_time_ns() - start)
            assert count == chunks
    wire_bytes = sum(map(len, pieces))
    return [Row(kind, read_name, name, chunks, wire_bytes, cpu_ns[name]) for name in CONTENDERS]


# ----------------------------------------------------------------------------------------- results


def against(rows: list[Row]) -> dict[str, float]:
    """Ratios of the medians, for each stream and kind of read."""
    found = {(row.stream, row.reads, row.contender): row.ns_per_chunk[1] for row in rows}
    pairs = [
        ("plain python", "native"),
        ("httpx iter_lines + json", "native + json"),
        ("httpx iter_lines + json", "native"),  # the harness decodes after the timed window
    ]
    return {
        f"{stream}, {read}: {slow} / {fast}": found[stream, read, slow] / found[stream, read, fast]
        for stream in MODES
        for read in READS
        for slow, fast in pairs
    }


def as_json(rows: list[Row], repeats: int) -> str:
    out = {
        "python": sys.version.split()[0],
        "native": clock.build_info(),
        "repeats": repeats,
        "rows": [
            {
                "stream": row.stream,
                "reads": row.reads,
                "contender": row.contender,
                "chunks": row.chunks,
                "wire_bytes": row.wire_bytes,
                "cpu_ns": row.cpu_ns,
                "ns_per_chunk_min_median_max": row.ns_per_chunk,
                "mb_per_s": row.mb_per_s,
            }
            for row in rows
        ],
        "ratios": against(rows),
    }
    return json.dumps(out, indent=2)


def as_table(rows: list[Row], repeats: int) -> str:
    first = rows[0]
    lines = [
        f"CPU time; n = {first.chunks} chunks, {repeats} repeats: min / median / max",
        "",
        f"{'stream':<7}{'reads':<11}{'':<25}{'ns per chunk':>22}{'MB/s':>10}",
    ]
    for row in rows:
        spread = " / ".join(f"{ns:.0f}" for ns in row.ns_per_chunk)
        lines.append(
            f"{row.stream:<7}{row.reads:<11}{row.contender:<25}{spread:>22}{row.mb_per_s:>10.1f}"
        )
    lines += ["", *(f"{ratio:6.1f} x  {name}" for name, ratio in against(rows).items())]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=re.split(r"\n", __doc__ or "")[0])
    parser.add_argument("--chunks", type=int, default=20_000, help="events per stream")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="all figures, on stdout")
    given = parser.parse_args()
    if given.chunks < 1 or given.repeats < 1:
        parser.error("--chunks and --repeats must be 1 or more")
    rows = [
        row
        for kind in MODES
        for read_name in READS
        for row in measure(kind, read_name, given.chunks, given.repeats)
    ]
    print(as_json(rows, given.repeats) if given.json else as_table(rows, given.repeats))


if __name__ == "__main__":
    main()
