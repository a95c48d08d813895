"""What of this machine decides how fast and how steadily it runs, for the run's environment.

The run's own account (harness.schema.Environment) has processor, memory, kernel and clock source.
This has what is decided elsewhere: in the firmware, on the kernel's command line, by the cgroup of
a container. Each fact can be unknown alone, with the reason. Nothing here names the machine or its
owner; of the command line only the words are kept that take CPUs away from the scheduler.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from harness.cgroups import ROOT, limits

__all__ = ["facts"]

WORDS: Final = ("isolcpus", "nohz", "nohz_full")
HYPERVISORS: Final = {
    "qemu": "QEMU",
    "kvm": "KVM",
    "vmware": "VMware",
    "innotek": "VirtualBox",
    "xen": "Xen",
    "microsoft corporation": "Hyper-V",
    "amazon ec2": "Amazon EC2",
    "google": "Google Compute Engine",
    "parallels": "Parallels",
    "bochs": "Bochs",
    "openstack": "OpenStack",
}
"""Beginning of the vendor's or product's name in the firmware → what it is."""
CLOCKS: Final = {"kvm-clock": "KVM", "hyperv_clocksource": "Hyper-V", "xen": "Xen"}
"""A clock that a hypervisor offers its guests → whose it is."""


class _Unknown(Exception):  # noqa: N818 - an answer, of a kind
    """Why a fact cannot be had."""


def facts(
    proc: Path = Path("/proc"), sys: Path = Path("/sys"), groups: Path = ROOT
) -> dict[str, Any]:
    """Fact → value; `unknown`: fact → reason; `now`: what is of this instant alone, and is not held
    against another run. Takes some ms; raises nothing."""
    cpu = sys / "devices" / "system" / "cpu"
    policies = _policies(cpu)
    of_policies = "the system tells of no cpufreq: most virtual machines are not told"
    asked: dict[str, Callable[[], Any]] = {
        "numa_nodes": lambda: _numa(sys / "devices" / "system" / "node"),
        "smt": lambda: _smt(cpu),
        "boost": lambda: _boost(cpu, policies),
        "governors": lambda: _by_value(policies, "scaling_governor", of_policies),
        "frequency_driver": lambda: _by_value(policies, "scaling_driver", of_policies),
        "energy_preferences": lambda: _by_value(
            policies, "energy_performance_preference", "the frequency driver has none"
        ),
        "frequency_min_mhz": lambda: _mhz(policies, "scaling_min_freq", min, of_policies),
        "frequency_max_mhz": lambda: _mhz(policies, "scaling_max_freq", max, of_policies),
        "now": lambda: {"frequency_mhz": _now_mhz(policies, of_policies)},
        "microcode": lambda: _microcode(proc),
        "transparent_hugepages": lambda: _chosen(
            sys / "kernel" / "mm" / "transparent_hugepage" / "enabled"
        ),
        "swap_total_bytes": lambda: _swap(proc),
        "kernel_words": lambda: _words(proc),
        "virtualisation": lambda: _virtual(proc, sys),
        "container": lambda: _container(proc),
        "clocksources": lambda: _clocks(sys),
        **_cgroup(proc, groups),
    }
    found: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for name, ask in asked.items():
        try:
            found[name] = ask()
        except _Unknown as reason:
            unknown[name] = str(reason)
        except (OSError, ValueError, IndexError) as error:  # a kernel that says it otherwise
            unknown[name] = f"{type(error).__name__}: {error}"[:200]
    return found | ({"unknown": unknown} if unknown else {})


# ---- processors


def _policies(cpu: Path) -> list[Path]:
    """Groups of CPUs that share a clock."""
    return sorted((cpu / "cpufreq").glob("policy[0-9]*"), key=lambda path: int(path.name[6:]))


def _by_value(policies: Iterable[Path], name: str, why: str) -> dict[str, str]:
    """Value → the CPUs that have it, as `0-3,8`."""
    held: dict[str, list[int]] = defaultdict(list)
    for policy in policies:
        if value := _text(policy / name):
            held[value] += _numbers(_text(policy / "affected_cpus") or policy.name[6:])
    if not held:
        raise _Unknown(why)
    return {value: _ranges(cpus) for value, cpus in sorted(held.items())}


def _mhz(
    policies: Iterable[Path], name: str, of: Callable[[Iterable[float]], float], why: str
) -> float:
    known = [int(text) / 1e3 for one in policies if (text := _text(one / name)).isdigit()]
    if not known:
        raise _Unknown(why)
    return of(known)


def _now_mhz(policies: Iterable[Path], why: str) -> list[float]:
    """The slowest and the fastest core, at this instant."""
    policies = list(policies)
    return [_mhz(policies, "scaling_cur_freq", of, why) for of in (min, max)]


def _boost(cpu: Path, policies: Iterable[Path]) -> bool:
    """Whether cores may run above their base clock."""
    if no_turbo := _text(cpu / "intel_pstate" / "no_turbo"):
        return no_turbo == "0"
    for path in (cpu / "cpufreq" / "boost", *(policy / "boost" for policy in policies)):
        if allowed := _text(path):
            return allowed == "1"
    raise _Unknown("neither intel_pstate nor cpufreq/boost is there")


def _smt(cpu: Path) -> str:
    """`on`, `off`, `forceoff`, or what the kernel says where there is no such thing."""
    if control := _text(cpu / "smt" / "control"):
        return control
    raise _Unknown("the kernel has no smt/control")


def _microcode(proc: Path) -> list[str]:
    found = re.findall(r"^microcode\s*:\s*(\S+)", _text(proc / "cpuinfo"), re.M)
    if not found:
        raise _Unknown("/proc/cpuinfo names no microcode")
    return sorted(set(found))


def _numa(nodes: Path) -> dict[str, str]:
    """Node → its CPUs."""
    found = {
        path.name[4:]: _text(path / "cpulist")
        for path in sorted(nodes.glob("node[0-9]*"), key=lambda path: int(path.name[4:]))
    }
    if not found:
        raise _Unknown("the kernel tells of no nodes")
    return found


# ---- memory, kernel, what lies around it


def _cgroup(proc: Path, groups: Path) -> dict[str, Callable[[], Any]]:
    found = limits(proc, groups)

    def told(value: float | None) -> float | str:
        if found.unknown:
            raise _Unknown(found.unknown)
        return "unlimited" if value is None else value

    return {
        "cgroup_cpus": lambda: told(found.cpus),
        "cgroup_memory_bytes": lambda: told(found.memory_bytes),
    }


def _chosen(path: Path) -> str:
    """`always [madvise] never` → madvise."""
    found = re.search(r"\[(\w+)\]", _text(path))
    if found is None:
        raise _Unknown(f"{path.name}: the kernel has no such switch")
    return found[1]


def _swap(proc: Path) -> int:
    found = re.search(r"^SwapTotal:\s*(\d+) kB", _text(proc / "meminfo"), re.M)
    if found is None:
        raise _Unknown("/proc/meminfo names none")
    return int(found[1]) * 1024


def _words(proc: Path) -> dict[str, str]:
    """Of WORDS, those that the kernel was started with."""
    words = (word.partition("=") for word in _text(proc / "cmdline").split())
    return {name: value or "on" for name, _, value in words if name in WORDS}


def _virtual(proc: Path, sys: Path) -> str:
    """`none`, or by whom, as far as that can be told."""
    if kind := _text(sys / "hypervisor" / "type"):
        return HYPERVISORS.get(kind, kind)
    for name in ("product_name", "sys_vendor", "board_vendor"):
        told = _text(sys / "class" / "dmi" / "id" / name).lower()
        for begins, what in HYPERVISORS.items():
            # Microsoft and Google build machines of metal too: the processor's flag decides.
            if told.startswith(begins) and _under_hypervisor(proc):
                return what
    if not re.search(r"^flags\s*:", _text(proc / "cpuinfo"), re.M):
        raise _Unknown("the processor's flags do not tell")
    if not _under_hypervisor(proc):
        return "none"
    return next((CLOCKS[name] for name in _clock_names(sys) if name in CLOCKS), "unnamed")


def _under_hypervisor(proc: Path) -> bool:
    flags = re.search(r"^flags\s*:(.*)$", _text(proc / "cpuinfo"), re.M)
    return flags is not None and "hypervisor" in flags[1].split()


def _container(proc: Path) -> str:
    """`none`, or the kind, by the files that they leave at the root."""
    for file, what in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (proc.parent / file).exists():
            return what
    groups = _text(proc / "self" / "cgroup")
    found = re.search(r"docker|kubepods|lxc|containerd|libpod", groups)
    return found[0] if found else "none seen"


def _clocks(sys: Path) -> list[str]:
    if names := _clock_names(sys):
        return names
    raise _Unknown("the kernel names none")


def _clock_names(sys: Path) -> list[str]:
    clocks = sys / "devices" / "system" / "clocksource" / "clocksource0"
    return _text(clocks / "available_clocksource").split()


# ---- text


def _numbers(text: str) -> list[int]:
    """Of `0-2 4` or `0-2,4`."""
    found: list[int] = []
    for part in re.split(r"[,\s]+", text.strip()):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _ranges(cpus: Iterable[int]) -> str:
    """`0-2,4`."""
    spans: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if spans and cpu == spans[-1][1] + 1:
            spans[-1][1] = cpu
        else:
            spans.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _text(path: Path) -> str:
    """Stripped; empty where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
