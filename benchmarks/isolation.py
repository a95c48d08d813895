"""What a process of its own costs a trial: its start, and the CPU time of every call.

    python benchmarks/isolation.py [--rounds 5] [--calls 2000] [--concurrency 8] [--json]

The same trial, in the run's own process and in a fresh one, takes turns on one truth server in
another process. The start is what passes from the decision to run a trial until its first iteration
begins. CPU is that of all threads, as the kernel counts it; per call it is a slope: of a long trial
less a short one, over the calls between them. Records go to a run folder, as they do in a real run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.engine import Silent, run, spec_from
from harness.host import Host
from harness.schema import CallRecord, Manifest, Record, RetryRecord, SessionRecord
from harness.store import RunWriter

SHORT_CALLS = 200
ROWS = {
    "start_ms": ("start of a trial", "ms", 0),
    "start_cpu_ms": ("  its CPU, all processes", "ms", 0),
    "measuring_us": ("CPU per call, process that measures", "µs", 1),
    "writing_us": ("CPU per call, process that writes", "µs", 1),
    "ttft_ms": ("TTFT, median", "ms", 3),
    "ttft_p99_ms": ("TTFT, p99", "ms", 3),
}


class Sink:
    """A run folder, and the TTFT of each call that went there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: RunWriter | None = None
        self.ttft_ms: list[float] = []

    def begin(self, manifest: Manifest) -> None:
        self._writer = RunWriter.create(manifest, root=self._folder)

    def resume(self, manifest: Manifest, session: SessionRecord) -> None:
        raise AssertionError("nothing is resumed here")

    def append(self, record: Record | RetryRecord) -> None:
        assert self._writer is not None
        self._writer.append(record)
        if isinstance(record, CallRecord):
            instants = record.instants
            if record.status != "ok" or not instants.first_token_ns or not instants.sent_ns:
                raise SystemExit(f"{record.call_id}: {record.status} {record.error}")
            self.ttft_ms.append((instants.first_token_ns - instants.sent_ns) / 1e6)

    def artifact(self, trial: int, name: str, content: str | bytes) -> str:
        raise SystemExit(f"{name}: {content!r}")  # something was printed that should not be

    def close(self) -> None:
        assert self._writer is not None
        self._writer.close()


class Clock(Silent):
    """When the trial was decided on, and when its first iteration began."""

    started_s = begun_s = 0.0

    def trial_started(self, *_: object) -> None:
        self.started_s = time.monotonic()

    def iteration_started(self, *_: object) -> None:
        self.begun_s = self.begun_s or time.monotonic()


@contextmanager
def truth_server(folder: Path) -> Iterator[str]:
    words = ["--ttft", "1", "--gap", "0", "--until-eof", "--log", str(folder / "log")]
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "sim", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        yield json.loads(child.stdout.readline())["url"]
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def trial(
    host: Host, folder: Path, url: str, isolation: str, calls: int, asked: argparse.Namespace
) -> dict[str, Any]:
    spec = spec_from(
        {
            "backend": {"name": "openai", "model": "sim", "url": url},
            "scenario": {
                "name": "load",
                "options": {"max_tokens": asked.tokens, "prompt_tokens": 64},
            },
            "load": {"requests": calls, "concurrency": asked.concurrency},
            "iterations": {"warmup": 0},
            "isolation": isolation,
        }
    )
    sink, clock = Sink(folder), Clock()
    ours_s, theirs_s = time.process_time(), children_s()
    outcome = asyncio.run(run(spec, host, sink, clock))
    if outcome.manifest.state != "finished":
        raise SystemExit(outcome.error)
    sink.close()
    return {
        "ours_s": time.process_time() - ours_s,
        "theirs_s": children_s() - theirs_s,
        "start_ms": 1000 * (clock.begun_s - clock.started_s),
        "ttft_ms": sink.ttft_ms,
    }


def measure(asked: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Isolation → row → a value of each round."""
    host = Host.load()
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as name, truth_server(Path(name)) as url:
        folder = Path(name) / "runs"
        trial(host, folder, url, "inline", SHORT_CALLS, asked)  # imports are paid here
        for _ in range(asked.rounds):  # interleaved, so that a noisy moment hits both
            for isolation in ("inline", "process"):
                rows = found[isolation]
                few = trial(host, folder, url, isolation, SHORT_CALLS, asked)
                many = trial(host, folder, url, isolation, SHORT_CALLS + asked.calls, asked)
                ours_us = 1e6 * (many["ours_s"] - few["ours_s"]) / asked.calls
                theirs_us = 1e6 * (many["theirs_s"] - few["theirs_s"]) / asked.calls
                inline = isolation == "inline"
                rows["start_ms"].append(few["start_ms"])
                rows["measuring_us"].append(ours_us if inline else theirs_us)
                rows["ttft_ms"].append(statistics.median(many["ttft_ms"]))
                rows["ttft_p99_ms"].append(statistics.quantiles(many["ttft_ms"], n=100)[98])
                if not inline:
                    rows["writing_us"].append(ours_us)
                    used_ms = 1000 * few["theirs_s"] - theirs_us * SHORT_CALLS / 1000
                    rows["start_cpu_ms"].append(used_ms)
    return {isolation: dict(rows) for isolation, rows in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000, help="beyond those of the short trial")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16, help="per response")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked)
    if asked.json:
        print(json.dumps(found))
        return
    print(
        f"median of {asked.rounds} rounds (lowest to highest); {asked.calls} calls of "
        f"{asked.tokens} tokens a round, {asked.concurrency} at a time, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}\n"
    )
    print(f"{'':38}{'inline':>24}{'process':>24}")
    for row, (name, unit, digits) in ROWS.items():
        shown = [_shown(found[kind].get(row), digits) for kind in ("inline", "process")]
        print(f"{f'{name}, {unit}':38}{shown[0]:>24}{shown[1]:>24}")


def _shown(values: list[float] | None, digits: int) -> str:
    if not values:
        return "—"
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
