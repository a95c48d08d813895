"""The spellings of counts and shares in reports, as patterns. claims.py says how they are used.

Each alternative was taken from reports that models wrote: `JSON (67 files - 66.9%)`, `Total Files:
101`, `| Markdown | 28 |`, `a significant portion (28) of the files are CSVs`, `(86/101)`. Every
repetition is bounded, so that no text makes a search slow.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from harness_single_agent.parsing import Kind

__all__ = [
    "ALL_AFTER",
    "ALL_BEFORE",
    "ARE_OF_TYPE",
    "BESIDE",
    "DECIMAL",
    "FILES_LABEL",
    "KIND",
    "LABEL",
    "NOT_A_COUNT",
    "NOT_THINGS",
    "NUMBER",
    "NUMBER_WORDS",
    "OF_FILES",
    "PERCENT",
    "RATIO",
    "SHARE_LABEL",
    "THINGS",
    "Hedge",
    "hedge_before",
    "kind_of",
    "noun_of",
]

Hedge: TypeAlias = Literal["exactly", "about", "at least", "at most"]

NUMBER_WORDS = dict(
    zip(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        range(1, 11),
        strict=True,
    )
)
_INT = r"(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,9})"
_TYPE = r"(?<![\w.])\.?(?:csvs?|jsons?|markdown|md)\b"
_NOUN = (
    r"(?:files?|documents?|rows?|records?|entries|entry|items?|columns?|fields?|headings?|lines?)\b"
)
_DONE = r"(?: (?:analy[sz]ed|ingested|processed|read))?"
_NOUNS = {
    "file": "files",
    "document": "files",
    "row": "rows",
    "record": "rows",
    "entrie": "rows",
    "entry": "rows",
    "item": "items",
    "column": "columns",
    "field": "columns",
    "heading": "headings",
    "line": "lines",
}
_KINDS: dict[str, Kind] = {"csv": "csv", "json": "json", "markdown": "markdown", "md": "markdown"}


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


NUMBER = _words(rf"(?<![\w.,/\-])(?:{_INT}|(?:{'|'.join(NUMBER_WORDS)})\b)(?![\w%]|[.,:]\d|-\w)")
PERCENT = _words(r"(?<![\w.])(\d{1,9}(?:\.\d{1,12})?)\s?(?:%|percent\b|per cent\b)")
DECIMAL = _words(r"(?<![\w.,])-?\d{1,12}\.\d{1,15}(?:e[+-]?\d{1,3})?(?![\w%]|\.\d)")
RATIO = _words(
    rf"(?<![\w.,/])({_INT})\s?(?:/|of|out of)\s?(?:the |all |total )?({_INT})(?![\w/%]|\.\d)"
)
KIND = _words(_TYPE)

# What a number counts, where that stands right of it: `28 CSV files`, `28) of the files`.
_GAP = r"(?:(?!(?:of|in|across|with|from|per|and|or|for|to|on|by|than)\b)[a-z\-]{1,20} ){0,2}?"
BESIDE = _words(
    rf"\)?\s{{0,3}}(?:of (?:the |all |these )?)?{_GAP}(?:`(?P<name>[^`]{{1,80}})`\s?)?"
    rf"(?={_TYPE}|{_NOUN})(?P<type>{_TYPE})?\s{{0,3}}(?P<noun>{_NOUN})?"
)
ARE_OF_TYPE = _words(
    rf"\)?\s{{0,3}}(?:of (?:the |all |these )?)?files (?:are|were) (?:in )?(?P<type>{_TYPE})"
)
# … and left of it: `JSON (`, `CSV files: `, `| Markdown | `, `` `conv_bench` ( ``.
LABEL = _words(
    rf"(?:(?P<type>{_TYPE})|[`'\"](?P<name>[\w.\-/]{{1,80}})[`'\"]"
    rf"|(?P<total>total|dataset|corpus|set)\b)\s?(?P<noun>{_NOUN})?{_DONE}\s?[:=(|–—-]\s?\W{{0,3}}$"
)
FILES_LABEL = _words(
    rf"(?P<all>^|\b(?:total|number of|all) )?(?P<noun>{_NOUN}){_DONE}\s?[:=(|]\s?\W{{0,3}}$"
)

# Whether a bare `101 files` speaks of all of them.
ALL_BEFORE = _words(
    r"\b(?:all|total|total of|entire|these|the|across|(?:dataset|corpus|set)(?: of| \()"
    r"|consists of|comprises|comprising|contains|includes|including|analy[sz]ed|analy[sz]es"
    r"|ingested|processed|read)\s?$"
)
ALL_AFTER = _words(
    r"\s?(?:were |are |was |have been |in )?(?:analy[sz]ed|ingested|processed|read|total)\b"
)
NOT_A_COUNT = _words(
    r"(?:section|step|table|figure|chapter|phase|level|priority|appendix|version|part|no\.?|#)\s?$"
)
# Things that the data does not count: a claim all the same, that cannot be checked.
THINGS = re.compile(r"\)?\s(?:[a-z\-]{1,20} )?(?P<thing>[a-z]{3,20}s)\b")
NOT_THINGS = frozenset(
    {"was", "has", "this", "its", "does", "less", "plus", "versus", "across", "towards", "always"}
    | {"times", "seconds", "minutes", "hours", "days", "weeks", "months", "years"}
    | {"milliseconds", "bytes", "units"}
)

# Whose share a percentage is.
OF_FILES = _words(r"\s?(?:of|from) (?:[a-z]{1,20} ){0,2}?(?:files|documents|dataset|corpus)\b")
SHARE_LABEL = _words(
    rf"(?P<type>{_TYPE})(?:\s?files?)?\s?"
    rf"(?:[:(|–—-]\s?|\(?\d{{1,9}}(?: files?)?\s?[-–—,(|:]\s?|(?:make|makes|made) up\s"
    rf"|(?:account|accounts|accounted) for\s|represents?\s|(?:are|is)\s)"
    rf"(?:about |approximately |around |roughly |nearly |over |~)?$"
)

_HEDGES: dict[Hedge, re.Pattern[str]] = {
    "about": _words(r"(?:about|approximately|around|roughly|nearly|almost|some|~|≈)\s?$"),
    "at least": _words(r"(?:over|more than|at least|above|exceeding)\s?$"),
    "at most": _words(r"(?:under|below|fewer than|less than|up to|at most)\s?$"),
}


def hedge_before(text: str) -> Hedge:
    """How firmly the number that follows `text` is stated."""
    return next((hedge for hedge, words in _HEDGES.items() if words.search(text)), "exactly")


def kind_of(word: str) -> Kind:
    """`CSVs` → csv."""
    return _KINDS[word.lower().strip(".").removesuffix("s")]


def noun_of(word: str | None) -> str:
    """`documents` → files; no noun (`28 CSVs`) → files."""
    return "files" if word is None else _NOUNS[word.lower().removesuffix("s")]
