"""`harness prices`: what it lists, what it checks, what it writes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import SpecError


@pytest.fixture(autouse=True)
def _own(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CONFIG_DIR", str(tmp_path))


def invoke(*words):
    return CliRunner().invoke(cli, ["prices", *words], standalone_mode=False)


def add(*words, model="m"):
    amounts = ("--input", "0.15", "--output", "0.6", "--source", "the invoice")
    return invoke("add", "openai", model, *amounts, *words)


def test_it_lists_what_is_shipped_and_where_it_is_from():
    done = invoke()
    assert "gpt-4o-mini" in done.stdout and "$0.15" in done.stdout and "$0.6" in done.stdout
    assert "WattBot" in done.stdout and "(shipped)" in done.stdout
    assert done.return_value == 0


def test_a_record_of_ones_own(tmp_path):
    assert add("--date", "2026-01-01").exception is None
    assert add("--cached-input", "0.075", "--host", "api.openai.com").exception is None
    (today,) = json.loads(invoke("--json", "--model", "m", "--backend", "openai").stdout)[-1:]
    assert today["input_usd_per_token"] == "0.00000015"
    assert today["cached_input_usd_per_token"] == "0.000000075"
    assert today["file"] == str(tmp_path / "prices" / "own.json")
    assert (today["age_days"], today["is_old"], today["is_used"]) == (0, False, True)
    with pytest.raises(SpecError, match=r"already.*another --date"):
        raise add("--date", "2026-01-01").exception
    assert [path.name for path in (tmp_path / "prices").iterdir()] == ["own.json"]


def test_what_a_run_would_not_go_by_is_shown_on_demand():
    add("--date", "2025-01-01")
    add("--date", "2025-06-01")
    add("--date", "2999-01-01")
    used = json.loads(invoke("--json", "--model", "m").stdout)
    assert [one["date"] for one in used] == ["2025-06-01"]
    every = json.loads(invoke("--json", "--model", "m", "--all").stdout)
    assert [one["is_used"] for one in every] == [False, True, False]
    assert "unused" in invoke("--model", "m", "--all").stdout


def test_old_records_fail_a_check():
    add()
    assert invoke("--check", "--model", "m").return_value == 0
    add("--date", "2025-01-01", model="old")
    done = invoke("--check", "--model", "old")
    assert done.return_value == 1 and "older than 90 days" in done.stderr
    assert invoke("--check", "--model", "old", "--max-age", "100000").return_value == 0
    assert invoke("--check", "--model", "gone").return_value == 1


def test_a_name_that_has_no_price_gets_a_hint_and_no_price():
    done = invoke("--model", "gpt-4o-min")
    assert "no price for 'gpt-4o-min'" in done.stderr
    assert "the nearest that has one: gpt-4o-mini" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--input", "cheap", "--output", "1", "--source", "x"), "--input: 'cheap'"),
        (("--input", "1", "--output", "-1", "--source", "x"), "--output: '-1'"),
        (("--input", "1", "--output", "1", "--source", " "), "source: it is empty"),
        (("--input", "1", "--output", "1", "--source", "x", "--date", "today"), "date: 'today'"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(words, match, tmp_path):
    done = invoke("add", "openai", "m", *words)
    with pytest.raises(SpecError, match=match):
        raise done.exception
    assert not (tmp_path / "prices").exists()


def test_a_broken_file_is_named_and_kept(tmp_path):
    (tmp_path / "prices").mkdir()
    own = tmp_path / "prices" / "own.json"
    own.write_text('{"prices": [{"model": "m"}]}')
    with pytest.raises(SpecError, match=r"own\.json: \$\.prices\[0\]"):
        raise add().exception
    assert own.read_text() == '{"prices": [{"model": "m"}]}'
