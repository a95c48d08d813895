"""`psutil`: CPU, memory and I/O of our processes and of a server on this machine; the machine.

Three groups of processes, named by what stands before a figure:

    psutil.            this process and its children (a server that we started is one of them)
    psutil.own_        this process alone, of its memory (its CPU time: the instrument `timing`)
    psutil.server_     whoever listens at the backend's loopback address, and its children

and `psutil.system_`, everything on the machine, other people's work included: what network there
was cannot be told apart by process. Counters are read as the iteration begins and ends; memory and
threads are sampled in between, by a thread whose cost is one of the figures. The memory of a group
is the sum over its processes: what they share counts for each (`uss` does not have that fault).
"""

from __future__ import annotations

import io
import time
from statistics import fmean
from typing import Any, Final

import psutil
from msgspec import Struct, structs

from harness.processes import server_processes, with_children
from harness.protocols import Observation
from harness.sampling import Pace
from harness.schema import MetricValue
from harness_instruments.counters import (
    Machine,
    Spent,
    added,
    machine_between,
    read_machine,
    read_spent,
    spent_between,
)
from harness_instruments.options import PsutilOptions

__all__ = ["Processes"]

OURS, OWN, SERVER = "psutil.", "psutil.own_", "psutil.server_"
SYSTEM: Final = "psutil.system_"


class _Sample(Struct, frozen=True):
    """Of one group at one instant."""

    rss_bytes: int
    threads: int
    processes: int


class _Begun(Struct, frozen=True):
    """Where the counters stood."""

    at_s: float
    machine: Machine
    others: dict[str, Spent]
    me: Spent


