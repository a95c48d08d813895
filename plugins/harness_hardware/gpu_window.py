"""One iteration as the instrument `gpu` sees it: counters at its ends, samples in between."""

from __future__ import annotations

from typing import Final

from harness.devices import Device, Provider
from harness.joules import UPDATES_MIN, WINDOW_MIN_S, why_too_short
from harness_hardware.gpu_energy import (
    Counted,
    Look,
    Period,
    counted,
    integrated_mj,
)
from harness_hardware.gpu_series import Found, Sample, Unknown, power_mw, series_figures

__all__ = ["POLL_S", "Window", "look", "sample_of"]

POLL_S: Final = 0.002
"""Between two looks at a counter that is waited for; it steps every 20 to 100 ms."""
LISTED_EVERY_S: Final = 1.0
"""Between two looks at who is on a device."""


class Window:
    """One iteration: the counters at its ends, and the samples in between."""

    def __init__(
        self, provider: Provider, devices: tuple[Device, ...], ours: set[int], pids_unknown: str
    ) -> None:
        self._provider, self._devices, self._pids_unknown = provider, devices, pids_unknown
        self.ours = ours
        self.samples: list[Sample] = []
        self._begun: dict[str, Look] = {}
        self._ended: dict[str, Look] = {}
        self._after: dict[str, Look] = {}
        self._listed_ns = 0
        self._listed: list[dict[int, int | None]] = []
        """pid → bytes on all devices together, at each look."""
        self._computing: set[int] = set()
        """The others only draw."""
        self._listing_failed = ""
        self.began_ns = self._ended_ns = 0

    def begin(self) -> None:
        """The counters last: what comes before them is not in the window."""
        self.sample()
        self._begun = {one.uuid: look(self._provider, one.uuid) for one in self._devices}
        self.began_ns = self._provider.clock.monotonic_ns()

    def end(self) -> None:
        """The counters first."""
        self._ended_ns = self._provider.clock.monotonic_ns()
        self._ended = {one.uuid: look(self._provider, one.uuid) for one in self._devices}

    def sample(self) -> None:
        self.samples.append(sample_of(self._provider, self._devices))
        if self.samples[-1].at_ns - self._listed_ns >= LISTED_EVERY_S * 1e9 or not self._listed:
            self._list()

    def last(self, longest_s: float) -> None:
        """After the window: who is there, a last sample, and the next step of each counter."""
        self.samples.append(sample_of(self._provider, self._devices))
        self._list()
        clock = self._provider.clock
        # One full period after the end every joule of the window has been shown; a half more,
        # because the longest that was seen need not be the longest there is.
        until_ns = self._ended_ns + round(1.5 * longest_s * 1e9)
        waiting = [one.uuid for one in self._devices]
        while waiting:
            self._after |= {uuid: look(self._provider, uuid) for uuid in waiting}
            if clock.monotonic_ns() >= until_ns:
                break
            waiting = [
                uuid
                for uuid in waiting
                if self._after[uuid].energy_mj == self._ended[uuid].energy_mj
            ]
            clock.wait(POLL_S)

    def figures(self, periods: dict[str, Period | None], sampled: str) -> dict[str, Found | str]:
        found: dict[str, Found | str] = {"devices": Found(len(self._devices), "devices")}
        found |= self._energy(periods)
        if sampled != "off":
            found["energy_sampled_j"] = self._sampled(sampled, found["energy_j"])
        found |= series_figures(self.samples)
        return found | self._processes()

    # ------------------------------------------------------------------------------------------

    def _window_s(self) -> float:
        return (self._ended_ns - self.began_ns) / 1e9

    def _energy(self, periods: dict[str, Period | None]) -> dict[str, Found | str]:
        known = [one for one in periods.values() if one is not None]
        found: dict[str, Found | str] = {
            "counter_period_ms": "the energy counter did not step, or does not answer"
        }
        if known and len(known) == len(periods):
            slowest = max(known, key=lambda one: one.median_ns)
            found["counter_period_ms"] = Found(slowest.median_ns / 1e6, "ms")
        why, energy_mj, bound_mj = "", 0, 0
        for device in self._devices:
            one = self._counted(device, periods.get(device.uuid))
            if one.energy_mj is None or one.bound_mj is None:
                why = f"{one.reason} ({device.uuid})"
                break
            energy_mj, bound_mj = energy_mj + one.energy_mj, bound_mj + one.bound_mj
        if why:
            return found | {"energy_j": why, "energy_bound_j": why}
        return found | {
            "energy_j": Found(energy_mj / 1e3, "J", "lower"),
            "energy_bound_j": Found(bound_mj / 1e3, "J", "lower"),
        }

    def _counted(self, device: Device, period: Period | None) -> Counted:
        at = self._devices.index(device)
        readings = [row.readings[at] for row in self.samples]
        # Whole within the window: a sample that was under way as it ended has, of some device, what
        # the counter showed after its last look, and would seem to go back.
        within = [
            Look(one.at_ns, one.energy_mj)
            for one in readings
            if self.began_ns <= one.at_ns and one.at_ns + one.took_ns <= self._ended_ns
        ]
        uuid = device.uuid
        one = counted(self._begun[uuid], within, self._ended[uuid], self._after[uuid])
        said = self.samples[-1].readings[at].unknown.get("energy_mj")
        if one.energy_mj is None and said is not None:
            return Counted(reason=f"the energy counter: {said}")
        if one.energy_mj is None and "anew" in one.reason:
            return one
        period_s = None if period is None else period.median_ns / 1e9
        why = why_too_short(self._window_s(), period_s)
        return Counted(reason=why) if why else one

    def _sampled(self, sampled: str, by_counter: Found | str) -> Found | str:
        """By the trapezoidal rule: as good as the power sensor, which may see a quarter of the
        time, and without a bound."""
        if sampled == "fallback" and isinstance(by_counter, Found):
            return "the energy counter answers, and is better"
        if self._window_s() < WINDOW_MIN_S:
            return why_too_short(self._window_s(), None)
        inside = [one for one in self.samples if self.began_ns <= one.at_ns <= self._ended_ns]
        try:
            points = power_mw(inside)
        except Unknown as why_not:
            return str(why_not)
        if len(points) < UPDATES_MIN:
            return f"{len(points)} samples of the power, under {UPDATES_MIN}"
        total_mj = integrated_mj(points, self.began_ns, self._ended_ns)
        return "no samples" if total_mj is None else Found(total_mj / 1e3, "J", "lower")

    def _list(self) -> None:
        self._listed_ns = self.samples[-1].at_ns
        found: dict[int, int | None] = {}
        for device in self._devices:
            seen = self._provider.processes(device.uuid)
            self._listing_failed = self._listing_failed or seen.unknown
            for one in seen.listed:
                if not one.draws:
                    self._computing.add(one.pid)
                before = found.get(one.pid, 0)
                known = before is not None and one.used_bytes is not None
                found[one.pid] = (before or 0) + (one.used_bytes or 0) if known else None
        self._listed.append(found)

    def _processes(self) -> dict[str, Found | str]:
        why = self._pids_unknown or self._listing_failed
        if why:
            names = ("foreign_processes", "foreign_drawing", "process_memory_max_bytes")
            return dict.fromkeys(names, why)
        strangers = {pid for seen in self._listed for pid in seen if pid not in self.ours}
        found: dict[str, Found | str] = {
            "foreign_processes": Found(len(strangers & self._computing), "processes", "lower"),
            "foreign_drawing": Found(len(strangers - self._computing), "processes"),
        }
        ours = [{p: used for p, used in seen.items() if p in self.ours} for seen in self._listed]
        if not any(ours):
            found["process_memory_max_bytes"] = "none of our processes is on these devices"
        elif any(used is None for seen in ours for used in seen.values()):
            found["process_memory_max_bytes"] = "the driver does not tell it by process"
        else:
            most = max(sum(used or 0 for used in seen.values()) for seen in ours)
            found["process_memory_max_bytes"] = Found(most, "B", "lower")
        return found


def look(provider: Provider, uuid: str) -> Look:
    one = provider.energy(uuid)
    return Look((one.before_ns + one.after_ns) // 2, one.energy_mj)


def sample_of(provider: Provider, devices: tuple[Device, ...]) -> Sample:
    at_ns = provider.clock.monotonic_ns()
    return Sample(at_ns, tuple(provider.read(one.uuid) for one in devices))
