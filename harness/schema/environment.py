"""The machine and the software under which a run was made. Unknown is None."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

__all__ = ["Environment", "PluginInfo"]


class PluginInfo(Struct, frozen=True, kw_only=True):
    """One plugin that was found, whether or not it could be loaded."""

    name: str
    distribution: str | None = None
    version: str | None = None
    module: str | None = None
    status: str = "loaded"
    """`loaded`, `disabled`, `broken`, or `unknown` (to be disabled, and not installed)."""
    reason: str = ""
    """Why it is disabled or broken."""


class Environment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Taken once, before the first trial."""

    harness_version: str
    python: str
    platform: str
    kernel: str | None = None
    hostname_digest: str | None = None
    """A digest of host name and machine id: equal for equal hosts, and tells nothing else."""
    cpu_model: str | None = None
    cpu_count: int | None = None
    cpu_affinity: tuple[int, ...] = ()
    cpu_governor: str | None = None
    memory_bytes: int | None = None
    clocksource: str | None = None
    load_average: tuple[float, float, float] | None = None
    gpus: tuple[dict[str, Any], ...] = ()
    gpus_unknown: str | None = None
    """Why `gpus` is empty, where that is not because there are none."""
    packages: dict[str, str] = field(default_factory=dict)
    vcs: dict[str, str] = field(default_factory=dict)
    native_build: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables that change behaviour (OLLAMA_*, HARNESS_*), never secrets."""
    plugins: tuple[PluginInfo, ...] = ()
    collected: dict[str, Any] = field(default_factory=dict)
    """What plugins added through harness_collect_environment, by plugin."""
