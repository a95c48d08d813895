"""The example report of docs/example: a real sweep, killed twice and taken up again.

    python benchmarks/example.py [--out DIR]      some 5 minutes on a machine that does nothing else

Runs docs/example/sweep.yaml on the embedded llama.cpp, kills the process with SIGKILL after about a
third and two thirds of its trials, resumes it each time, has the result audited, and writes the
reports. Nothing is edited by hand.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs" / "example"
HARNESS = [sys.executable, "-m", "harness"]
KILLED_AFTER = (35, 72)
"""Trials, of 108."""
PLOTS = (("heatmap", "--metric", "ttft_ms"), ("family", "--metric", "throughput_tok_s"))


def say(*words: object) -> None:
    print(*words, flush=True)


def run_until(trial: int | None, folder: Path, *words: str) -> bool:
    """Whether it came to its end; it is killed when `trial` trials are done in all."""
    process = subprocess.Popen(
        [*HARNESS, "run", *words],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        print("  ", line, end="", flush=True)
        if trial is not None and line.startswith(f"trial {trial}/"):
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    assert process.stdout is not None
    process.stdout.close()
    return process.wait() in (0, 4)


def harness(folder: Path, *words: str) -> str:
    done = subprocess.run([*HARNESS, *words], cwd=folder, text=True, capture_output=True)
    say(f"$ harness {' '.join(words)}\n{done.stdout}{done.stderr}")
    if done.returncode not in (0, 1, 4):  # 1: the audit has something to say
        raise SystemExit(f"that ended with {done.returncode}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS)
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_until(KILLED_AFTER[0], folder, str(DOCS / "sweep.yaml"), "--out", "run")
        run_until(KILLED_AFTER[1], folder, "--resume", "run")
        if not run_until(None, folder, "--resume", "run"):
            raise SystemExit("the run did not come to its end")
        harness(folder, "audit", "run")
        harness(folder, "compare", "run")
        harness(folder, "recommend", "run")
        out.mkdir(parents=True, exist_ok=True)
        harness(folder, "export", "run", "--format", "html", "--out", str(out / "report.html"))
        for kind, *words in PLOTS:
            harness(
                folder, "plot", "run", "--kind", kind, *words, "--out", str(out / f"{kind}.svg")
            )
        shutil.copy(folder / "run" / "reports" / "comparison_report.md", out / "report.md")
        shutil.copy(folder / "run" / "summary.json", out / "summary.json")
        say("run:", shutil.copytree(folder / "run", Path(tempfile.mkdtemp()) / "run"))


if __name__ == "__main__":
    main()
