"""How punctual the truth server is: `harness sim` on one core, `harness run load` on another.

    python benchmarks/truth.py [--repeats 3] [--seconds 3] [--streams 64 256 1000] [--cores 0 1]
                               [--burst] [--json]

Every stream runs at 100 chunks a second. The streams' first chunks are spread over one gap, so that
what is due comes evenly; with --burst all requests get the same TTFT, and as they all come at once,
so do their chunks, every 10 ms: then some lateness is forced (docs/sim.md), and is shown apart.

Each line is one run, in µs, of the sends that a law of time governs: lateness (p50, p90, p99, max),
the share that began more than 1 ms late, what of it was forced and what was the server's own, what
a send cost behind another, CPU per send of the sending thread and of the whole server (which makes
the answers and writes the log), and how long the sending thread waited for its core. Goals are
judged on the median of the repeats. Run it on a machine that is quiet otherwise; real-time runs
need the right (else they say `refused`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HARNESS = [sys.executable, "-m", "harness"]
RATE_PER_S = 100
GAP_MS = 1000 // RATE_PER_S
GOAL_P99_US = 1_000
GOAL_STREAMS = 1_000


def main() -> None:
    options = arguments()
    runs = []
    if not options.json:
        print(HEADER)
    for _ in range(options.repeats):
        for streams in options.streams:
            for realtime in (False, True):
                runs.append(one_run(options, streams, realtime))
                if not options.json:
                    print(line(runs[-1]), flush=True)
    if options.json:
        print(json.dumps({"runs": runs, "goals": goals(runs)}, indent=2))
    else:
        print("\n" + "\n".join(goals(runs)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each stream lasts")
    parser.add_argument("--streams", type=int, nargs="+", default=[64, 256, GOAL_STREAMS])
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], help="of server and client")
    parser.add_argument("--burst", action="store_true", help="all chunks due at the same instants")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


# ------------------------------------------------------------------------------------------ one run


def one_run(options: argparse.Namespace, streams: int, realtime: bool) -> dict[str, Any]:
    tokens = round(options.seconds * RATE_PER_S)
    # Answers are made before they are due: give the server the time for it.
    ttft_ms = 500 + streams * tokens // 500
    law = str(ttft_ms) if options.burst else f"uniform:{ttft_ms},{ttft_ms + GAP_MS}"
    with tempfile.TemporaryDirectory() as work:
        words = ["--dialect", "vllm", "--ttft", law, "--gap", GAP_MS, "--until-eof"]
        words += ["--log", f"{work}/log", *(["--realtime"] if realtime else [])]
        server = subprocess.Popen(
            [*HARNESS, "sim", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=on_core(options.cores[0]),
        )
        assert server.stdin is not None and server.stdout is not None
        try:
            ready = json.loads(server.stdout.readline())
            idle_s = cpu_of(server.pid)
            load(ready["url"], streams, tokens, work, options.cores[1])
            cpu_s = cpu_of(server.pid) - idle_s
        finally:
            server.stdin.close()
            server.wait(60)
        end = json.loads(Path(work, "log", "requests.jsonl").read_bytes().splitlines()[-1])
    found, sender = end["punctuality"], end["sender"]
    return {
        "streams": streams,
        "burst": options.burst,
        "priority": {None: "normal", True: "real-time", False: "refused"}[ready.get("realtime")],
        "cpu_us_per_send": sender["thread_cpu_ns"] / sender["pieces"] / 1e3,
        "server_cpu_us_per_send": cpu_s / sender["pieces"] * 1e6,
        **found,
    }


def load(url: str, streams: int, tokens: int, work: str, core: int) -> None:
    words = ["load", "--backend", "openai", "--model", "sim", "--url", url, "--warmup", 0]
    words += ["--concurrency", streams, "--requests", streams, "--max-tokens", tokens]
    done = subprocess.run(
        [*HARNESS, "run", *map(str, words), "--out", f"{work}/run"],
        capture_output=True,
        text=True,
        cwd=work,
        preexec_fn=on_core(core),
    )
    if done.returncode not in (0, 4):  # 4: a verdict on a run that is none of our business here
        sys.exit(f"harness run: {done.stderr}")


def on_core(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})


def cpu_of(pid: int) -> float:
    """User and system time of a process, in s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -------------------------------------------------------------------------------------------- shown

HEADER = (
    f"{'streams':>7} {'priority':10} {'sends':>8} {'late p50':>8} {'p90':>7} {'p99':>7} {'max':>8}"
    f" {'> 1 ms':>8} {'forced p99':>10} {'own p50':>7} {'p99':>7} {'send':>5} {'CPU/send':>8}"
    f" {'server':>6} {'waited ms':>9}"
)


def line(run: dict[str, Any]) -> str:
    def us(name: str) -> str:
        return f"{run[name] / 1e3:,.0f}"

    waited_ns = run["waited_for_a_core_ns"]
    return (
        f"{run['streams']:>7} {run['priority']:10} {run['sends']:>8} {us('p50_ns'):>8}"
        f" {us('p90_ns'):>7} {us('p99_ns'):>7} {us('max_ns'):>8}"
        f" {run['late']['sends'] / run['sends']:>8.3%} {us('forced_p99_ns'):>10}"
        f" {us('own_p50_ns'):>7} {us('own_p99_ns'):>7} {run['send_ns'] / 1e3:>5.1f}"
        f" {run['cpu_us_per_send']:>8.1f} {run['server_cpu_us_per_send']:>6.1f}"
        f" {'–' if waited_ns is None else format(waited_ns / 1e6, ',.1f'):>9}"
    )


def goals(runs: list[dict[str, Any]]) -> list[str]:
    """1,000 streams x 100 a second on one core: p99 below 1 ms; in a burst, of what is our own."""
    told = []
    for priority in dict.fromkeys(run["priority"] for run in runs):
        for name in ("p99_ns", "own_p99_ns"):
            found = [
                run[name] / 1e3
                for run in runs
                if run["priority"] == priority and run["streams"] >= GOAL_STREAMS
            ]
            if not found:
                continue
            median = statistics.median(found)
            met = "met" if median < GOAL_P99_US else "MISSED"
            what = "lateness" if name == "p99_ns" else "lateness of its own"
            told.append(
                f"{met:6} {GOAL_STREAMS} streams, {priority}: p99 of {what} {median:,.0f} µs "
                f"(goal: below {GOAL_P99_US:,}; n = {len(found)} runs)"
            )
    return told


if __name__ == "__main__":
    main()
