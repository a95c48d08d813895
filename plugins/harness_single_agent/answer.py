"""The model's analysis → its sections, however it set its headings.

A heading is a line of its own: `## Key findings`, `**Key Findings**`, `2. Key findings:`, or the
bare title. Bullets and numbered lines of a section are its items, with the lines that continue
them; a section without bullets has its paragraphs as items. A heading is never an item, and a
paragraph that stands before the first heading belongs to none. Nothing is searched for by key
words: that is how a summary once became a recommendation.
"""

from __future__ import annotations

import re

from msgspec import Struct

from harness_single_agent.text import clean

__all__ = ["Analysis", "parse_analysis"]

_TITLES = {
    "summary": re.compile(r"executive summary|summary|overview", re.IGNORECASE),
    "findings": re.compile(r"(?:key )?(?:performance )?(?:findings|insights)", re.IGNORECASE),
    "metrics": re.compile(
        r"(?:performance )?metrics?(?: analysis)?|(?:performance|data) analysis", re.IGNORECASE
    ),
    "recommendations": re.compile(
        r"(?:optimi[sz]ation )?recommendations(?: for .{1,40})?|next steps", re.IGNORECASE
    ),
}
_MARKED = re.compile(
    r"^\s{0,3}(?:#{1,6}\s+(?P<hash>.{1,80}?)#*|\*\*(?P<bold>[^*]{1,80})\*\*:?)\s*$"
)
_NUMBERED = re.compile(r"^[\s*_]*(?:(?:\d{1,2}|[IVX]{1,4}|[a-d])[.)]\s*)?(?P<title>.*?)[\s:*_.]*$")
_BULLET = re.compile(r"^\s*(?:[-*+•‣–]\s+|\d{1,2}[.)]\s+)(?P<item>.+)$")


class Analysis(Struct, frozen=True, kw_only=True):
    """What the model answered, by section. Sections that it left out are empty."""

    summary: str = ""
    findings: tuple[str, ...] = ()
    metrics: str = ""
    recommendations: tuple[str, ...] = ()

    @property
    def sections(self) -> int:
        """How many of the four it wrote."""
        return sum(map(bool, (self.summary, self.findings, self.metrics, self.recommendations)))


def parse_analysis(text: str) -> Analysis:
    """Any text has an analysis; noise has an empty one."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in clean(text).split("\n"):
        heading = _heading(line)
        if heading is None:
            if current is not None:
                current.append(line)
            continue
        section = _section(heading)
        # An unknown heading ends the section before it; what follows it is nobody's.
        current = found.setdefault(section, []) if section else None
    return Analysis(
        summary="\n".join(found.get("summary", [])).strip(),
        findings=_items(found.get("findings", [])),
        metrics="\n".join(found.get("metrics", [])).strip(),
        recommendations=_items(found.get("recommendations", [])),
    )


def _heading(line: str) -> str | None:
    """The title, where the line is a heading: marked as one, or exactly a title we asked for."""
    if marked := _MARKED.match(line):
        title = marked["hash"] or marked["bold"]
        inside = _NUMBERED.match(title)
        return inside["title"] if inside else title
    if len(line) > 80:
        return None
    plain = _NUMBERED.match(line)
    return plain["title"] if plain and _section(plain["title"]) else None


def _section(title: str) -> str | None:
    return next((name for name, words in _TITLES.items() if words.fullmatch(title.strip())), None)


def _items(lines: list[str]) -> tuple[str, ...]:
    bulleted = any(_BULLET.match(line) for line in lines)
    items: list[str] = []
    open_item = False
    for line in lines:
        if not line.strip():
            open_item = False
        elif bullet := _BULLET.match(line):
            items.append(bullet["item"].strip())
            open_item = True
        elif open_item:
            items[-1] += " " + line.strip()
        elif not bulleted:
            items.append(line.strip())
            open_item = True
    return tuple(items)
