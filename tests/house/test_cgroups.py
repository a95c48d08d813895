"""What our cgroups allow, read from trees of files as both versions have them."""

from __future__ import annotations

import pytest

from harness.cgroups import Limits, limits, throttled_us
from harness.hostload import host_load, read_host

MIB = 2**20


@pytest.fixture
def tree(tmp_path):
    """Writes files of /proc and of the cgroup tree; gives both roots."""

    def write(own, **files):
        (tmp_path / "proc" / "self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(own)
        (tmp_path / "cgroup").mkdir(exist_ok=True)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "proc", tmp_path / "cgroup"

    return write


def v2(tree, **files):
    return tree("0::/a/b\n", **{"cgroup.controllers": "cpu memory\n", **files})


def test_the_tightest_bound_on_the_way_up_holds(tree):
    roots = v2(
        tree,
        **{
            "a/cpu.max": "150000 100000\n",
            "a/memory.max": f"{64 * MIB}\n",
            "a/b/cpu.max": "400000 100000\n",
            "a/b/memory.max": "max\n",
        },
    )
    assert limits(*roots) == Limits(version=2, cpus=1.5, memory_bytes=64 * MIB)


def test_no_bound_is_none_and_no_cgroups_say_so(tree, tmp_path):
    roots = v2(tree, **{"a/b/cpu.max": "max 100000\n", "a/b/memory.max": "max\n"})
    assert limits(*roots) == Limits(version=2)
    found = limits(tmp_path / "none", tmp_path / "none")
    assert found.cpus is None
    assert "no cgroups" in found.unknown


def test_a_container_that_sees_its_own_group_as_the_root(tree):
    """The path is of the host's tree; what is mounted here is ours."""
    files = {"cpu.max": "50000 100000\n", "cpu.stat": "usage_usec 9\nthrottled_usec 77\n"}
    roots = tree("0::/../docker/1234\n", **{"cgroup.controllers": "cpu\n"}, **files)
    assert limits(*roots).cpus == 0.5
    assert throttled_us(*roots) == 77


def test_version_1(tree):
    files = {
        "cpu,cpuacct/jobs/cpu.cfs_quota_us": "200000\n",
        "cpu,cpuacct/jobs/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/jobs/cpu.stat": "nr_periods 5\nnr_throttled 1\nthrottled_time 5000000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "memory/jobs/memory.limit_in_bytes": f"{512 * MIB}\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    roots = tree("4:memory:/jobs\n3:cpu,cpuacct:/jobs\n0::/\n", **files)
    assert limits(*roots) == Limits(version=1, cpus=2.0, memory_bytes=512 * MIB)
    assert throttled_us(*roots) == 5000


def test_time_held_back_is_that_of_every_group_that_holds_us(tree):
    files = {
        "a/cpu.stat": "throttled_usec 1000\n",
        "a/b/cpu.stat": "nr_throttled 2\nthrottled_usec 500\n",
    }
    assert throttled_us(*v2(tree, **files)) == 1500


@pytest.mark.parametrize("text", ["", "throttled_usec\n", "throttled_usec x\n", "\x00\xff"])
def test_what_is_no_count_is_unknown(tree, text):
    assert throttled_us(*v2(tree, **{"a/b/cpu.stat": text})) is None


def test_it_is_part_of_what_the_host_did(tree, tmp_path):
    def reading(held_us):
        proc, groups = v2(tree, **{"a/b/cpu.stat": f"throttled_usec {held_us}\n"})
        return read_host(proc, tmp_path / "cpu", groups)

    before, after = reading(1_000_000), reading(1_250_000)
    load = host_load(before, after)
    assert load.cgroup_throttled_share == pytest.approx(250_000 * 1e3 / load.wall_ns)
    assert host_load(after, before).cgroup_throttled_share is None  # we were moved to another


def test_the_real_ones_can_be_read():
    found = limits()
    assert found.unknown or found.version in (1, 2)
