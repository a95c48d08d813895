"""The machine and the software under which a run was made. Unknown is None."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

__all__ = ["Environment", "PluginInfo", "SelfCheck", "SelfCheckLoad"]


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


class SelfCheckLoad(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The instrument's own error at one number of streams. All of it was measured against the
    truth server's log, on one machine. Errors are stamp − true instant, in ns; None: not known."""

    streams: int
    rate_tok_s: float | None
    """Chunks per second and stream; None: as fast as the server can."""
    calls: int
    chunks: int
    kernel_share: float
    """Of the calls: first-token stamp by the kernel."""
    first_token_p50_ns: float | None = None
    first_token_p99_ns: float | None = None
    first_token_max_ns: float | None = None
    chunk_p50_ns: float | None = None
    chunk_p99_ns: float | None = None
    chunk_max_ns: float | None = None
    ttft_bias_p50_ns: float | None = None
    inter_chunk_bias_p50_ns: float | None = None
    """Reported − true gap between successive chunks, median of the signed differences …"""
    inter_chunk_error_p99_ns: float | None = None
    """… and p99 of their sizes."""
    client_lag_p50_ns: float | None = None
    """From the send of a chunk to the return of the read that brought it, over all chunks: what the
    error of a stamp taken in user space would be."""
    client_lag_p99_ns: float | None = None
    client_lag_max_ns: float | None = None
    cpu_ns_per_chunk: float | None = None
    """Of the whole measuring process, over the chunks it received."""
    merged_share: float | None = None
    """Of the chunks with content: read together with a later one, so that the stamp is an upper
    bound."""
    held: bool | None = None
    """Whether client and server kept up with what this load asks for."""


class SelfCheck(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `harness selfcheck` found on this machine with this build: the instrument's own
    uncertainty, kept with every result."""

    at: str
    """ISO 8601, UTC."""
    mode: Literal["quick", "full"]
    native_digest: str
    """Of the build that was checked (Environment.native_build)."""
    loads: tuple[SelfCheckLoad, ...]
    chunks_per_s_max: float | None = None
    """The highest total rate of chunks that was held without slip."""
    requests_per_s_max: float | None = None
    """The highest rate of requests that was held without slip."""


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
    selfcheck: SelfCheck | None = None
    selfcheck_unknown: str | None = None
    """Why there is none: it was never made on this machine, or for another build."""
    collected: dict[str, Any] = field(default_factory=dict)
    """What plugins added through harness_collect_environment, by plugin."""
