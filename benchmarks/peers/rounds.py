"""Every run, in turn: a fresh server, one tool, and the server's log beside what the tool said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.install import HOME, LATEST, ROOT, Tokenizer
from benchmarks.peers.launch import Ended, Job
from benchmarks.peers.loads import Load, Plan
from benchmarks.peers.read import Said, read
from benchmarks.peers.tools import command_of
from benchmarks.peers.truth import Truth, join, read_truth

__all__ = ["Run", "client_cores", "run_plans", "server_core"]

MEASURED_SHARE_MIN = 0.6
"""GuideLLM's warm-up ends at an instant, and takes the next wave of requests with it: of three, two
are left. They were answered all the same; CPU per chunk goes by what the server sent."""
ENDS_S = 30.0
"""How long a server may take to write the rest of its log."""


class Run(NamedTuple):
    """What one run came to. Lists are by request; None is unknown, or not asked."""

    load: str
    cores: int
    tool: str
    size: str
    round: int
    outcome: str
    """`ok`, or what went wrong."""
    planned: int
    ok: int | None
    failed: int | None
    unmatched: int
    reported_ns: list[float]
    true_ns: list[float]
    stamp_error_ns: list[float]
    reported_p50_ns: float | None
    """By the tool's own summary."""
    noticed: list[str]
    chunks: int
    cpu_ns: float
    wall_s: float
    contact_s: float | None
    """From the command to the first request of any kind at the server."""
    start_s: float | None
    """From the command to the first request of the load."""
    rss_bytes: int
    pss_bytes: int
    processes: int
    server_lateness_p99_ns: float | None
    server_late_share: float | None
    realtime: bool
    """The server's sending thread had real-time priority."""
    held_up: int


def server_core() -> int:
    return min(os.sched_getaffinity(0))


def client_cores(count: int) -> list[int]:
    """The last ones: on a machine of two, the second of two is the server's as well."""
    return sorted(os.sched_getaffinity(0))[-count:]


def run_plans(plans: list[Plan], words: Tokenizer, root: Path, keep: bool) -> Iterator[Run]:
    """In rounds; each round begins with another tool."""
    for one in plans:
        for turn in range(one.rounds):
            shift = turn % len(one.tools)
            for tool in one.tools[shift:] + one.tools[:shift]:
                sizes = one.sizes if tool in ("ours", "bare") else one.sizes_of_peers
                for size in sizes:
                    name = f"{one.load.name}-{one.cores}c-{tool}-{size}-{turn}"
                    yield _run(one, tool, size, turn, words, root / name, keep)


def _run(
    one: Plan, tool: str, size: str, turn: int, words: Tokenizer, folder: Path, keep: bool
) -> Run:
    load = one.load
    folder.mkdir(parents=True)
    tokens = load.tokens(tool, size)
    with _server(load, folder / "log") as url:
        words_of = command_of(tool, load, tokens, url, words)
        job = Job(
            words_of.words,
            str(folder),
            client_cores(one.cores),
            load.limit_s,
            words_of.environment,
        )
        ended = _launch(job, folder)
    said = read(tool, folder)
    found = _result(one, tool, size, turn, ended, said, read_truth(folder / "log"))
    if found.outcome == "ok" and not keep:
        shutil.rmtree(folder)
    return found


def _result(
    one: Plan, tool: str, size: str, turn: int, ended: Ended, said: Said | None, truth: Truth
) -> Run:
    load, tokens = one.load, one.load.tokens(tool, size)
    joined = join(said, truth) if said else None
    arrivals = [(at, count) for at, count in truth.arrivals if at >= ended.start_ns]
    contact = next((at for at, _ in arrivals), None)
    # Ours probes the server with an answer of two tokens: no request of the load.
    first = next((at for at, count in arrivals if count == tokens), None)
    return Run(
        load=load.name,
        cores=one.cores,
        tool=tool,
        size=size,
        round=turn,
        outcome=_outcome(tool, ended, said, load),
        planned=load.streams if tool == "bare" else load.requests,
        ok=len(said.requests) if said else None,
        failed=said.failed if said else None,
        unmatched=joined.unmatched if joined else 0,
        reported_ns=joined.reported_ns if joined else [],
        true_ns=joined.true_ns if joined else [],
        stamp_error_ns=joined.stamp_error_ns if joined else [],
        reported_p50_ns=said.ttft_p50_ns if said else None,
        noticed=said.noticed if said else [],
        chunks=truth.chunks,
        cpu_ns=(ended.user_s + ended.system_s) * 1e9,
        wall_s=ended.wall_s,
        contact_s=_since(ended, contact),
        start_s=_since(ended, first),
        rss_bytes=ended.rss_bytes,
        pss_bytes=ended.pss_bytes,
        processes=ended.processes,
        server_lateness_p99_ns=truth.lateness_p99_ns,
        server_late_share=truth.late_share,
        realtime=truth.realtime,
        held_up=truth.held_up,
    )


def _outcome(tool: str, ended: Ended, said: Said | None, load: Load) -> str:
    if ended.status is None:
        return f"stopped after {load.limit_s:.0f} s"
    if tool == "bare":
        return "ok" if ended.status == 0 else f"exit {ended.status}"
    if said is None:
        return f"exit {ended.status}, without results"
    if ended.status:
        return f"exit {ended.status}"
    if said.failed or len(said.requests) < MEASURED_SHARE_MIN * load.requests:
        return f"{len(said.requests)} of {load.requests} requests reported ok"
    return "ok"


def _since(ended: Ended, at_ns: int | None) -> float | None:
    return None if at_ns is None else (at_ns - ended.start_ns) / 1e9


def _launch(job: Job, folder: Path) -> Ended:
    path = folder / "job.json"
    path.write_text(json.dumps(job._asdict()))
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.launch", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {server_core()}),
    ) as process:
        try:
            printed, _ = process.communicate()
        except BaseException:
            process.terminate()  # it ends what it started
            process.wait()
            raise
    if process.returncode:
        sys.exit(f"the launcher failed with {process.returncode}: {job.command}")
    return Ended(**json.loads(printed))


@contextmanager
def _server(load: Load, log: Path) -> Iterator[str]:
    """The truth server on its own core; its log is whole once this is left."""
    harness = str(Path(sys.executable).parent / "harness")
    asked = ["--ttft", load.ttft, "--gap", str(load.gap_ms), "--log", str(log)]
    asked += ["--set", "context_length=131072"]  # flat out, answers are long
    with subprocess.Popen(
        [harness, "sim", *asked, "--realtime", "--until-eof"],
        cwd=log.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {server_core()}),
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        line = process.stdout.readline()
        if not line:
            sys.exit(
                f"`harness sim` does not start; try: {harness} sim {' '.join(asked)}\n"
                "what was measured until now: python -m benchmarks.peers --show "
                f"{HOME / LATEST}"
            )
        ready: dict[str, Any] = json.loads(line)
        try:
            yield str(ready["url"])
        finally:
            process.stdin.close()
            try:
                process.wait(ENDS_S)
            except subprocess.TimeoutExpired:
                process.kill()
