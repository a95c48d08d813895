"""Holds the claims of a text against the data: supported, wrong, or not to be checked.

What counts as supported
  count of files   the number of files of the named types, of the files whose path contains the
                   quoted name, or of all files. `about` allows 10 %, `more than` and `up to` are
                   taken at their word. `N of M`: M must be the number of all files too.
  other counts     rows, columns, items, lines, headings: of the file that the sentence names, or
                   else of any file, or of all files together
  date             a date in the data, in a file's name, of a file's modification, or today; a month
                   if one of these lies in it
  percentage       the share of the named types in files or in bytes; else, where the sentence names
                   a column, one of its figures, as it is or times 100; else any share of any types,
                   or a percentage that a Markdown file states. To the digits that are written.
  figure           a decimal number in a sentence that names a column: one of the column's cells, or
                   its n, sum, mean, median, sd, min, max or quantile, to the digits written

What counts as wrong: the same claim with another value, and every other date. A number whose
subject the data does not know (`15 experiments`, `5 files` of an unnamed subset, a percentage of
nobody knows what) is unverifiable. The wrong share is wrong / (supported + wrong); without a claim
that could be checked there is none, and the reason is given instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from harness_single_agent.claims import Claim, find_claims
from harness_single_agent.facts import Facts, Figures
from harness_single_agent.text import clean

__all__ = ["Grounding", "Judged", "ground"]

Verdict: TypeAlias = Literal["supported", "wrong", "unverifiable"]

_ABOUT_SHARE = 0.10
_QUOTED = re.compile(r"[`'\"‘“]([\w][\w.\-/ \[\]]{0,79})[`'\"’”]")


class Judged(Struct, frozen=True, kw_only=True):
    """One claim and what became of it."""

    kind: str
    said: str
    sentence: str
    verdict: Verdict
    why: str
    text: str = ""
    """Which text it is from: `analysis` or `report`."""


class Grounding(Struct, frozen=True, kw_only=True):
    """All claims of all texts."""

    claims: tuple[Judged, ...]

    def count(self, verdict: Verdict) -> int:
        return sum(claim.verdict == verdict for claim in self.claims)

    @property
    def checked(self) -> int:
        """Claims that the data could decide."""
        return self.count("supported") + self.count("wrong")

    @property
    def wrong_share(self) -> float | None:
        return self.count("wrong") / self.checked if self.checked else None

    @property
    def reason(self) -> str:
        """Why there is no share; empty where there is one."""
        if self.checked:
            return ""
        found = len(self.claims)
        return f"{found} claims, none of which the data can decide" if found else "no claims found"

    def as_data(self) -> dict[str, Any]:
        """For the iteration's record."""
        return {
            "checked": self.checked,
            "supported": self.count("supported"),
            "wrong": self.count("wrong"),
            "unverifiable": self.count("unverifiable"),
            "wrong_share": self.wrong_share,
            "reason": self.reason,
            "wrong_claims": [f"{c.said}: {c.why}" for c in self.claims if c.verdict == "wrong"],
        }


def ground(texts: dict[str, str], facts: Facts) -> Grounding:
    """Every claim in every text (name → text), judged."""
    return Grounding(
        claims=tuple(
            _judged(claim, facts, name)
            for name, text in texts.items()
            for claim in find_claims(text)
            if claim.kind != "figure" or _columns(claim, facts)
        )
    )


def _judged(claim: Claim, facts: Facts, text: str) -> Judged:
    judge = {"date": _date, "percentage": _percentage, "figure": _figure, "count": _count}
    verdict, why = judge[claim.kind](claim, facts)
    return Judged(
        kind=claim.kind,
        said=claim.said,
        sentence=claim.sentence,
        verdict=verdict,
        why=clean(why),
        text=text,
    )


def _date(claim: Claim, facts: Facts) -> tuple[Verdict, str]:
    if facts.knows_date(claim.readings):
        return "supported", "a date of the data"
    return "wrong", f"no such date among the {len(facts.dates)} of the data and today"


