"""Ten million chunks through one process: does it stay as it is?

    python benchmarks/soak.py                    10^7 chunks, minutes to an hour
    python benchmarks/soak.py --chunks 200000    the form that the tests use; --json for machines

One `engine.run` with a run folder, as `harness run` does it, against the truth server in a process
of its own, which sends as fast as it can. The arms `sse` (openai) and `ndjson` (ollama) take turns,
trial by trial; each trial opens and closes a transport of its own, so that there are as many
reactors and connection pools as trials. Among the calls: resets, stalls that time out, streams that
break off, HTTP errors, garbage, 10 MB lines, and every 50th call is given up by its caller at some
point of its life. Then the run is finished as the command does it: summary, verdict, reports.

Printed: a table of samples; how resident memory moves with the number of chunks once the process is
warm; the peak while it runs, and while it finishes. Exit status 1 if it grows beyond the bound, if
descriptors or threads are left, or if calls do not balance. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from steady import Sample, forget_peak, kept_open, rss_bytes, sample, trend

CHUNKS_PER_CALL = 250
CONCURRENCY = 32
SAMPLES = 200
SHOWN = 20
WARM_SHARE = 0.2
"""Of the work, after which memory must be flat: every kind of fault has come up by then."""
GIVEN_UP_EVERY = 50

FAULTS = {
    "reset_before": 0.003,
    "reset_mid": 0.005,
    "stall_before": 0.0005,
    "stall_mid": 0.001,
    "truncated_chunk": 0.005,
    "close_mid": 0.005,
    "no_end": 0.003,
    "error_mid": 0.005,
    "http_429": 0.003,
    "http_500": 0.003,
    "malformed_json": 0.003,
    "invalid_utf8": 0.003,
    "line_separators": 0.003,
    "empty_chunks": 0.003,
    "comments_only": 0.0005,
    "duplicate_done": 0.003,
    "hostile_text": 0.003,
}

LONG_LINES = tuple(range(1000, 60_000, 1000))
"""Calls whose answer has a line of 10 MB. A short run never comes to one: what the heap keeps of it
is room in which a leak would be hidden for a while."""

BOUND_BYTES = 2.0
"""Per chunk, hence 500 bytes a call: an eighth of its stamps alone, if one were lost. The trend
of good runs is within ± 0.7, mostly by what the heap keeps of the long lines."""


@contextmanager
def truth_server(log: Path) -> Iterator[dict[str, Any]]:
    """`harness sim`, flat out: {"url": …, "pid": …}. Killed, not stopped: at its proper end it
    would read its whole log again."""
    words = ["--until-eof", "--log", str(log), "--ttft", "0", "--gap", "0"]
    words += ["--fault", f"long_line@{','.join(map(str, LONG_LINES))}"]
    for kind, rate in FAULTS.items():
        words += ["--fault", f"{kind}:{rate}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "sim", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        ready: dict[str, Any] = json.loads(process.stdout.readline())
        yield ready
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


class Impatient:
    """A transport some of whose calls are given up: at once, or some milliseconds later."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, *exchange: Any, **how: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._inner.send(*exchange, **how)
        self._sent += 1
        if self._sent % GIVEN_UP_EVERY == 0:
            after_s = self._sent // GIVEN_UP_EVERY % 8 * 0.004
            asyncio.get_running_loop().call_later(after_s, future.cancel)
        return future


