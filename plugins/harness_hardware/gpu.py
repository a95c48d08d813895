"""`gpu`: energy, power, memory, clocks, heat and throttling of the NVIDIA GPUs that are in use.

Opened when the model is loaded and nothing is asked of it: the energy counter is polled for a
while, which gives the idle power and how often the counter steps. An iteration is bracketed by the
counter of every used device; a thread takes samples of everything else in between. After the clock
has stopped, the counter's next step is waited for, which is what bounds the error (gpu_energy.py).

Energy is gross: what the devices took, idle power included, which stands beside it. Other work on
the same devices cannot be told apart; foreign processes are counted, before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from harness.devices import Device, NoDevices, Provider, Used, open_provider, used_devices
from harness.errors import HarnessError
from harness.processes import NOT_HERE, server_processes, with_children
from harness.protocols import Observation
from harness.sampling import Pace
from harness.schema import MetricValue
from harness_hardware.gpu_energy import Look, Period, idle_mw, period_of
from harness_hardware.gpu_series import Found, Sample, Unknown, power_mw, table
from harness_hardware.gpu_window import POLL_S, Window, look, sample_of
from harness_hardware.options import GpuOptions

__all__ = ["Gpu", "pids_unknown"]

PERIOD_STEPS: Final = 12
PERIOD_WITHIN_S: Final = 3.0
"""For so many steps, and no longer than this."""
FIRST_PID_NAMESPACE: Final = "pid:[4026531836]"
"""PROC_PID_INIT_INO of Linux: the one that is no container's."""


class Gpu:
    """The instrument `gpu`."""

    perturbing = False

    def __init__(
        self,
        options: GpuOptions,
        urls: tuple[str, ...] = (),
        *,
        provide: Callable[[str | None], Provider] = open_provider,
        pace: Callable[[Callable[[], None], float, str], Pace] = Pace,
    ) -> None:
        self._options, self._urls = options, urls
        self._provide, self._make_pace = provide, pace
        self._me = psutil.Process()
        self._server: list[psutil.Process] = []
        self._provider: Provider | None = None
        self._devices: tuple[Device, ...] = ()
        self._pids_unknown = ""
        self._periods: dict[str, Period | None] = {}
        self._idle: dict[str, Found | str] = {}
        self._pace: Pace | None = None
        self._window: Window | None = None

    def open(self) -> None:
        try:
            self._provider = self._provide(self._options.source)
        except NoDevices as why:
            raise HarnessError(f"there is no GPU to look at: {why}") from why
        self._server, no_server = server_processes(self._urls)
        if no_server == NOT_HERE and self._options.devices == "auto":
            raise HarnessError(
                f"{no_server}, and its GPUs are not this machine's",
                remedy="name devices in the instrument's options, if they are meant",
            )
        self._pids_unknown = pids_unknown(self._provider.source)
        self._devices = self._chosen().devices
        self._baseline()

    def start(self) -> None:
        provider = self._opened()
        if self._server and not all(one.is_running() for one in self._server):
            self._server, _ = server_processes(self._urls)  # it was restarted
        self._window = window = Window(provider, self._devices, self._ours(), self._pids_unknown)
        self._pace = self._make_pace(window.sample, self._options.interval_ms / 1e3, "gpu")
        window.begin()
        self._pace.start()

    def stop(self) -> Observation:
        pace, window = self._pace, self._window
        self._pace = self._window = None
        if pace is None or window is None:
            return Observation(unknown={"gpu": "stopped without having been started"})
        window.end()
        cost = pace.stop()
        window.ours |= self._ours()
        window.last(self._longest_s())
        figures = window.figures(self._periods, self._options.sampled) | self._idle
        return self._observed(figures, cost.observation("gpu"), window)

    def close(self) -> None:
        if self._pace is not None:
            self._pace.stop()
            self._pace = None
        if self._provider is not None:
            self._provider.close()
            self._provider = None

    # ------------------------------------------------------------------------------------------

    def _opened(self) -> Provider:
        if self._provider is None:
            raise HarnessError("the instrument gpu is not open")
        return self._provider

    def _ours(self) -> set[int]:
        found = {one.pid for one in with_children([self._me, *self._server])}
        return found | {*self._options.pids}

    def _chosen(self) -> Used:
        """Those that were asked for; or else those that we or the server are on; or else those
        that a process of ours sees."""
        provider, asked = self._opened(), self._options.devices
        if asked != "auto":
            return Used(devices=_named(asked, provider.devices()), by="options")
        if not self._pids_unknown:
            ours, on = self._ours(), []
            for device in provider.devices():
                listed = provider.processes(device.uuid).listed
                if any(one.pid in ours for one in listed):
                    on.append(device)
            if on:
                return Used(devices=tuple(on), by="processes")
        used = used_devices(provider)
        if not used.devices:
            raise HarnessError(used.unknown or "no GPU is used")
        return used

    def _baseline(self) -> None:
        """With the model loaded and no calls: idle power, and how often each counter steps."""
        provider, clock = self._opened(), self._opened().clock
        looks: dict[str, list[Look]] = {one.uuid: [] for one in self._devices}
        samples: list[Sample] = []
        began_ns = clock.monotonic_ns()
        seen_ns, took_s = began_ns, 0.0
        while took_s < self._options.idle_s or (
            took_s < PERIOD_WITHIN_S and not all(map(_settled, looks.values()))
        ):
            for uuid, of in looks.items():
                of.append(look(provider, uuid))
            if self._options.sampled != "off" and clock.monotonic_ns() >= seen_ns:
                samples.append(sample_of(provider, self._devices))
                seen_ns += round(self._options.interval_ms * 1e6)
            clock.wait(POLL_S)
            took_s = (clock.monotonic_ns() - began_ns) / 1e9
        self._periods = {uuid: period_of(of) for uuid, of in looks.items()}
        self._idle = {"idle_power_w": self._idle_power(looks)}
        if self._options.sampled != "off":
            self._idle["idle_power_sampled_w"] = _tried(lambda: _mean_w(samples))

    def _idle_power(self, looks: dict[str, list[Look]]) -> Found | str:
        if not self._options.idle_s:
            return "no baseline was taken (idle_s is 0)"
        each = [idle_mw(of) for of in looks.values()]
        known = [mw for mw in each if mw is not None]
        if len(known) < len(each):
            return "the energy counter of a device did not step, or does not answer"
        return Found(sum(known) / 1e3, "W")

    def _longest_s(self) -> float:
        known = [one.longest_ns for one in self._periods.values() if one is not None]
        return max(known, default=0.0) / 1e9

    def _observed(
        self, figures: dict[str, Found | str], cost: Observation, window: Window
    ) -> Observation:
        provider = self._opened()
        simulated = provider.source != "nvml"
        metrics = [
            MetricValue(
                name=f"gpu.{name}",
                value=float(one.value),
                unit=one.unit,
                better=one.better,
                provenance="simulated" if simulated else "measured",
            )
            for name, one in figures.items()
            if isinstance(one, Found)
        ]
        unknown = {f"gpu.{name}": one for name, one in figures.items() if isinstance(one, str)}
        kept: tuple[tuple[str, str], ...] = ()
        if self._options.samples:
            kept = (("samples.csv", table(window.samples, window.began_ns, provider.source)),)
        return Observation(metrics=(*metrics, *cost.metrics), unknown=unknown, artifacts=kept)


