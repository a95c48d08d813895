"""Other people's text, in our messages. (What `plain` takes out: tests/report/test_sanitise.py.)"""

from __future__ import annotations

import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.text import as_argument, excerpt, listed, one_line, plain, storable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cut off \x1b[31", "cut off "),
        ("cut off \x9b38;5;1", "cut off "),
        ("broken \x1b[31é", "broken é"),
        ("evil[bold]\x1b[31m<b>", "evil[bold]<b>"),
        ("\x1b[38;2;1;2;3mcolour\x1b[0m", "colour"),
        ("a\x1cb\x1ec", "a\nb\nc"),
    ],
)
def test_no_remnant_of_an_escape_sequence_is_left(text, expected):
    assert plain(text) == expected


@given(st.text())
def test_one_line_is_one(text):
    line = one_line(text, 50)
    assert len(line) <= 50
    assert line.splitlines() in ([line], [])
    assert one_line(line, 50) == line


def test_an_excerpt_of_a_flood_is_short():
    assert len(excerpt(b"\xff\x1b[31m" * 10**6)) <= 200
    assert excerpt(b"<html>\r\n\x1b]0;title\x07<body>") == "<html> <body>"


def test_names_are_listed_harmless_and_not_without_end():
    assert listed([]) == "none"
    assert listed(["a", "b\x1b[31m\n"]) == "a, b"
    assert listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("gemma3:4b", "gemma3:4b"),
        ("hf.co/me/Model-GGUF:Q4_K_M", "hf.co/me/Model-GGUF:Q4_K_M"),
        ("@cf/meta/llama", "@cf/meta/llama"),
        ("/models/my model.gguf", "'/models/my model.gguf'"),
        ("", None),
        ("--url", None),
        ("evil[bold]\x1b[31m<b>", None),
        ("a;rm", None),
        ("$(id)", None),
        ("a\u202eb", None),
        ("a" * 201, None),
        ("a\n", None),
    ],
)
def test_only_sane_names_are_offered_for_typing(name, offered):
    assert as_argument(name) == offered


@given(st.text())
def test_what_is_offered_is_the_name_and_prints(name):
    offered = as_argument(name)
    if offered is not None:
        assert offered.isprintable()
        assert shlex.split(offered) == [name]


def test_json_that_the_log_could_not_hold():
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    found = storable({"big": 2**70, "small": -(2**63), "deep": deep})
    assert found["big"] == str(2**70)
    assert found["small"] == -(2**63)
    msgspec.msgpack.encode(found)
