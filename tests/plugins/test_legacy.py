"""metrics.json of every legacy form: read as it was written, strictly, with each known trap."""

from __future__ import annotations

import contextlib
import json
import math
import re

import pytest
from harness_agents.legacy.parts import typed_again
from harness_agents.legacy.reading import read_metrics, read_summary
from harness_agents.legacy.records import FORMS
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError, StoreError
from tests.plugins.legacy_builders import (
    OPTIONS,
    call,
    f32,
    folder_of_pairs,
    head_pair,
    python_pair,
    python_single,
    python_summary,
    rust_pair,
    rust_single,
    torn,
    write,
    write_fixtures,
)
from tests.published.tables import ROOT

FIXTURES = ROOT / "tests" / "data" / "legacy"
NAMES = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())


def test_the_stored_files_are_what_the_builders_write(tmp_path):
    write_fixtures(tmp_path)
    assert [p.name for p in sorted(tmp_path.iterdir())] == NAMES
    for name in NAMES:
        made = json.loads((tmp_path / name / "metrics.json").read_text())
        assert json.loads((FIXTURES / name / "metrics.json").read_text()) == made


@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_known_for_what_it_is(name):
    found = read_metrics(FIXTURES / name / "metrics.json")
    assert found.form == name.replace("single-rust-v1", "single-rust")
    assert bool(found.agents) is name.startswith("single")
    assert len(found.pairs) == (not found.agents)
    assert found.ttft == FORMS[found.form]
    assert "rust" not in name or found.ttft == "measured"


def test_runs_hold_their_calls():
    found = read_metrics(FIXTURES / "single-rust" / "metrics.json")
    assert [(a.role, a.run, len(a.calls)) for a in found.agents] == [
        ("baseline", 1, 2), ("baseline", 2, 2), ("chimera", 1, 2), ("chimera", 2, 2),
    ]  # fmt: skip
    first = found.agents[0].calls[0]
    assert (first.stage, first.tokens, first.prompt_chars) == ("analysis", 200, 70)
    assert (first.load_ms, first.prompt_ms, first.ttft_ms) == (20.0, 15.0, 40.0)
    assert found.agents[0].options == {}, "the baseline took the server's defaults"
    assert found.agents[2].options == OPTIONS, "32-bit floats are what was typed"
    assert found.agents[0].files == 101
    assert found.agents[0].spans_s == {"ingest": 0.06, "analysis": 2.0, "report": 3.0}


def test_a_call_without_its_last_line_failed(tmp_path):
    path = write(tmp_path / "metrics.json", rust_single([[call(), torn()]], [[call()]]))
    whole, cut = read_metrics(path).agents[0].calls
    assert not whole.failed
    assert "final line" in cut.failed
    assert cut.ttft_ms == 55.0
    assert "llm_calls[1]" in read_metrics(path).agents[0].failed


def test_what_is_nan_or_null_is_unknown(tmp_path):
    value = rust_single([[call()]], [[call()]], v1=True)
    value["baseline"]["individual_runs"][0]["ttft_ms"] = None
    value["chimera"]["aggregate_metrics"]["stddev_ttft"] = math.nan
    value["chimera"]["individual_runs"][0]["load_duration_ms"] = math.inf
    path = write(tmp_path / "metrics.json", value)
    assert "NaN" in path.read_text()
    found = read_metrics(path)
    assert found.agents[0].calls[0].ttft_ms is None
    assert found.agents[1].calls[0].load_ms is None
    assert "stddev_ttft" not in found.told["chimera"].figures


@pytest.mark.parametrize("written", ["chimera-homo", "chimera_homo"])
def test_both_spellings_are_one_scenario(tmp_path, written):
    pair = rust_pair(1, [call()], [call()], (2.0, 2.0), 2.1, scenario=written)
    found = read_metrics(write(tmp_path / "metrics.json", pair))
    assert found.pairs[0].scenario == "chimera_homo"


