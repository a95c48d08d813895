"""What the instruments can be asked for. Light on purpose: imported at every start."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["GpuOptions", "HostOptions", "RaplOptions"]


class GpuOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the instrument `gpu`."""

    devices: Literal["auto"] | tuple[str | int, ...] = "auto"
    """`auto`: those that our processes or the local server are on; where that cannot be told, those
    that CUDA_VISIBLE_DEVICES shows. Or UUIDs (their beginnings), or indices as NVML and nvidia-smi
    count, which is not as CUDA does."""
    pids: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    """Further processes that are the server's: one in a container is not found by its port. As
    nvidia-smi lists them."""
    interval_ms: Annotated[float, Meta(ge=10, le=60_000)] = 50.0
    """Between two samples. Energy is a counter: it needs none. Each takes a kilobyte for a device
    while the iteration runs: of iterations of hours, take fewer."""
    idle_s: Annotated[float, Meta(ge=0, le=600)] = 3.0
    """As a trial opens, the model loaded and nothing asked of it: so long the power is watched that
    is drawn then (`gpu.idle_power_w`). 0: not at all."""
    sampled: Literal["off", "fallback", "always"] = "off"
    """Also integrate the sampled power: `gpu.energy_sampled_j`, which no other figure is made of.
    `fallback`: where a device has no energy counter."""
    samples: bool = True
    """Keep the samples as an artifact, `samples.csv`."""
    source: str | None = None
    """Where figures come from, as in HARNESS_GPU: `nvml`, `replay:FILE`, `synthetic:KEY=VALUE,…`.
    None: what HARNESS_GPU says, or else NVML. All but `nvml` are `simulated`."""


class RaplOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the instrument `rapl`."""

    interval_ms: Annotated[float, Meta(ge=10, le=1000)] = 100.0
    """Between two looks at the counters: what the peak power is a mean over. Sooner where a
    counter's range is so small that it might wrap unseen."""
    idle_s: Annotated[float, Meta(ge=0, le=600)] = 1.0
    """As a trial opens, before anything is asked of the server: so long the power is watched that
    is drawn then (`rapl.idle_power_w`). 0: not at all."""
    elsewhere: bool = False
    """Also where the server is on another machine: the joules are then the client's alone."""
    root: str = "/sys/class/powercap"
    """Where the counters are: another folder in a container that is given the host's, such as
    /host/sys/class/powercap. What is not the kernel's own (sysfs) makes figures `simulated`."""


class HostOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the instrument `host`."""

    interval_ms: Annotated[float, Meta(ge=20, le=60_000)] = 200.0
    """Between two samples of load, clocks and swap. Times (steal, throttling) are counters, read as
    the iteration begins and ends."""
