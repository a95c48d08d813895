"""Instruments for any machine: what an iteration cost in time, CPU, memory and I/O, and where.

options.py    what each can be asked for
timing.py     `timing`: wall and CPU time of the iteration, context switches
counters.py   their counters now, and what happened between two readings
processes.py  `psutil`: CPU, memory, I/O and network of those processes and of the machine
profiler.py   `cprofile`: every function call of an extra iteration
stacks.py     `sampler`: what our threads were doing, asked at a steady pace
pyspy.py      `pyspy`: the same from outside, of the server too, by py-spy
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness
from harness_instruments.options import (
    CProfileOptions,
    PsutilOptions,
    PySpyOptions,
    SamplerOptions,
)

if TYPE_CHECKING:
    from harness.protocols import Instrument, InstrumentConfig
    from harness.registry import InstrumentRegistry

__all__ = ["CProfileOptions", "PsutilOptions", "PySpyOptions", "SamplerOptions"]


def make_timing(config: InstrumentConfig) -> Instrument:
    from harness_instruments.timing import Timing

    return Timing()


def make_processes(config: InstrumentConfig) -> Instrument:
    from harness_instruments.processes import Processes

    return Processes(config.options, config.urls)


def make_cprofile(config: InstrumentConfig) -> Instrument:
    from harness_instruments.profiler import CProfile

    return CProfile(config.options)


def make_sampler(config: InstrumentConfig) -> Instrument:
    from harness_instruments.stacks import Sampler

    return Sampler(config.options)


def make_pyspy(config: InstrumentConfig) -> Instrument:
    from harness_instruments.pyspy import PySpy

    return PySpy(config.options, config.urls)


@harness.hookimpl
def harness_register_instruments(registry: InstrumentRegistry) -> None:
    registry.add(
        "timing", make_timing, summary="wall and CPU time of each iteration, context switches"
    )
    registry.add(
        "psutil",
        make_processes,
        options=PsutilOptions,
        summary="CPU, memory, I/O of us, our children and a local server; network of the machine",
    )
    registry.add(
        "cprofile",
        make_cprofile,
        options=CProfileOptions,
        summary="every Python call of an extra iteration, counted and timed (perturbs it)",
    )
    registry.add(
        "sampler",
        make_sampler,
        options=SamplerOptions,
        summary="stacks of our own threads, sampled: a flame graph at little cost",
    )
    registry.add(
        "pyspy",
        make_pyspy,
        options=PySpyOptions,
        summary="stacks of us, our children or a local Python server, by py-spy (an extra)",
    )