def test_summaries(tmp_path):
    folder_of_pairs(tmp_path)
    found = read_summary(tmp_path / "phase_1_test_008" / "summary.json")
    assert (found.form, found.scenario) == ("multi-python", "chimera_hetero")
    assert [pair.run for pair in found.pairs] == [1, 2, 3]
    head = [
        head_pair(n, (4, 40.0, 5.0, 200.0, {}), (5, 41.0, 6.0, 220.0, {}), 230.0) for n in (1, 2)
    ]
    found = read_summary(write(tmp_path / "summary.json", {"runs": head}))
    assert (found.form, len(found.pairs)) == ("multi-python-head", 2)
    rust = rust_pair(1, [call()], [call()], (2.0, 2.0), 2.1)["summary"]
    found = read_summary(write(tmp_path / "summary.json", {"runs": [rust], "aggregate": {}}))
    assert found.pairs[0].wall_s == 2.1
    assert found.pairs[0].agents is None


# ---- mistakes


def without(value, *path):
    *to, last = path
    for step in to:
        value = value[step]
    del value[last]


def changed(value, new, *path):
    *to, last = path
    for step in to:
        value = value[step]
    value[last] = new


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda v: without(v, "chimera"), "none of the known forms"),
        (lambda v: without(v, "baseline", "individual_runs"), "$.baseline: neither llm_calls"),
        (lambda v: without(v, "baseline", "individual_runs", 0, "ttft_ms"), "field ttft_ms"),
        (lambda v: changed(v, "12", "baseline", "individual_runs", 0, "ttft_ms"),
         "$.baseline.individual_runs[0].ttft_ms: expected float"),
        (lambda v: changed(v, 1.5, "chimera", "individual_runs", 0, "tokens_generated"),
         "$.chimera.individual_runs[0].tokens_generated"),
        (lambda v: changed(v, True, "chimera", "individual_runs", 0, "ttft_ms"), "got bool"),
        (lambda v: changed(v, [], "chimera"), "$.chimera: expected object"),
        (lambda v: changed(v, 3, "chimera", "model"), "$.chimera.model"),
    ],
)  # fmt: skip
def test_mistakes_name_file_and_field(tmp_path, spoil, says):
    value = rust_single([[call()]], [[call()]], v1=True)
    spoil(value)
    path = write(tmp_path / "metrics.json", value)
    with pytest.raises(StoreError) as raised:
        read_metrics(path)
    assert says in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"), ("{", "not JSON"), ("[" * 100_000, "not JSON"), ("3", "a number is none"),
        ("null", "null is none"), ('"x"', "text is none"), ('{"a": 1}', "an object with a is none"),
        ("[3]", "$[0]: expected object"), ('{"collector": 1, "insight": 2}', "expected object"),
        ('{"baseline": {}, "chimera": {}}', "required field"), ("1" * 5000, "none of the known"),
        ("\xff", "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_metrics_json_is_said_to_be_none(tmp_path, text, says):
    path = tmp_path / "metrics.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"metrics\.json") as raised:
        read_metrics(path)
    assert says in str(raised.value)


@pytest.mark.parametrize("name", NAMES)
def test_half_a_surrogate_pair_in_any_place_is_text_or_a_mistake(name, tmp_path):
    """JSON can say it, and no UTF-8 can hold it."""
    content = (FIXTURES / name / "metrics.json").read_text()
    spoilt = tmp_path / "metrics.json"
    for value in sorted(set(re.findall(r': ("[^"]*"|[\d.]+)', content))):
        spoilt.write_text(content.replace(f": {value}", r': "\ud800"'))
        with contextlib.suppress(StoreError):
            assert r"\ud800" not in repr(read_metrics(spoilt))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"gone\.json"):
        read_metrics(tmp_path / "gone.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["baseline", "chimera", "collector", "insight", "result", "metrics", "runs", "summary",
             "aggregate_metrics", "llm_calls", "individual_runs", "run_number", "configuration"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_any_json_is_a_form_or_a_mistake(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "metrics.json"
    path.write_text(json.dumps(value), "utf-8")
    for read in (read_metrics, read_summary):
        try:
            read(path)
        except HarnessError as error:
            assert "\n" not in str(error)


# ---- round trips


figure = st.floats(0.001, 1e5, allow_nan=False)
calls = st.builds(
    call, tokens=st.integers(1, 30_000), rate=figure, ttft=figure, load=figure, prompt=figure
)
agents = st.tuples(st.integers(1, 9999), figure, figure)
options = st.fixed_dictionaries(
    {},
    optional={
        "num_gpu": st.integers(0, 999),
        "num_ctx": st.integers(1, 2**17),
        "temperature": st.integers(0, 200).map(lambda n: n / 100),
        "top_p": st.integers(0, 100).map(lambda n: n / 100),
    },
)


@settings(max_examples=40, deadline=None)
@given(st.lists(calls, min_size=1, max_size=3), st.lists(calls, min_size=1, max_size=3), options,
       st.booleans(), figure, figure)  # fmt: skip
def test_a_rust_pair_comes_back_as_it_was(tmp_path_factory, a, b, chosen, v1, one, two):
    path = tmp_path_factory.mktemp("pair") / "metrics.json"
    wall = max(one, two)
    write(path, rust_pair(3, a, b, (one, two), wall, v1=v1, options=({}, chosen)))
    (pair,) = read_metrics(path).pairs
    assert pair.run == 3
    assert pair.wall_s == wall
    for agent, made, asked in zip(pair.agents, (a, b), ({}, chosen), strict=True):
        assert agent.options == asked
        assert [c.ttft_ms for c in agent.calls] == [c["ttft_ms"] for c in made]
        assert [c.tokens for c in agent.calls] == [c["tokens_generated"] for c in made]
        assert [c.eval_ms for c in agent.calls] == [c["eval_duration_ms"] for c in made]


@settings(max_examples=40, deadline=None)
@given(agents, agents, options, st.booleans())
def test_python_forms_come_back_as_they_were(tmp_path_factory, a, b, chosen, head):
    folder = tmp_path_factory.mktemp("python")
    single = read_metrics(write(folder / "metrics.json", python_single([(a, b)], head=head)))
    assert single.ttft == ("prompt" if head else "load+prompt")
    for agent, (tokens, rate, ttft) in zip(single.agents, (a, b), strict=True):
        told = agent.told.figures
        assert told["total_tokens_generated"] == tokens
        assert (told["average_tokens_per_second"], told["average_ttft_ms"]) == (rate, ttft)
        assert agent.files == 0
    pair = python_pair(2, (*a, {}), (*b, chosen), (1.0, 2.0), 2.0)
    (found,) = read_metrics(write(folder / "metrics.json", pair)).pairs
    assert found.agents[1].options == chosen
    assert found.told.figures["concurrency_speedup"] == 1.5
    summary = read_summary(write(folder / "summary.json", python_summary([pair], "chimera-homo")))
    assert summary.scenario == "chimera_homo"
    assert summary.pairs[0].told == found.told.__class__(
        figures=found.told.figures, place="$.runs[0]"
    )


@given(st.integers(-(10**7) + 1, 10**7 - 1), st.integers(0, 7))
def test_decimals_survive_32_bits(digits, places):
    typed = digits / 10**places
    assert typed_again(f32(typed)) == typed
    assert typed_again(typed) == typed


@given(st.floats(allow_nan=False))
def test_other_numbers_stay_what_they_are(value):
    again = typed_again(value)
    assert again == value or (abs(again - value) <= 1e-6 * abs(value) and f32(again) == value)
    assert typed_again("0.8") == "0.8"
    assert typed_again(40) == 40
