"""The fact check, on texts whose truth is known: claims that are right, wrong and undecidable."""

from __future__ import annotations

import datetime
import os

import pytest
from harness_single_agent import SingleAgentOptions
from harness_single_agent.facts import Facts
from harness_single_agent.grounding import ground
from harness_single_agent.ingest import ingest
from hypothesis import given
from hypothesis import strategies as st

TODAY = datetime.date(2025, 11, 15)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """The corpus that the model of seed 001 was shown: 28 CSV, 44 JSON and 29 Markdown files."""
    folder = tmp_path_factory.mktemp("corpus")
    kinds = [
        (
            28,
            "gemma_baseline",
            ".csv",
            "avg_tok_s,mean_ttft_s\n14.10634,0.09413\n40,0.5\n",
            (11, 14),
        ),
        (44, "conv_bench", ".json", '{"scores": [1, 2, 3]}', (10, 8)),
        (29, "lessons", ".md", "# Lessons\n\nCut by 12 %.\n", (11, 14)),
    ]
    for count, name, suffix, text, (month, day) in kinds:
        when = datetime.datetime(2025, month, day, 12, tzinfo=datetime.UTC).timestamp()
        for number in range(count):
            path = folder / f"{name}_{number:02d}{suffix}"
            path.write_text(text)
            os.utime(path, (when, when))
    return Facts(ingest(SingleAgentOptions(corpus=str(folder))), TODAY)


def verdicts(text, facts):
    return [(claim.said, claim.verdict) for claim in ground({"t": text}, facts).claims]


@pytest.mark.parametrize(
    ("text", "said", "verdict"),
    [
        # Seed 001, in the model's own manner: the truth is 44 JSON, 29 Markdown, 28 CSV.
        ("*   JSON (67 files)", "67 files", "wrong"),
        ("*   Markdown (28 files)", "28 files", "wrong"),
        ("*   CSV (6 files)", "6 files", "wrong"),
        ("JSON 67 of 101", "67 of 101", "wrong"),
        ("**Total Files:** 101", "Total Files: 101", "supported"),
        ("This report analyzes a substantial dataset (101 files).", "101 files", "supported"),
        ("skewed toward JSON and Markdown files (86/101), that is", "86/101", "wrong"),
        ("toward JSON and Markdown files (73/101), that is", "73/101", "supported"),
        ("A portion (28) of the files are CSVs.", "28 of the files", "supported"),
        ("The sheer number of files (101) shows", "number of files ( 101", "supported"),
        ("*   `conv_bench` (15 files):  Conversation", "15 files", "wrong"),
        ("*   `conv_bench` (44 files):  Conversation", "44 files", "supported"),
        ("`invented_bench` (10 files)", "10 files", "wrong"),
        # Other spellings.
        ("| CSV | 28 |", "CSV | 28", "supported"),
        ("| JSON | 28 |", "JSON | 28", "wrong"),
        ("CSV files: 28", "CSV files: 28", "supported"),
        ("There are 44 JSON files.", "44 JSON files", "supported"),
        ("There are forty-four, that is 45 JSON files.", "45 JSON files", "wrong"),
        ("three CSV files", "three CSV files", "wrong"),
        ("We read 102 files.", "102 files", "wrong"),
        ("All 101 files were read.", "101 files", "supported"),
        ("1,010 files were analysed", "1,010 files", "wrong"),
        ("5 files show an anomaly", "5 files", "unverifiable"),
        ("15 experiments were run", "15 experiments", "unverifiable"),
        ("44 of 101 files", "44 of 101", "supported"),
        ("45 of 102 files", "45 of 102", "wrong"),
        ("5 of 28 CSV files", "5 of 28", "unverifiable"),
        # Hedges are taken at their word.
        ("about 100 files were analysed", "100 files", "supported"),
        ("about 130 files were analysed", "130 files", "wrong"),
        ("more than 100 files were analysed", "100 files", "supported"),
        ("over 110 files were analysed", "110 files", "wrong"),
        ("up to 50 JSON files", "50 JSON files", "supported"),
        ("fewer than 40 JSON files", "40 JSON files", "wrong"),
        # Inside files.
        ("gemma_baseline_00.csv has 2 rows", "2 rows", "supported"),
        ("gemma_baseline_00.csv has 7 rows", "7 rows", "wrong"),
        ("conv_bench_03.json holds 3 records", "3 records", "supported"),
        ("there are 56 rows", "56 rows", "supported"),
        ("there are 57 rows", "57 rows", "unverifiable"),
    ],
)
def test_counts(facts, text, said, verdict):
    assert verdicts(text, facts) == [(said, verdict)]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("**Date:** October 26, 2023", "wrong"),
        ("LLM Benchmarking Data Analysis - November 2025", "supported"),
        ("Date: 2025-11-15", "supported"),  # today
        ("modified on 14 November 2025", "supported"),
        ("modified on 13 November 2025", "wrong"),
        ("since 10/08/2025", "supported"),
        ("in September 2025", "wrong"),
    ],
)
def test_dates(facts, text, verdict):
    assert [v for _, v in verdicts(text, facts)] == [verdict]


