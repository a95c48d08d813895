"""The machine and the software, as far as they can be read. What cannot be read is None."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import Any

import harness
from harness._native import clock
from harness.engine.uncertainty import stored_selfcheck
from harness.errors import SpecError
from harness.host import Host
from harness.redaction import (
    Redactor,
    environment_secrets,
    is_secret_name,
    url_without_secrets,
)
from harness.schema import Environment, RunSpec

__all__ = ["collect_environment", "cpu_model", "gpus", "host_digest", "native_digest"]

PACKAGES = (
    "httpx",
    "msgspec",
    "numpy",
    "pluggy",
    "scipy",
    "torch",
    "transformers",
    "xllamacpp",
)
VARIABLE_PREFIXES = ("HARNESS_", "OLLAMA_")
VARIABLES = frozenset(
    {
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",
        "HARNESS_CACHE_DIR",
        "HARNESS_CONFIG_DIR",
        "HARNESS_DISABLE_PLUGINS",
        "HARNESS_GPU",
        "HARNESS_PRICES",
        "HARNESS_STATE_DIR",
        "HARNESS_TRACE_HOOKS",
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_DEBUG",
        "OLLAMA_FLASH_ATTENTION",
        "OLLAMA_GPU_OVERHEAD",
        "OLLAMA_HOST",
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_LLM_LIBRARY",
        "OLLAMA_LOAD_TIMEOUT",
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_MAX_QUEUE",
        "OLLAMA_MODELS",
        "OLLAMA_MULTIUSER_CACHE",
        "OLLAMA_NEW_ENGINE",
        "OLLAMA_NUM_PARALLEL",
        "OLLAMA_SCHED_SPREAD",
        "OMP_NUM_THREADS",
    }
)
"""Those whose values are recorded: they change what is measured, and none of them is a key."""


def collect_environment(spec: RunSpec, host: Host) -> Environment:
    """Takes a fraction of a second; called once, before the first trial."""
    import psutil

    found_gpus, gpus_unknown = gpus()
    host_name, build = host_digest(), native_digest()
    selfcheck, selfcheck_unknown = stored_selfcheck(host_name, build)
    return Environment(
        harness_version=harness.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        kernel=platform.release(),
        hostname_digest=host_name,
        cpu_model=cpu_model(),
        cpu_count=psutil.cpu_count(logical=False) or os.cpu_count(),
        cpu_affinity=tuple(sorted(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else (),
        cpu_governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory_bytes=psutil.virtual_memory().total,
        clocksource=_read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        load_average=psutil.getloadavg(),
        gpus=tuple(found_gpus),
        gpus_unknown=gpus_unknown,
        packages=_packages(),
        vcs=_vcs(),
        native_build={**clock.build_info(), "digest": build},
        variables=_variables(),
        plugins=tuple(host.plugins),
        selfcheck=selfcheck,
        selfcheck_unknown=selfcheck_unknown,
        collected=host.collect_environment(spec),
    )


def gpus() -> tuple[list[dict[str, Any]], str | None]:
    """(name, uuid, memory and driver of each GPU, why there are none). `source` is there where they
    are no GPUs of this machine: a recording, or made up (HARNESS_GPU)."""
    from harness.devices import NoDevices, open_provider

    try:
        provider = open_provider()
    except (NoDevices, SpecError) as why:
        return [], str(why)
    try:
        source = {} if provider.source == "nvml" else {"source": provider.source}
        found = [
            {
                "name": one.name,
                "uuid": one.uuid,
                "memory_bytes": one.memory_bytes,
                "driver": one.driver,
                **source,
            }
            for one in provider.devices()
        ]
    finally:
        provider.close()
    return found, None


def native_digest() -> str:
    """sha256 over the compiled modules: two runs with equal digests used the same machine code."""
    folder = Path(clock.__file__).parent
    total = hashlib.sha256()
    for module in sorted(p for p in folder.iterdir() if p.suffix in (".so", ".pyd")):
        total.update(module.name.encode() + b"\0" + module.read_bytes())
    return total.hexdigest()[:16]


def host_digest() -> str:
    """See Environment.hostname_digest."""
    identity = socket.gethostname() + (_read("/etc/machine-id") or "")
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def cpu_model() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _vcs() -> dict[str, str]:
    """The state of the repository that the current folder belongs to, if it belongs to one."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], capture_output=True, text=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return {}
    dirty = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": "unknown" if dirty is None else str(bool(dirty)).lower()}


def _variables() -> dict[str, str]:
    """Of others with our prefixes only that they are set: `api_key_env` may name any of them."""
    redactor = Redactor(environment_secrets())
    found = {}
    for name, value in sorted(os.environ.items()):
        if name in VARIABLES:
            found[name] = redactor.text(_without_credentials(value))
        elif name.startswith(VARIABLE_PREFIXES) and not is_secret_name(name):
            found[name] = "(set; its value is not recorded)"
    return found


def _without_credentials(value: str) -> str:
    """OLLAMA_HOST may be http://user:password@host."""
    if "@" not in value and "://" not in value:
        return value
    return ",".join(url_without_secrets(part) for part in value.split(","))
