"""Does the gate cry wolf, and does it bark? On real runs, through the real command.

    python benchmarks/gate.py [--rounds 50] [--slower 10] [--gate median:ttft_ms=5%] [--seed 1]

A truth server with random latencies is measured by the spec of docs/ci, and that run is kept as the
baseline. Then, --rounds times, a server of the same law (and another seed) is measured and gated
against it, and as often one that is --slower per cent slower. Prints how often which exit status
came: 0 no regression, 1 regression, 2 not enough data, 3 not comparable. `false_alarms.py` counts
caveats; this counts verdicts on the difference of two runs.

Exits with 1 if there was a false alarm, or if not every slowdown was found.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HARNESS = [sys.executable, "-m", "harness"]
ANSWERS = {0: "no regression", 1: "regression", 2: "not enough data", 3: "not comparable"}
TTFT_MS, SD_MS = 100.0, 3.0


def measure(folder: Path, out: str, ttft_ms: float, seed: int) -> None:
    """A server of its own for each run, as in CI."""
    log = folder / "log"
    law = f"lognormal:{ttft_ms:g},{SD_MS * ttft_ms / TTFT_MS:g}"
    words = ["--ttft", law, "--gap", "2", "--seed", str(seed), "--log", str(log), "--until-eof"]
    server = subprocess.Popen(
        [*HARNESS, "sim", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a busy machine makes it late: that is part of the question
        text=True,
    )
    assert server.stdin and server.stdout
    try:
        url = json.loads(server.stdout.readline())["url"]
        spec = str(ROOT / "docs" / "ci" / "gate.yaml")
        run = [*HARNESS, "run", spec, "--url", url, "--out", out, "--json"]
        subprocess.run(run, cwd=folder, capture_output=True, check=True)
    finally:
        server.stdin.close()
        server.wait(60)
        server.stdout.close()
        shutil.rmtree(log, ignore_errors=True)


def gated(folder: Path, gates: Sequence[str]) -> tuple[int, dict[str, Any]]:
    asked = [word for gate in gates for word in ("--gate", gate)]
    command = [*HARNESS, "compare", "--baseline-store", "baseline", "candidate", "--json", *asked]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in ANSWERS:
        raise SystemExit(done.stderr)
    return done.returncode, json.loads(done.stdout)


def rounds(
    folder: Path, count: int, ttft_ms: float, gates: Sequence[str], seed: int
) -> tuple[Counter[int], list[float]]:
    """Answers, and the loss of the first gate in each round."""
    answers: Counter[int] = Counter()
    losses = []
    for number in range(count):
        measure(folder, "candidate", ttft_ms, seed + number)
        status, found = gated(folder, gates)
        answers[status] += 1
        losses.append(found["comparisons"][0]["gates"][0]["loss"] or 0.0)
        shutil.rmtree(folder / "candidate")
    return answers, losses


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--slower", type=float, default=10.0, help="per cent")
    parser.add_argument("--gate", action="append", help="default: median:ttft_ms=5%%")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    gates = chosen.gate or ["median:ttft_ms=5%"]
    slow_ms = TTFT_MS * (1 + chosen.slower / 100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(folder, "baseline", TTFT_MS, chosen.seed)
        began = time.monotonic()
        print(f"gates {', '.join(gates)}; TTFT lognormal {TTFT_MS:g} ± {SD_MS:g} ms, gap 2 ms")
        wrong = 0
        for title, ttft_ms, expected in (
            ("identical", TTFT_MS, 0),
            (f"{chosen.slower:g} % slower", slow_ms, 1),
        ):
            seed = chosen.seed + 1000 * (expected + 1)
            answers, losses = rounds(folder, chosen.rounds, ttft_ms, gates, seed)
            said = ", ".join(f"{answers[status]} {word}" for status, word in ANSWERS.items())
            spread = f"loss {min(losses):+.1%} to {max(losses):+.1%}"
            print(f"{title:>14}: {said} (n = {chosen.rounds}; {spread})", flush=True)
            wrong += answers[1] if expected == 0 else chosen.rounds - answers[1]
        print(f"{time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
