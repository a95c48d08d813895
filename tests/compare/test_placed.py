"""Trials that an executor placed on other machines, as a condition of a comparison."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.compare import explain
from harness.schema import TrialRecord
from tests.compare.runs import place, run_of

BASE = [50.0, 51.0, 49.5, 50.5]


def on(*models):
    """The i-th trial on a machine with the i-th of these processors, by turns."""

    def change(record):
        if not isinstance(record, TrialRecord):
            return record
        model = models[record.trial % len(models)]
        return replace(record, placement={"host": f"host of {model}", "cpu_model": model})

    return change


def weights(a, b):
    found = explain((place(a, name="one"), place(b, name="two")))
    return {one.name: one.weight for one in found if one.name == "placement.nodes"}


@pytest.mark.parametrize(
    ("before", "after", "weight"),
    [
        (["x"], ["x"], None),
        (["x"], ["y"], "doubtful"),
        (["x", "y"], ["x", "y"], None),
        (["x", "y"], ["x", "x", "x", "y"], "note"),
        (["x", "y"], ["x"], "doubtful"),
    ],
)
def test_kinds_of_machines(before, after, weight):
    one = run_of({"baseline": BASE}, change=on(*before))
    other = run_of({"baseline": BASE}, run_id="cafe", change=on(*after))
    assert weights(one, other) == ({"placement.nodes": weight} if weight else {})


def test_a_run_on_its_own_machine_is_beside_one_that_was_placed():
    here = run_of({"baseline": BASE})
    assert weights(here, run_of({"baseline": BASE}, run_id="cafe")) == {}
    placed = run_of({"baseline": BASE}, run_id="cafe", change=on("x"))
    assert weights(here, placed) == {"placement.nodes": "doubtful"}


def test_arms_of_one_run_too():
    """The arms take turns, and so do the machines."""
    run = run_of({"a": BASE, "b": BASE}, change=on("x", "y"))
    found = explain((place(run, "a", name="one"), place(run, "b", name="two")))
    assert [one.weight for one in found if one.name == "placement.nodes"] == ["doubtful"]
