"""Model text and file names are somebody else's: made harmless before they enter a report."""

from __future__ import annotations

import re
import unicodedata

from harness.text import fenced as _block
from harness.text import plain

__all__ = ["clean", "cut", "fenced", "inline"]

_REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def clean(text: str) -> str:
    """harness.text.plain, and without anything else that prints nothing of its own (soft hyphens,
    joiners, unassigned characters), so that equal words compare as equal."""
    text = plain(text)
    if text.isascii():
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _REMOVED)


def inline(text: str) -> str:
    """One line of Markdown without markup of its own: for headings, lists and table cells."""
    flat = " ".join(clean(text).split())
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", flat)


def fenced(text: str, label: str = "text") -> str:
    """A code block that the text cannot close, without a final newline."""
    return _block(clean(text), label).rstrip("\n")


def cut(text: str, chars_max: int) -> tuple[str, int]:
    """The text within a bound, and how many characters were left out. The cut says itself so."""
    if len(text) <= chars_max:
        return text, 0
    room = max(0, chars_max - 40)
    left_out = len(text) - room
    return f"{text[:room].rstrip()}\n[cut here: {left_out} more characters]"[:chars_max], left_out
