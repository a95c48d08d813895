"""`python -m benchmarks.peers`: install, measure in rounds, one table. See __init__.py."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import reactor
from benchmarks.peers.figures import Figures, figures_of, goals
from benchmarks.peers.install import (
    HOME,
    LATEST,
    PEERS,
    ROOT,
    dependencies,
    install,
    our_dependencies,
    tokenizer,
)
from benchmarks.peers.loads import Plan, plan
from benchmarks.peers.rounds import Run, client_cores, run_plans, server_core
from benchmarks.peers.table import goal_lines, markdown, put_between, text

PAGE = "docs/measuring.md"
MARK = "peers side by side"


def main() -> None:
    asked = _arguments()
    if asked.show:
        _report(json.loads(asked.show.read_text()), asked)
        return
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("client and server need a core each; this process may use one only")
    for peer in PEERS.values():
        install(peer)
    words = tokenizer(PEERS["aiperf"])
    reactor.build()
    plans = _chosen(plan(asked.quick), asked)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    root = HOME / "runs" / stamp
    about = _about(plans)
    began = time.monotonic()
    found: dict[str, Any] = {"about": about, "runs": []}
    try:
        for run in run_plans(plans, words, root, asked.keep):
            _say(run)
            about |= {"minutes": (time.monotonic() - began) / 60, "load_after": os.getloadavg()}
            found["runs"].append(run._asdict())
            # After each, so that an interrupt loses one run: --show tells what there is.
            (HOME / LATEST).write_text(json.dumps(found))
    except KeyboardInterrupt:
        sys.exit(130)
    _report(found, asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--quick", action="store_true", help="one round, fewer loads")
    parser.add_argument("--loads", help="only these, by name: 64x100,flat")
    parser.add_argument("--tools", help="only these: bare,ours,aiperf,guidellm")
    parser.add_argument("--cores", type=int, help="only loads with so many cores for the client")
    parser.add_argument("--rounds", type=int, help="so many of each")
    parser.add_argument("--keep", action="store_true", help="keep every run's folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures")
    parser.add_argument("--show", type=Path, metavar="FILE", help="run nothing: report on that")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE}")
    return parser.parse_args()


def _chosen(plans: list[Plan], asked: argparse.Namespace) -> list[Plan]:
    if asked.loads:
        names = asked.loads.split(",")
        plans = [one for one in plans if one.load.name in names]
    if asked.cores:
        plans = [one for one in plans if one.cores == asked.cores]
    if asked.tools:
        names = asked.tools.split(",")
        plans = [one._replace(tools=tuple(t for t in one.tools if t in names)) for one in plans]
    if asked.rounds:
        plans = [one._replace(rounds=asked.rounds) for one in plans]
    if not any(one.tools for one in plans):
        sys.exit("no load and tool of these names")
    return plans


def _about(plans: list[Plan]) -> dict[str, Any]:
    """The conditions, before anything runs."""
    import harness

    rounds = ", ".join(f"{one.load.name} on {one.cores}: {one.rounds}" for one in plans)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": f"rounds: {rounds}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "harness": harness.__version__,
        "load_average": os.getloadavg(),
        "server_core": server_core(),
        "client_core": client_cores(1)[0],
        "dependencies": {
            "ours": our_dependencies(),
            **{name: dependencies(peer) for name, peer in PEERS.items()},
        },
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.processor() or "unknown CPU")


def _say(run: Run) -> None:
    start = "–" if run.start_s is None else f"{run.start_s:.2f} s"
    print(
        f"{run.load:9} {run.cores} core{'s' * (run.cores > 1):1} {run.tool:9}{run.size:6}"
        f"round {run.round + 1}  {run.wall_s:6.1f} s, started in {start}: {run.outcome}",
        file=sys.stderr,
        flush=True,
    )


def _report(found: dict[str, Any], asked: argparse.Namespace) -> None:
    runs = [Run(**run) for run in found["runs"]]
    figures = figures_of(runs)
    reached = goals(figures)
    about = found["about"] | {
        "server_lateness_p99_us": _lateness(figures),
        "realtime": all(run.realtime for run in runs),
    }
    print(text(figures))
    print("\nours against its goals, in this run")
    print("\n".join(goal_lines(reached)))
    if asked.json:
        asked.json.write_text(json.dumps(found | {"figures": [f._asdict() for f in figures]}))
    if asked.write_docs:
        table = markdown(figures, reached, about)
        page = ROOT / PAGE
        page.write_text(put_between(page.read_text(), MARK, table))
        print(f"written: {PAGE}", file=sys.stderr)


def _lateness(figures: list[Figures]) -> float | None:
    """Flat out, every send after the first is late by design: that load does not count."""
    known = [f.server_lateness_p99_us for f in figures if not f.held_up and f.load != "flat"]
    return max((value for value in known if value is not None), default=None)


if __name__ == "__main__":
    main()
