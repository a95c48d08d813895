"""Spec mistakes: the path, and the nearest valid name."""

from __future__ import annotations

import datetime
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from harness.engine import digest, merge, read_spec, set_path, spec_from
from harness.errors import SpecError
from harness.strict import decode

GOOD = {"backend": {"name": "x"}, "scenario": {"name": "y"}}


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"laod": {}}, r"\$\.laod: there is no such field \(try: load\)"),
        ({"load": {"mode": "closed", "concurency": 1}}, r"\$\.load\.concurency.*concurrency"),
        ({"load": {"mode": "open", "rate": 1}}, r"\$\.load.*rate_per_s"),
        ({"load": {"mode": "burst"}}, r"\$\.load"),
        ({"backend": {"name": "x", "modle": "m"}}, r"\$\.backend\.modle.*try: model\)"),
        ({"arms": {"a": {"bakend": {}}}}, r"\$\.arms\.a\.bakend.*try: backend\)"),
        (
            {"arms": {"a": {}, "b": {"notes": 3}}},
            r"\$\.arms\.b\.notes: expected text, got a whole number",
        ),
        (
            {"trials": "three"},
            r"\$\.trials: expected a whole number, got text \(try: a plain number",
        ),
        ({"load": 3}, r"\$\.load: expected a mapping, got a whole number"),
        ({"timeouts": {"connect": 1}}, r"\$\.timeouts\.connect: .*connect_s"),
        ({"order": "random"}, r"\$\.order: .*try: randomised\)"),
        ({"transport": "nativ"}, r"\$\.transport: .*try: native\)"),
        ({"load": {"mode": "burst"}}, r"\$\.load\.mode: .*try: closed or open\)"),
        ({"load": {"mode": "closed", "concurrency_max": 2}}, r"try: concurrency\)"),
        ({"timeouts": {"connect_s": "1e3"}}, r"got text \(try: a plain number"),
        ({"timeouts": {"connect_s": float("inf")}}, r"\$\.timeouts\.connect_s: .*finite"),
        (
            {"backend": {"name": "x", "options": {"a": [1, float("nan")]}}},
            r"options\.a\[1\]: .*nan",
        ),
        ({"seed": 2**64}, r"\$\.seed: does not fit in 64 bits"),
        ({"arms": {1: {}}}, r"\$\.arms: 1 is not text"),
        ({"notes": datetime.date(2026, 11, 20)}, r"\$\.notes: a date is neither"),
    ],
)
def test_mistakes_are_named(extra, says):
    with pytest.raises(SpecError, match=says):
        spec_from({**GOOD, **extra})


class Bounded(Struct):
    few: Annotated[int, Meta(ge=2)] | None = None
    share: Annotated[float, Meta(gt=0, le=0.5)] = 0.1
    word: Annotated[str, Meta(min_length=1)] = "x"
    flag: bool = True
    items: list[int | str] = []


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"few": 1}, "$.few: expected a whole number of at least 2"),
        ({"share": 0}, "$.share: expected a number of more than 0"),
        ({"share": 1}, "$.share: expected a number of at most 0.5"),
        ({"word": ""}, "$.word: expected text of length at least 1"),
        ({"flag": 1}, "$.flag: expected true or false, got a whole number"),
        ({"flag": None}, "$.flag: expected true or false, got nothing"),
        ({"items": {}}, "$.items: expected a list, got a mapping"),
        ({"items": [True]}, "$.items[0]: expected a whole number or text, got true or false"),
    ],
)
def test_types_and_bounds_are_in_words(raw, says):
    with pytest.raises(SpecError) as error:
        decode(raw, Bounded)
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "backend: {name: x}\nscenario: {name: y}\n"),
        ("a.json", '{"backend": {"name": "x"}, "scenario": {"name": "y"}}'),
        ("a.toml", "[backend]\nname = 'x'\n[scenario]\nname = 'y'\n"),
    ],
)
def test_three_formats_one_spec(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert spec_from(read_spec(path)) == spec_from(GOOD)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "backend: [", "line 1"),
        ("a.yaml", "- 1\n", "mapping"),
        ("a.json", "{", "a.json"),
        ("a.toml", "= 3", "line 1"),
        ("a.txt", "x", "unknown kind of file"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "python/object"),
    ],
)
def test_bad_files_are_explained(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SpecError, match=says):
        read_spec(path)


def test_a_load_without_a_mode():
    assert spec_from({**GOOD, "load": {"concurrency": 3}}).load.concurrency == 3
    assert spec_from({**GOOD, "load": {"rate_per_s": 3}}).load.rate_per_s == 3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"gone\.yaml"):
        read_spec(tmp_path / "gone.yaml")


def test_writing_a_default_down_changes_no_digest():
    assert digest(spec_from(GOOD)) == digest(spec_from({**GOOD, "trials": 1, "seed": 0}))
    assert digest(spec_from(GOOD)) != digest(spec_from({**GOOD, "seed": 1}))
    closed, opened = {"mode": "closed"}, {"mode": "open", "rate_per_s": 1.0}
    assert digest(spec_from({**GOOD, "load": closed})) != digest(
        spec_from({**GOOD, "load": opened})
    )


def test_merge_is_a_json_merge_patch():
    base = {"a": {"x": 1, "y": 2}, "b": 3}
    assert merge(base, {"a": {"x": None, "z": 4}, "b": [1]}) == {"a": {"y": 2, "z": 4}, "b": [1]}
    assert base == {"a": {"x": 1, "y": 2}, "b": 3}


def test_set_path():
    raw = {"a": 1}
    set_path(raw, "load.mode", "open")
    set_path(raw, "$.load.rate_per_s", 2)
    assert raw == {"a": 1, "load": {"mode": "open", "rate_per_s": 2}}
    with pytest.raises(SpecError, match="holds no fields"):
        set_path(raw, "a.b", 1)


def test_a_load_whose_rate_is_varied_needs_none_of_its_own():
    for levels in ([20, 40], {"slow": 20, "fast": 40}):
        sweep = {"axes": {"load.rate_per_s": levels}}
        made = spec_from({**GOOD, "load": {"requests": 9}, "sweep": sweep})
        said = spec_from({**GOOD, "load": {"requests": 9, "rate_per_s": 20}, "sweep": sweep})
        assert made == said and digest(made) == digest(said)
    searched = {"low": 5, "high": 10}
    made = spec_from({**GOOD, "load": {"requests": 9}, "slo": {"e2e_ms": 1}, "search": searched})
    assert made.load.rate_per_s == 5
    made = spec_from(
        {**GOOD, "load": {"requests": 9}, "search": {"path": "load.concurrency", **searched}}
    )
    assert made.load.concurrency == 1
    for sweep in (3, {"axes": 3}):
        with pytest.raises(SpecError, match="sweep"):
            spec_from({**GOOD, "load": {"requests": 9}, "sweep": sweep})


def test_a_field_that_is_missing_is_named_with_its_path():
    with pytest.raises(SpecError, match=r"^\$\.load\.rate_per_s: this field is missing"):
        spec_from({**GOOD, "load": {"mode": "open"}})
