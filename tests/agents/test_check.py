"""`harness agent check` finds what is wrong, and nothing else: an agent that breaks one rule of
docs/agent-protocol.md is found to break that one, for each rule of the page."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness_agents.checking import RULES, check

from harness.errors import BackendError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agent-protocol.md"
WRONG = [sys.executable, "-S", "-E", str(Path(__file__).with_name("wrong.py"))]


def broken(found):
    return [one.rule for one in found if one.status == "broken"]


def test_the_rules_are_those_of_the_page():
    _, _, table = PAGE.read_text("utf-8").partition("## Rules")
    rows = re.findall(r"^\| `([a-z-]+)` \|", table.partition("## Versions")[0], re.MULTILINE)
    assert tuple(rows) == RULES


def test_an_agent_that_keeps_all_rules():
    found = asyncio.run(check(WRONG, answers=False))
    assert [(one.rule, one.evidence) for one in found if one.status != "kept"] == []


@pytest.mark.parametrize("rule", RULES)
def test_an_agent_that_breaks_one_rule(rule):
    found = asyncio.run(check([*WRONG, rule], answers=False))
    assert broken(found) == [rule], found
    (evidence, *_) = next(one.evidence for one in found if one.rule == rule)
    assert evidence.split(":")[0] in ("good", "nowhere", "version", "interrupt")


def test_a_program_that_is_not_there():
    with pytest.raises(BackendError, match="cannot be started: No such file"):
        asyncio.run(check(["/nowhere/agent"]))


def test_the_command_prints_rules_and_exits_by_them():
    command = [sys.executable, "-m", "harness", "agent", "check", "--json", "--", *WRONG, "summary"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is False
    rules = {one["rule"]: one for one in told["rules"]}
    assert rules["summary"]["status"] == "broken"
    assert rules["summary"]["evidence"][0].startswith("good: summary_sha256 is ")
    assert rules["hello"]["status"] == "kept"
    # It knows one stream and one dialect: the many answers are too much for it.
    assert any("answers (openai)" in line for one in told["rules"] for line in one["evidence"])


def test_a_name_that_is_neither_an_agent_nor_a_program():
    command = [sys.executable, "-m", "harness", "agent", "check", "pyton"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == (
        "error: COMMAND: there is neither an agent nor a program 'pyton' (try: python)\n"
    )
