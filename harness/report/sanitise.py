"""Text from models, servers and files is hostile until it has been through here.

It may hold terminal escapes, characters that turn the reading order round (harness.text takes both
out), or markup of the format that it is put into. Reports never print it raw.

    plain       for any output: no control, no escape sequence, no invisible reordering
    one_line    the same on one line, cut to a length: for tables and messages
    markdown    escaped, as ordinary text in Markdown
    code        as a Markdown code span (names, options), also inside a table
    fenced      as a Markdown code block (a model's answer)
    cell        as a CSV cell that no spreadsheet takes for a formula
"""

from __future__ import annotations

import re
from typing import Final

from harness.text import fenced, longest_run, one_line, plain

__all__ = ["cell", "code", "fenced", "markdown", "one_line", "plain"]

# Markdown takes a backslash before any ASCII punctuation. What is not escaped is a list: letters,
# numbers and the punctuation of ordinary sentences, where it cannot begin a heading, a list or a
# bare address that becomes a link.
_MARKDOWN: Final = re.compile(
    r"[^\w\s!\"#%&'()+,\-./:;<=>?]|_"
    r"|^#(?=#|\s|$)|^[+\-](?=\s|$)|^[=-]+$|(?<=:)/(?=/)|(?<=(?i:www))\.",
    re.ASCII,
)
_NUMBERED: Final = re.compile(r"^([0-9]{1,9})([.)])(?=\s|$)")
_FORMULA: Final = re.compile(r"(?:^|(?<=[;\t\n]))(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown(text: str, length_max: int = 2000) -> str:
    """One line of ordinary Markdown text: no markup, link or HTML survives."""
    line = _NUMBERED.sub(r"\1\\\2", _MARKDOWN.sub(_escaped, one_line(text, length_max)))
    return "".join(_HTML.get(character, character) for character in line)


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}" if found[0].isascii() else found[0]


def code(text: str, length_max: int = 300) -> str:
    """A code span that `text` cannot leave; safe in a table cell. Empty text: an em dash."""
    line = one_line(text, length_max)
    if not line:
        return "—"
    fence = "`" * (longest_run(line) + 1)
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def cell(text: str) -> str:
    """A CSV cell: spreadsheets run what begins with = + - @ (or their full-width twins), so such
    text gets an apostrophe; also behind what another locale takes for the end of a cell."""
    return _FORMULA.sub(r"\g<0>'", plain(text))
