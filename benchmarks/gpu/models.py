"""Random-weight models of real shape, and what running them takes.

Speed and energy are those of the shape: what the weights are makes no difference to either. Made by
torch on the device, beside the tokenizer of our tiny models; their vocabulary of 4,096 is smaller
than real ones, and so is the last layer. Run by the command that anybody runs, `harness run`, so
that what is seen here is what a user gets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["SHAPES", "ModelShape", "Ran", "make", "run_model"]

END_OF_TEXT = 7
"""Tokens at the beginning of our vocabulary that are marks; they are made never to be chosen."""


class ModelShape(NamedTuple):
    """As config.json names it."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    heads_kv: int


SHAPES = {
    "tiny": ModelShape(2, 128, 384, 2, 1),  # to try this out without a GPU
    "0.3B": ModelShape(24, 1024, 2816, 16, 16),
    "1.2B": ModelShape(24, 2048, 5632, 16, 16),
    "2.7B": ModelShape(28, 3072, 8192, 24, 8),
    "7B": ModelShape(32, 4096, 14336, 32, 8),
}


class Ran(NamedTuple):
    """One model's figures; medians over n iterations. None: unknown, and `why` says of which."""

    size: str
    parameters: int
    n: int
    energy_n: int
    """Iterations that were long enough to have an energy."""
    throughput_tok_s: float | None
    energy_j: float | None
    bound_j: float | None
    j_per_token: float | None
    idle_w: float | None
    predicted_bytes: int | None
    peak_bytes: int | None
    peak_of: str
    gpu_memory_bytes: float | None
    verdict: str
    why: dict[str, str]


def make(folder: Path, shape: ModelShape, device: str, dtype: str = "bfloat16") -> int:
    """Write the model, and return how many parameters it has. Imports torch."""
    import torch
    import transformers
    from harness_hf import tiny

    tiny.write(folder)  # tokenizer, chat template, and a config to start from
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads_kv,
        "head_dim": shape.hidden // shape.heads,
        "dtype": dtype,
    }
    config.pop("parameters", None)
    settings = transformers.LlamaConfig.from_dict(config)
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(getattr(torch, dtype))
        model = transformers.LlamaForCausalLM(settings)
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        model.lm_head.weight[:END_OF_TEXT] = 0  # a sum of noise that is the largest is above 0
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    parameters = sum(one.numel() for one in model.parameters())
    written = json.loads((folder / "config.json").read_text())
    marked = {tiny.MARKER: True, "parameters": parameters}
    (folder / "config.json").write_text(json.dumps(written | marked, indent=1))
    return int(parameters)


def make_apart(folder: Path, size: str, device: str) -> int:
    """In a process of its own, so that its memory is free again when the model is run."""
    code = (
        "import sys; from pathlib import Path; from benchmarks.gpu.models import SHAPES, make; "
        "print(make(Path(sys.argv[1]), SHAPES[sys.argv[2]], sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, str(folder), size, device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"the model {size} cannot be made: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout.split()[-1])


def spec_of(
    model: Path, device: str, tokens: int, requests: int, iterations: int
) -> dict[str, Any]:
    return {
        "scenario": {"name": "load", "options": {"max_tokens": tokens}},
        "backend": {
            "name": "hf",
            "model": str(model),
            "options": {"device": device, "num_ctx": 2048},
        },
        "load": {"concurrency": 1, "requests": requests},
        "iterations": {"warmup": 1, "measured": iterations},
        "instruments": [{"name": "gpu", "options": {"sampled": "always"}}],
    }


def run_model(size: str, parameters: int, model: Path, out: Path, device: str, **how: int) -> Ran:
    """By `harness run`, and read back from its run folder."""
    spec = out.with_suffix(".json")
    spec.write_text(json.dumps(spec_of(model, device, **how)))
    command = [sys.executable, "-m", "harness", "run", str(spec), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):  # 4: an invalid run, which is read all the same
        sys.exit(f"harness run failed for {size}: {done.stderr.strip()[-500:]}")
    return read_run(size, parameters, out)


def read_run(size: str, parameters: int, folder: Path) -> Ran:
    """The figures of one run folder."""
    from harness.schema import IterationRecord, TrialRecord
    from harness.store import load_run

    run = load_run(folder)
    (arm,) = run.summary.arms
    median = {one.name: one.median for one in arm.metrics}
    known = {one.name: one.n for one in arm.metrics}
    trials = [one for one in run.records() if isinstance(one, TrialRecord)]
    fit = next((one.fit for one in trials if one.fit is not None), None)
    why: dict[str, str] = {}
    for one in run.records():
        if isinstance(one, IterationRecord):
            why |= one.unobserved
    return Ran(
        size=size,
        parameters=parameters,
        n=arm.iterations,
        energy_n=known.get("gpu.energy_j", 0),
        throughput_tok_s=median.get("throughput_tok_s"),
        energy_j=median.get("gpu.energy_j"),
        bound_j=median.get("gpu.energy_bound_j"),
        j_per_token=median.get("gpu_energy_j_per_token"),
        idle_w=median.get("gpu.idle_power_w"),
        predicted_bytes=None if fit is None else fit.predicted.total_bytes,
        peak_bytes=None if fit is None else fit.peak_bytes,
        peak_of="" if fit is None else fit.peak_of,
        gpu_memory_bytes=median.get("gpu.memory_used_max_bytes"),
        verdict=run.summary.verdict.state,
        why=why,
    )
