"""How much memory is free: on GPUs, and on the host within what its cgroups allow.

A container has less than the machine, and the kernel ends what takes more. Of a cgroup's own use
the cached files that can be dropped at once are taken off, as `free` does for the machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from harness.cgroups import PROC, ROOT, memory_bounds
from harness.devices.choose import open_provider, used_devices
from harness.devices.provider import NoDevices, Provider

__all__ = ["DeviceMemory", "free_memory", "host_memory"]


class DeviceMemory(Struct, frozen=True, kw_only=True):
    """Memory of one device. None: it does not tell, and `reason` says why."""

    kind: Literal["gpu", "host"]
    device: str
    """A GPU's UUID, or `host`."""
    name: str | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    source: str
    """Of a GPU `nvml`, `replay`, `synthetic`; of the host what limits it: `system`, `cgroup`."""
    reason: str = ""


def free_memory(
    gpus: str | None = None, *, provider: Provider | None = None
) -> tuple[DeviceMemory, ...]:
    """Now: each GPU that a process with CUDA_VISIBLE_DEVICES=`gpus` sees (None: that this one
    sees), and the host last. Where there is no GPU the host is all there is; where it cannot be
    told which one is meant, there is one without a name, and why. SpecError where HARNESS_GPU means
    nothing."""
    try:
        asked = provider or open_provider()
    except NoDevices:
        return (host_memory(),)
    try:
        return (*_gpus(asked, gpus), host_memory())
    finally:
        if provider is None:
            asked.close()


def _gpus(provider: Provider, gpus: str | None) -> list[DeviceMemory]:
    used, found = used_devices(provider, gpus), []
    if used.unknown and not used.hidden:
        return [DeviceMemory(kind="gpu", device="", source=provider.source, reason=used.unknown)]
    for device in used.devices:
        now = provider.read(device.uuid)
        found.append(
            DeviceMemory(
                kind="gpu",
                device=device.uuid,
                name=device.name,
                free_bytes=now.memory_free_bytes,
                total_bytes=device.memory_bytes,
                source=provider.source,
                reason=now.unknown.get("memory_free_bytes", ""),
            )
        )
    return found


def host_memory(*, proc: Path = PROC, root: Path = ROOT) -> DeviceMemory:
    """What can still be taken without swapping, by the machine and by every cgroup above us."""
    import psutil

    machine = psutil.virtual_memory()
    free, total, source = int(machine.available), int(machine.total), "system"
    for bound in memory_bounds(proc, root):
        total = min(total, bound.limit_bytes)
        if bound.used_bytes is not None and bound.limit_bytes - bound.used_bytes < free:
            free, source = max(0, bound.limit_bytes - bound.used_bytes), "cgroup"
    return DeviceMemory(
        kind="host", device="host", name="host", free_bytes=free, total_bytes=total, source=source
    )
