"""duplicate-cells and no-op-factor: axes that did nothing are named, those that did are not."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from harness.engine.summary import derive_summary
from harness.schema import SearchSpec, ValiditySpec
from tests.engine.real_runs import measure
from tests.sim.servers import inline_sim
from tests.store import builders
from tests.store.builders import manifest

CTX, GPU = "backend.options.num_ctx", "backend.options.num_gpu"
LENGTH = "scenario.options.words"


def grid(**axes):
    """Cell → path → value, of two axes: `grid(num_ctx=(1, 2), num_gpu=(1,))`."""
    from itertools import product

    paths = {"num_ctx": CTX, "num_gpu": GPU, "words": LENGTH}
    return {
        ",".join(f"{k}={v}" for k, v in zip(axes, values, strict=True)): {
            paths[k]: v for k, v in zip(axes, values, strict=True)
        }
        for values in product(*axes.values())
    }


def found(cells, *, runs=None, ttft=lambda values, trial: 50.0 + trial % 3, trials=3, **changes):
    """Caveats on axes of a run of these cells. `runs(values)` → what the server reads back."""
    records, number = [], 0
    for _ in range(trials):
        for cell, values in cells.items():
            at_ms = 1000.0 * (number + 1)
            call = builders.call(
                trial=number, sent_ms=at_ms, ttft_ms=ttft(values, number), cell=cell
            )
            effective = replace(
                builders.trial().effective,
                options={path.rpartition(".")[2]: v for path, v in values.items()},
                read_back=runs(values) if runs else {},
            )
            end_ns = call.instants.end_ns
            records += [
                call,
                builders.iteration([call]),
                builders.trial(number=number, cell=cell, effective=effective, end_ns=end_ns),
            ]
            number += 1
    plan = tuple(("baseline", cell, n) for n, cell in enumerate([*cells] * trials))
    made = manifest(("baseline",), state="finished", plan=plan, cells=cells)
    made = replace(made, spec=replace(made.spec, **changes))
    caveats = derive_summary(made, records).verdict.caveats
    json.dumps([caveat.evidence for caveat in caveats])
    return [c for c in caveats if c.code in ("duplicate-cells", "no-op-factor")]


def moved(values, trial):
    """TTFT goes with the context, and with nothing else but the launch."""
    return values[CTX] / 10 * (1 + 0.01 * (trial % 3))


def test_levels_that_come_to_the_same_configuration():
    def both(values):
        return {"num_ctx": values[CTX], "num_gpu": "all"}

    cells = grid(num_ctx=(512, 1024), num_gpu=(60, 80, 99))
    same, axis = sorted(found(cells, runs=both, ttft=moved), key=lambda caveat: caveat.code)
    assert (same.code, same.severity, same.arm) == ("duplicate-cells", "note", "baseline")
    assert same.evidence["groups"] == [
        [f"num_ctx={ctx},num_gpu={gpu}" for gpu in (60, 80, 99)] for ctx in (512, 1024)
    ]
    assert "num_gpu=60, num_ctx=512,num_gpu=80 and num_ctx=512,num_gpu=99 ran" in same.message
    assert (axis.code, axis.severity) == ("no-op-factor", "doubtful")
    assert axis.evidence["axes"] == [GPU]
    assert axis.message.startswith(f"the levels of {GPU} (60, 80, 99) led to the same")


def test_a_level_without_effect_among_others_is_a_duplicate_and_its_axis_is_none():
    def cut(values):
        return {"num_ctx": min(values[CTX], 1024)}

    caveats = found(grid(num_ctx=(512, 1024, 4096)), runs=cut, ttft=moved)
    assert [caveat.code for caveat in caveats] == ["duplicate-cells"]
    assert caveats[0].evidence["groups"] == [["num_ctx=1024", "num_ctx=4096"]]


def test_what_the_server_does_not_tell_of_proves_nothing():
    assert found(grid(num_gpu=(60, 80)), ttft=lambda values, trial: values[GPU]) == []


def test_another_workload_is_another_cell_whatever_the_server_says():
    cells = grid(words=(10, 1000))
    caveats = found(cells, runs=lambda v: {}, ttft=lambda v, trial: v[LENGTH] + trial % 2)
    assert caveats == []


def test_a_configuration_that_changed_meanwhile_is_not_known():
    numbers = iter(range(100))

    def drifting(values):
        return {"num_gpu": "all", "num_ctx": next(numbers) // 2}

    assert "duplicate-cells" not in {c.code for c in found(grid(num_gpu=(60, 80)), runs=drifting)}


def test_levels_given_twice_are_duplicates():
    cells = {"num_ctx=512": {CTX: 512}, "num_ctx=512 (2)": {CTX: 512}}
    (same,) = found(cells, runs=lambda values: {"num_ctx": 512})
    assert same.evidence["groups"] == [["num_ctx=512", "num_ctx=512 (2)"]]


def test_an_effect_within_that_of_another_launch():
    caveats = found(grid(num_ctx=(512, 1024), num_gpu=(60, 80)), ttft=moved)
    (axis,) = caveats
    assert (axis.code, axis.severity) == ("no-op-factor", "note")
    assert list(axis.evidence["axes"]) == [GPU]
    assert axis.message.startswith(f"no effect shown of {GPU}: in every metric")
    width = axis.evidence["axes"][GPU]["ttft_ms"]
    assert 0 <= width["effect"] <= width["share"] < 0.1


def test_an_effect_under_one_level_of_another_axis_is_an_effect():
    def interacts(values, trial):
        slow = values[CTX] == 1024 and values[GPU] == 80
        return (100 if slow else 50) * (1 + 0.01 * (trial % 3))

    assert found(grid(num_ctx=(512, 1024), num_gpu=(60, 80)), ttft=interacts) == []


def test_where_launches_scatter_nothing_is_said():
    def wild(values, trial):
        return 20 + 37 * trial % 61

    assert found(grid(num_gpu=(60, 80)), ttft=wild) == []
    loose = ValiditySpec(no_op_width_share_max=1.0)
    assert len(found(grid(num_gpu=(60, 80)), ttft=wild, trials=20, validity=loose)) == 1


@pytest.mark.parametrize("trials", [1, 2])
def test_too_few_launches_show_no_lack_of_effect(trials):
    assert found(grid(num_gpu=(60, 80)), ttft=lambda v, n: 50.0 + n % 2, trials=trials) == []


def test_a_search_compares_no_loads():
    cells = {f"rate_per_s={rate}": {"load.rate_per_s": rate} for rate in (1.0, 2.0)}
    assert [caveat.code for caveat in found(cells, trials=4)] == ["no-op-factor"]
    search = SearchSpec(low=1, high=2, step=2)
    assert found(cells, trials=4, search=search, slo={"ttft_ms": 1000.0}) == []


def test_for_real(tmp_path):
    """The model has no more than all of its layers."""
    with inline_sim(tmp_path, {"ttft": 0, "gap": 0, "context_length": 1024}) as server:
        ran = measure({
            "backend": {"name": "ollama", "url": server.url},
            "scenario": {"name": "says", "options": {"texts": ["one two"] * 3}},
            "sweep": {"axes": {GPU: [60, 99], CTX: [256, 512]}},
            "iterations": {"warmup": 0},
            "isolation": "inline",
        })  # fmt: skip
    assert ran.caveat("no-op-factor").evidence["axes"] == [GPU]
    assert len(ran.caveat("duplicate-cells").evidence["groups"]) == 2