def pids_unknown(source: str) -> str:
    """Why processes on a device cannot be matched with ours; empty where they can."""
    if source == "replay":
        return "a recording has no processes of this machine"
    try:
        inside = Path("/proc/self/ns/pid").readlink().as_posix() != FIRST_PID_NAMESPACE
    except OSError:
        return ""  # no Linux, or no /proc: no containers of this kind
    if source == "nvml" and inside:
        return "in a container, processes have other numbers than the driver's"
    return ""


def _named(asked: Sequence[str | int], devices: tuple[Device, ...]) -> tuple[Device, ...]:
    found: dict[str, Device] = {}
    for name in asked:
        wanted = str(name).casefold()
        same = [one for one in devices if str(one.index) == wanted]
        same = same or [one for one in devices if one.uuid.casefold().startswith(wanted)]
        if len(same) != 1 or not wanted:
            there = ", ".join(f"{one.index} {one.uuid}" for one in devices)
            raise HarnessError(
                f"{name!r} is {'no' if not same else 'more than one'} GPU here",
                where="gpu.options.devices",
                remedy=f"an index of NVML's or a UUID: {there}",
            )
        found[same[0].uuid] = same[0]
    return tuple(found.values())


def _settled(looks: list[Look]) -> bool:
    if looks and looks[-1].energy_mj is None:
        return True  # it does not answer, and will not
    period = period_of(looks)
    return period is not None and period.steps >= PERIOD_STEPS


def _mean_w(samples: list[Sample]) -> Found:
    points = power_mw(samples)
    return Found(sum(mw for _, mw in points) / len(points) / 1e3, "W")


def _tried(make: Callable[[], Any]) -> Found | str:
    try:
        made: Found = make()
    except Unknown as why:
        return str(why)
    return made