def test_a_range_is_two_dates(facts):
    said = "between November 8th and November 14th, 2025"
    assert verdicts(said, facts) == [
        ("November 8th", "wrong"),
        ("November 14th, 2025", "supported"),
    ]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("JSON: 66.9%", "wrong"),
        ("JSON: 43.6%", "supported"),  # 44 / 101 = 43.564 %
        ("JSON files make up 43.6 percent", "supported"),
        ("JSON files account for about 44%", "supported"),
        ("43.5% of the files are JSON", "wrong"),
        ("28 % of all files are CSV", "supported"),
        ("a share of 72.3 %", "supported"),  # JSON and Markdown together: 72.277 %
        ("latency fell by 12%", "supported"),  # a Markdown file says so
        ("latency fell by 13%", "unverifiable"),
        ("`avg_tok_s` reached 40 %", "supported"),
        ("`avg_tok_s` reached 41 %", "wrong"),
    ],
)
def test_percentages(facts, text, verdict):
    assert [v for _, v in verdicts(text, facts)] == [verdict]


def test_seed_001_line_has_a_wrong_count_and_a_wrong_share(facts):
    line = "*   JSON (67 files - 66.9%)"
    assert verdicts(line, facts) == [("66.9%", "wrong"), ("67 files", "wrong")]
    assert verdicts("*   JSON (44 files - 43.6%)", facts) == [
        ("43.6%", "supported"),
        ("44 files", "supported"),
    ]


def test_figures_of_a_named_column(facts):
    row = "| `avg_tok_s` | 14.10634 | 2.15 | Overall throughput of 3 runs |"
    assert [(s, v) for s, v in verdicts(row, facts) if "." in s] == [
        ("14.10634", "supported"),
        ("2.15", "wrong"),
    ]
    assert verdicts("mean_ttft_s has a mean of 0.297 s", facts) == [("0.297", "supported")]
    assert verdicts("mean_ttft_s has a mean of 0.30 s", facts) == [("0.30", "supported")]
    assert verdicts("mean_ttft_s has a mean of 0.31 s", facts) == [("0.31", "wrong")]
    assert verdicts("a throughput of 99.9 tok/s", facts) == []


@pytest.mark.parametrize(
    "text",
    [
        "## 2. Data Ingestion Summary",
        "1. Automate reporting.\n2) Do it again.",
        "See section 5, table 3, step 4.",
        "At 18:53:30 the P99 of 24/7 work was read, in version 1.2.3.",
        "One of the findings is that it was good in 2025.",
        "It took 15 seconds and 300 ms.",
    ],
)
def test_what_is_no_claim(facts, text):
    assert verdicts(text, facts) == []


def test_without_a_claim_there_is_no_share_but_a_reason(facts):
    nothing = ground({"analysis": "examp totaled ide", "report": ""}, facts)
    assert nothing.wrong_share is None
    assert nothing.reason == "no claims found"
    undecided = ground({"report": "15 experiments"}, facts)
    assert undecided.wrong_share is None
    assert undecided.reason == "1 claims, none of which the data can decide"


def test_the_share_is_wrong_over_checked(facts):
    text = "101 files in total. JSON: 67. 28 CSV files. There are 15 experiments. Date: 2023-10-26"
    grounding = ground({"report": text}, facts)
    assert (grounding.count("supported"), grounding.count("wrong")) == (2, 2)
    assert grounding.checked == 4
    assert grounding.wrong_share == 0.5
    data = grounding.as_data()
    assert data["unverifiable"] == 1
    assert data["wrong_claims"] == [
        "JSON: 67: there are 44 json files",
        "2023-10-26: no such date among the 3 of the data and today",
    ]


@given(st.text(max_size=600))
def test_any_text_can_be_checked(text):
    for claim in ground({"t": text}, _SHIPPED).claims:
        assert claim.verdict in {"supported", "wrong", "unverifiable"}


_PIECES = "28 |CSV |files |JSON |(|) |/|of |101 |%|, |. |- |`|total |Nov |14 |2025|: |is "


@given(st.lists(st.sampled_from(_PIECES.split("|")), max_size=80))
def test_any_heap_of_claim_words_can_be_checked(words):
    ground({"t": "".join(words)}, _SHIPPED)


@pytest.mark.parametrize(
    "unit", ["9", "9,", "9 ", "`a` (", "CSV ", "1.", "of the ", "( ", "\t", "/1"]
)
def test_no_text_makes_the_search_endless(unit):
    """A search that goes back and forth in it would run into the time limit of the test."""
    length = 100_000
    assert ground({"t": unit * (length // len(unit))}, _SHIPPED).claims is not None


def test_the_end_of_a_long_paragraph_is_checked_too(facts):
    assert verdicts("so it goes on " * 400 + "with 44 JSON files", facts) == [
        ("44 JSON files", "supported")
    ]


_SHIPPED = Facts(ingest(SingleAgentOptions()), TODAY)
