"""What the single agent reads of a folder, and how it says what it did not read."""

from __future__ import annotations

import datetime
import json
import os

import pytest
from harness_single_agent import SingleAgentOptions
from harness_single_agent.dates import find_dates, full_dates
from harness_single_agent.facts import aggregates
from harness_single_agent.ingest import corpus_folder, ingest
from harness_single_agent.parsing import (
    PARSERS,
    UnreadableError,
    parse_csv,
    parse_json,
    parse_markdown,
)
from harness_single_agent.summary import summarise
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ScenarioError

# --------------------------------------------------------------------------------------- parsers


@pytest.mark.parametrize("kind", PARSERS)
@given(
    data=st.binary(max_size=400) | st.text(max_size=400).map(lambda t: t.encode("utf-8", "replace"))
)
def test_no_bytes_make_a_parser_raise_anything_else(kind, data):
    try:
        contents = PARSERS[kind](data)
    except UnreadableError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert all(count >= 0 for count in contents.counts.values())
        assert all(values for values in contents.columns.values())


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                    max_leaves=30))  # fmt: skip
def test_any_json_value_is_read_whole(value):
    contents = parse_json(json.dumps(value).encode())
    assert sum(map(len, contents.columns.values())) == _figures(value)


def _figures(value):
    if isinstance(value, dict):
        return sum(map(_figures, value.values()))
    if isinstance(value, list):
        return sum(map(_figures, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(abs(value) <= 1.7976931348623157e308)  # nan and inf are no figures


def test_csv_columns_hold_every_cell():
    contents = parse_csv(b"\xef\xbb\xbfname,tok_s,note\r\na,1.5,x\r\nb,,\r\nc,-2e1,7\r\n\r\n")
    assert contents.counts == {"rows": 3, "columns": 3}
    assert contents.columns == {"tok_s": (1.5, -20.0)}
    assert contents.names == ("name", "tok_s", "note")


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", "0x10", "1e999", "x"])
def test_what_only_float_takes_for_a_number_is_none(text):
    assert parse_csv(f"a\n{text}\n".encode()).columns == {}


@pytest.mark.parametrize("mark", ",;\t|")
def test_the_usual_delimiters(mark):
    assert parse_csv(f"a{mark}b\n1{mark}2\n".encode()).columns == {"a": (1.0,), "b": (2.0,)}


def test_json_paths_drop_positions():
    contents = parse_json(b'{"results": [{"t": 1, "ok": true}, {"t": 2.5, "x": NaN}], "n": {}}')
    assert contents.columns == {"results[].t": (1.0, 2.5)}
    assert contents.counts == {"items": 2, "keys": 6}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_broken_json_says_why(data, reason):
    with pytest.raises(UnreadableError, match=reason):
        parse_json(data)


def test_a_unix_timestamp_is_a_date_where_its_name_says_so():
    assert parse_json(b'{"timestamp": 1778280432.9}').dates == {datetime.date(2026, 5, 8)}
    assert parse_json(b'{"size": 1778280432}').dates == frozenset()


def test_markdown_counts():
    contents = parse_markdown(b"# A\n\nSeen on 14 Nov 2025: 12.5 % of it.\n## B\n")
    assert contents.counts == {"lines": 4, "words": 10, "headings": 2}
    assert contents.dates == {datetime.date(2025, 11, 14)}
    assert contents.percentages == (12.5,)


# ----------------------------------------------------------------------------------------- dates


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("2025-11-14", [((2025, 11, 14),)]),
        ("file_20251004_143244.json", [((2025, 10, 4),)]),
        ("October 26, 2023", [((2023, 10, 26),)]),
        ("the 26th of October 2023", [((2023, 10, 26),)]),
        ("Nov. 8", [((None, 11, 8),)]),
        ("in November 2025", [((2025, 11, None),)]),
        ("Nov 8th - November 14th, 2025", [((2025, 11, 8),), ((2025, 11, 14),)]),
        ("11/10/2025", [((2025, 10, 11), (2025, 11, 10))]),
        ("31.12.2025", [((2025, 12, 31),)]),
        ("on 2025-02-30", []),
        ("18:53:30, version 1.2.3, may 5 of them, 3.20251014", []),
    ],
)
def test_dates_in_text(text, readings):
    assert [found.readings for found in find_dates(text)] == readings


def test_a_range_that_ends_in_no_year_is_no_full_date():
    assert list(full_dates("February 29 - March 2, 2025")) == [datetime.date(2025, 3, 2)]


@given(st.text())
def test_any_text_has_dates_or_none(text):
    for found in find_dates(text):
        assert 0 <= found.start < found.end <= len(text)


# ---------------------------------------------------------------------------------------- folders


def options(folder, **more):
    return SingleAgentOptions(corpus=str(folder), **more)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "b.csv").write_text("x\n1\n2\n")
    (tmp_path / "deep" / "a.JSON").write_text("[1, 2]")
    (tmp_path / "deep" / "er" / "n.markdown").write_text("# hi\n")
    (tmp_path / "other.txt").write_text("not for us")
    return tmp_path


