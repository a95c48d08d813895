"""What the tap adds: the same streams through it and past it, in turn.

    python benchmarks/tap.py [--repeats 3] [--seconds 3] [--streams 1 64 256] [--quick] [--json]

The truth server (`harness sim`, with real-time priority where it is granted) streams to our own
reactor at 100 chunks a second and stream. The tap asks for that priority, too; with --normal it
does not, which shows how much of its delay is waiting for a core. Server, tap and client are
processes of their own, with a core each where there are three; of two, tap and client share one.

A chunk's way is from right before the server's send to the client's kernel stamp. `added` is the
difference of the quantiles of that, through the tap and directly. `own` is what the tap counts
itself: from a chunk's kernel stamp until right before it is sent on. All in µs. CPU is of the tap's
thread, per chunk. The goal is judged on the median of the repeats. Run it on a machine that is
quiet otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HARNESS = [sys.executable, "-m", "harness"]
RATE_PER_S = 100
GAP_MS = 1000 // RATE_PER_S
GOAL_STREAMS = 64
GOAL_P99_US = 150
QUANTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))


def main() -> None:
    options = arguments()
    if options.serve_tap:
        asyncio.run(serve_tap(options.serve_tap, realtime=not options.normal))
        return
    if options.quick:
        options.repeats, options.seconds = 2, 1.5
    runs = []
    if not options.json:
        print(HEADER)
    for repeat in range(options.repeats):
        for streams in options.streams:
            runs.append(one_run(options, streams, tap_first=repeat % 2 == 1))
            if not options.json:
                print(line(runs[-1]), flush=True)
    if options.json:
        print(json.dumps({"runs": runs, "goal": goal(runs)}, indent=2))
    else:
        print(f"\n{goal(runs)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each stream lasts")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, GOAL_STREAMS, 256])
    parser.add_argument("--normal", action="store_true", help="the tap at normal priority")
    parser.add_argument("--quick", action="store_true", help="2 repeats of 1.5 s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve-tap", metavar="URL", help=argparse.SUPPRESS)
    return parser.parse_args()


# ------------------------------------------------------------------------------------------ one run


def one_run(options: argparse.Namespace, streams: int, *, tap_first: bool) -> dict[str, Any]:
    from harness.testing.sim.log import read_log

    cores = sorted(os.sched_getaffinity(0))
    tokens = round(options.seconds * RATE_PER_S)
    stamps: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        with server(work, streams, tokens, cores[0]) as (ready, url):
            words = [__file__, "--serve-tap", url, *(["--normal"] * options.normal)]
            with child(words, cores[min(1, len(cores) - 1)]) as told:
                door = told()
                os.sched_setaffinity(0, {cores[min(2, len(cores) - 1)]})
                for name in ("tap", "direct") if tap_first else ("direct", "tap"):
                    where = door["url"] if name == "tap" else url
                    stamps |= asyncio.run(load(where, streams, tokens, name))
                os.sched_setaffinity(0, set(cores))
            stats = told()
        log = read_log(Path(work) / "log")
    ways = {name: way(stamps, log, name) for name in ("direct", "tap")}
    return {
        "streams": streams,
        "priority": {None: "normal", True: "real-time", False: "refused"}[ready.get("realtime")],
        "tap_priority": "real-time" if stats["realtime"] else "normal",
        "cores": min(3, len(cores)),
        "chunks": stats["chunks"],
        **{f"{name}_{q}_ns": ns for name, found in ways.items() for q, ns in found.items()},
        **{f"added_{q}_ns": ways["tap"][q] - ways["direct"][q] for q, _ in QUANTILES},
        **{f"own_{q}_ns": stats[f"chunk_delay_{q}_ns"] for q, _ in QUANTILES},
        **{f"request_{q}_ns": stats[f"request_delay_{q}_ns"] for q, _ in QUANTILES},
        "cpu_ns_per_chunk": stats["thread_cpu_ns"] / stats["chunks"],
    }


async def load(url: str, streams: int, tokens: int, name: str) -> dict[str, Any]:
    """Every stream once: X-Request-ID → arrival stamps of its chunks."""
    from harness.schema import Exchange, TimeoutsSpec
    from harness.transport import open_transport

    body = {
        "model": "sim",
        "stream": True,
        "max_tokens": tokens,
        "messages": [{"role": "user", "content": "go on"}],
    }
    ample = TimeoutsSpec(connect_s=60, first_byte_s=60, between_payloads_s=60, total_s=600)
    transport = open_transport("native", [url])
    await transport.open()
    try:
        idents = [f"{name}.{index}" for index in range(streams)]
        calls = [
            transport.send(
                Exchange(
                    url=url + "/v1/chat/completions",
                    headers=(("Content-Type", "application/json"), ("X-Request-ID", ident)),
                    body=json.dumps(body).encode(),
                ),
                ample,
            )
            for ident in idents
        ]
        records = await asyncio.gather(*calls)
    finally:
        await transport.close()
    failed = [record for record in records if record.outcome != "complete"]
    if failed:
        sys.exit(f"{len(failed)} of {streams} streams ended as {failed[0].outcome}")
    return {ident: record.arrival_ns for ident, record in zip(idents, records, strict=True)}


def way(stamps: dict[str, Any], log: Any, name: str) -> dict[str, float]:
    """Quantiles, in ns, from the server's send to the client's stamp, of chunks with content."""
    import numpy as np

    from harness.testing.sim.draft import CONTENT, FRAMES

    serials = {request["request_id"]: serial for serial, request in log.requests.items()}
    sent = log.rows[np.isin(log.rows["kind"], FRAMES)]
    took = []
    for ident, arrival_ns in stamps.items():
        if not ident.startswith(name + "."):
            continue
        rows = np.sort(sent[sent["serial"] == serials[ident]], order="index")
        # [DONE] is a chunk to us, and a part of the last send to the server.
        rows = rows[: len(arrival_ns)]
        content = rows["kind"] == CONTENT
        took.append((arrival_ns[: len(rows)] - rows["before_ns"])[content])
    every = np.concatenate(took)
    return {q: float(np.quantile(every, at)) for q, at in QUANTILES}


# ---------------------------------------------------------------------------------------- processes


async def serve_tap(upstream: str, *, realtime: bool) -> None:
    """In a process of its own: says where its door is, and at the end what it counted."""
    from harness.transport.tap_native import NativeTap

    tap = NativeTap([upstream], realtime=realtime)
    await tap.open()
    door = await tap.door(upstream)
    print(json.dumps({"url": door.url}), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    await tap.close()
    print(json.dumps(tap.stats()), flush=True)


@contextlib.contextmanager
def server(work: str, streams: int, tokens: int, core: int) -> Iterator[tuple[dict, str]]:
    # Answers are made before they are due: give the server the time for it.
    ttft_ms = 300 + streams * tokens // 500
    words = ["sim", "--dialect", "vllm", "--ttft", f"uniform:{ttft_ms},{ttft_ms + GAP_MS}"]
    words += ["--gap", str(GAP_MS), "--until-eof", "--log", f"{work}/log", "--realtime"]
    with child(["-m", "harness", *words], core, subprocess.DEVNULL) as told:
        ready = told()
        yield ready, ready["url"]


@contextlib.contextmanager
def child(
    words: list[str], core: int, stderr: int | None = None
) -> Iterator[Callable[[], dict[str, Any]]]:
    """A Python process on one core, until its standard input ends; called, the next line it says
    (also once it has ended)."""
    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield lambda: json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(60)


# -------------------------------------------------------------------------------------------- shown

HEADER = (
    f"{'streams':>7} {'server':9} {'tap':9} {'chunks':>7}"
    f"   {'directly p50':>12} {'p99':>6} {'max':>7}"
    f"   {'tapped p50':>10} {'p99':>6} {'max':>7}   {'added p50':>9} {'p99':>6} {'max':>7}"
    f"   {'own p50':>7} {'p99':>6} {'max':>7}   {'request p50':>11} {'p99':>6} {'CPU/chunk':>9}"
)


def line(run: dict[str, Any]) -> str:
    def us(name: str, width: int) -> str:
        return f"{run[name + '_ns'] / 1e3:>{width},.0f}"

    parts = [
        f"  {us(f'{name}_p50', width)} {us(f'{name}_p99', 6)} {us(f'{name}_max', 7)}"
        for name, width in (("direct", 12), ("tap", 10), ("added", 9), ("own", 7))
    ]
    return (
        f"{run['streams']:>7} {run['priority']:9} {run['tap_priority']:9} {run['chunks']:>7}"
        f" {' '.join(parts)}"
        f"   {us('request_p50', 11)} {us('request_p99', 6)}"
        f" {run['cpu_ns_per_chunk'] / 1e3:>9.1f}"
    )


def goal(runs: list[dict[str, Any]]) -> str:
    found = [run for run in runs if run["streams"] == GOAL_STREAMS]
    if not found:
        return f"The goal is about {GOAL_STREAMS} streams."
    added = statistics.median(run["added_p99_ns"] for run in found) / 1e3
    own = statistics.median(run["own_p99_ns"] for run in found) / 1e3
    met = "met" if added <= GOAL_P99_US else "MISSED"
    priority = found[0]["tap_priority"]
    return (
        f"{met}: {GOAL_STREAMS} streams, tap at {priority} priority: p99 added {added:,.0f} µs, by "
        f"its own count {own:,.0f} µs (goal: at most {GOAL_P99_US}; median of n = {len(found)} "
        f"runs, {found[0]['cores']} cores, load average {os.getloadavg()[0]:.1f})"
    )


if __name__ == "__main__":
    main()
