"""Finds what a text says about the data: counts, dates, percentages, figures of named columns.

A line is cut into sentences and each is searched for dates first, then percentages, then counts,
then decimal figures; what one step takes is blanked, so that no digit is read twice. Only what is
written is found here; whether it is true is grounding.py's question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from harness_single_agent import patterns as p
from harness_single_agent.dates import Reading, find_dates
from harness_single_agent.parsing import Kind
from harness_single_agent.text import clean

__all__ = ["Claim", "find_claims"]

_REACH = 80
"""Characters beside a number in which its subject is looked for."""
_SENTENCE_CHARS = 2000


class Claim(Struct, frozen=True, kw_only=True):
    """One statement that the data could bear out or not."""

    kind: Literal["count", "date", "percentage", "figure"]
    said: str
    """The very words: `67 files`, `October 26, 2023`, `66.9 %`."""
    value: float = 0.0
    tolerance: float = 0.0
    """Half a unit of the last digit written."""
    hedge: p.Hedge = "exactly"
    noun: str = ""
    """Counts: files, rows, columns, items …; empty for things that the data does not count."""
    kinds: tuple[Kind, ...] = ()
    """File types that it is about."""
    name: str | None = None
    """Counts of files: the quoted name they share."""
    of_all: bool = False
    """It is about all files: `101 files were analysed`."""
    total: int | None = None
    """The M of `N of M`."""
    readings: tuple[Reading, ...] = ()
    sentence: str = ""
    """The whole sentence, or table row."""


def find_claims(text: str) -> list[Claim]:
    """Every claim, in the order of the text."""
    return [claim for sentence in _sentences(text) for claim in _claims(sentence)]


def _sentences(text: str) -> Iterator[str]:
    for line in clean(text).split("\n"):
        # List numbers and heading marks count nothing; asterisks only get in the way.
        line = re.sub(r"^[\s#>]{0,20}(?:[-*+•]\s+)?(?:\d{1,3}[.)]\s)?", "", line)
        for part in re.split(r"(?<=[.;!?])\s+(?=[A-Z`])", line.replace("*", "")):
            # What is that long is no sentence; searching it in pieces keeps the search linear.
            for start in range(0, len(part), _SENTENCE_CHARS):
                yield part[start : start + _SENTENCE_CHARS]


def _claims(sentence: str) -> Iterator[Claim]:
    whole = sentence
    mentioned = tuple(dict.fromkeys(p.kind_of(found[0]) for found in p.KIND.finditer(whole)))
    for date in find_dates(whole):
        said = whole[date.start : date.end]
        yield Claim(kind="date", said=said, readings=date.readings, sentence=whole)
        sentence = _blank(sentence, date.start, date.end)
    for found in list(p.PERCENT.finditer(sentence)):
        yield _percentage(sentence, found, mentioned, whole)
        sentence = _blank(sentence, *found.span())
    for found in list(p.RATIO.finditer(sentence)):
        if ratio := _ratio(sentence, found, mentioned, whole):
            yield ratio
            sentence = _blank(sentence, *found.span())
    for found in p.NUMBER.finditer(sentence):
        if count := _count(sentence, found):
            yield replace(count, sentence=whole)
    for found in p.DECIMAL.finditer(sentence):
        value, tolerance = float(found[0]), _half_unit(found[0])
        yield Claim(kind="figure", said=found[0], value=value, tolerance=tolerance, sentence=whole)


def _percentage(
    sentence: str, found: re.Match[str], mentioned: tuple[Kind, ...], whole: str
) -> Claim:
    before = sentence[max(0, found.start() - _REACH) : found.start()]
    kinds: tuple[Kind, ...] = ()
    if label := p.SHARE_LABEL.search(before):
        kinds = (p.kind_of(label["type"]),)
    elif mentioned and p.OF_FILES.match(sentence, found.end()):
        kinds = mentioned
    return Claim(
        kind="percentage",
        said=found[0],
        value=float(found[1]),
        tolerance=_half_unit(found[1]),
        hedge=p.hedge_before(before),
        kinds=kinds,
        sentence=whole,
    )


def _ratio(
    sentence: str, found: re.Match[str], mentioned: tuple[Kind, ...], whole: str
) -> Claim | None:
    """`67 of 101`, `86/101`: a claim where files or their types are spoken of. It is about the
    types named before it in the sentence, or else about those named after it."""
    if not mentioned and not re.search(r"\b(?:files?|documents?)\b", sentence, re.IGNORECASE):
        return None
    named = [p.kind_of(kind[0]) for kind in p.KIND.finditer(sentence, 0, found.start())]
    return Claim(
        kind="count",
        said=found[0],
        value=_int(found[1]),
        total=_int(found[2]),
        noun="files",
        kinds=tuple(dict.fromkeys(named)) or mentioned,
        sentence=whole,
    )


def _count(sentence: str, found: re.Match[str]) -> Claim | None:
    """What a whole number counts, by what stands beside it; None where it counts nothing."""
    before = sentence[max(0, found.start() - _REACH) : found.start()]
    after = sentence[found.end() : found.end() + _REACH]
    if p.NOT_A_COUNT.search(before):
        return None
    word = p.NUMBER_WORDS.get(found[0].lower())
    claim = Claim(
        kind="count",
        said=found[0],
        value=_int(found[0]) if word is None else word,
        hedge=p.hedge_before(before),
    )
    return _beside(claim, before, after) or _labelled(claim, before) or _thing(claim, after)


def _beside(claim: Claim, before: str, after: str) -> Claim | None:
    """`28 CSV files`, `JSON (67 files`, `28) of the files are CSVs`."""
    found = p.BESIDE.match(after)
    if not found:
        return None
    label = p.LABEL.search(before)
    kinds = (p.kind_of(found["type"]),) if found["type"] else ()
    name = found["name"]
    if of_type := p.ARE_OF_TYPE.match(after):
        kinds = (p.kind_of(of_type["type"]),)
    elif not kinds and not name and label:
        kinds = (p.kind_of(label["type"]),) if label["type"] else ()
        name = label["name"]
    of_all = bool(
        (label and label["total"])
        or p.ALL_BEFORE.search(before)
        or p.ALL_AFTER.match(after, found.end())
    )
    return replace(
        claim,
        said=f"{claim.said} {found[0].strip(' )')}",
        noun=p.noun_of(found["noun"]),
        kinds=kinds,
        name=name,
        of_all=of_all and not kinds and not name,
    )


def _labelled(claim: Claim, before: str) -> Claim | None:
    """`CSV: 28`, `Total files: 101`, `| Markdown | 28 |`, `number of files (101)`."""
    label = p.LABEL.search(before)
    if label and (label["type"] or label["noun"]):
        kinds = (p.kind_of(label["type"]),) if label["type"] else ()
        name, of_all = label["name"], bool(label["total"])
    elif label := p.FILES_LABEL.search(before):
        kinds, name, of_all = (), None, label["all"] is not None
    else:
        return None
    noun = p.noun_of(label["noun"])
    said = f"{label[0].strip()} {claim.said}"
    return replace(claim, said=said, noun=noun, kinds=kinds, name=name, of_all=of_all)


def _thing(claim: Claim, after: str) -> Claim | None:
    """`15 experiments`: a count of something that the data does not count. Number words and years
    are left out: they are prose more often than claims."""
    thing = p.THINGS.match(after)
    if not thing or thing["thing"] in p.NOT_THINGS:
        return None
    if claim.said.isalpha() or 1900 <= claim.value <= 2100:
        return None
    return replace(claim, said=claim.said + thing[0])


def _int(digits: str) -> int:
    return int(digits.replace(",", ""))


def _half_unit(number: str) -> float:
    """Half of the last decimal place written; for 14.10634 it is 0.000005."""
    mantissa, _, exponent = number.lower().partition("e")
    places = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return 0.5 * 10.0 ** -max(-300, min(300, places))


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + " " * (end - start) + text[end:]
