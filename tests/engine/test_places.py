"""Where trials may run: lists of CPUs, and which trials get a process of their own."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import make_plan, spec_from
from harness.engine.places import _listed, cpus_here, parse_cpus
from harness.errors import SpecError
from harness.host import Host

SPEC = {"backend": {"name": "openai", "model": "m"}, "scenario": {"name": "load"}}


@pytest.fixture(scope="module")
def installed():
    return Host.load()


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=40))
def test_a_list_of_cpus_reads_as_it_was_written(cpus):
    assert parse_cpus(_listed(cpus)) == cpus
    assert parse_cpus(" , ".join(map(str, cpus))) == cpus


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "1;2", "0-99999", "１"])
def test_what_is_no_list_is_refused(installed, text):
    with pytest.raises(SpecError, match=r"^\$\.placement\.cpus\[1\]: .* is no list of CPUs"):
        plan(installed, placement={"cpus": [str(min(cpus_here())), text], "parallel": 2})


def plan(host, **more):
    return make_plan(spec_from({**SPEC, **more}), host)


def test_a_cpu_that_is_not_there_is_named(installed):
    absent = max(cpus_here()) + 1
    with pytest.raises(SpecError, match=rf"cpus\[0\]: there is no CPU {absent} for this process"):
        plan(installed, placement={"cpus": [f"{min(cpus_here())},{absent}"]})


def test_what_it_was_bound_to_later_is_no_obstacle(installed):
    """A trial is planned again in its own process, which by then is bound to its place."""
    before = os.sched_getaffinity(0)
    spec = {"placement": {"cpus": [_listed(before)]}}
    plan(installed, **spec)
    os.sched_setaffinity(0, {min(before)})
    try:
        plan(installed, **spec)
    finally:
        os.sched_setaffinity(0, before)


def test_gpus_are_names(installed):
    with pytest.raises(SpecError, match=r"\$\.placement\.gpus\[0\]"):
        plan(installed, placement={"gpus": ["0\n1"]})


@pytest.mark.parametrize(
    ("more", "isolation"),
    [
        ({}, "inline"),
        ({"trials": 2}, "process"),
        ({"arms": {"a": {}, "b": {}}}, "process"),
        ({"placement": {"trial_timeout_s": 60}}, "process"),
        ({"placement": {"gpus": ["0"]}}, "process"),
        ({"trials": 2, "isolation": "inline"}, "inline"),
        ({"isolation": "process"}, "process"),
    ],
)
def test_who_gets_a_process(installed, more, isolation):
    assert plan(installed, **more).isolation == isolation


def test_not_where_a_plugin_was_made_by_hand(host):
    raw = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}, "trials": 2}
    assert make_plan(spec_from(raw), host).isolation == "inline"
    with pytest.raises(SpecError, match=r"\$\.placement\.gpus: .*\(try: leave it out\)"):
        make_plan(spec_from({**raw, "placement": {"gpus": ["0"]}}), host)


def test_a_part_of_the_machine_takes_a_process(installed):
    with pytest.raises(SpecError, match=r"\$\.placement\.gpus: .*\(try: isolation: process\)"):
        plan(installed, isolation="inline", placement={"gpus": ["0"]})
