"""The instrument `gpu`, over GPUs whose load is known: what it says, and what it does not claim."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

import pytest
from harness_hardware import GpuOptions
from harness_hardware import gpu as module
from harness_hardware.gpu import Gpu, pids_unknown
from harness_hardware.gpu_series import Sample
from msgspec.structs import replace

from harness.devices import GpuProcess, NoDevices
from harness.devices.synthetic import FOREIGN_PID, Synthetic, SyntheticSpec
from harness.errors import HarnessError, SpecError
from harness.host import Host
from harness.protocols import InstrumentConfig
from harness.sampling import Cost
from harness.testing import FakeClock, InstrumentContract


class Beat:
    """In the place of the sampling thread: samples are taken when the test says so."""

    def __init__(self, take, interval_s, name):
        self.take, self.interval_s, self.taken = take, interval_s, 0

    def start(self):
        pass

    def stop(self):
        return Cost(samples=self.taken, missed=0, cpu_s=0.001, wall_s=1.0, read_bytes=0)


class Bench:
    """One instrument over synthetic devices, and time that passes at once."""

    def __init__(self, *, provider=None, pieces=None, processes=None, urls=(), options=(), **spec):
        self.clock = FakeClock()
        self.provider = provider or Synthetic(
            SyntheticSpec(**spec), clock=self.clock, pieces=pieces, processes=processes
        )
        self.gpu = Gpu(
            GpuOptions(**dict(options)), urls, provide=lambda named: self.provider, pace=self.beats
        )

    def beats(self, take, interval_s, name):
        self.beat = Beat(take, interval_s, name)
        return self.beat

    def observe(self, seconds):
        """What it saw of an iteration of that length, by the name of the figure."""
        self.gpu.start()
        self.began_ns = self.clock.monotonic_ns()
        for _ in range(int(seconds / self.beat.interval_s)):
            self.clock.wait(self.beat.interval_s)
            self.beat.take()
            self.beat.taken += 1
        self.ended_ns = self.clock.monotonic_ns()
        self.seen = self.gpu.stop()
        return {one.name.removeprefix("gpu."): one.value for one in self.seen.metrics}

    def opened(self, seconds=6.0):
        self.gpu.open()
        return self.observe(seconds)

    def true_j(self):
        return self.provider.true_energy_j(self.began_ns, self.ended_ns)

    def why(self, name):
        return self.seen.unknown[f"gpu.{name}"]


# ---- what it says


def test_the_energy_of_all_devices_is_recovered_within_its_bound():
    bench = Bench(devices=3, quiet_s=4, idle_w=70, busy_w=350, busy_s=0.7, rest_s=0.4)
    found = bench.opened(7.3)
    assert abs(found["energy_j"] - 3 * bench.true_j()) <= found["energy_bound_j"]
    assert found["energy_bound_j"] <= 3 * 2 * 0.1 * 350 + 0.01
    assert found["idle_power_w"] == pytest.approx(3 * 70, rel=0.01)
    assert found["counter_period_ms"] == pytest.approx(100, abs=3)
    assert found["devices"] == 3
    assert {one.provenance for one in bench.seen.metrics if one.name in NAMED} == {"simulated"}


NAMED = ("gpu.energy_j", "gpu.power_mean_w", "gpu.memory_used_max_bytes")


def test_power_memory_clocks_heat_and_throttling_are_those_of_the_load():
    bench = Bench(quiet_s=3.5, busy_s=1, rest_s=1, thermal_share=0.25, capped_share=0.5, used_gib=6)
    found = bench.opened(8.0)
    assert found["power_mean_w"] == pytest.approx(180, rel=0.05)
    assert found["power_peak_w"] == 300
    assert found["utilisation_mean_percent"] == pytest.approx(50, abs=6)
    assert found["sm_clock_mean_mhz"] == pytest.approx(1050, rel=0.1)
    assert found["memory_clock_mean_mhz"] == 2600
    assert found["temperature_max_c"] == 60
    assert found["memory_used_max_bytes"] == found["process_memory_max_bytes"] == 6 * 2**30
    assert found["throttled_thermal_ms"] == pytest.approx(2000, rel=0.02)
    assert found["throttled_power_ms"] == pytest.approx(4000, rel=0.02)
    assert found["foreign_processes"] == 0
    assert found["samples"] == 160 and found["sampling_cpu_ms"] == 1.0


def test_figures_of_hardware_are_measured():
    clock = FakeClock()
    provider = Synthetic(clock=clock)
    provider.source = "nvml"
    bench = Bench(provider=provider)
    bench.clock = clock
    bench.opened()
    assert {one.provenance for one in bench.seen.metrics} == {"measured"}


def test_the_samples_are_kept_with_their_source():
    bench = Bench(devices=2)
    bench.opened(2.5)
    ((name, text),) = bench.seen.artifacts
    rows = [*csv.DictReader(io.StringIO(text))]
    assert name == "samples.csv" and len({row["uuid"] for row in rows}) == 2
    assert {row["source"] for row in rows} == {"synthetic"}
    assert float(rows[-1]["at_ms"]) > 2400
    assert float(rows[-1]["energy_j"]) > float(rows[0]["energy_j"])
    quiet = Bench(options={"samples": False})
    quiet.opened(2.5)
    assert quiet.seen.artifacts == ()


# ---- what it does not claim


def test_a_short_window_has_no_energy_and_the_rest_is_there():
    bench = Bench()
    found = bench.opened(1.5)
    assert "energy_j" not in found and "it takes 2 s" in bench.why("energy_j")
    assert "it takes 2 s" in bench.why("energy_bound_j")
    assert found["power_mean_w"] > 0
    assert bench.observe(3.0)["energy_j"] > 0  # the next iteration is long enough


def test_a_slow_counter_needs_a_longer_window():
    bench = Bench(period_ms=400)
    bench.opened(5.0)
    assert "updates of the energy counter" in bench.why("energy_j")
    assert "energy_j" in bench.observe(9.0)


def test_a_counter_that_begins_anew_gives_no_energy():
    bench = Bench(reset_at_s=6.0)
    bench.opened(6.0)
    assert "began anew" in bench.why("energy_j")


def test_a_sample_under_way_as_the_window_ends_is_no_reset():
    """It began before the end, and read the counter after its next step."""
    bench = Bench(quiet_s=60)
    bench.opened()
    bench.gpu.start()
    bench.clock.wait(5.0)
    window, uuid = bench.gpu._window, bench.provider.devices()[0].uuid
    window.end()
    began_ns = window._ended_ns - 1_000_000
    bench.clock.wait(0.15)
    late = replace(bench.provider.read(uuid), at_ns=began_ns, took_ns=151_000_000)
    window.samples.append(Sample(began_ns, (late,)))
    window.last(0.1)
    found = window.figures(bench.gpu._periods, "off")
    assert found["energy_j"].value == pytest.approx(300.0, abs=found["energy_bound_j"].value)


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        ("energy_mj", {"energy_j", "energy_bound_j", "counter_period_ms", "idle_power_w"}),
        ("power_mw", set()),  # there is that of the instant
        ("power_mw+power_instant_mw", {"power_mean_w", "power_peak_w"}),
        ("memory_used_bytes", {"memory_used_max_bytes"}),
        ("utilisation_percent", {"utilisation_mean_percent"}),
        ("sm_clock_mhz", {"sm_clock_mean_mhz"}),
        ("temperature_c", {"temperature_max_c"}),
        ("throttled_ns", {"throttled_thermal_ms", "throttled_power_ms"}),
        ("processes", {"foreign_processes", "foreign_drawing", "process_memory_max_bytes"}),
        ("process_memory", {"process_memory_max_bytes"}),
    ],
)
def test_what_a_device_does_not_tell_is_unknown_alone(missing, lost):
    bench = Bench(missing=missing, options={"idle_s": 1.0})
    bench.opened(3.0)
    assert {name.removeprefix("gpu.") for name in bench.seen.unknown} == lost
    assert all("Not Supported" in why or "does not" in why for why in bench.seen.unknown.values())


def test_a_gpu_that_falls_off_the_bus_takes_its_figures_with_it():
    bench = Bench(lost_at_s=5.0)
    bench.opened(6.0)
    assert "GPU is lost" in bench.why("energy_j")
    assert "GPU is lost" in bench.why("temperature_max_c")


def test_the_same_figures_are_there_or_unknown_whatever_fails():
    def names(**how):
        bench = Bench(**how)
        bench.opened(3.0)
        return {one.name for one in bench.seen.metrics} | set(bench.seen.unknown)

    whole = names()
    assert names(missing="energy_mj+power_mw+power_instant_mw+processes") == whole
    assert names(lost_at_s=4.0) == whole
    assert names(period_ms=500, options={"idle_s": 0}) == whole


def test_the_table_of_the_page_is_what_it_gives():
    page = (Path(__file__).resolve().parents[2] / "docs" / "gpu.md").read_text("utf-8")
    table = re.search(r"<!-- gpu figures -->\n(.*?)<!-- end -->", page, re.S)[1]
    rows = re.findall(r"^\| `(gpu\.\w+)` \| (\S+) \|", table, re.M)
    bench = Bench(options={"sampled": "always"})
    bench.opened(3.0)
    given = {one.name: one.unit for one in bench.seen.metrics}
    assert dict(rows) == given and not bench.seen.unknown


# ---- sampled power


def test_sampled_energy_has_a_name_of_its_own_and_comes_near():
    bench = Bench(options={"sampled": "always"}, average_s=0)
    found = bench.opened(10.0)
    assert found["energy_sampled_j"] == pytest.approx(bench.true_j(), rel=0.05)
    assert abs(found["energy_j"] - bench.true_j()) <= found["energy_bound_j"]
    assert found["idle_power_sampled_w"] > 0


def test_the_fallback_is_for_devices_without_a_counter():
    bench = Bench(options={"sampled": "fallback"})
    bench.opened(5.0)
    assert "is better" in bench.why("energy_sampled_j")
    bench = Bench(options={"sampled": "fallback"}, missing="energy_mj")
    found = bench.opened(5.0)
    assert found["energy_sampled_j"] == pytest.approx(bench.true_j(), rel=0.2)
    assert "energy_j" not in found
    bench.observe(1.0)
    assert "it takes 2 s" in bench.why("energy_sampled_j")


def test_off_means_that_it_is_no_figure_at_all():
    bench = Bench(missing="energy_mj")
    bench.opened(3.0)
    assert not any("sampled" in name for name in bench.seen.unknown)


# ---- processes


def test_foreign_processes_are_counted_and_ours_are_not():
    bench = Bench(foreign=2)
    found = bench.opened(3.0)
    assert found["foreign_processes"] == 2
    assert found["process_memory_max_bytes"] == 4 * 2**30


def test_a_server_in_a_container_can_be_named():
    server = GpuProcess(pid=FOREIGN_PID + 3, used_bytes=9)
    found = Bench(processes=(server,), options={"pids": (FOREIGN_PID + 3,)}).opened(3.0)
    assert (found["foreign_processes"], found["process_memory_max_bytes"]) == (0, 9)


def test_a_desktop_is_counted_apart():
    ours = GpuProcess(pid=os.getpid(), used_bytes=5)
    desktop = GpuProcess(pid=FOREIGN_PID + 9, used_bytes=7, draws=True)
    found = Bench(processes=(ours, desktop)).opened(3.0)
    assert (found["foreign_processes"], found["foreign_drawing"]) == (0, 1)
    assert found["process_memory_max_bytes"] == 5


def test_with_none_of_ours_there_is_no_memory_of_ours():
    stranger = (GpuProcess(pid=FOREIGN_PID + 9, used_bytes=5),)
    bench = Bench(processes=stranger)
    found = bench.opened(3.0)
    assert found["foreign_processes"] == 1
    assert "none of our processes" in bench.why("process_memory_max_bytes")


def test_in_a_container_processes_are_not_told_apart(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PID_NAMESPACE", "pid:[another]")
    if os.path.exists("/proc/self/ns/pid"):  # noqa: PTH110
        assert "container" in pids_unknown("nvml")
    assert pids_unknown("synthetic") == ""
    assert "recording" in pids_unknown("replay")


# ---- which devices


def uuids(bench):
    return [one.uuid for one in bench.gpu._devices]


def test_the_devices_that_our_processes_are_on_are_used():
    class Second(Synthetic):
        def processes(self, uuid):
            seen = super().processes(uuid)
            return seen if uuid == self.devices()[1].uuid else type(seen)()

    clock = FakeClock()
    bench = Bench(provider=Second(SyntheticSpec(devices=3), clock=clock))
    bench.clock = clock
    bench.gpu.open()
    assert uuids(bench) == [bench.provider.devices()[1].uuid]


def test_without_processes_those_that_are_visible_are_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    bench = Bench(devices=3, processes=())
    bench.gpu.open()
    assert uuids(bench) == [bench.provider.devices()[2].uuid, bench.provider.devices()[1].uuid]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(HarnessError, match="hides every GPU"):
        Bench(processes=()).gpu.open()


def test_devices_can_be_named():
    bench = Bench(devices=3, options={"devices": ("GPU-5eed0002", 0, "0")})
    bench.gpu.open()
    assert uuids(bench) == [bench.provider.devices()[2].uuid, bench.provider.devices()[0].uuid]
    for wrong in ("7", "GPU-", ""):
        with pytest.raises(HarnessError, match="GPU here"):
            Bench(devices=3, options={"devices": (wrong,)}).gpu.open()


def test_a_server_elsewhere_has_other_gpus():
    elsewhere = ("http://192.0.2.7:1",)
    with pytest.raises(HarnessError, match="not on this machine"):
        Bench(urls=elsewhere).gpu.open()
    Bench(urls=elsewhere, options={"devices": (0,)}).gpu.open()


def test_without_a_gpu_it_says_so():
    def none(named):
        raise NoDevices("NVML: Driver Not Loaded")

    with pytest.raises(HarnessError, match="no GPU to look at: NVML: Driver Not Loaded"):
        Gpu(GpuOptions(), provide=none).open()


def test_a_source_that_means_nothing_is_refused_before_anything_starts():
    with pytest.raises(SpecError, match="no source of GPU figures"):
        made(source="nvlm")


def test_out_of_order_it_claims_nothing():
    bench = Bench()
    assert bench.gpu.stop().unknown == {"gpu": "stopped without having been started"}
    with pytest.raises(HarnessError, match="not open"):
        bench.gpu.start()


# ---- with its thread, and real time


def made(**options):
    entry = Host.load().instruments.get("gpu")
    config = InstrumentConfig(
        options=entry.decode_options(options, "$"), arm="a", cell="base", trial=0, urls=()
    )
    return entry.factory(config)


class TestGpu(InstrumentContract):
    name = "gpu"

    def instrument(self):
        return made(source="synthetic:devices=2,period_ms=5", idle_s=0.05, interval_ms=10)