def _percentage(claim: Claim, facts: Facts) -> tuple[Verdict, str]:
    if claim.kinds:
        files, size = facts.shares_percent(claim.kinds)
        about = (
            f"{' and '.join(claim.kinds)} are {files:.1f} % of the files, {size:.1f} % of the bytes"
        )
        return _verdict(any(_agrees(claim, share) for share in (files, size))), about
    if columns := _columns(claim, facts):
        hundredth = claim.value / 100, claim.tolerance / 100
        near = any(c.near(claim.value, claim.tolerance) or c.near(*hundredth) for c in columns)
        return _verdict(near), "compared with the column that the sentence names"
    known = (*facts.all_shares_percent(), *facts.written_percentages)
    if any(_agrees(claim, share) for share in known):
        return "supported", "a share, or a percentage that the data states"
    return "unverifiable", "nothing says of what this is a share"


def _figure(claim: Claim, facts: Facts) -> tuple[Verdict, str]:
    near = any(c.near(claim.value, claim.tolerance) for c in _columns(claim, facts))
    return _verdict(near), "compared with the column that the sentence names"


def _count(claim: Claim, facts: Facts) -> tuple[Verdict, str]:
    if claim.noun == "files":
        return _ratio(claim, facts) if claim.total is not None else _files(claim, facts)
    if not claim.noun:
        return "unverifiable", "the data does not count these"
    named = next((path for path in _paths(facts) if path in claim.sentence), None)
    known = _counts(claim.noun, named, facts)
    if not known:
        return "unverifiable", f"the data has no {claim.noun}"
    if any(_agrees(claim, count) for count in known):
        return "supported", f"{claim.noun} of {named or 'a file, or of all'}"
    if named:
        return "wrong", f"{named} has {_list(known)} {claim.noun}"
    return "unverifiable", f"no file has that many {claim.noun}"


def _files(claim: Claim, facts: Facts) -> tuple[Verdict, str]:
    if claim.name is not None:
        true = facts.files_named(claim.name)
        return _verdict(_agrees(claim, true)), f"{true} paths contain {claim.name!r}"
    if claim.kinds:
        true = facts.files_of(claim.kinds)
        return _verdict(_agrees(claim, true)), f"there are {true} {' and '.join(claim.kinds)} files"
    if _agrees(claim, facts.files):
        return "supported", "the number of all files"
    if claim.of_all:
        return "wrong", f"there are {facts.files} files"
    if any(_agrees(claim, count) for count in facts.kind_sums()):
        return "supported", "the number of files of some types"
    return "unverifiable", f"some files of {facts.files}, it is not said which"


def _ratio(claim: Claim, facts: Facts) -> tuple[Verdict, str]:
    of_kinds = facts.files_of(claim.kinds)
    if claim.total != facts.files:
        if claim.kinds and claim.total == of_kinds and claim.value <= of_kinds:
            return "unverifiable", f"some of {of_kinds} files, it is not said which"
        return "wrong", f"there are {facts.files} files, not {claim.total}"
    if claim.kinds:
        why = f"{' and '.join(claim.kinds)} are {of_kinds} of {facts.files} files"
        return _verdict(_agrees(claim, of_kinds)), why
    if claim.value in facts.kind_sums():
        return "supported", "the number of files of some types"
    return "unverifiable", f"some files of {facts.files}, it is not said which"


def _counts(noun: str, named: str | None, facts: Facts) -> set[int]:
    known = facts.counts(noun, named)
    # JSON has no rows: what a reader calls its records are the elements of its lists.
    return known | facts.counts("items", named) if noun == "rows" else known


def _paths(facts: Facts) -> Iterable[str]:
    """File names, longest first, so that the most exact one is found."""
    names = {source.path.rpartition("/")[2] for source in facts.corpus.sources}
    return sorted(names, key=lambda name: (-len(name), name))


def _columns(claim: Claim, facts: Facts) -> list[Figures]:
    return facts.columns_in(claim.sentence, _QUOTED.findall(claim.sentence))


def _agrees(claim: Claim, true: float) -> bool:
    slack = claim.tolerance + 1e-9
    if claim.hedge == "about":
        return abs(claim.value - true) <= max(slack, _ABOUT_SHARE * abs(true))
    if claim.hedge == "at least":
        return true >= claim.value - slack
    if claim.hedge == "at most":
        return true <= claim.value + slack
    return abs(claim.value - true) <= slack


def _verdict(right: bool) -> Verdict:
    return "supported" if right else "wrong"


def _list(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))
