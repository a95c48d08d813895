"""The figures of docs/runtimes.md: every runtime against the truth server, in one real run.

    python benchmarks/runtimes.py [--run FOLDER]    some 10 minutes, on a quiet machine

Runs the preset `runtimes` (or takes a run of it that is there), writes the tables between the marks
of docs/runtimes.md, and draws its plots. Nothing is edited by hand but the words around them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness.compare import Asked, arms_of, compare
from harness.report.figures import number
from harness.schema import Effect, MetricSummary
from harness.store import Run, load_run

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "runtimes.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
HARNESS: Final = [sys.executable, "-m", "harness"]
FIGURES: Final = (
    ("wake_up_p50_us", "Wake-up delay, median of a launch, in µs: from the server's send until the "
     "agent saw the chunk, through the tap", 1.0),
    ("wake_up_p99_us", "The same, 99th percentile of a launch, in µs", 1.0),
    ("agent_chunk_delay_p50_us", "From the tap's send until the agent saw the chunk, median of a "
     "stream, in µs", 1.0),
    ("cpu_ms", "CPU time of the program, in ms, its start included", 1.0),
    ("ctx_switches_voluntary", "Voluntary context switches of the program", 1.0),
    ("rss_max_bytes", "Largest resident memory, in MB", 1e-6),
    ("start_up_ms", "From starting the program until it is ready, in ms", 1.0),
)  # fmt: skip
MARKS: Final = {
    "equivalent": "=",
    "better": "−",
    "worse": "+",
    "changed": "≠",
    "no difference shown": "~",
    "not enough data": "?",
}
PLOTS: Final = ("wake_up_p50_us", "wake_up_p99_us", "cpu_ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run of the preset that is there")
    found: Path | None = parser.parse_args().run
    with tempfile.TemporaryDirectory() as name:
        path = found or measured(Path(name) / "run")
        run = load_run(path)
        page = PAGE.read_text("utf-8")
        before, after = page[: page.index(BEGIN)], page[page.index(END) :]
        told = "\n".join(section(run))
        PAGE.write_text(f"{before}{BEGIN}\n{told}\n{after}", "utf-8")
        for metric in PLOTS:
            out = PAGE.parent / "runtimes" / f"{metric}.svg"
            words = ("--kind", "family", "--metric", metric, "--out", str(out))
            subprocess.run([*HARNESS, "plot", str(path), *words], check=True)


def measured(folder: Path) -> Path:
    done = subprocess.run([*HARNESS, "run", "--preset", "runtimes", "--out", str(folder)])
    if done.returncode:
        raise SystemExit(f"the run ended with {done.returncode}")
    return folder


def section(run: Run) -> Iterator[str]:
    """What is between the marks."""
    yield from conditions(run)
    effects = differences(run)
    for metric, title, scale in FIGURES:
        yield ""
        yield f"**{title}** (`{metric}`)"
        yield ""
        yield from table(run, metric, scale, effects)


def conditions(run: Run) -> Iterator[str]:
    manifest, summary = run.manifest, run.summary
    machine = manifest.environment
    trials = {arm.trials for arm in summary.arms}
    failed = sum(sum(arm.calls.values()) - arm.calls.get("ok", 0) for arm in summary.arms)
    calls = sum(arm.calls.get("ok", 0) for arm in summary.arms)
    codes = ", ".join(dict.fromkeys(c.code for c in summary.verdict.caveats))
    yield (
        f"Run {manifest.run_id} of {manifest.started[:10]}: {machine.cpu_model or 'unknown CPU'}, "
        f"{machine.cpu_count} CPUs, {machine.kernel}; "
        f"{'/'.join(map(str, sorted(trials)))} launches of each agent and number of streams, "
        f"interleaved; {calls:,} calls ok, {failed} not; verdict {summary.verdict.state} ({codes})."
    )


def differences(run: Run) -> dict[tuple[str, str, str], Effect]:
    """(arm, cell, metric) → how it differs from the baseline, in words."""
    asked = Asked(metrics=tuple(metric for metric, _, _ in FIGURES))
    return {
        (one.candidate.arm, one.candidate.cell, effect.metric): effect
        for one in compare(arms_of(run), asked)
        for effect in one.effects
    }


def table(
    run: Run, metric: str, scale: float, effects: dict[tuple[str, str, str], Effect]
) -> Iterator[str]:
    cells = list(run.manifest.cells)
    values = {(a.arm, a.cell): m for a in run.summary.arms for m in a.metrics if m.name == metric}
    yield f"| | {' | '.join(cells)} |"
    yield f"|---|{'---|' * len(cells)}"
    for arm in run.manifest.spec.arms:
        shown = [
            figure(values.get((arm, cell)), scale, effects.get((arm, cell, metric)))
            for cell in cells
        ]
        yield f"| {arm} | {' | '.join(shown)} |"


def figure(summary: MetricSummary | None, scale: float, effect: Effect | None) -> str:
    if summary is None or summary.mean is None:
        return "unknown"
    low, high = summary.ci_low, summary.ci_high
    told = number(summary.mean * scale)
    if low is not None and high is not None:
        told += f" ({number(low * scale)}–{number(high * scale)})"
    return f"{told} {MARKS[effect.words]}" if effect else told


if __name__ == "__main__":
    main()