class Watcher:
    """An engine's Observer that samples this process: now and then, and at rest between trials."""

    def __init__(self, every_chunks: int, plant: str | None) -> None:
        self.chunks = 0
        self.calls: Counter[str] = Counter()
        self.samples = [sample()]
        self.rests: list[Sample] = []
        self.stats: Counter[str] = Counter()
        self._every = every_chunks
        self._plant = plant
        self._planted: list[Any] = []

    def run_started(self, plan: Any) -> None: ...

    def recorded_before(self, record: Any) -> None: ...

    def iteration_finished(self, record: Any) -> None: ...

    def trial_started(self, planned: Any, total: int) -> None: ...

    def iteration_started(self, planned: Any, phase: str, calls: int | None) -> None: ...

    def call_finished(self, record: Any) -> None:
        self.calls[record.status] += 1
        self.chunks += record.chunks.count
        if self._plant == "memory":  # as if what was received were never let go
            self._planted.append(b"x" * (200 * record.chunks.count))
        if self.chunks >= self.samples[-1].work + self._every:
            self.samples.append(sample(self.chunks))

    def trial_finished(self, record: Any) -> None:
        if self._plant == "descriptors":
            self._planted.append(os.open(os.devnull, os.O_RDONLY))
        if self._plant == "threads":
            self._planted.append(_reactor())
        self.stats.update(record.transport_stats)
        self.rests.append(sample(self.chunks))


def _reactor() -> Any:
    from harness._native.reactor import Reactor

    return Reactor()


