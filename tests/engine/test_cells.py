"""Axes to cells, and cells to configurations: by examples, and by what must hold for any grid."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import spec_from
from harness.engine.cells import backends_of, configuration, find_cells, load_of, search_loads
from harness.errors import SpecError
from harness.schema import ClosedLoad, SearchSpec

BASE = {"backend": {"name": "scripted"}, "scenario": {"name": "asking"}}


def spec(**fields):
    return spec_from({**BASE, **fields})


def swept(axes, **fields):
    return spec(sweep={"axes": axes, **fields})


def test_every_combination_in_the_order_of_the_axes():
    cells = find_cells(swept({"backend.options.num_ctx": [1, 2], "load.concurrency": [4, 8]}))
    assert list(cells) == [
        "num_ctx=1,concurrency=4",
        "num_ctx=1,concurrency=8",
        "num_ctx=2,concurrency=4",
        "num_ctx=2,concurrency=8",
    ]
    assert cells["num_ctx=2,concurrency=4"] == {"backend.options.num_ctx": 2, "load.concurrency": 4}


def test_backends_are_named_once_each():
    whole = swept({"backend": {"a": {"name": "one"}, "b": {"name": "two"}, "c": {"model": "m"}}})
    cells = find_cells(whole)
    assert backends_of(whole, [("default", c) for c in cells], cells) == ["one", "two", "scripted"]
    arms = spec(arms={"x": {}, "y": {"backend": {"name": "other"}}})
    assert backends_of(arms, [("x", "base"), ("y", "base")], {}) == ["scripted", "other"]
    assert backends_of(arms, [], {}) == ["scripted"]


def test_side_by_side():
    found = find_cells(
        swept({"backend.model": ["a", "b"], "load.concurrency": [1, 2]}, strategy="zip")
    )
    assert list(found) == ["model=a,concurrency=1", "model=b,concurrency=2"]


def test_labels():
    found = find_cells(
        swept(
            {
                "backend": {"small": {"model": "a"}, "large": {"model": "b"}},
                "scenario.options.deep": [True, None, 0.25, {"x": 1}],
            }
        )
    )
    assert list(found)[:4] == [
        "backend=small,deep=true",
        "backend=small,deep=null",
        "backend=small,deep=0.25",
        "backend=small,deep=#4",
    ]


def test_paths_that_end_alike_are_told_apart():
    axes = {"backend.options.max_tokens": [1], "scenario.options.max_tokens": [2]}
    assert list(find_cells(swept(axes))) == [
        "backend.options.max_tokens=1,scenario.options.max_tokens=2"
    ]


def test_a_level_given_twice_makes_two_cells():
    assert list(find_cells(swept({"load.concurrency": [1, 1, 1]}))) == [
        "concurrency=1",
        "concurrency=1 (2)",
        "concurrency=1 (3)",
    ]


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    data=st.data(),
    seed=st.integers(0, 2**31),
)
def test_random_cells_are_drawn_without_replacement_and_repeatably(sizes, data, seed):
    axes = {f"backend.options.o{i}": list(range(size)) for i, size in enumerate(sizes)}
    grid = find_cells(swept(axes))
    assert len(grid) == math.prod(sizes)
    samples = data.draw(st.integers(1, len(grid)))
    drawn = find_cells(swept(axes, strategy="random", samples=samples, seed=seed))
    assert len(drawn) == samples
    assert [name for name in grid if name in drawn] == list(drawn)  # in the order of the grid
    assert all(grid[name] == values for name, values in drawn.items())
    assert drawn == find_cells(swept(axes, strategy="random", samples=samples, seed=seed))


def test_a_grid_too_large_to_list_can_still_be_sampled():
    axes = {f"backend.options.o{i}": list(range(100)) for i in range(8)}
    assert len(find_cells(swept(axes, strategy="random", samples=5))) == 5
    with pytest.raises(SpecError, match="10000000000000000 cells"):
        find_cells(swept(axes))


@pytest.mark.parametrize(
    ("sweep", "where", "says"),
    [
        ({"axes": {}}, "$.sweep.axes", "at least one axis"),
        ({"axes": {"seed": [1]}}, "$.sweep.axes.seed", "backend, scenario or load"),
        ({"axes": {"backend..x": [1]}}, "$.sweep.axes.backend..x", "dotted path"),
        ({"axes": {"load.concurrency": []}}, "$.sweep.axes.load.concurrency", "no levels"),
        ({"axes": {"load.concurrency": 4}}, "$.sweep.axes.load.concurrency", "a list"),
        (
            {"axes": {"backend": [{}], "backend.model": ["a"]}},
            "$.sweep.axes.backend.model",
            "within",
        ),
        (
            {"axes": {"load.concurrency": [1, 2], "backend.model": ["a"]}, "strategy": "zip"},
            "$.sweep",
            "load.concurrency has 2, backend.model has 1",
        ),
        ({"axes": {"load.concurrency": [1]}, "samples": 1}, "$.sweep.samples", "no effect"),
        ({"axes": {"load.concurrency": [1]}, "seed": 1}, "$.sweep.seed", "no effect"),
        ({"axes": {"load.concurrency": [1]}, "strategy": "random"}, "$.sweep.samples", "how many"),
        (
            {"axes": {"load.concurrency": [1]}, "strategy": "random", "samples": 2},
            "$.sweep.samples",
            "2 of 1 cells",
        ),
        ({"axes": {"backend.model": ["a\nb"]}}, "$.sweep.axes.backend.model", "cannot name"),
    ],
)
def test_what_is_no_sweep_is_refused(sweep, where, says):
    with pytest.raises(SpecError, match=says) as caught:
        find_cells(spec(sweep=sweep))
    assert caught.value.where == where


def test_the_arm_is_merged_into_the_base_and_the_cell_into_both():
    made = spec_from(
        {
            "backend": {
                "name": "scripted",
                "model": "m",
                "options": {"num_ctx": 1, "max_tokens": 2},
            },
            "scenario": {"name": "asking"},
            "arms": {"a": {"backend": {"options": {"max_tokens": 3}}, "load": {"requests": 7}}},
            "sweep": {"axes": {"backend.options.num_ctx": [8], "load.concurrency": [4]}},
        }
    )
    cells = find_cells(made)
    asked = configuration(made, "a", "num_ctx=8,concurrency=4", cells)
    assert asked.backend.options == {"num_ctx": 8, "max_tokens": 3}
    assert asked.backend.model == "m"
    assert asked.load == ClosedLoad(concurrency=4, requests=7)
    assert load_of(made, "a", "num_ctx=8,concurrency=4", cells) == asked.load


def test_a_cell_leaves_the_spec_as_it_was():
    made = spec(
        arms={"a": {"backend": {"options": {"max_tokens": 3}}}},
        sweep={"axes": {"backend.options.num_ctx": [8]}},
    )
    before = msgspec.json.encode(made)
    configuration(made, "a", "num_ctx=8", find_cells(made))
    assert msgspec.json.encode(made) == before


def test_null_takes_an_option_back():
    made = spec_from(
        {
            "backend": {"name": "scripted", "options": {"num_ctx": 512}},
            "scenario": {"name": "asking"},
            "sweep": {"axes": {"backend.options.num_ctx": {"default": None, "large": 8192}}},
        }
    )
    cells = find_cells(made)
    assert configuration(made, "default", "num_ctx=default", cells).backend.options == {}
    assert configuration(made, "default", "num_ctx=large", cells).backend.options == {
        "num_ctx": 8192
    }


@given(low=st.floats(0.1, 1e3), factor=st.floats(1.01, 1e3), step=st.floats(1.01, 10))
def test_the_loads_of_a_search_go_from_end_to_end(low, factor, step):
    search = SearchSpec(low=low, high=low * factor, step=step)
    loads = search_loads(search)
    assert loads[0] == pytest.approx(low, rel=1e-3)
    assert loads[-1] == pytest.approx(low * factor, rel=1e-3)
    assert all(a <= b <= a * step * 1.002 for a, b in itertools.pairwise(loads))


def test_a_search_over_concurrency_tries_whole_numbers():
    search = SearchSpec(low=1, high=20, step=1.5, path="load.concurrency")
    assert search_loads(search) == [1, 2, 3, 5, 8, 11, 17, 20]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"low": 0, "high": 1}, "$.search"),
        ({"low": 2, "high": 1}, "$.search"),
        ({"low": 1, "high": math.inf}, "$.search"),
        ({"low": 0.5, "high": 8, "path": "load.concurrency"}, "$.search.low"),
        ({"low": 1, "high": 2, "step": 1.0}, "$.search.step"),
    ],
)
def test_a_search_without_room_is_refused(fields, where):
    with pytest.raises(SpecError) as caught:
        search_loads(SearchSpec(**fields))
    assert caught.value.where == where
