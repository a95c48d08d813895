"""Did the machine do something else meanwhile, and did that reach the figures.

A busy machine is no doubt by itself: a local server may use every core, and so it should. CPU use
and pressure (PSI) count that server, so they stand in the evidence and decide nothing. What does
decide is time taken by the hypervisor or by a container's CPU quota, pages that come from a disk,
cores that heat slows down, and our own threads being kept from running, for longer than a server
explains or beside more tasks than one has. Frequencies are evidence, too, and decide nothing: they
are of two instants, at which a laptop's clock is what its governor makes of a client that waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from harness.engine.rules.view import ArmView, RunView
from harness.schema import Caveat, HostLoad, PlacementSpec, ValiditySpec

__all__ = ["host_noise", "parallel_trials"]

SECOND_NS: Final = 1_000_000_000
"""Rates are per second of at least one: two page faults in a tenth of a second are no twenty. Steal
is counted in ticks of 10 ms, and not judged below one second either."""

WAIT_OVER_NS: Final = 2 * SECOND_NS
"""Waiting for a core is taken over two seconds at least: a server that starts on every core keeps a
run of half a second waiting for most of it, and nothing is wrong."""

WAITED_MIN: Final = 0.25
"""A crowd on this machine matters only where we had to wait in it. Below a sixth of the time no
figure was seen to suffer."""


def host_noise(view: RunView) -> Iterator[Caveat]:
    """Another load on this machine reached the measurement."""
    for arm in view.arms:
        hosts = _hosts(arm)
        if not hosts:
            continue
        figures = _figures(hosts)
        is_local = any(_is_local(call.endpoint) for call in arm.calls)
        problems = list(_problems(figures, is_local, view.manifest.spec.validity))
        if problems:
            yield Caveat(
                code="host-noise",
                severity="doubtful",
                message="this machine did something else meanwhile: "
                + "; ".join(sentence for sentence, _ in problems),
                evidence={**figures, "server_is_local": is_local, "iterations": len(hosts)},
                remedy=", ".join(dict.fromkeys(remedy for _, remedy in problems)),
                arm=arm.name,
                cell=arm.cell,
            )


def parallel_trials(view: RunView) -> Iterator[Caveat]:
    """What the machine did meanwhile was another trial, as the spec asked. Within one process they
    wait for each other's Python, too."""
    place = view.manifest.spec.placement
    trials = [trial for arm in view.arms for trial in arm.trials]
    gpus = list(dict.fromkeys(gpu for t in trials if (gpu := t.placement.get("gpus")) is not None))
    at_once = len(gpus) if place.gpus == "each" else place.parallel
    if at_once < 2 or len(trials) < 2:
        return
    inline = any(trial.isolation == "inline" for trial in trials)
    hosts = {trial.placement.get("host") for trial in trials}
    part = "each on a GPU of its own" if place.gpus == "each" else "each on a part of the machine"
    yield Caveat(
        code="parallel-trials",
        severity="doubtful" if inline else "note",
        message=f"up to {at_once} trials ran at once"
        + (" in one process" if inline else "")
        + ", and measured each other too"
        + (" where they shared a machine" if len(hosts) > 1 else "")
        + ("" if inline or not (place.cpus or place.gpus) else f", {part}"),
        evidence={"parallel": at_once, "cpus": list(place.cpus), "gpus": gpus},
        remedy="isolation: process" if inline else _one_at_a_time(place),
    )


def _one_at_a_time(place: PlacementSpec) -> str:
    return "placement.gpus: [0]" if place.gpus == "each" else "placement.parallel: 1"


