"""Which devices a value of CUDA_VISIBLE_DEVICES means; what memory is free."""

from __future__ import annotations

import ctypes

import pytest

from harness.devices import Device, free_memory, host_memory, used_devices
from harness.devices.cuda import cuda_uuids, listed
from harness.devices.synthetic import Synthetic, SyntheticSpec
from harness.testing import FakeClock

A, B, C = (Device(uuid=f"GPU-{letter * 4}-1", index=i) for i, letter in enumerate("abc"))


class Known:
    """Three devices of NVML's; CUDA's own order is another one."""

    source = "nvml"

    def devices(self):
        return (A, B, C)


def never(visible):
    raise AssertionError("CUDA need not be asked")


def used(visible, cuda=never, **environ):
    return used_devices(Known(), visible, environ=environ, cuda=cuda)


def test_without_the_variable_all_are_used():
    assert used(None).devices == (A, B, C)
    assert used(None, CUDA_VISIBLE_DEVICES="GPU-bb").devices == (B,)


@pytest.mark.parametrize("visible", ["", " ", "-1"])
def test_all_may_be_hidden(visible):
    found = used(visible)
    assert found.devices == () and found.hidden and "hides" in found.unknown


def test_uuids_and_their_beginnings_are_known_at_once():
    assert used("GPU-cccc-1,gpu-AA").devices == (C, A)
    assert used("GPU-cccc-1,GPU-cccc-1").devices == (C,)
    assert "no GPU here" in used("GPU-d").unknown
    assert "no single GPU" in used("GPU-").unknown
    assert "no GPU here" in used("0,GPU-a").unknown
    assert "slice" in used("MIG-1234").unknown


def test_an_index_is_cudas_and_is_asked_of_cuda():
    asked = []

    def cuda(visible):
        asked.append(visible)
        return (C.uuid.upper().replace("GPU", "GPU"),), ""

    found = used("0", cuda)
    assert found.devices == (C,) and "own order" in found.by and asked == ["0"]
    assert used("0", CUDA_DEVICE_ORDER="PCI_BUS_ID").devices == (A,)
    assert used("2,0,1").devices == (C, A, B)  # all of them, in whatever order


def test_where_cuda_does_not_say_nothing_is_guessed():
    found = used("1", lambda visible: ((), "no driver"))
    assert found.devices == () and "no driver" in found.unknown and "PCI_BUS_ID" in found.unknown
    assert used("1", lambda visible: (("GPU-other",), "")).devices == ()
    assert "there is no GPU 3, but 3" in used("3").unknown


def test_here_cuda_is_asked_in_a_process_of_its_own():
    """Whatever it says on this machine: UUIDs, or why there are none."""
    uuids, why = cuda_uuids("0")
    assert bool(uuids) != bool(why)
    assert all(one.startswith("GPU-") for one in uuids)


class Libcuda:
    """Two devices, the second of which cannot be had."""

    def __init__(self, broken=None):
        self.broken = broken

    def cuInit(self, flags):  # noqa: N802
        return 100 if self.broken == "init" else 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device, ordinal):  # noqa: N802
        device._obj.value = ordinal + 10
        return 101 if self.broken == ordinal else 0

    def cuDeviceGetUuid_v2(self, uuid, device):  # noqa: N802
        assert isinstance(device, ctypes.c_int)
        uuid._obj[:] = bytes([device.value]) * 16
        return 0


def test_uuids_are_written_as_nvml_writes_them():
    first, second = listed(Libcuda())
    assert first == "GPU-0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a"
    assert second.startswith("GPU-0b0b")
    for broken in ("init", 1):
        with pytest.raises(RuntimeError, match="gave 10"):
            listed(Libcuda(broken))


def test_free_memory_is_of_each_visible_gpu_and_the_host():
    provider = Synthetic(SyntheticSpec(devices=2, memory_gib=8, used_gib=3), clock=FakeClock())
    one, other, host = free_memory(provider=provider)
    assert (one.kind, one.source, one.total_bytes) == ("gpu", "synthetic", 8 * 2**30)
    assert one.free_bytes == other.free_bytes == 5 * 2**30
    assert one.device != other.device and host.device == "host"
    chosen, _ = free_memory("1", provider=provider)
    assert chosen.device == other.device
    assert [one.kind for one in free_memory("-1", provider=provider)] == ["host"]
    (lost, _) = free_memory("7", provider=provider)
    assert lost.free_bytes is None and "no GPU 7" in lost.reason


def test_free_memory_without_a_gpu_is_the_hosts(monkeypatch):
    monkeypatch.setenv("HARNESS_GPU", "none")
    (host,) = free_memory()
    assert host.kind == "host" and 0 < host.free_bytes <= host.total_bytes


def test_a_gpu_that_does_not_tell_has_no_free_memory():
    spec = SyntheticSpec(missing="memory_free_bytes")
    one, _ = free_memory(provider=Synthetic(spec, clock=FakeClock()))
    assert one.free_bytes is None and one.reason == "Not Supported"


@pytest.mark.parametrize("version", [1, 2])
def test_the_hosts_memory_is_what_its_cgroup_leaves(tmp_path, version):
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        )
    )
    tree = root if version == 2 else root / "memory"
    line = "0::/box/inner\n" if version == 2 else "4:memory:/box/inner\n"
    (proc / "self" / "cgroup").write_text(line)
    stat = (
        "inactive_file 10000\ntotal_inactive_file 30000\n"
        if version == 1
        else ("inactive_file 30000\n")
    )
    for folder, limit, used_bytes in (
        (tree, "max" if version == 2 else str(2**63 - 4096), "5"),
        (tree / "box", "100000", "90000"),
        (tree / "box" / "inner", "200000", "1000"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{used_bytes}\n")
        (folder / "memory.stat").write_text(stat)
        (folder / "cgroup.controllers").write_text("memory\n")
    found = host_memory(proc=proc, root=root)
    assert (found.free_bytes, found.total_bytes, found.source) == (40_000, 100_000, "cgroup")
    assert host_memory(proc=proc, root=tmp_path / "none").source == "system"
