"""CPU time of `harness --help`, beside that of a bare interpreter, in the same run.

    python benchmarks/startup.py [--repeats 20] [--json]

The CPU time is that of the child process, user and system, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path


def cpu_ms(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "harness --help": [str(Path(sys.executable).parent / "harness"), "--help"],
        "harness run --help": [str(Path(sys.executable).parent / "harness"), "run", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(asked.repeats):  # interleaved, so that a noisy moment hits all
        for name, command in commands.items():
            times[name].append(cpu_ms(command))
    figures = {
        name: {
            "n": len(values),
            "cpu_ms_min": round(min(values), 1),
            "cpu_ms_median": round(statistics.median(values), 1),
            "cpu_ms_max": round(max(values), 1),
        }
        for name, values in times.items()
    }
    if asked.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(
            f"{name:20} CPU ms: min {figure['cpu_ms_min']}, median {figure['cpu_ms_median']}, "
            f"max {figure['cpu_ms_max']} (n = {figure['n']})"
        )


if __name__ == "__main__":
    main()
