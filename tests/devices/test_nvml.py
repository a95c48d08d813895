"""NVML through the real nvidia-ml-py, over a library of our own with its published interface."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import types
from pathlib import Path

import pynvml
import pytest

from harness.devices import NoDevices
from harness.devices.nvml import Nvml

COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="install a C compiler (cc)")

CODES = dict(pynvml.NVMLError._errcode_to_string)
RICH, POOR = "GPU-aaaaaaaa-0", "GPU-bbbbbbbb-0"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_stub.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", out, source], check=True)
    return ctypes.CDLL(str(out))


@pytest.fixture
def stub(built, monkeypatch):
    """The compiled library in the place of the driver's."""
    built.stub_lose(0)
    monkeypatch.setattr(pynvml, "nvmlLib", built)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(pynvml.NVMLError, "_errcode_to_string", {**CODES})
    return built


@needs_compiler
def test_devices_are_told_by_uuid_in_the_order_of_pci(stub):
    provider = Nvml()
    poor, rich = provider.devices()  # the third does not answer: it is lost
    provider.close()
    provider.close()
    assert (rich.uuid, rich.index, rich.name) == (RICH, 0, "Stub H1")
    assert (rich.pci, rich.memory_bytes, rich.driver) == ("00000000:81:00.0", 1000, "570.1")
    assert rich.power_limit_mw == 700_000 and rich.unknown == {}
    assert (poor.uuid, poor.index, poor.name, poor.power_limit_mw) == (POOR, 1, None, None)
    assert set(poor.unknown) == {"name", "power_limit_mw"}
    assert provider.source == "nvml" and "570.1" in provider.origin


@needs_compiler
def test_everything_is_read_in_its_unit(stub):
    provider = Nvml()
    one = provider.read(RICH)
    later = provider.energy(RICH)
    assert later.energy_mj == one.energy_mj + 7
    assert later.before_ns <= later.after_ns
    assert (one.power_mw, one.power_instant_mw, one.power_average_mw) == (123_456, 222_222, None)
    assert (one.memory_used_bytes, one.memory_free_bytes) == (200, 700)  # version 2: not reserved
    assert (one.utilisation_percent, one.temperature_c, one.clock_events) == (87.0, 55, 4)
    assert (one.sm_clock_mhz, one.memory_clock_mhz) == (1001, 1002)
    assert one.throttled_ns == {"power": 9, "thermal": 1 << 40}
    assert one.took_ns >= 0


@needs_compiler
def test_each_call_and_each_field_fails_alone(stub):
    provider = Nvml()
    poor = provider.read(POOR)
    assert poor.energy_mj is None and poor.power_mw == 123_456
    assert poor.unknown["energy_mj"] == "Not Supported"
    assert poor.throttled_ns == {"thermal": 1 << 40}
    assert poor.unknown["throttled_ns.power"] == "Not Supported"
    assert provider.energy(POOR).unknown == "Not Supported"
    assert provider.processes(POOR).unknown == "Not Supported"


@needs_compiler
def test_a_process_whose_memory_is_not_told_has_none(stub):
    listed = Nvml().processes(RICH).listed
    told = {one.pid: (one.used_bytes, one.draws) for one in listed}
    assert told == {41: (64, False), 42: (None, False), 77: (5, True)}  # 41 does both


@needs_compiler
def test_a_gpu_that_is_lost_says_so_in_every_field(stub):
    provider = Nvml()
    stub.stub_lose(1)
    gone = provider.read(RICH)
    fields = set(gone.__struct_fields__) - {"uuid", "at_ns", "took_ns", "throttled_ns", "unknown"}
    assert all(getattr(gone, name) is None for name in fields)
    assert fields <= set(gone.unknown)
    assert gone.unknown["energy_mj"] == "GPU is lost"
    assert gone.throttled_ns == {}


def error(code):
    return pynvml.NVMLError(code)


def library(**calls):
    """What stands in for the module, with calls of the test's own."""
    made = types.SimpleNamespace(NVMLError=pynvml.NVMLError, nvmlInit=int, nvmlShutdown=int)
    for name, call in calls.items():
        setattr(made, name, call)
    return made


def failing(code):
    def call(*arguments):
        raise error(code)

    return call


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "NVML Shared Library Not Found"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "Insufficient Permissions"),
    ],
)
def test_without_a_driver_there_is_none_and_why(code, said):
    with pytest.raises(NoDevices, match=said):
        Nvml(library=library(nvmlInit=failing(code)))


def test_a_machine_without_gpus_has_none():
    with pytest.raises(NoDevices, match="there is no GPU"):
        Nvml(library=library(nvmlDeviceGetCount=lambda: 0))


def test_a_driver_that_breaks_while_it_is_counted_is_none():
    lost = failing(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    with pytest.raises(NoDevices, match="version mismatch"):
        Nvml(library=library(nvmlDeviceGetCount=lost))


def test_closing_survives_a_driver_that_is_gone():
    gone = failing(pynvml.NVML_ERROR_UNINITIALIZED)
    count = {"nvmlDeviceGetCount": lambda: 1, "nvmlDeviceGetHandleByIndex": lambda index: index}
    names = {"nvmlDeviceGetUUID": lambda handle: b"GPU-1", "nvmlDeviceGetName": lambda handle: b"x"}
    made = Nvml(library=library(nvmlShutdown=gone, **count, **names, **dict.fromkeys(REST, gone)))
    (device,) = made.devices()
    assert (device.uuid, device.name, device.driver) == ("GPU-1", "x", None)
    made.close()


REST = (
    "nvmlDeviceGetPciInfo",
    "nvmlDeviceGetMemoryInfo",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetEnforcedPowerLimit",
)
