"""GPUs of this machine, behind one small interface: NVML, a recording, or made up for tests.

provider.py   the interface: devices, read, energy, processes, close; what a reading holds
nvml.py       the real thing, by nvidia-ml-py: every call may fail alone
replay.py     a trace that was recorded once, from a file, and the writer of such files
synthetic.py  counters and sensors of a load that is known exactly, for tests
choose.py     which of them (HARNESS_GPU), and which devices a value of CUDA_VISIBLE_DEVICES means
cuda.py       what CUDA itself says of that, asked in a process of its own
memory.py     free_memory: of GPUs and of the host, with the limits of its cgroups

Readings say where they come from (`source`): figures of `replay` and `synthetic` are never to pass
for measured ones.
"""

from __future__ import annotations

from harness.devices.choose import Used, check_source, open_provider, used_devices
from harness.devices.memory import DeviceMemory, free_memory, host_memory
from harness.devices.provider import (
    Clock,
    Device,
    Energy,
    GpuProcess,
    MachineClock,
    NoDevices,
    Processes,
    Provider,
    Reading,
    Source,
)

__all__ = [
    "Clock",
    "Device",
    "DeviceMemory",
    "Energy",
    "GpuProcess",
    "MachineClock",
    "NoDevices",
    "Processes",
    "Provider",
    "Reading",
    "Source",
    "Used",
    "check_source",
    "free_memory",
    "host_memory",
    "open_provider",
    "used_devices",
]
