"""Model text and file names are somebody else's: made harmless before they enter a report."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clean", "cut", "fenced", "inline"]

_BREAKS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def clean(text: str) -> str:
    """Without control, format (bidirectional overrides, zero width) and surrogate characters; every
    kind of line break becomes a newline. What is left can be written as UTF-8 and printed."""
    text = _BREAKS.sub("\n", text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _REMOVED)


_REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def inline(text: str) -> str:
    """One line of Markdown without markup of its own: for headings, lists and table cells."""
    flat = " ".join(clean(text).split())
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", flat)


def fenced(text: str, label: str = "text") -> str:
    """A code block that the text cannot close: its fence is longer than any run of backticks."""
    text = clean(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = text.strip("\n")
    return f"{fence}{label}\n{body}\n{fence}"


def cut(text: str, chars_max: int) -> tuple[str, int]:
    """The text within a bound, and how many characters were left out. The cut says itself so."""
    if len(text) <= chars_max:
        return text, 0
    room = max(0, chars_max - 40)
    left_out = len(text) - room
    return f"{text[:room].rstrip()}\n[cut here: {left_out} more characters]"[:chars_max], left_out