def spec_for(url: str, chunks: int, transport: str, patience_s: float) -> dict[str, Any]:
    """Fewer than one call in ten ends early, so there are a tenth more of them."""
    calls = 1 + chunks * 11 // (CHUNKS_PER_CALL * 10)
    blocks = max(4, calls // 500)
    return {
        "name": "soak",
        "backend": {"name": "openai", "model": "sim", "url": url},
        "scenario": {
            "name": "load",
            "options": {"prompt_tokens": 32, "max_tokens": CHUNKS_PER_CALL},
        },
        "arms": {"sse": {}, "ndjson": {"backend": {"name": "ollama"}}},
        "load": {
            "mode": "closed",
            "concurrency": CONCURRENCY,
            "requests": 1 + calls // (2 * blocks),
        },
        "trials": blocks,
        "iterations": {"warmup": 0, "measured": 1},
        "timeouts": {"first_byte_s": patience_s, "between_payloads_s": patience_s},
        "transport": transport,
    }


def soak(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    from harness.cli import load_host
    from harness.cli.conduct import FolderSink, finish
    from harness.engine import run, spec_from
    from harness.transport import open_transport

    def impatient(kind: Literal["auto", "native", "portable"], urls: list[str]) -> Any:
        return Impatient(open_transport(kind, urls))

    host = load_host()
    for library in ("numpy", "scipy.special"):
        importlib.import_module(library)  # each starts a thread of its own, and keeps it
    before = sample()
    with truth_server(work / "sim") as server:
        begun_s, cpu_s = time.monotonic(), _cpu_s()
        spec = spec_from(spec_for(server["url"], args.chunks, args.transport, args.patience))
        sink = FolderSink(work / "run", work)
        watcher = Watcher(max(1, args.chunks // SAMPLES), args.plant)
        outcome = asyncio.run(run(spec, host, sink, watcher, open_transport=impatient))
        if outcome.error is not None:
            raise outcome.error
        ran_s, ran_cpu_s = time.monotonic() - begun_s, _cpu_s() - cpu_s
        server_rss_bytes = rss_bytes(server["pid"])
    run_peak_bytes = rss_bytes(field="VmHWM")
    gc.collect()
    held_bytes = rss_bytes()
    forget_peak()
    assert sink.writer is not None
    begun_s = time.monotonic()
    summary = finish(sink.writer, outcome, host).summary
    return {
        "chunks": watcher.chunks,
        "calls": dict(watcher.calls),
        "planned": sum(arm.planned for arm in summary.arms),
        "unbalanced": any(one.code == "unbalanced" for one in summary.verdict.caveats),
        "trials": len(watcher.rests),
        "transport": {
            key: watcher.stats[key]
            for key in ("chunks", "bytes", "reads", "reconnects", "thread_cpu_ns")
            if key in watcher.stats
        },
        "ran_s": ran_s,
        "cpu_s": ran_cpu_s,
        "samples": watcher.samples[1:],  # the first was taken before the engine was imported
        "rests": watcher.rests,
        "before": before,
        "after": _settled(before),
        "run_peak_bytes": run_peak_bytes,
        "held_bytes": held_bytes,
        "finish_s": time.monotonic() - begun_s,
        "finish_peak_bytes": rss_bytes(field="VmHWM"),
        "server_rss_bytes": server_rss_bytes,
        "log_bytes": (sink.writer.path / "records.log").stat().st_size,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _settled(before: Sample) -> Sample:
    """After everything; the system forgets a joined thread a moment later."""
    gc.collect()
    for _ in range(1000):
        now = sample()
        if now.threads <= before.threads:
            break
        os.sched_yield()
    return now


def judge(found: dict[str, Any], bound: float, warm_share: float = WARM_SHARE) -> list[str]:
    """What is wrong; empty: nothing. Adds `trend` to what was found."""
    found["trend"] = line = trend(found["samples"], warm_share)
    problems = kept_open(found["rests"])
    if line.slope > bound:
        problems.append(f"memory grows by {line.slope:.3g} bytes a chunk; the bound is {bound:g}")
    for what in ("descriptors", "threads"):
        if getattr(found["after"], what) > getattr(found["before"], what):
            problems.append(f"{what} are left at the end")
    calls = sum(found["calls"].values())
    if calls != found["planned"] or found["unbalanced"]:
        problems.append(f"{found['planned']} calls were planned and {calls} recorded")
    return problems


def show(found: dict[str, Any], bound: float) -> None:
    mb = 1 / 1e6
    print(f"{'chunks':>12}{'RSS, MB':>10}{'descriptors':>13}{'threads':>9}")
    samples = found["samples"]
    for one in samples[:: max(1, len(samples) // SHOWN)]:
        print(f"{one.work:12,}{one.rss_bytes * mb:10.1f}{one.descriptors:13}{one.threads:9}")
    line, before, after = found["trend"], found["before"], found["after"]
    calls = ", ".join(f"{n} {status}" for status, n in sorted(found["calls"].items()))
    stats = ", ".join(f"{key} {n:,}" for key, n in found["transport"].items())
    rests = found["rests"]
    print(f"""
{found["chunks"]:,} chunks in {found["ran_s"]:.0f} s, {found["cpu_s"]:.0f} s of CPU \
({1e6 * found["cpu_s"] / found["chunks"]:.1f} µs a chunk, all of this process)
calls              {calls}
transports         {found["trials"]}; {stats}
RSS once warm      {line.slope * 1e3:+.0f} ± {line.plus_minus * 1e3:.0f} kB per 10^6 chunks \
(bound {bound * 1e3:.0f}), highest {line.highest_bytes * mb:.1f} MB
peaks              running {found["run_peak_bytes"] * mb:.0f} MB; finishing \
{found["finish_peak_bytes"] * mb:.0f} MB from {found["held_bytes"] * mb:.0f} MB, in \
{found["finish_s"]:.0f} s (log of {found["log_bytes"] * mb:.0f} MB)
between trials     descriptors {rests[0].descriptors} … {rests[-1].descriptors}, \
threads {rests[0].threads} … {rests[-1].threads}
before and after   descriptors {before.descriptors}, {after.descriptors}; \
threads {before.threads}, {after.threads}
truth server       RSS {found["server_rss_bytes"] * mb:.0f} MB""")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=10_000_000)
    parser.add_argument("--transport", choices=["native", "portable"], default="native")
    parser.add_argument("--bound", type=float, default=BOUND_BYTES, help="bytes a chunk")
    parser.add_argument("--warm", type=float, default=WARM_SHARE, help="share of the work")
    parser.add_argument(
        "--patience", type=float, default=2.0, help="seconds that a stalled stream is waited for"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", type=Path, help="folder for the logs; else a temporary one")
    # For the test that the soak can fail.
    parser.add_argument("--plant", help=argparse.SUPPRESS)
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="harness-soak-", dir=args.work))
    try:
        found = soak(args, work)
        problems = judge(found, args.bound, args.warm)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if args.json:
        print(json.dumps(found | {"problems": problems}))
    else:
        show(found, args.bound)
        print("\n".join(f"FAILED: {one}" for one in problems) or "steady")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
