"""What the tests of backend `hf` share: backends, what they read, and a slow model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from harness_hf import HfOptions, tiny
from harness_hf.backend import HfBackend

from harness.protocols import BackendConfig
from harness.schema import Decoded, TimeoutsSpec


def make(model: str | None = None, urls: tuple[str, ...] = (), **options: Any) -> HfBackend:
    return HfBackend(
        BackendConfig(
            model=model,
            urls=urls,
            options=msgspec.convert(options, HfOptions),
            timeouts=TimeoutsSpec(),
            seed=11,
        )
    )


def stamps_of(read: Decoded) -> np.ndarray:
    return np.frombuffer(read.stamps_ns or b"", "<i8")


def tokens_of(read: Decoded) -> list[int]:
    return np.frombuffer(read.chunk_tokens or b"", "<u4").tolist()


SLOW = '''
import os, time
from transformers import LlamaForCausalLM

class SlowForCausalLM(LlamaForCausalLM):
    """Says in a file when each forward pass ended; dies where it is told to."""

    passes = 0

    def forward(self, *args, **kwargs):
        began = time.monotonic_ns()
        out = super().forward(*args, **kwargs)
        time.sleep(self.config.step_delay_ms / 1e3)
        with open(self.config.step_log, "a") as log:
            log.write(f"{began} {time.monotonic_ns()}\\\\n")
        SlowForCausalLM.passes += 1
        if os.path.exists(self.config.step_log + ".die"):
            os.abort()
        if os.path.exists(self.config.step_log + ".full"):
            os.unlink(self.config.step_log + ".full")
            raise MemoryError("no room for 3 GB")
        return out
'''.replace("\\\\n", "\\n")


def write_slow_model(folder: Path, delay_ms: float) -> Path:
    """A `tiny` whose every step takes `delay_ms` longer, by code of its own in its folder. Returns
    the path of its log: a line for every forward pass, when it began and when it ended."""
    tiny.write(folder)
    log = folder.parent / "steps.log"
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {
        "architectures": ["SlowForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_slow.SlowForCausalLM"},
        "step_delay_ms": delay_ms,
        "step_log": str(log),
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "modeling_slow.py").write_text(SLOW, "utf-8")
    return log


def passes(log: Path) -> np.ndarray:
    """Shape (forward passes, 2): begin, end."""
    return np.loadtxt(log, dtype="i8", ndmin=2)
