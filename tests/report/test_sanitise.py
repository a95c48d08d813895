"""Hostile text comes out harmless, and harmless text comes out as it went in."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.sanitise import cell, code, fenced, markdown, one_line, plain

hostile = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from("\x1b\x9b\x07\x9d\x9c]0;[31m`|<>&=\n\r\t\u202e\u2066\u200b*_"),
    )
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, ünïcode, 漢字, 👩\u200d💻", "plain text, ünïcode, 漢字, 👩\u200d💻"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc\u2028d\u2029e\x85f\x0bg\x0ch", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d52;c;aGk=\x9ctext", "text"),
        ("\x1bPq#0\x1b\\text", "text"),
        ("\x1b]0;never closed\nnext line", "\nnext line"),
        ("\x1b(Btext\x1b=", "text"),
        ("\x1bctext", "text"),
        ("ends in ESC \x1b", "ends in ESC "),
        ("nul\x00bell\x07back\x08del\x7f", "nulbellbackdel"),
        ("abc\u202edef\u202c \u2066x\u2069 \u200ey\u061c", "abcdef x y"),
        ("zero\u200bwidth\ufeff\u2060", "zerowidth"),
        ("tag\U000e0041\U000e007f", "tag"),
        ("half\ud800pair", "halfpair"),
    ],
)
def test_plain(text, expected):
    assert plain(text) == expected


@given(hostile)
def test_plain_leaves_no_control_and_changes_nothing_twice(text):
    once = plain(text)
    assert plain(once) == once
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", once)


def test_one_line():
    assert one_line("  a\n\n b\tc  ") == "a b c"
    assert one_line("x" * 10, 5) == "xxxx…"
    assert one_line("x" * 5, 5) == "xxxxx"
    assert one_line("", 5) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("[x](http://e)", r"\[x\](http:\//e)"),
        ("see https://e.org and www.e.org or a@e.org", None),
        ("# head\n* item", r"\# head \* item"),
        ("- item", r"\- item"),
        ("---", r"\---"),
        ("--model -1", "--model -1"),
        ("0.1.0", "0.1.0"),
        ("1. item", r"1\. item"),
        ("12) item", r"12\) item"),
        ("2026-11-20 v1.2 ~x", r"2026-11-20 v1.2 \~x"),
        ("`code` & \\", r"\`code\` &amp; \\"),
    ],
)
def test_markdown(text, expected):
    if expected is None:  # bare addresses must not become links
        expected = r"see https:\//e.org and www\.e.org or a\@e.org"
    assert markdown(text) == expected


def test_code_spans_cannot_be_left():
    assert code("qwen2.5:7b") == "`qwen2.5:7b`"
    assert code("a`b") == "``a`b``"
    assert code("`a") == "`` `a ``"
    assert code("a|b") == r"`a\|b`"
    assert code("") == "—"
    assert code("a\nb") == "`a b`"


@given(hostile)
def test_fences_cannot_be_closed(text):
    block = fenced(text)
    lines = block.split("\n")
    fence = lines[0].removesuffix("text")
    assert set(fence) == {"`"}
    assert lines[-2] == fence
    assert lines[-1] == ""
    assert not any(line.strip().startswith(fence) for line in lines[1:-2])


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM", "  =1", "\t=1", "\r=1", "\x00=1"])
def test_cells_are_no_formulas(start):
    assert cell(start).startswith("'")


def test_other_cells_are_left_alone():
    assert cell("a=1") == "a=1"
    assert cell("") == ""


@given(hostile)
def test_cells_survive_csv(text):
    out = io.StringIO(newline="")
    csv.writer(out).writerow([cell(text), "end"])
    out.seek(0)
    assert next(csv.reader(out)) == [cell(text), "end"]
