"""How much memory the worker took at most, by three measures that never agree.

allocated   what tensors took, by torch's own allocator (CUDA)
reserved    what that allocator kept of the device, free blocks included (CUDA)
process     what the whole process took: on a GPU by NVML, with the CUDA context and libraries in
            it; else its resident memory, by the kernel

Peaks are of one batch where they can be reset, which they can on Linux and by torch. NVML tells
what is taken now, and is asked when a request ends: torch gives nothing back before that.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.devices import NoDevices, Provider

if TYPE_CHECKING:
    import torch

__all__ = ["Meter", "rss_peak_bytes", "taken_bytes"]

_STATUS: Final = Path("/proc/self/status")
_RESET: Final = Path("/proc/self/clear_refs")


class Meter:
    """Of the devices that one model is on."""

    def __init__(self, devices: list[torch.device]) -> None:
        self._cuda = [device for device in devices if device.type == "cuda"]
        self._driver = _driver() if self._cuda else None

    def begin(self) -> None:
        """From now on."""
        import torch

        for device in self._cuda:
            torch.cuda.reset_peak_memory_stats(device)
        with contextlib.suppress(OSError):
            _RESET.write_text("5")

    def peaks(self) -> dict[str, Any]:
        """Since `begin`. What cannot be told is not there."""
        import torch

        if not self._cuda:
            found = rss_peak_bytes()
            if found is None:
                return {}
            return {"memory_process_peak_bytes": found, "memory_process_of": "rss"}
        told: dict[str, Any] = {
            "memory_allocated_peak_bytes": sum(map(torch.cuda.max_memory_allocated, self._cuda)),
            "memory_reserved_peak_bytes": sum(map(torch.cuda.max_memory_reserved, self._cuda)),
        }
        taken = taken_bytes(self._driver) if self._driver is not None else None
        if taken is not None:
            told |= {"memory_process_peak_bytes": taken, "memory_process_of": "nvml"}
        return told


def rss_peak_bytes() -> int | None:
    """Of this process, since the last reset (Linux) or ever."""
    try:
        for line in _STATUS.read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def taken_bytes(driver: Provider) -> int | None:
    """By this process, over all its GPUs. In a container the driver's process numbers may be
    others: then, and where it does not tell, nobody knows."""
    seen = [driver.processes(device.uuid) for device in driver.devices()]
    ours = [one.used_bytes for each in seen for one in each.listed if one.pid == os.getpid()]
    known = [size for size in ours if size is not None]
    if any(each.unknown for each in seen) or not known or len(known) != len(ours):
        return None
    return sum(known)


def _driver() -> Provider | None:
    """For as long as the process lives; None where it does not answer."""
    from harness.devices.nvml import Nvml

    try:
        return Nvml()
    except NoDevices:
        return None
