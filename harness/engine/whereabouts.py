"""Which machine this is, in the words in which a trial's record says where it ran."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

__all__ = ["clock_id", "here"]


@cache
def clock_id() -> str:
    """Equal where CLOCK_MONOTONIC is the same clock: one boot of one machine. Empty where the
    system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return hashlib.sha256(boot.encode()).hexdigest()[:12]


def here() -> dict[str, str]:
    """`clock`: whose instants are comparable with those of this process; `host`: its digest, as in
    the environment of a run; `cpu_model`, `cpu_count`, `kernel`, `gpu_models`: what kind of machine
    it is, as far as it tells."""
    import psutil

    from harness.engine.environment import cpu_model, gpus, host_digest
    from harness.metrics import gpu_models

    found = {
        "clock": clock_id(),
        "host": host_digest(),
        "cpu_model": cpu_model() or "",
        "cpu_count": str(psutil.cpu_count(logical=False) or os.cpu_count() or ""),
        "kernel": platform.release(),
        "gpu_models": gpu_models(str(gpu.get("name", "unknown")) for gpu in gpus()[0]),
    }
    return {name: value for name, value in found.items() if value}
