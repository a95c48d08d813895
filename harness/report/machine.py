"""What plugins found out about the machine, as rows for reports: (what, value), both plain text.

The plugin `hardware` gives these facts (Environment.collected); a run on a system that tells none
of them, or without the plugin, has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from harness.report.figures import number
from harness.schema import Environment
from harness.text import listed, one_line

__all__ = ["machine_rows"]

UNKNOWN_MAX: Final = 12


def machine_rows(environment: Environment) -> Iterator[tuple[str, str]]:
    """Those that are known, and one row that names the others."""
    facts = environment.collected.get("hardware")
    if not isinstance(facts, Mapping):
        return
    now = facts.get("now")
    known = {**facts, **(now if isinstance(now, Mapping) else {})}
    for name, (what, said) in _ROWS.items():
        if name in known:
            yield what, one_line(said(known[name]), 300)
    unknown = facts.get("unknown")
    if isinstance(unknown, Mapping) and unknown:
        names = [
            _ROWS[name][0] if name in _ROWS else str(name).replace("_", " ")
            for name in unknown
            if name != "now"
        ]
        yield "Not told by the system", listed(names, UNKNOWN_MAX)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)


def _pairs(value: Any) -> str:
    """`performance: 0-3`."""
    if not isinstance(value, Mapping):
        return _plain(value)
    return ", ".join(f"{name}: {_plain(one)}" for name, one in value.items()) or "none"


def _bytes(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _plain(value)
    return f"{number(value / 2**30, 3)} GiB"


_ROWS: Final[dict[str, tuple[str, Callable[[Any], str]]]] = {
    "virtualisation": ("Virtualisation", _plain),
    "container": ("Container", _plain),
    "cgroup_cpus": ("CPUs by the cgroup's quota", _plain),
    "cgroup_memory_bytes": ("Memory by the cgroup", _bytes),
    "numa_nodes": ("CPUs of NUMA nodes", _pairs),
    "smt": ("SMT", _plain),
    "boost": ("Boost above the base clock", _plain),
    "governors": ("Governors, with their CPUs", _pairs),
    "frequency_driver": ("Frequency driver", _pairs),
    "energy_preferences": ("Energy preference", _pairs),
    "frequency_min_mhz": ("Lowest clock allowed, MHz", _plain),
    "frequency_max_mhz": ("Highest clock allowed, MHz", _plain),
    "frequency_mhz": ("Clocks before the run, MHz", _plain),
    "microcode": ("Microcode", _plain),
    "transparent_hugepages": ("Transparent huge pages", _plain),
    "swap_total_bytes": ("Swap", _bytes),
    "kernel_words": ("Kernel started with", _pairs),
}
