"""From what a person types to the arms and cells that are compared."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.compare import find_ref, pair_keys, pairs
from harness.compare.asked import headlines_of
from harness.errors import SpecError
from tests.compare.runs import run_of

FLAT = [50.0, 51.0]
SWEPT = {
    ("baseline", "base"): FLAT,
    ("a", "num_ctx=1"): FLAT,
    ("a", "num_ctx=2"): FLAT,
    ("b", "num_ctx=1"): FLAT,
    ("b", "num_ctx=2"): FLAT,
}
RUNS = {
    "two": run_of({"baseline": FLAT, "chimera": FLAT}),
    "after": run_of({"baseline": FLAT, "chimera": FLAT}, run_id="cafe"),
    "one": run_of({"only": FLAT}, run_id="beef"),
    "swept": run_of(SWEPT, run_id="f00d"),
    "cells": run_of({("only", f"num_ctx={n}"): FLAT for n in (1, 2, 3)}, run_id="feed"),
}


def ref(text, before=None):
    return find_ref(text, lambda name: (RUNS[name], name), before)


def paired(a, b=None):
    first = ref(a)
    found = pairs(first, ref(b, first) if b else None)
    return [tuple((p.name, p.arm, p.cell) for p in pair) for pair in found.pairs], found.alone


def test_a_run_is_its_arms_against_the_baseline():
    assert paired("two")[0] == [(("two", "baseline", "base"), ("two", "chimera", "base"))]


def test_an_arm_that_is_not_swept_is_the_baseline_of_every_cell():
    found, _ = paired("swept")
    assert {one for one, _ in found} == {("swept", "baseline", "base")}
    assert [other[1:] for _, other in found] == list(SWEPT)[1:]
    assert [other[1:] for _, other in paired("swept:b")[0]] == [*list(SWEPT)[3:]]
    assert [other[1:] for _, other in paired("swept:b/num_ctx=2")[0]] == [("b", "num_ctx=2")]


def test_cells_of_a_single_arm_are_compared_with_the_first():
    found, _ = paired("cells")
    assert [(one[2], other[2]) for one, other in found] == [
        ("num_ctx=1", "num_ctx=2"),
        ("num_ctx=1", "num_ctx=3"),
    ]
    assert paired("cells:num_ctx=3")[0] == [
        (("cells", "only", "num_ctx=1"), ("cells", "only", "num_ctx=3"))
    ]


def test_every_cell_has_the_baseline_of_the_same_cell():
    keys = [(arm, cell) for arm in ("b", "baseline") for cell in ("x", "y")]
    assert pair_keys(keys) == [(("baseline", "x"), ("b", "x")), (("baseline", "y"), ("b", "y"))]
    assert pair_keys([("zeta", "x"), ("alpha", "x")]) == [(("zeta", "x"), ("alpha", "x"))]
    assert pair_keys([("a", "x")]) == []
    # A baseline of several cells says nothing of a cell that it does not have.
    assert pair_keys([*keys, ("b", "z")]) == pair_keys(keys)


def test_two_runs_are_compared_arm_by_arm():
    found, alone = paired("two", "after")
    assert [(one[1], other[1]) for one, other in found] == [
        ("baseline", "baseline"),
        ("chimera", "chimera"),
    ]
    assert alone == ()
    assert paired("two:chimera", "after")[0] == [
        (("two", "chimera", "base"), ("after", "chimera", "base"))
    ]
    assert paired("two", "after:chimera")[0] == [
        (("two", "chimera", "base"), ("after", "chimera", "base"))
    ]
    assert paired("two:baseline", ":chimera")[0] == paired("two")[0]
    assert paired("one", "two:chimera")[0] == [
        (("one", "only", "base"), ("two", "chimera", "base"))
    ]


def test_what_has_no_partner_is_named():
    found, alone = paired("two:baseline", "swept:baseline")
    assert len(found) == 1
    found, alone = paired("swept", "two")
    assert [(one[1], other[1]) for one, other in found] == [("baseline", "baseline")]
    assert alone[:2] == ("swept:a/num_ctx=1", "swept:a/num_ctx=2")
    assert "two:chimera" in alone


@pytest.mark.parametrize(
    ("a", "b", "what"),
    [
        ("two:chimaera", None, "chimera"),
        ("two:baseline", None, "is the baseline itself"),
        ("one", None, "one arm and one cell"),
        ("one", "two", "no arm and cell in common"),
        (":chimera", None, "no run is named"),
        ("two:chimera/none", None, "has no arm or cell"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(a, b, what):
    with pytest.raises(SpecError, match=what) as caught:
        paired(a, b)
    assert "\n" not in str(caught.value)


def test_a_folder_may_have_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").mkdir()
    opened = []

    def load(name):
        opened.append(name)
        return RUNS["two"], name

    assert find_ref("a:b", load).arm is None
    assert find_ref("a:b:chimera", load).arm == "chimera"
    assert find_ref("latest:chimera", load).arm == "chimera"
    assert opened == ["a:b", "a:b", "latest"]


def test_two_agent_programs_are_compared_by_what_they_cost_too():
    """The server answers both alike: what they differ in is behind the latencies."""
    ours = ("ttft_ms", "span.agent.agent_ms", "start_up_ms", "cpu_ms", "rss_max_bytes")
    program, within = side(*ours), side("ttft_ms", "span.agent.agent_ms", "cpu_ms")
    assert headlines_of(program, program) == ours
    assert headlines_of(program, within) == ("ttft_ms",)


def side(*names):
    return SimpleNamespace(is_open=False, series={n: SimpleNamespace(values=[1.0]) for n in names})
