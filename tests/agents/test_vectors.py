"""The vectors say what docs/agent-protocol.md says: each is worked out a second time, by an oracle
that shares no line with any agent."""

from __future__ import annotations

import pytest

from tests.agents import oracle, vectors

APART = ("name", "dialect", "body", "body_base64")


@pytest.mark.parametrize("case", vectors.STREAMS, ids=vectors.name)
def test_a_stream(case):
    expected = {key: value for key, value in case.items() if key not in APART}
    assert oracle.read(case["dialect"], vectors.body(case)) == expected


@pytest.mark.parametrize("case", vectors.SUMMARIES, ids=vectors.name)
def test_a_summary(case, tmp_path):
    vectors.lay_out(case, tmp_path)
    summary = oracle.summary(tmp_path, case["listed"])
    assert summary == case["summary"]
    assert oracle.sha256(summary) == case["sha256"]


def test_names_are_unique():
    names = [vectors.name(case) for case in vectors.STREAMS]
    assert len(set(names)) == len(names) >= 40
