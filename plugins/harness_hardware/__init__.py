"""GPUs, CPU packages and the host: energy, memory, clocks, heat.

options.py     what each can be asked for
gpu.py         `gpu`: the NVIDIA GPUs in use, by NVML (harness.devices)
gpu_window.py  one iteration of it: counters at its ends, samples in between
gpu_energy.py  energy from a counter that steps, and the bound of its error
gpu_series.py  what the samples say
powercap.py    the energy counters of CPU packages
rapl.py        `rapl`: joules of the CPU packages
host.py        `host`: what else the machine did
facts.py       what of the machine decides how fast it is: for the run's environment
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import harness
from harness_hardware.options import GpuOptions, HostOptions, RaplOptions

if TYPE_CHECKING:
    from harness.protocols import Instrument, InstrumentConfig
    from harness.registry import InstrumentRegistry
    from harness.schema import RunSpec

__all__ = ["GpuOptions", "HostOptions", "RaplOptions"]


def make_gpu(config: InstrumentConfig) -> Instrument:
    from harness.devices import check_source
    from harness_hardware.gpu import Gpu

    check_source(config.options.source)
    return Gpu(config.options, config.urls)


def make_rapl(config: InstrumentConfig) -> Instrument:
    from harness_hardware.rapl import Rapl

    return Rapl(config.options, config.urls)


def make_host(config: InstrumentConfig) -> Instrument:
    from harness_hardware.host import Host

    return Host(config.options)


@harness.hookimpl
def harness_register_instruments(registry: InstrumentRegistry) -> None:
    registry.add(
        "gpu",
        make_gpu,
        options=GpuOptions,
        summary="energy, power, memory, clocks, heat and throttling of NVIDIA GPUs, by NVML",
    )
    registry.add(
        "rapl",
        make_rapl,
        options=RaplOptions,
        summary="joules of the CPU packages (RAPL): all that runs on them, not one process",
    )
    registry.add(
        "host",
        make_host,
        options=HostOptions,
        summary="steal, load, clocks, swap and a container's throttling, while iterations run",
    )


@harness.hookimpl
def harness_collect_environment(spec: RunSpec) -> dict[str, Any]:
    from harness_hardware.facts import facts

    return facts()
