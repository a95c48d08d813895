"""A folder as /sys/class/powercap, whose counters go on as its clock does."""

from __future__ import annotations

import threading


class Powercap:
    """`zones`: folder → (name, watts). The clock goes on by `tick_s` each time it is read; counters
    step every `period_s`."""

    def __init__(self, root, zones, range_uj=262_143_328_850, tick_s=0.0005, period_s=0.001):
        self.root, self.zones, self.range_uj = root, dict(zones), range_uj
        self.tick_s, self.period_s = tick_s, period_s
        self.now_s, self.lock = 0.0, threading.Lock()
        self.offset_uj = dict.fromkeys(zones, 0)
        self.written = {}
        for folder, (name, _) in self.zones.items():
            (root / folder).mkdir(parents=True)
            (root / folder / "name").write_text(f"{name}\n")
            (root / folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self.write()

    def write(self):
        steps = self.now_s // self.period_s
        for folder, (_, watts) in self.zones.items():
            true_uj = int(watts * 1e6 * steps * self.period_s)
            count = (true_uj + self.offset_uj[folder]) % self.range_uj
            if self.written.get(folder) != count:
                self.written[folder] = count
                (self.root / folder / "energy_uj").write_text(f"{count}\n")

    def clock(self):
        with self.lock:
            self.now_s += self.tick_s
            self.write()
            return round(self.now_s * 1e9)

    def wait(self, seconds):
        with self.lock:
            self.now_s += seconds
            self.write()


class ByHand:
    """harness.sampling.Pace, but for its thread: the test says when a sample is due."""

    def __init__(self, take, interval_s, name):
        self.take, self.interval_s = take, interval_s

    def start(self):
        self.take()

    def stop(self):
        from harness.sampling import Cost

        return Cost(samples=1, missed=0, cpu_s=0.0, wall_s=1.0, read_bytes=0)
