"""host-noise and the readings under it. The fault for real is in tests/validity: busy programs on
our only core."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from harness.hostload import Reading, host_load, read_host
from harness.schema import Environment, HostLoad, IterationRecord, ValiditySpec
from tests.engine.faults import caveats, clean
from tests.store import builders

QUIET = HostLoad(
    wall_ns=10_000_000_000,
    steal_share=0.001,
    busy_share=0.99,  # a local server may use it all
    run_wait_share=0.05,
    load_average=7.0,
    cpus=2,
    swap_in_bytes=0,
    swap_out_bytes=0,
    major_faults=3,
    frequency_min_mhz=800.0,
    frequency_max_mhz=3500.0,
    pressure_share=0.95,
)


def found(*hosts, endpoint="http://192.0.2.7/v1", **changes):
    """Caveats of a run whose iterations met these in turn."""
    hosts = list(hosts)
    records, turn = [], 0
    for record in clean():
        if isinstance(record, IterationRecord) and record.phase == "measured":
            record, turn = replace(record, host=hosts[turn % len(hosts)]), turn + 1
        elif not isinstance(record, IterationRecord) and hasattr(record, "endpoint"):
            record = replace(record, endpoint=endpoint)
        records.append(record)
    return [c for c in caveats(records, **changes) if c.code == "host-noise"]


def noisy(**changes):
    return found(replace(QUIET, **changes))


def test_a_busy_machine_is_no_noise():
    assert noisy() == []
    assert found(None) == []
    assert found(HostLoad(wall_ns=1)) == []  # a system that tells nothing


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steal_share": 0.05}, "the hypervisor took 5.0% of the CPU time (bound 2.0%)"),
        ({"run_wait_share": 0.6}, "or one another, for 12 s of 20 s (bound 50%)"),
        ({"run_wait_share": 0.3, "load_average": 40.0}, "20 tasks per CPU wanted to run (bound 4)"),
        ({"swap_in_bytes": 20 * 2**20}, "2 MiB/s were swapped in and out"),
        ({"swap_out_bytes": 20 * 2**20}, "2 MiB/s were swapped in and out"),
        ({"major_faults": 200}, "our own memory came from disk 20 times a second"),
        ({"throttled_share": 0.2}, "heat slowed a core down for 20% of the time (bound 10%)"),
        ({"cgroup_throttled_share": 1.2}, "(cgroup) held it back for 120% of the time"),
    ],
)
def test_each_kind_of_noise(changes, says):
    first, second = noisy(**changes)
    assert (first.severity, {first.arm, second.arm}) == ("doubtful", {"baseline", "chimera"})
    assert says in first.message
    assert first.remedy
    for name, value in changes.items():
        if name in first.evidence:
            assert first.evidence[name] == pytest.approx(value)


def test_clocks_of_two_instants_are_no_noise():
    """A client that wakes and goes idle on a laptop: they stand in the evidence of others only."""
    idle, turbo = replace(QUIET, frequency_max_mhz=1400.0), replace(QUIET, frequency_max_mhz=4300.0)
    assert found(idle, turbo) == found(idle, idle, turbo, turbo) == []
    stolen = replace(turbo, steal_share=0.1)
    evidence = found(idle, idle, stolen, stolen)[0].evidence
    assert (evidence["frequency_lowest_mhz"], evidence["frequency_highest_mhz"]) == (1400, 4300)


def test_a_core_that_was_briefly_hot_is_no_noise():
    assert noisy(throttled_share=0.05) == noisy(throttled_share=0.0) == []


def test_our_own_threads_may_be_what_they_wait_for():
    caveat, _ = noisy(run_wait_share=0.6)
    assert caveat.remedy == "fewer streams at once, or stop other programs"


def test_a_server_beside_us_may_keep_us_waiting():
    waits = replace(QUIET, run_wait_share=0.66)
    assert len(found(waits)) == 2
    for url in (
        "http://127.0.0.1:11434",
        "http://localhost/",
        "http+unix://%2Fsock/",
        "http://[::1]",
    ):
        assert found(waits, endpoint=url) == []
    assert len(found(replace(QUIET, run_wait_share=0.9), endpoint="http://127.0.0.1:1")) == 2


def test_a_crowd_counts_by_the_machine_s_cpus():
    """Hardware threads, as the load average does: not cores, nor the CPUs we are pinned to."""
    crowd = replace(QUIET, run_wait_share=0.3, load_average=40.0)
    few_cores = Environment(harness_version="0", python="3", platform="linux", cpu_count=8)
    assert len(found(crowd)) == 2
    assert found(replace(crowd, cpus_online=16), environment=few_cores) == []
    (caveat, _) = found(replace(crowd, cpus_online=8))
    assert caveat.evidence["load_per_cpu"] == 5.0


def test_short_iterations_are_not_blown_up():
    short = replace(QUIET, wall_ns=50_000_000, steal_share=0.1, major_faults=2)
    assert found(short) == []
    starting = replace(QUIET, wall_ns=300_000_000, run_wait_share=1.3)
    assert found(starting) == []
    assert len(found(replace(starting, wall_ns=1_000_000_000))) == 2


def test_means_are_weighted_by_time():
    long, short = QUIET, replace(QUIET, wall_ns=100_000_000, run_wait_share=2.0)
    assert found(long, long, short, short) == []


def test_bounds_are_the_spec_s():
    spec = builders.spec(validity=ValiditySpec(steal_share_max=0.0005))
    assert len(found(QUIET, spec=spec)) == 2


# Readings ----------------------------------------------------------------------------------------

FILES = {
    "stat": "cpu  100 0 50 800 10 0 5 2 0 0\ncpu0 1 2\ncpu1 1 2\ncpufreq\nintr 5\n",
    "loadavg": "0.50 0.40 0.30 1/100 999\n",
    "vmstat": "nr_free_pages 5\npswpin 10\npswpout 20\n",
    "pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\nfull total=5\n",
    "self/stat": "7 (a (b) c) S 1 2 3 4 5 6 7 8 42 10 11 12\n",
    "self/task/7/schedstat": "1000 500 3\n",
    "self/task/8/schedstat": "10 20 3\n",
}


def machine(folder, heat_ms=0, **changed):
    proc = folder / "proc"
    for name, text in (FILES | changed).items():
        path = proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for number in range(os.cpu_count() or 1):
        speed = folder / "cpu" / f"cpu{number}" / "cpufreq" / "scaling_cur_freq"
        speed.parent.mkdir(parents=True, exist_ok=True)
        speed.write_text(f"{(2 + number) * 1_000_000}\n")
        heat = speed.parents[1] / "thermal_throttle"
        heat.mkdir(exist_ok=True)
        for part, ms in (("core", 5000 + number), ("package", 700 + heat_ms)):
            (heat / f"{part}_throttle_total_time_ms").write_text(f"{ms}\n")
    return read_host(proc, folder / "cpu")


def test_what_happened_between_two_readings(tmp_path):
    before = machine(tmp_path)
    after = machine(
        tmp_path,
        heat_ms=30,
        **{
            "stat": "cpu  140 0 60 830 20 0 5 12 0 0\ncpu0 1\ncpu3 1\n",
            "vmstat": "pswpin 11\npswpout 22\n",
            "pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1100\n",
            "self/stat": "7 (a (b) c) S 1 2 3 4 5 6 7 8 45 10 11 12\n",
            "self/task/7/schedstat": "1000 90500 3\n",
            "self/task/9/schedstat": "10 10000 3\n",
        },
    )
    load = host_load(replace(before, at_ns=0), replace(after, at_ns=1_000_000))
    page = os.sysconf("SC_PAGE_SIZE")
    assert load.wall_ns == 1_000_000
    assert load.steal_share == pytest.approx(0.1)
    assert load.busy_share == pytest.approx(0.5)
    assert load.run_wait_share == pytest.approx(0.1)  # 90 µs, and 10 of a new thread
    assert load.pressure_share == pytest.approx(0.1)
    assert (load.swap_in_bytes, load.swap_out_bytes) == (page, 2 * page)
    assert (load.major_faults, load.load_average) == (3, 0.5)
    assert load.frequency_min_mhz >= 2000
    assert load.cpus_online == 2
    assert load.throttled_share == 1.0  # 30 ms that ended here, and had begun before
    longer = host_load(replace(before, at_ns=0), replace(after, at_ns=300_000_000))
    assert longer.throttled_share == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "text", "unknown"),
    [
        ("stat", "cpu  1 2 3\n", "steal_share"),
        ("stat", "cpu  a b c d e f g h\n", "busy_share"),
        ("vmstat", "pswpin x\n", "swap_in_bytes"),
        ("pressure/cpu", "", "pressure_share"),
        ("self/stat", "7 (a\n", "major_faults"),
        ("loadavg", "\n", "load_average"),
    ],
)
def test_a_file_that_says_something_else_is_unknown(tmp_path, name, text, unknown):
    reading = machine(tmp_path, **{name: text})
    assert getattr(host_load(reading, reading), unknown) is None


def test_a_system_without_such_files(tmp_path):
    nothing = read_host(tmp_path / "none", tmp_path / "none")
    load = host_load(nothing, nothing)
    told = {name for name in load.__struct_fields__ if getattr(load, name) is not None}
    assert told == {"wall_ns", "cpus"}


def test_counters_that_go_back_are_no_figure():
    later = Reading(at_ns=2, major_faults=5, pressure_us=5, ticks=(5,) * 8)
    sooner = Reading(at_ns=1, major_faults=6, pressure_us=6, ticks=(6,) * 8)
    load = host_load(sooner, later)
    assert (load.major_faults, load.pressure_share, load.steal_share) == (None, None, None)


def test_a_real_run_has_them_for_measured_iterations_only(execute):
    _, sink, _ = execute({"load": {"mode": "closed", "requests": 2}})
    hosts = {r.phase: r.host for r in sink.records if isinstance(r, IterationRecord)}
    assert hosts["warmup"] is None
    assert hosts["measured"].wall_ns > 0
    if os.path.exists("/proc/self/task"):  # noqa: PTH110
        assert hosts["measured"].run_wait_share is not None