class Processes:
    """The instrument `psutil`."""

    perturbing = False

    def __init__(self, options: PsutilOptions, urls: tuple[str, ...]) -> None:
        self._options = options
        self._urls = urls
        self._me = psutil.Process()
        self._server: list[psutil.Process] = []
        self._no_server = "not looked for yet"
        self._samples: list[tuple[float, int, dict[str, _Sample]]] = []
        self._begun: _Begun | None = None
        self._pace: Pace | None = None

    def open(self) -> None:
        self._server, self._no_server = server_processes(self._urls)
        self._sample()  # what psutil reads only once, it reads now
        self._samples.clear()

    def start(self) -> None:
        if self._server and not all(one.is_running() for one in self._server):
            self._server, self._no_server = server_processes(self._urls)  # it was restarted
        self._samples = []
        self._pace = Pace(self._sample, self._options.interval_ms / 1e3, "psutil")
        machine, others = read_machine(), self._others()
        # Our own counters last, and first when it ends: they count what we read in /proc, too.
        self._begun = _Begun(time.perf_counter(), machine, others, read_spent([self._me]))
        self._pace.start()

    def stop(self) -> Observation:
        begun, pace = self._begun, self._pace
        self._begun = self._pace = None
        if begun is None or pace is None:
            return Observation(unknown={"psutil": "stopped without having been started"})
        cost = pace.stop()
        wall_s = time.perf_counter() - begun.at_s
        me = _without(read_spent([self._me]), cost.read_bytes)
        machine, others = read_machine(), self._others()
        self._sample()
        before, after = added(begun.me, begun.others[OURS]), added(me, others[OURS])
        parts = [spent_between(OURS, before, after, wall_s), Observation(metrics=self._memory())]
        if SERVER in others and SERVER in begun.others:
            parts.append(spent_between(SERVER, begun.others[SERVER], others[SERVER], wall_s))
        parts += [
            machine_between(SYSTEM, begun.machine, machine, wall_s),
            cost.observation("psutil"),
        ]
        metrics = [one for part in parts for one in part.metrics]
        unknown = {figure: why for part in parts for figure, why in part.unknown.items()}
        if not self._server:
            unknown[f"{SERVER}*"] = self._no_server
        if self._options.uss:
            self._unique(metrics, unknown)
        kept = (("samples.csv", self._table(begun.at_s)),) if self._options.samples else ()
        return Observation(metrics=tuple(metrics), unknown=unknown, artifacts=kept)

    def close(self) -> None:
        if self._pace is not None:
            self._pace.stop()
            self._pace = None

    # ------------------------------------------------------------------------------------------

    def _groups(self) -> dict[str, list[psutil.Process]]:
        groups = {OURS: with_children([self._me]), OWN: [self._me]}
        return groups | ({SERVER: with_children(self._server)} if self._server else {})

    def _others(self) -> dict[str, Spent]:
        """Of all groups, without what this process itself has used."""
        found = {
            prefix: read_spent([one for one in members if one.pid != self._me.pid])
            for prefix, members in self._groups().items()
        }
        return {prefix: spent for prefix, spent in found.items() if prefix != OWN}

    def _sample(self) -> None:
        now_s, taken = time.perf_counter(), {}
        for prefix, members in self._groups().items():
            rss_bytes = threads = 0
            for member in members:
                try:
                    with member.oneshot():
                        rss_bytes += member.memory_info().rss
                        threads += member.num_threads()
                except psutil.Error:
                    continue  # it ended, or is another user's: then open said so
            taken[prefix] = _Sample(rss_bytes, threads, len(members))
        self._samples.append((now_s, psutil.virtual_memory().available, taken))

    def _memory(self) -> tuple[MetricValue, ...]:
        free_bytes = min(available for _, available, _ in self._samples)
        found: list[MetricValue] = []

        def add(name: str, value: float, unit: str, better: Any = "lower") -> None:
            found.append(MetricValue(name=name, value=value, unit=unit, better=better))

        for prefix in self._samples[-1][2]:
            seen = [groups[prefix] for _, _, groups in self._samples if prefix in groups]
            add(f"{prefix}rss_mean_bytes", fmean(one.rss_bytes for one in seen), "B")
            add(f"{prefix}rss_max_bytes", max(one.rss_bytes for one in seen), "B")
            if prefix != OWN:
                most = max(one.threads for one in seen)
                add(f"{prefix}threads_max", most, "threads", "neither")
                most = max(one.processes for one in seen)
                add(f"{prefix}processes_max", most, "processes", "neither")
        add(f"{SYSTEM}available_min_bytes", free_bytes, "B", "neither")
        return tuple(found)

    def _unique(self, metrics: list[MetricValue], unknown: dict[str, str]) -> None:
        for prefix, members in self._groups().items():
            if prefix == OWN:
                continue
            try:
                sizes = [one.memory_full_info().uss for one in members]
            except (psutil.Error, OSError) as error:
                unknown[f"{prefix}uss_bytes"] = f"not told: {error}"
                continue
            metrics.append(MetricValue(name=f"{prefix}uss_bytes", value=sum(sizes), unit="B"))

    def _table(self, began_s: float) -> str:
        """One line a sample; the columns of a group that was not there are empty."""
        out = io.StringIO()
        prefixes = [one for one in (OURS, OWN, SERVER) if one in self._samples[-1][2]]
        names = [
            f"{p.removeprefix('psutil.')}{f}" for p in prefixes for f in _Sample.__struct_fields__
        ]
        out.write(",".join(["at_ms", "system_available_bytes", *names]) + "\n")
        for at_s, available, groups in self._samples:
            cells: list[str] = [f"{(at_s - began_s) * 1e3:.3f}", str(available)]
            for prefix in prefixes:
                one = groups.get(prefix)
                fields = _Sample.__struct_fields__
                cells += [str(getattr(one, field)) if one else "" for field in fields]
            out.write(",".join(cells) + "\n")
        return out.getvalue()


def _without(spent: Spent, read_bytes: int) -> Spent:
    """Our own counters, but for what the samples read."""
    if spent.read_bytes is None:
        return spent
    return structs.replace(spent, read_bytes=spent.read_bytes - read_bytes)