def _problems(
    figures: dict[str, Any], is_local: bool, bounds: ValiditySpec
) -> Iterator[tuple[str, str]]:
    """What is beyond its bound, and what to do about it."""

    def over(name: str, bound: float) -> bool:
        return figures[name] is not None and figures[name] > bound

    waited_share = (figures["run_wait_share"] or 0.0) * min(
        1.0, figures["wall_s"] * SECOND_NS / WAIT_OVER_NS
    )

    if over("steal_share", bounds.steal_share_max) and figures["wall_s"] >= 1.0:
        share = figures["steal_share"]
        yield (
            f"the hypervisor took {share:.1%} of the CPU time (bound {bounds.steal_share_max:.1%})",
            "a machine whose cores are not shared, or another hour",
        )
    wait_max = bounds.run_wait_share_local_max if is_local else bounds.run_wait_share_max
    if waited_share > wait_max:
        yield (
            "our own threads, together, waited for a core, behind other programs or one another, "
            f"for {figures['run_wait_share'] * figures['wall_s']:.2g} s of "
            f"{figures['wall_s']:.2g} s (bound {wait_max:.0%})",
            "fewer streams at once, or stop other programs",
        )
    elif over("load_per_cpu", bounds.load_per_cpu_max) and waited_share > WAITED_MIN:
        yield (
            f"{figures['load_per_cpu']:.3g} tasks per CPU wanted to run (bound "
            f"{bounds.load_per_cpu_max:.3g}), and our own threads waited for a core for "
            f"{figures['run_wait_share']:.0%} of the time",
            "fewer streams at once, or stop other programs",
        )
    if over("swap_mib_per_s", bounds.swap_mib_per_s_max):
        yield (
            f"{figures['swap_mib_per_s']:.3g} MiB/s were swapped in and out (bound "
            f"{bounds.swap_mib_per_s_max:.3g})",
            "free memory until nothing is swapped",
        )
    if over("major_faults_per_s", bounds.major_faults_per_s_max):
        yield (
            f"our own memory came from disk {figures['major_faults_per_s']:.3g} times a second "
            f"(bound {bounds.major_faults_per_s_max:.3g})",
            "free memory, then run it again",
        )
    if over("throttled_share", bounds.throttled_share_max):
        yield (
            f"heat slowed a core down for {figures['throttled_share']:.0%} of the time (bound "
            f"{bounds.throttled_share_max:.0%})",
            "cooling, pauses between iterations, or a lower fixed clock (cpupower frequency-set)",
        )
    if over("cgroup_throttled_share", bounds.cgroup_throttled_share_max):
        yield (
            "the CPU quota of our container (cgroup) held it back for "
            f"{figures['cgroup_throttled_share']:.0%} of the time, its CPUs together (bound "
            f"{bounds.cgroup_throttled_share_max:.0%})",
            "a higher quota, or CPUs of one's own (cpuset) in place of one",
        )


def _hosts(arm: ArmView) -> list[HostLoad]:
    return [iteration.host for iteration in arm.iterations if iteration.host is not None]


def _figures(hosts: Sequence[HostLoad]) -> dict[str, Any]:
    """Over all iterations of the arm, weighted by their length; None where none of them knows."""
    wall_ns = sum(host.wall_ns for host in hosts)
    rated_s = max(SECOND_NS, wall_ns) / SECOND_NS
    swapped = _sum([_both(host) for host in hosts])
    faults = _sum([host.major_faults for host in hosts])
    load = _most([host.load_average for host in hosts])
    clocks = [host.frequency_max_mhz for host in hosts if host.frequency_max_mhz is not None]
    # The load is that of the whole machine, however few of its CPUs we may use.
    cpus = hosts[-1].cpus_online or hosts[-1].cpus
    return {
        "wall_s": wall_ns / SECOND_NS,
        "steal_share": _mean("steal_share", hosts),
        "busy_share": _mean("busy_share", hosts),
        "run_wait_share": _mean("run_wait_share", hosts),
        "run_wait_share_worst": _most([host.run_wait_share for host in hosts]),
        "pressure_share": _mean("pressure_share", hosts),
        "load_average": load,
        "load_per_cpu": load / cpus if load is not None and cpus else None,
        "cpus": hosts[-1].cpus,
        "cpus_online": hosts[-1].cpus_online,
        "swap_mib_per_s": None if swapped is None else swapped / 2**20 / rated_s,
        "major_faults_per_s": None if faults is None else faults / rated_s,
        "throttled_share": _mean("throttled_share", hosts),
        "cgroup_throttled_share": _mean("cgroup_throttled_share", hosts),
        "frequency_lowest_mhz": min(clocks, default=None),
        "frequency_highest_mhz": max(clocks, default=None),
    }


def _most(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _mean(name: str, hosts: Sequence[HostLoad]) -> float | None:
    known = [(getattr(host, name), host.wall_ns) for host in hosts]
    known = [(share, wall_ns) for share, wall_ns in known if share is not None]
    total = sum(wall_ns for _, wall_ns in known)
    return sum(share * wall_ns for share, wall_ns in known) / total if total else None


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _both(host: HostLoad) -> int | None:
    return _sum([host.swap_in_bytes, host.swap_out_bytes])


def _is_local(endpoint: str) -> bool:
    """Whether the server shares this machine with us, so that it, too, may keep us waiting."""
    parts = urlsplit(endpoint)
    if not parts.scheme.startswith("http") or parts.scheme.endswith("+unix"):
        return bool(endpoint)
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
