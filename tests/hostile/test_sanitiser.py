"""At the edges a list says what may pass. Whatever else there is in Unicode does not."""

from __future__ import annotations

import csv
import io
import json
import sys
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.report.sanitise import cell, code, fenced, markdown, one_line, plain
from harness.text import plain_json, whole_number
from tests.hostile.corpus import SNIPPETS, controls, nasty

hostile = st.one_of(
    st.text(),
    st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=5)).map("".join),
    st.text(alphabet=st.sampled_from("\x1b\x9b[]()!`|~*_<>&=#-+.:/1 \n\t\\\u202e\u0300www@")),
)
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def test_every_character_there_is():
    """What passes is seen, and what is not seen does not pass."""
    passed = {chr(point) for point in range(0xA0) if plain(chr(point)) == chr(point)}
    # Together, for the time it takes; below, an escape would take its neighbours with it.
    passed |= set(plain(" ".join(map(chr, range(0xA0, sys.maxunicode + 1)))))
    kinds = {unicodedata.category(one)[0] for one in passed - set("\n\t\u200c\u200d")}
    assert kinds <= set("LMNPSZ")
    assert controls("".join(passed)) == set()
    assert not passed & {"\u2028", "\u2029", "\x85", "\u00ad", "\ufeff", "\u2800", "\U000e0100"}
    assert passed > set("aé漢字ßñ—…✓✗😀\ufe0f\u200d\u0301 \u00a0")


@given(hostile)
def test_plain_is_harmless_and_final(text):
    once = plain(text)
    assert controls(once) == set()
    assert plain(once) == once
    assert len(once) <= len(text)


def test_piles_of_marks_are_cut():
    assert plain("Z" + "\u0300" * 60) == "Z" + "\u0300" * 4
    assert plain("Z" + "\u0300\u200d" * 60).count("\u0300") == 4
    assert plain("सं\u093f\u0902") == "सं\u093f\u0902", "scripts that need several keep them"


@given(hostile)
def test_json_is_the_same_data_and_prints(text):
    encodable = text.encode("utf-8", "replace").decode()
    encoded = msgspec.json.encode({encodable: [encodable]})
    shown = plain_json(encoded).decode()
    assert json.loads(shown) == msgspec.json.decode(encoded)
    assert shown.isprintable()


@given(hostile)
def test_markdown_says_the_text_and_does_nothing(text):
    line = one_line(text, 2000)
    tokens = PARSER.parse(f"| a |\n|---|\n| {markdown(text)} |\n")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 2
    inner = {child.type for child in cells[1].children}
    assert inner <= {"text", "text_special"}
    assert "".join(child.content for child in cells[1].children) == line


@given(hostile)
def test_markdown_begins_no_block(text):
    tokens = PARSER.parse(markdown(text))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}


@given(hostile)
def test_code_spans_hold_it(text):
    (inline,) = [token for token in PARSER.parse(f"a {code(text)} b") if token.type == "inline"]
    kinds = [child.type for child in inner] if (inner := inline.children) else []
    assert kinds in (["text", "code_inline", "text"], ["text"])


@given(hostile)
def test_fences_hold_it(text):
    tokens = PARSER.parse(fenced(text) + "\nafter\n")
    assert [token.type for token in tokens[:2]] == ["fence", "paragraph_open"]
    assert tokens[0].content.strip("\n") == plain(text).strip("\n")


@given(hostile)
def test_cells_hold_it(text):
    out = io.StringIO(newline="")
    csv.writer(out).writerow([cell(text)])
    for line in out.getvalue().replace(";", "\n").replace("\t", "\n").splitlines():
        assert line.lstrip(' "')[:1] not in tuple("=+-@＝＋－＠") or not line.lstrip(' "')


def test_the_whole_corpus_at_once():
    for turn in range(len(SNIPPETS)):
        text = nasty(turn)
        for made in (plain(text), one_line(text), markdown(text), code(text), cell(text)):
            assert controls(made) == set()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), (0, 0), (-1, None), (2**63, None), (True, None), (1.5, None), ("5", None)],
)
def test_counts_that_a_record_can_hold(value, expected):
    assert whole_number(value) == expected
