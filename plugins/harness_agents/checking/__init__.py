"""`harness agent check`: does a program keep to docs/agent-protocol.md? Rule by rule.

Five kinds of session, each a process of its own against a small server that keeps what it is sent:
good      one stream, a corpus, two stages: everything must go well, and be told as it was
answers   every stream of vectors/streams.json at once, in one dialect: read as it should be?
nowhere   nobody listens: a call that fails is told of as failed
version   a protocol that nobody knows is refused
interrupt SIGTERM in the middle of a call

A rule that no session came to is neither kept nor broken: what comes before it has to be mended.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from harness_agents.checking.answers import check_answers
from harness_agents.checking.failing import check_interrupt, check_nowhere, check_version
from harness_agents.checking.findings import RULES, Checked, Findings
from harness_agents.checking.good import check_good
from harness_agents.checking.jobs import lay_out
from harness_agents.protocol import Dialect

__all__ = ["RULES", "Checked", "check"]


async def check(
    command: Sequence[str],
    *,
    timeout_s: float = 30.0,
    answers: bool = True,
    began: Callable[[str], None] = lambda session: None,
) -> list[Checked]:
    """Every rule, in the order of the page. Without `answers`, the many streams are left out.
    `began` is told of each session. Raises BackendError where there is no such program."""
    found = Findings()
    with tempfile.TemporaryDirectory(prefix="harness-check-") as folder:
        corpus = lay_out(Path(folder))
        began("good")
        await check_good(command, corpus, timeout_s, found)
    for dialect in get_args(Dialect) if answers else ():
        began(f"answers ({dialect})")
        await check_answers(command, dialect, timeout_s, found)
    began("nowhere")
    await check_nowhere(command, timeout_s, found)
    began("version")
    await check_version(command, timeout_s, found)
    began("interrupt")
    await check_interrupt(command, timeout_s, found)
    return found.result()
