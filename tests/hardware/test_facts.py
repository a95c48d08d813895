"""What of the machine decides how fast it is, from trees of files as kernels write them."""

from __future__ import annotations

import json

import pytest
from harness_hardware.facts import facts

from harness.schema import Environment

CPU = "sys/devices/system/cpu"
SERVER = {
    "sys/devices/system/node/node0/cpulist": "0-1\n",
    "sys/devices/system/node/node1/cpulist": "2-3\n",
    f"{CPU}/smt/control": "on\n",
    f"{CPU}/intel_pstate/no_turbo": "1\n",
    **{
        f"{CPU}/cpufreq/policy{n}/{name}": text
        for n, governor in enumerate(("performance", "performance", "powersave", "performance"))
        for name, text in (
            ("scaling_governor", f"{governor}\n"),
            ("scaling_driver", "intel_pstate\n"),
            ("affected_cpus", f"{n}\n"),
            ("scaling_min_freq", "800000\n"),
            ("scaling_max_freq", f"{3_500_000 + n}\n"),
            ("scaling_cur_freq", f"{1_000_000 * (n + 1)}\n"),
        )
    },
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet\n",
    "proc/cpuinfo": "processor: 0\nmicrocode\t: 0x2b\nflags\t\t: fpu avx2\nmicrocode\t: 0x2b\n",
    "proc/meminfo": "MemTotal: 9 kB\nSwapTotal:       1024 kB\n",
    "proc/cmdline": "root=/dev/secret isolcpus=2,3 nohz_full=2-3 password=hunter2 quiet\n",
    "proc/self/cgroup": "0::/job\n",
    "cgroup/cgroup.controllers": "cpu memory\n",
    "cgroup/job/cpu.max": "200000 100000\n",
    "cgroup/job/memory.max": "max\n",
}


def read(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return facts(folder / "proc", folder / "sys", folder / "cgroup")


def test_a_server(tmp_path):
    assert read(tmp_path, SERVER) == {
        "numa_nodes": {"0": "0-1", "1": "2-3"},
        "smt": "on",
        "boost": False,
        "governors": {"performance": "0-1,3", "powersave": "2"},
        "frequency_driver": {"intel_pstate": "0-3"},
        "frequency_min_mhz": 800.0,
        "frequency_max_mhz": 3500.003,
        "now": {"frequency_mhz": [1000.0, 4000.0]},
        "microcode": ["0x2b"],
        "transparent_hugepages": "madvise",
        "swap_total_bytes": 1024 * 1024,
        "kernel_words": {"isolcpus": "2,3", "nohz_full": "2-3"},
        "virtualisation": "none",
        "container": "none seen",
        "clocksources": ["tsc", "hpet"],
        "cgroup_cpus": 2.0,
        "cgroup_memory_bytes": "unlimited",
        "unknown": {"energy_preferences": "the frequency driver has none"},
    }


def test_nothing_of_the_command_line_but_those_words(tmp_path):
    assert "hunter2" not in json.dumps(read(tmp_path, SERVER))


@pytest.mark.parametrize("gone", [name for name in SERVER if "/policy" not in name])
def test_each_fact_is_unknown_alone(tmp_path, gone):
    whole, less = read(tmp_path / "a", SERVER), dict(SERVER)
    del less[gone]
    found = read(tmp_path / "b", less)
    lost = {name for name in whole if name != "unknown" and found.get(name) != whole[name]}
    assert len(lost) <= 2, lost
    assert all(found["unknown"].values())


def test_a_machine_that_tells_nothing(tmp_path):
    found = facts(tmp_path / "proc", tmp_path / "sys", tmp_path / "cgroup")
    told = {name for name in found if name != "unknown"}
    assert told == {"kernel_words", "container"}
    assert "virtual machines" in found["unknown"]["governors"]


@pytest.mark.parametrize(
    ("files", "virtual"),
    [
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, "QEMU"),
        ({"sys/class/dmi/id/product_name": "VMware7,1\n"}, "VMware"),
        ({"sys/hypervisor/type": "xen\n"}, "Xen"),
        ({"sys/class/dmi/id/sys_vendor": "Nobody\n"}, "unnamed"),
        (
            {"sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock\n"},
            "KVM",
        ),
    ],
)
def test_virtual_machines(tmp_path, files, virtual):
    flags = {"proc/cpuinfo": "flags\t: fpu hypervisor\n"}
    assert read(tmp_path, SERVER | flags | files)["virtualisation"] == virtual


def test_a_machine_of_metal_by_a_maker_of_clouds_is_none(tmp_path):
    files = {"sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n"}
    assert read(tmp_path, SERVER | files)["virtualisation"] == "none"


def test_amd_s_switch_and_a_processor_without_flags(tmp_path):
    files = {f"{CPU}/cpufreq/boost": "1\n", "proc/cpuinfo": "Features\t: fp asimd\n"}
    less = {name: text for name, text in SERVER.items() if "no_turbo" not in name}
    found = read(tmp_path, less | files)
    assert found["boost"] is True
    assert "flags do not tell" in found["unknown"]["virtualisation"]


def test_this_machine_s_own_can_be_stored():
    import msgspec

    found = facts()
    environment = Environment(
        harness_version="0", python="3", platform="linux", collected={"hardware": found}
    )
    assert msgspec.json.decode(msgspec.json.encode(environment))["collected"]["hardware"] == found
