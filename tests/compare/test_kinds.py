"""One name, two kinds of figure: none of them takes the place of another without a word."""

from __future__ import annotations

from msgspec.structs import replace

from harness.compare import parse_gate
from harness.compare.measured import measured
from harness.schema import IterationRecord, MetricValue
from tests.compare.runs import compare_one, effect, place, run_of

BASE = [50.0, 51.0, 49.5, 50.5, 52.0, 50.0]


def given(*metrics):
    """arm → the metrics of its iterations, values rising with the trial."""

    def change(record):
        if not isinstance(record, IterationRecord):
            return record
        own = metrics[record.arm == "chimera"]
        made = tuple(
            MetricValue(
                name="size",
                value=value + record.trial % 3,
                unit=unit,
                better="lower",
                provenance=provenance,
            )
            for value, unit, provenance in own
        )
        return replace(record, metrics=made)

    return run_of({"baseline": BASE, "chimera": BASE}, change=change)


def compared(run, **asked):
    return compare_one(place(run), place(run, "chimera"), **asked)


def condition(found, name):
    return next((one for one in found.conditions if one.name == name), None)


def test_two_units_of_one_name_are_two_figures():
    both = ((5.0, "MB", "measured"), (9.0, "kB", "measured"))
    run = given(both, both)
    data = measured(run, [("baseline", "base")])["baseline", "base"]
    assert (data.series["size"].unit, data.series["size [kB]"].unit) == ("MB", "kB")
    assert data.several == ("size [kB]",)
    found = compared(run, metrics=("size", "size [kB]"), gates=(parse_gate("size [kB]=90%"),))
    assert effect(found, "size").baseline_mean < 8 < effect(found, "size [kB]").baseline_mean
    assert found.gates[0].status == "no regression"
    assert condition(found, "records.kinds").weight == "note"


def test_another_unit_on_either_side_is_said():
    run = given(((5.0, "MB", "measured"),), ((9.0, "kB", "measured"),))
    found = compared(run, metrics=("size",), gates=(parse_gate("size=5%"),))
    assert found.effects == ()
    said = condition(found, "records.unit.size")
    assert (said.weight, said.baseline, said.candidate) == ("doubtful", "MB", "kB")
    assert "it is left out" in said.why
    assert found.gates[0].sentence == "size: not comparable: its unit was MB, and is kB"


def test_another_source_on_either_side_is_said():
    run = given(((5.0, "MB", "measured"),), ((5.0, "MB", "declared"),))
    found = compared(run, metrics=("size",))
    assert effect(found, "size").words == "no difference shown"
    said = condition(found, "records.provenance.size")
    assert (said.baseline, said.candidate) == ("measured", "declared")
    two = ((5.0, "MB", "measured"), (7.0, "MB", "declared"))
    found = compared(given(two, two), metrics=("size [MB, declared]",))
    assert effect(found, "size [MB, declared]").baseline_mean > 6
    assert not condition(compared(given(two, two)), "records.provenance.size")
