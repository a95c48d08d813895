"""What the reactor costs, and how true its stamps are.

    python benchmarks/reactor.py              CPU per chunk, beside a bare loop and httpx + json
    python benchmarks/reactor.py --accuracy   stamps against the instants at which the server sent
    --quick for about two minutes' worth, --json for machines

Server and client are processes of their own with one core each (where there are two). The server
sends OpenAI-style SSE, one send per chunk. Clients take turns on the same server, round after
round, and the ratios compare medians of the same rounds. `thread` is the CPU of the reading thread,
`process` of the whole client, `decoded` of the client with the JSON of every chunk decoded: after
the calls by msgspec for the reactor (as our backends do), on the way by json for httpx.
Needs a C compiler: the bare loop and the sender (reactor_ends.pyx) are built on demand.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib
import json
import os
import platform
import resource
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "benchmarks"


class Load(NamedTuple):
    """What the server streams."""

    name: str
    streams: int
    chunks: int
    gap_ns: int
    goal_bare: float | None
    goal_httpx: float | None


def loads(quick: bool) -> list[Load]:
    seconds = 2 if quick else 5
    return [
        Load("flat out, 16 streams", 16, 4_000 if quick else 20_000, 0, 1.5, 5),
        Load("64 streams x 100 tok/s", 64, seconds * 100, 10_000_000, 1.5, 5),
        Load("1 stream x 100 tok/s", 1, seconds * 100, 10_000_000, None, None),
        Load("1,000 streams x 100 tok/s", 1000, seconds * 50, 10_000_000, None, None),
    ]


# ------------------------------------------------------------------------------------- the clients


def requests(load: Load, base: int, lead_ns: int) -> list[bytes]:
    """One request per stream; their chunks interleave evenly."""
    start_ns = time.monotonic_ns() + lead_ns
    asks = [
        {
            "ident": base + i,
            "chunks": load.chunks,
            "gap_ns": load.gap_ns,
            "start_ns": start_ns,
            "first_ns": i * load.gap_ns // load.streams,
        }
        for i in range(load.streams)
    ]
    return [json.dumps(ask).encode() for ask in asks]


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def run_bare(load: Load, port: int, base: int) -> dict[str, Any]:
    ends = importlib.import_module("reactor_ends")
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(load.streams)]
    for one in sockets:
        one.setblocking(False)
    bodies = requests(load, base, 200_000_000)
    before = time.process_time_ns()
    said = ends.read_bare([one.fileno() for one in sockets], [post(body) for body in bodies])
    total = time.process_time_ns() - before
    return {"thread_ns": said["cpu_ns"], "process_ns": total, "reads": said["reads"]}


def run_reactor(load: Load, port: int, base: int, **options: Any) -> dict[str, Any]:
    import msgspec

    from harness._native.reactor import Reactor

    reactor = Reactor(**options)
    family = struct.pack("=H", socket.AF_INET)
    address = family + struct.pack(">H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
    origin = reactor.add_origin([(socket.AF_INET, address)])
    patience = 120_000_000_000
    bodies = requests(load, base, 200_000_000)
    before = time.process_time_ns()
    thread_before = reactor.stats()["thread_cpu_ns"]
    for i, body in enumerate(bodies):
        reactor.submit(
            i,
            origin,
            post(body),
            connect_timeout_ns=patience,
            first_byte_timeout_ns=patience,
            payload_timeout_ns=patience,
            total_timeout_ns=patience,
        )
    ended: dict[int, Any] = {}
    while len(ended) < load.streams:
        select.select([reactor.fileno()], [], [])
        ended.update(reactor.drain())
    total = time.process_time_ns() - before
    stats = reactor.stats()
    thread = stats["thread_cpu_ns"] - thread_before
    assert all(record.outcome == "complete" for record in ended.values()), stats
    decode = msgspec.json.Decoder().decode
    before = time.process_time_ns()
    for record in ended.values():
        for payload in record.payloads():
            if payload != b"[DONE]":
                decode(payload)
    decoding = time.process_time_ns() - before
    reactor.close()
    return {
        "thread_ns": thread,
        "process_ns": total,
        "decoded_ns": total + decoding,
        "reads": stats["reads"],
        "pauses": stats["pauses"],
        "merged": stats["merged_chunks"],
        "records": ended,
        "stats": stats,
    }


def run_httpx(load: Load, port: int, base: int) -> dict[str, Any]:
    import httpx

    async def one(client: httpx.AsyncClient, body: bytes) -> None:
        async with client.stream("POST", f"http://127.0.0.1:{port}/", content=body) as said:
            async for line in said.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    json.loads(line[6:])

    async def everything() -> int:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:
            bodies = requests(load, base, 200_000_000 + load.streams * 1_000_000)
            before = time.process_time_ns()
            await asyncio.gather(*(one(client, body) for body in bodies))
            return time.process_time_ns() - before

    spent = asyncio.run(everything())
    return {"thread_ns": spent, "process_ns": spent, "decoded_ns": spent}


CLIENTS = {
    "bare": run_bare,
    "reactor": run_reactor,
    "reactor, no pauses": lambda *args: run_reactor(*args, batch_window_ns=0),
    "httpx + json": run_httpx,
}


# ---------------------------------------------------------------------------------- both processes


def build() -> None:
    """Compile reactor_ends.pyx unless it is there and newer than its sources."""
    sources = [ROOT / "benchmarks" / "reactor_ends.pyx", *(ROOT / "_native").glob("*.pxd")]
    made = list(BUILD.glob("reactor_ends.*.so"))
    if made and made[0].stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return
    code = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup
extension = Extension("reactor_ends", ["benchmarks/reactor_ends.pyx"], extra_compile_args=["-O3"])
modules = cythonize([extension], build_dir="build/cython", include_path=["_native"], quiet=True,
                    language_level=3)
where = ["--build-lib", "build/benchmarks", "--build-temp", "build/temp"]
setup(script_args=["-q", "build_ext", *where], ext_modules=modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"cannot build benchmarks/reactor_ends.pyx:\n{done.stderr[-2000:]}")


def pin(core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(BUILD)])}


@contextmanager
def server() -> Iterator[int]:
    script = str(ROOT / "tests" / "native" / "stream_server.py")
    with subprocess.Popen(
        [sys.executable, script, "--pump", "reactor_ends"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=lambda: pin(0),
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        yield int(process.stdout.readline().split()[1])
        process.stdin.close()


def run_client(
    name: str, load: Load, port: int, base: int, accuracy: bool = False
) -> dict[str, Any]:
    """One client in a process of its own, on the other core."""
    job = json.dumps([name, load, port, base, accuracy])
    done = subprocess.run(
        [sys.executable, __file__, "--client", job],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name}, {load.name}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def client_main(job: str) -> None:
    name, fields, port, base, accuracy = json.loads(job)
    pin(1)
    allow_many_files()
    sys.path.insert(0, str(BUILD))
    load = Load(*fields)
    said = CLIENTS[name](load, port, base)
    records = said.pop("records", None)
    if accuracy:
        said["errors"] = errors_us(records, base, port)
    print(json.dumps(said))


# ---------------------------------------------------------------------------------------- accuracy


def errors_us(records: dict[int, Any], base: int, port: int) -> dict[str, Any]:
    """Stamp − instant before the send, of first tokens and of all chunks, kernel and user space."""
    import numpy as np

    from harness._native.recorder import FLAG_UPPER_BOUND, FLAG_USER_STAMP

    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/log")
    rows = np.frombuffer(connection.getresponse().read(), dtype=np.int64).reshape(-1, 4)
    found: dict[str, list[Any]] = {"stamp": [], "user": [], "first": [], "first_user": []}
    upper = user = total = 0
    for i, record in records.items():
        sent = rows[rows[:, 0] == base + i]
        sent = sent[np.argsort(sent[:, 1])][:-1, 2]  # without the tail, which is several frames
        n = len(sent)
        error = record.arrival_ns[:n] - sent
        late = error + record.lag_ns[:n]
        found["stamp"].append(error)
        found["user"].append(late)
        found["first"].append(error[:1])
        found["first_user"].append(late[:1])
        flags = record.size_flags[:n]
        upper += int(np.count_nonzero(flags & FLAG_UPPER_BOUND))
        user += int(np.count_nonzero(flags & FLAG_USER_STAMP))
        total += n
    figures: dict[str, Any] = {"n": total, "upper_bound": upper / total, "kernel": 1 - user / total}
    for key, parts in found.items():
        error = np.concatenate(parts) / 1000
        if key.startswith("first"):
            figures[key + "_all"] = error.tolist()
        figures[key] = [float(x) for x in np.percentile(error, [50, 90, 99, 100])]
    return figures


def accuracy_main(quick: bool) -> dict[str, Any]:
    """{load and client: the errors of each run}. Five runs of 64 streams give the 300 first tokens
    that a p99 needs."""
    results: dict[str, Any] = {}
    wanted = [load for load in loads(quick) if load.gap_ns and load.streams > 1]
    with server() as port:
        base = 0
        for load in wanted:
            for name in ("reactor", "reactor, no pauses"):
                runs = []
                for _ in range(1 if load.streams > 300 else 5):
                    base += 10_000
                    short = load._replace(chunks=min(load.chunks, 200))
                    runs.append(run_client(name, short, port, base, accuracy=True)["errors"])
                results[f"{load.name}: {name}"] = runs
    return results


def print_accuracy(results: dict[str, Any]) -> None:
    import numpy as np

    print("stamp − instant right before the server's send, in µs; the goal is p99 ≤ 100 for the")
    print(
        "first token at 64 streams. First tokens are pooled; of all chunks, the worst run counts."
    )
    print(f"{'':45}{'n':>9}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for name, runs in results.items():
        n = sum(run["n"] for run in runs)
        kernel = statistics.mean(run["kernel"] for run in runs)
        upper = statistics.mean(run["upper_bound"] for run in runs)
        print(f"{name}: {len(runs)} runs, {kernel:.2%} kernel stamps, {upper:.2%} upper bounds")
        for key, label in (
            ("first", "first token, stamp"),
            ("first_user", "first token, user space"),
        ):
            pooled = np.concatenate([run[key + "_all"] for run in runs])
            print_row(label, len(pooled), np.percentile(pooled, [50, 90, 99, 100]).tolist())
        for key, label in (("stamp", "all chunks, stamp"), ("user", "all chunks, user space")):
            columns = zip(*(run[key] for run in runs), strict=True)
            print_row(label, n, [max(column) for column in columns])


def print_row(label: str, n: int, figures: list[float]) -> None:
    print(f"    {label:41}{n:9}" + "".join(f"{figure:8.0f}" for figure in figures))


# -------------------------------------------------------------------------------------------- cost


def cost_main(quick: bool, rounds: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    with server() as port:
        base = 0
        for load in loads(quick):
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CLIENTS}
            for turn in range(rounds):
                for name in CLIENTS:
                    if name == "httpx + json" and turn and load.streams > 500:
                        continue  # it cannot keep up, and takes its time to
                    base += 10_000
                    runs[name].append(run_client(name, load, port, base))
            results[load.name] = {"load": load._asdict(), "runs": runs}
    return results


def median_us(runs: list[dict[str, Any]], key: str, chunks: int) -> float:
    return statistics.median(run[key] for run in runs) / chunks / 1000


def print_cost(results: dict[str, Any]) -> None:
    for name, result in results.items():
        load, runs = result["load"], result["runs"]
        chunks = load["streams"] * load["chunks"]
        rounds = len(runs["bare"])
        print(f"\n{name}: {chunks} chunks, median of {rounds} rounds; µs of CPU per chunk")
        columns = (
            f"{'thread':>9}{'process':>9}{'decoded':>9}{'chunks/CPU-s':>14}{'chunks/read':>13}"
        )
        print(f"    {'':22}{columns}")
        for client, of_client in runs.items():
            thread, process = (median_us(of_client, k, chunks) for k in ("thread_ns", "process_ns"))
            decoded = "-"
            if "decoded_ns" in of_client[0]:
                decoded = f"{median_us(of_client, 'decoded_ns', chunks):.2f}"
            per_read = "-"
            if "reads" in of_client[0]:
                per_read = f"{chunks / statistics.median(run['reads'] for run in of_client):.2f}"
            print(
                f"    {client:22}{thread:9.2f}{process:9.2f}{decoded:>9}"
                f"{1e6 / thread:14.0f}{per_read:>13}"
            )
        for label, value, goal in ratios(result):
            met = (
                "" if goal is None else f"  goal {goal:.2g}: {'met' if value <= goal else 'MISSED'}"
            )
            print(f"    {label:44}{value:8.3f}{met}")


def ratios(result: dict[str, Any]) -> list[tuple[str, float, float | None]]:
    load, runs = result["load"], result["runs"]
    mine = runs["reactor"]
    bare = median_us(mine, "thread_ns", 1) / median_us(runs["bare"], "thread_ns", 1)
    other = median_us(mine, "decoded_ns", 1) / median_us(runs["httpx + json"], "decoded_ns", 1)
    return [
        ("reactor thread / bare loop", bare, load["goal_bare"]),
        (
            "reactor process, decoded / httpx + json",
            other,
            1 / load["goal_httpx"] if load["goal_httpx"] else None,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=0, help="0: 3 when quick, else 5")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        client_main(args.client)
        return
    build()
    allow_many_files()
    if args.accuracy:
        results = accuracy_main(args.quick)
    else:
        results = cost_main(args.quick, args.rounds or (3 if args.quick else 5))
    if args.json:
        print(json.dumps(results))
        return
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print_accuracy(results) if args.accuracy else print_cost(results)


if __name__ == "__main__":
    main()
