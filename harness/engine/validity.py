"""From records to a verdict: every reason to doubt a run, coded, with evidence and a remedy.

rules.py has the rules. A rule added later is one function there and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, TypeAlias

from harness.engine import rules
from harness.engine.rules import RunView
from harness.schema import Caveat, Verdict

__all__ = ["RULES", "Rule", "find_caveats", "verdict"]

Rule: TypeAlias = Callable[[RunView], Iterator[Caveat]]

RULES: Final[tuple[Rule, ...]] = (
    rules.incomplete,
    rules.counts,
    rules.empty_workload,
    rules.errors,
    rules.failures,
    rules.unbounded_output,
    rules.what_was_measured,
    rules.user_stamps,
    rules.clock_step,
    rules.too_few,
)

_ORDER: Final = {"invalid": 0, "doubtful": 1, "note": 2}


def find_caveats(view: RunView) -> list[Caveat]:
    """All doubts about a run, in the order of the rules."""
    return [caveat for rule in RULES for caveat in rule(view)]


def verdict(caveats: Iterable[Caveat]) -> Verdict:
    """The worst severity decides (notes leave a run valid); worst first, otherwise in order."""
    ordered = tuple(sorted(caveats, key=lambda caveat: _ORDER[caveat.severity]))
    worst = ordered[0].severity if ordered else "note"
    state: Literal["valid", "doubtful", "invalid"] = "valid" if worst == "note" else worst
    return Verdict(state=state, caveats=ordered)
