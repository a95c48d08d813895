"""`rapl` on trees of counters whose true energy is known: wraps, resets, what may not be read."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from harness_hardware import rapl
from harness_hardware.options import RaplOptions
from harness_hardware.powercap import POWER_BOUND_W, Zone, find_zones, gone_uj, is_of_kernel
from harness_hardware.rapl import Rapl
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing.instrument_contract import InstrumentContract
from tests.hardware.powercap_tree import ByHand, Powercap

SERVER = {
    "intel-rapl:0": ("package-0", 60.0),
    "intel-rapl:0:0": ("core", 40.0),
    "intel-rapl:0:1": ("dram", 5.0),
    "intel-rapl:1": ("package-1", 30.0),
    "intel-rapl:1:0": ("dram", 4.0),
    "intel-rapl:2": ("psys", 120.0),
}


@pytest.fixture(autouse=True)
def by_hand(monkeypatch, request):
    if request.cls is None:  # the contract's tests have the real thread
        monkeypatch.setattr(rapl, "Pace", ByHand)


def instrument(tree, **options):
    options = {"root": str(tree.root), "idle_s": 1.0, **options}
    return Rapl(RaplOptions(**options), clock=tree.clock, wait=tree.wait)


def observed(tree, seconds=4.0, **options):
    """One window of so many seconds, with a look every half second. (figures, unknown)"""
    made = instrument(tree, **options)
    made.open()
    made.start()
    for _ in range(round(seconds * 2)):
        tree.wait(0.5)
        made._pace.take()
    found = made.stop()
    made.close()
    return {one.name: one.value for one in found.metrics}, found.unknown


def test_energy_of_packages_is_added_up_and_the_rest_stands_apart(tmp_path):
    tree = Powercap(tmp_path / "powercap", SERVER)
    found, unknown = observed(tree, seconds=4.0)
    bound_j, window_s = found["rapl.energy_bound_j"], found["rapl.window_s"]
    assert not unknown
    assert found["rapl.energy_j"] == pytest.approx(90.0 * window_s, abs=bound_j)
    assert bound_j == pytest.approx(2 * 0.001 * 90.0, rel=0.1)
    assert found["rapl.dram_energy_j"] == pytest.approx(9.0 * window_s, abs=bound_j)
    assert found["rapl.package_0_core_energy_j"] == pytest.approx(40.0 * window_s, abs=bound_j)
    assert found["rapl.package_1_energy_j"] == pytest.approx(30.0 * window_s, abs=bound_j)
    assert found["rapl.psys_energy_j"] == pytest.approx(120.0 * window_s, abs=2 * bound_j)
    assert found["rapl.idle_power_w"] == pytest.approx(90.0, rel=0.01)
    assert found["rapl.power_mean_w"] == pytest.approx(90.0, rel=0.01)
    assert found["rapl.power_peak_w"] == pytest.approx(90.0, rel=0.01)
    assert found["rapl.update_period_ms"] == pytest.approx(1.0)


def test_a_package_seen_by_two_drivers_counts_once(tmp_path):
    """Laptops show it over MSR and over MMIO."""
    zones = {"intel-rapl:0": ("package-0", 20.0), "intel-rapl-mmio:0": ("package-0", 20.0)}
    found, _ = observed(Powercap(tmp_path / "powercap", zones))
    assert found["rapl.power_mean_w"] == pytest.approx(20.0, rel=0.01)


def test_files_that_somebody_wrote_are_never_measured(tmp_path):
    tree = Powercap(tmp_path / "powercap", {"intel-rapl:0": ("package-0", 20.0)})
    made = instrument(tree)
    made.open()
    made.start()
    tree.wait(3.0)
    of = {one.name: one.provenance for one in made.stop().metrics}
    assert of["rapl.energy_j"] == of["rapl.power_mean_w"] == "simulated"
    assert of["rapl.samples"] == "measured"  # what it cost us is real


def test_what_is_of_the_kernel_is_told_by_the_mounts(tmp_path):
    mounts = tmp_path / "mountinfo"
    root = tmp_path / "a b" / "class" / "powercap"
    root.mkdir(parents=True)
    told = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {told} ro - sysfs sysfs rw\n")
    assert is_of_kernel(root, mounts)
    mounts.write_text("1 0 0:1 / / rw - ext4 /dev/x rw\nnonsense\n")
    assert not is_of_kernel(root, mounts)
    if Path("/sys/class").is_dir() and os.path.ismount("/sys"):
        assert is_of_kernel(Path("/sys/class"))


@pytest.mark.parametrize(
    ("seconds", "needs"), [(0.5, "it takes 2 s"), (1.5, "too short for joules")]
)
def test_a_short_window_gives_no_joules(tmp_path, seconds, needs):
    found, unknown = observed(Powercap(tmp_path / "powercap", SERVER), seconds=seconds)
    assert needs in unknown["rapl.energy_j"]
    assert not any(name.endswith(("energy_j", "power_mean_w", "bound_j")) for name in found)
    assert "rapl.idle_power_w" in found


def test_a_slow_counter_needs_a_longer_window(tmp_path):
    slow = Powercap(tmp_path / "powercap", SERVER, tick_s=0.02, period_s=0.2)
    _, unknown = observed(slow, seconds=2.0)
    assert 3.4 < float(re.search(r"takes (\S+) s", unknown["rapl.energy_j"])[1]) < 4.6


def test_a_counter_that_stands_still_counts_nothing(tmp_path):
    tree = Powercap(tmp_path / "powercap", {"intel-rapl:0": ("package-0", 0.0)})
    _, unknown = observed(tree)
    assert "did not move" in unknown["rapl.energy_j"]


def test_a_wrap_within_the_window(tmp_path):
    """65 kJ, as some AMD processors have; 10 J before its end."""
    tree = Powercap(tmp_path / "powercap", SERVER, range_uj=65_532_610_987)
    tree.offset_uj = dict.fromkeys(tree.zones, 65532610987 - 10000000)
    made = instrument(tree, idle_s=0)
    made.open()
    made.start()
    for _ in range(4):
        tree.wait(1.0)
        made._pace.take()
    found = {one.name: one.value for one in made.stop().metrics}
    assert found["rapl.energy_j"] == pytest.approx(90 * found["rapl.window_s"], abs=0.3)


def test_a_reset_gives_no_energy_rather_than_a_wrong_one(tmp_path):
    tree = Powercap(tmp_path / "powercap", SERVER)
    made = instrument(tree)
    made.open()
    made.start()
    tree.wait(3.0)
    made._pace.take()
    tree.offset_uj["intel-rapl:1"] = -200_000_000  # the driver was loaded again
    made._pace.take()
    tree.wait(1.0)
    seen = made.stop()
    assert "package-1: the counter was reset" in seen.unknown["rapl.energy_j"]
    names = {one.name for one in seen.metrics}
    assert "rapl.package_0_energy_j" in names  # the other one is as good as before
    assert "rapl.package_1_energy_j" in seen.unknown


def test_the_next_window_begins_anew(tmp_path):
    tree = Powercap(tmp_path / "powercap", SERVER)
    made = instrument(tree)
    made.open()
    for _ in range(2):
        made.start()
        tree.wait(3.0)
        found = {one.name: one.value for one in made.stop().metrics}
        assert found["rapl.energy_j"] == pytest.approx(90 * found["rapl.window_s"], abs=0.3)


def test_none_at_all_says_what_to_do(tmp_path):
    made = Rapl(RaplOptions(root=str(tmp_path / "none")))
    made.open()
    made.start()
    unknown = made.stop().unknown
    assert "virtual machine" in unknown["rapl.energy_j"]
    assert "intel_rapl_msr" in unknown["rapl.energy_j"]
    (tmp_path / "empty" / "intel-rapl").mkdir(parents=True)
    assert find_zones(tmp_path / "empty")[0] == []


def test_counters_for_root_alone_say_how_to_allow_them(tmp_path, monkeypatch):
    tree = Powercap(tmp_path / "powercap", SERVER)

    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("harness_hardware.powercap.read_uj", forbidden)
    found, unknown = observed(tree)
    assert "chmod a+r" in unknown["rapl.energy_j"]
    assert str(tree.root) in unknown["rapl.energy_j"]
    assert not any("energy" in name for name in found)


def test_a_counter_that_goes_away(tmp_path):
    tree = Powercap(tmp_path / "powercap", {"intel-rapl:0": ("package-0", 20.0)})
    made = instrument(tree)
    made.open()
    made.start()
    tree.zones = {}
    (tree.root / "intel-rapl:0" / "energy_uj").unlink()
    assert "No such file" in made.stop().unknown["rapl.energy_j"]


def test_of_a_server_elsewhere_there_are_no_joules(tmp_path):
    tree = Powercap(tmp_path / "powercap", SERVER)
    for elsewhere in (False, True):
        options = RaplOptions(root=str(tree.root), idle_s=0, elsewhere=elsewhere)
        made = Rapl(options, ("https://192.0.2.7/v1",), clock=tree.clock, wait=tree.wait)
        made.open()
        made.start()
        tree.wait(3.0)
        seen = made.stop()
        assert ("rapl.energy_j" in {one.name for one in seen.metrics}) == elsewhere
        assert elsewhere or "not on this machine" in seen.unknown["rapl.energy_j"]


def test_psys_alone_is_no_package(tmp_path):
    zones = {"intel-rapl:0": ("psys", 20.0)}
    _, unknown = observed(Powercap(tmp_path / "powercap", zones))
    assert "no counter is of a whole package (there are: psys)" in unknown["rapl.energy_j"]


def test_looks_are_close_enough_that_no_wrap_is_missed(tmp_path):
    package = {"intel-rapl:0": SERVER["intel-rapl:0"]}
    for number, range_uj in enumerate((262_143_328_850, 65_532_610_987, 400_000_000)):
        tree = Powercap(tmp_path / str(number), package, range_uj=range_uj)
        made = instrument(tree, interval_ms=1000, idle_s=0)
        made.open()
        assert 4 * made._interval_s() * POWER_BOUND_W * 1e6 <= range_uj or made._interval_s() == 1


def test_the_page_has_every_figure(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "instruments.md").read_text("utf-8")
    part = page.partition("<!-- rapl figures -->")[2].partition("<!-- end -->")[0]
    told = set(re.findall(r"`(rapl\.[^`]+)`", part))
    found, unknown = observed(Powercap(tmp_path / "powercap", SERVER))
    zones = {"rapl.energy_j", "rapl.dram_energy_j"}
    seen = {
        "rapl.<zone>_energy_j" if name.endswith("_energy_j") and name not in zones else name
        for name in found.keys() | unknown.keys()
    }
    assert told == seen


ZONE = Zone(name="package-0", kind="package", path=Path(), range_uj=1_000_000_000)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 999_999_999),
    st.lists(st.tuples(st.floats(0, 1900), st.floats(0.001, 0.1)), min_size=1, max_size=60),
)
def test_the_total_is_recovered_whatever_the_wraps(first_uj, pieces):
    """(watts, seconds) of each look."""
    true_uj, now_uj, total_uj = 0, first_uj, 0
    for watts, seconds in pieces:
        took_ns = round(seconds * 1e9)
        went_uj = int(watts * seconds * 1e6)
        true_uj += went_uj
        after_uj = (first_uj + true_uj) % ZONE.range_uj
        found = gone_uj(ZONE, now_uj, after_uj, took_ns)
        assert found is not None
        total_uj, now_uj = total_uj + found, after_uj
    assert total_uj == true_uj


@given(st.integers(0, 999_999_999), st.integers(0, 999_999_999), st.integers(1, 10**10))
def test_what_no_package_can_take_is_no_energy(before_uj, after_uj, took_ns):
    found = gone_uj(ZONE, before_uj, after_uj, took_ns)
    most_uj = POWER_BOUND_W * took_ns // 1000
    if most_uj >= ZONE.range_uj:
        assert found is None
    elif found is not None:
        assert 0 <= found < ZONE.range_uj


class TestContract(InstrumentContract):
    name = "rapl"

    @pytest.fixture(autouse=True)
    def _tree(self, tmp_path):
        self.tree = Powercap(tmp_path / "powercap", SERVER)

    def instrument(self):
        return instrument(self.tree, idle_s=0.1)