def test_reads_recursively_in_a_fixed_order(folder):
    corpus = ingest(options(folder))
    assert [source.path for source in corpus.sources] == [
        "b.csv",
        "deep/a.JSON",
        "deep/er/n.markdown",
    ]
    assert corpus.files_by_kind() == {"csv": 1, "json": 1, "markdown": 1}
    assert corpus.size_bytes == 6 + 6 + 5
    assert corpus.skipped == ()


def test_modification_times_are_kept(folder):
    os.utime(folder / "b.csv", (0, 1_700_000_000))
    (source, *_) = ingest(options(folder)).sources
    assert source.modified == datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.UTC)


def test_every_file_that_is_not_read_is_named_with_its_reason(folder):
    (folder / "broken.json").write_text("{")
    (folder / "huge.csv").write_text("x\n" * 100)
    (folder / "link.csv").symlink_to(folder / "b.csv")
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.csv")
    corpus = ingest(options(folder, file_bytes_max=100))
    reasons = {skipped.path: skipped.reason for skipped in corpus.skipped}
    assert reasons.pop("broken.json").startswith("not JSON")
    assert reasons == {
        "huge.csv": "larger than file_bytes_max, 100",
        "link.csv": "a link",
        "circle": "a link",
        "pipe.csv": "not a regular file",
    }
    assert len(corpus.sources) == 3


def test_patterns_choose_by_path_or_name(folder):
    assert len(ingest(options(folder, include=("*.csv", "deep/er/*"))).sources) == 2


@pytest.mark.parametrize("make", ["missing", "file", "empty", "other types"])
def test_an_empty_corpus_is_refused_naming_folder_and_types(tmp_path, make):
    where = tmp_path / "in"
    if make == "file":
        where.write_text("x")
    elif make != "missing":
        where.mkdir()
    if make == "other types":
        (where / "a.txt").write_text("x")
    with pytest.raises(ScenarioError) as caught:
        ingest(options(where))
    assert str(where) in str(caught.value)
    assert ".csv, .json, .markdown, .md" in str(caught.value)


def test_a_corpus_of_which_nothing_can_be_read_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(
        ScenarioError, match=r"none of its 1 files could be read; a\.json: not JSON"
    ):
        ingest(options(tmp_path))


def test_too_many_files_are_refused(folder):
    with pytest.raises(ScenarioError, match="more than 2 files"):
        ingest(options(folder, files_max=2))


# --------------------------------------------------------------------- the corpus that is shipped


def test_the_shipped_corpus_is_real_small_and_whole():
    corpus = ingest(SingleAgentOptions())
    assert corpus.skipped == ()
    assert corpus.files_by_kind() == {"csv": 3, "json": 1, "markdown": 2}
    assert corpus.size_bytes < 200_000
    rows = {s.path.rpartition("/")[2]: s.contents.counts.get("rows") for s in corpus.sources}
    assert rows["tr108_ollama_quant_bench.csv"] == 15
    assert rows["tr109_python_single_36.csv"] == 36
    assert rows["tr111v2_rust_single_228calls.csv"] == 228
    assert {path.name for path in corpus_folder(SingleAgentOptions()).iterdir()} == {
        "agentfarm",
        "chimeraforge",
    }


def test_aggregates_of_a_published_table():
    """TR108 published mean 76.59, p05 74.63, p95 78.00 tok/s for llama3.1 q4_0, prompts 1 to 5."""
    corpus = ingest(SingleAgentOptions(include=("*tr108*",)))
    (values,) = [s.contents.columns["tokens_s"] for s in corpus.sources]
    found = aggregates(values[:5])
    assert (round(found["mean"], 2), round(found["p05"], 2)) == (76.59, 74.63)
    assert round(found["p95"], 2) == 78.00


# ------------------------------------------------------------------------------------ the summary


def test_the_summary_says_all_where_it_may():
    summary = summarise(ingest(SingleAgentOptions()), 10**6)
    assert summary is not None and not summary.is_cut
    assert "Total files analysed: 6" in summary.text
    assert "tr109_python_single_36.csv: 36 rows, 15 columns" in summary.text
    assert "tok_s: min 98.656, mean 99.089, max 101.08" in summary.text


@given(st.integers(0, 7000))
def test_the_summary_keeps_its_bound_and_counts_what_it_leaves_out(chars_max):
    whole = summarise(_CORPUS, 10**6)
    summary = summarise(_CORPUS, chars_max)
    if summary is None:
        assert chars_max < 500
        return
    assert len(summary.text) <= chars_max
    lines = summary.text.count("\n") + 1
    assert lines - summary.is_cut + summary.lines_left_out == whole.text.count("\n") + 1
    assert summary.is_cut == summary.text.endswith(
        f"[cut to fit: {summary.lines_left_out} more lines]"
    )


_CORPUS = ingest(SingleAgentOptions())


def test_file_names_cannot_break_the_summary(tmp_path):
    (tmp_path / "a\n# b\x1b[31m.csv").write_text("x\n1\n")
    summary = summarise(ingest(options(tmp_path)), 10**6)
    assert "\x1b" not in summary.text
    assert "a # b.csv: 1 rows" in summary.text
