"""The pictures of docs/plots.md: real runs against simulated models, drawn as `harness plot` does.

    python benchmarks/gallery.py            runs what is needed (some 3 minutes), then draws
    python benchmarks/gallery.py --keep DIR   keeps the runs, and draws again what is there

Nothing in them speaks of a model: every picture bears SIMULATED.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from harness.compare import compare_arms
from harness.report.plots import Plot, choose
from harness.store import load_run

DOCS: Final = Path(__file__).resolve().parents[1] / "docs" / "plots"
COLOURS: Final = 96
LOAD: Final = "load=uniform:700,1100"
HARNESS: Final = [sys.executable, "-m", "harness"]

# (picture, run, kind, metrics)
PICTURES: Final = (
    ("arms", "two", "arms", ()),
    ("effects", "two", "effects", ()),
    ("heatmap", "grid", "heatmap", ("ttft_ms",)),
    ("family", "grid", "family", ("ttft_ms",)),
    ("load-curve", "ramp", "load-curve", ("ttft_ms", "e2e_ms")),
    ("search", "search", "search", ()),
    ("ttft-ecdf", "two", "ecdf", ("ttft_ms",)),
    ("ttft-histogram", "two", "histogram", ("ttft_ms",)),
    ("latency-over-time", "two", "over-time", ()),
    ("cold-warm", "cold", "cold-warm", ()),
    ("timeline", "two", "timeline", ()),
    ("timeline-agents", "agents", "timeline", ()),
    ("stamps", "two", "stamps", ()),
    ("model-size", "models", "model-size", ()),
    ("model-cost", "models", "model-cost", ()),
    ("model-bubbles", "models", "model-bubbles", ()),
)

# (model, ms to the first token, ms between two, USD per token); None: it runs here.
MODELS: Final = (
    ("acme/alder-0.5b", 12, 1, None),
    ("acme/alder-7b", 40, 3, None),
    ("oak/oak-8b", 55, 4, None),
    ("elm/elm-12b", 48, 3, "0.0000002"),
    ("acme/alder-70b", 130, 8, "0.0000009"),
    ("yew/yew-large", 170, 6, "0.000006"),
)
SIZES: Final = {
    "acme/alder-0.5b": "0.49B",
    "acme/alder-7b": "7.6B",
    "oak/oak-8b": "8.0B",
    "elm/elm-12b": "12.2B",
    "acme/alder-70b": "70.6B",
}


@contextlib.contextmanager
def sim(log: Path, *words: str) -> Iterator[str]:
    """A truth server's address."""
    process = subprocess.Popen(
        [*HARNESS, "sim", "--until-eof", "--log", str(log), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.stdin.close()
        process.wait(60)


def specs(slow: str, fast: str, lone: str) -> dict[str, dict[str, Any]]:
    """Run → its specification."""
    base: dict[str, Any] = {
        "backend": {"name": "openai", "model": "sim", "url": slow},
        "scenario": {"name": "load", "options": {"max_tokens": 16}},
        "load": {"mode": "closed", "concurrency": 4, "requests": 40},
        "iterations": {"warmup": 1, "measured": 1},
        "seed": 1,
    }
    arms = {"baseline": {}, "more-slots": {"backend": {"url": fast}}}
    return {
        "two": base | {"arms": arms, "trials": 6},
        "grid": base
        | {
            "sweep": {
                "axes": {
                    "load.concurrency": [1, 4, 16],
                    "scenario.options.max_tokens": [8, 16, 32],
                }
            },
            "load": {"mode": "closed", "requests": 32},
            "arms": arms,
            "trials": 1,
        },
        "ramp": base
        | {
            "sweep": {"axes": {"load.concurrency": [1, 2, 4, 8, 16]}},
            "arms": arms,
            "trials": 2,
            "slo": {"ttft_ms": 120},
        },
        "search": base
        | {
            "load": {"mode": "open", "rate_per_s": 10, "arrival": "constant", "requests": 60},
            "slo": {"ttft_from_due_ms": 120},
            "search": {"low": 10, "high": 120, "step": 1.25, "share_min": 0.9, "trials_max": 3},
        },
        "agents": {
            "backend": {"name": "ollama", "model": "sim", "url": lone},
            "scenario": {
                "name": "multi_agent",
                "options": {"form": "chimera_homo", "max_tokens": 48},
            },
            "iterations": {"warmup": 1, "measured": 1},
            "trials": 5,
            "seed": 1,
        },
        "cold": base
        | {
            "backend": {"name": "ollama", "model": "sim", "url": slow},
            "iterations": {"warmup": 0, "measured": 1, "cold": 2},
            "trials": 4,
        },
    }


def models(servers: dict[str, str]) -> dict[str, Any]:
    """A sweep over models, of which some are an API's. Of `yew-large` nobody knows the size."""
    levels: dict[str, Any] = {}
    for model, _, _, cost in MODELS:
        level = {"name": "openai", "model": model, "url": servers[model]}
        if cost is not None:
            level |= {"name": "openrouter", "url": f"{servers[model]}/api/v1"}
            level["options"] = {"provider": "harness-sim", "api_key_env": "GALLERY_KEY"}
        levels[model.rpartition("/")[2]] = level
    return {
        "backend": {"name": "openai"},
        "scenario": {"name": "load", "options": {"max_tokens": 16, "prompt_tokens": 64}},
        "load": {"mode": "closed", "concurrency": 2, "requests": 16},
        "sweep": {"axes": {"backend": levels}},
        "sizes": SIZES,
        "iterations": {"warmup": 1, "measured": 1},
        "trials": 5,
        "seed": 1,
    }


def execute(name: str, spec: dict[str, Any], folder: Path) -> Path:
    out = folder / name
    if not out.exists():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(spec))
        words = [*HARNESS, "run", str(path), "--out", str(out), "--json"]
        done = subprocess.run(words, stdout=subprocess.DEVNULL)
        print(f"{name}: exit status {done.returncode}")
    return out


def picture(plot: Plot, path: Path) -> None:
    """Fewer colours, a fifth of the bytes."""
    image: Any = Image.open(io.BytesIO(plot.rendered("png", dpi=84)))
    image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB; {plot.caption}")


def draw(folder: Path) -> None:
    DOCS.mkdir(exist_ok=True)
    runs = {name: load_run(folder / name) for name in {run for _, run, _, _ in PICTURES}}
    for name, run, kind, metrics in PICTURES:
        loaded = runs[run]
        comparisons = compare_arms(loaded) if kind == "effects" else ()
        found = choose(loaded, kinds=[kind], metrics=metrics, comparisons=comparisons)
        if not found.plots:
            print(f"{name}: {found.refused}")
            continue
        picture(found.plots[0], DOCS / f"{name}.png")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keep", type=Path, help="folder of the runs")
    asked = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        slow, fast, lone = (
            stack.enter_context(
                sim(logs / name, "--ttft", ttft, "--gap", "3", "--slots", slots, "--set", LOAD)
            )
            for name, ttft, slots in (
                ("slow", "lognormal:60,12", "4"),
                ("fast", "lognormal:54,12", "8"),
                ("lone", "lognormal:60,12", "1"),
            )
        )
        os.environ.setdefault("GALLERY_KEY", "of-no-use")
        served = {
            model: stack.enter_context(
                sim(logs / str(number), "--ttft", f"lognormal:{ttft},{ttft / 6}",
                    "--gap", str(gap), "--set", f"model={model}",
                    *(("--dialect", "openrouter", "--set", f"cost_usd_per_token={cost}")
                      if cost else ("--dialect", "vllm")))
            )
            for number, (model, ttft, gap, cost) in enumerate(MODELS)
        }  # fmt: skip
        for name, spec in (specs(slow, fast, lone) | {"models": models(served)}).items():
            execute(name, spec, folder)
        draw(folder)


if __name__ == "__main__":
    main()
